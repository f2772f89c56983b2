#include <librdkafka/rdkafka.h>

#include <array>
#include <chrono>
#include <thread>

#include "eventlog/kafka/admin.h"
#include "eventlog/kafka/handles.h"
#include "eventlog/kafka/record_consumer.h"
#include "tests/integration/eventlog/kafka_test_util.h"
#include "tests/integration/eventlog/record_source_conformance.h"
#include "tests/integration/eventlog/shared_broker.h"

namespace sluice::eventlog {
namespace {

constexpr int kPatienceMs = 60'000;

// A producer of somebody else, in transactions where gaps are wanted.
class KafkaRecordsFixture final : public RecordsFixture {
 public:
  KafkaRecordsFixture() : plain_(Producer(false)), transactional_(Producer(true)) {}

  std::unique_ptr<RecordSource> Open() override {
    auto source = RecordConsumer::Open({.brokers = kBroker->brokers(), .properties = {}});
    EXPECT_TRUE(source.ok()) << source.status();
    return std::move(source).value();
  }
  std::string NewName() override { return testing::RandomPrefix() + "records"; }
  void Create(const std::string& topic, int partitions) override {
    // Deleting takes a moment longer than its answer.
    for (int attempt = 0; attempt < 300; ++attempt) {
      const absl::Status status = CreateTopics(plain_.get(),
                                               {{.topic = Topic::kChanges,
                                                 .name = topic,
                                                 .partitions = partitions,
                                                 .message_bytes_max = 1 << 20}},
                                               kKafkaPatience);
      EXPECT_TRUE(status.ok()) << status;
      RecordConsumer::Open({.brokers = kBroker->brokers(), .properties = {}}).value().swap(asks_);
      const auto made = asks_->Partitions(topic);
      const auto end = made.ok() && made->size() == static_cast<size_t>(partitions)
                           ? asks_->End(topic, PartitionId(0))
                           : absl::UnavailableError("not yet");
      if (end.ok() && *end == Offset(0)) {
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    ADD_FAILURE() << topic << " is not made";
  }
  void Delete(const std::string& topic) override {
    rd_kafka_DeleteTopic_t* wanted = rd_kafka_DeleteTopic_new(topic.c_str());
    const KafkaQueue queue(rd_kafka_queue_new(plain_.get()));
    rd_kafka_DeleteTopics(plain_.get(), &wanted, 1, nullptr, queue.get());
    rd_kafka_event_destroy(rd_kafka_queue_poll(queue.get(), kPatienceMs));
    rd_kafka_DeleteTopic_destroy(wanted);
  }
  void Append(const std::string& topic, int partition, const Record& record) override {
    Produce(plain_.get(), topic, partition, record);
  }
  int AppendGap(const std::string& topic, int partition) override {
    // An aborted record, and the marker behind it.
    Succeeds(rd_kafka_begin_transaction(transactional_.get()));
    Record record;
    record.value = "aborted";
    Produce(transactional_.get(), topic, partition, record);
    Succeeds(rd_kafka_abort_transaction(transactional_.get(), kPatienceMs));
    return 2;
  }
  void TruncateBefore(const std::string& topic, int partition, Offset begin) override {
    const absl::Status status =
        DeleteRecords(plain_.get(), topic, PartitionId(partition), begin, kKafkaPatience);
    EXPECT_TRUE(status.ok()) << status;
  }

 private:
  static void Succeeds(rd_kafka_error_t* error) {
    EXPECT_EQ(error, nullptr) << rd_kafka_error_string(error);
    rd_kafka_error_destroy(error);
  }
  static KafkaHandle Producer(bool transactional) {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", kBroker->brokers().c_str(), nullptr, 0);
    rd_kafka_conf_set(conf, "linger.ms", "0", nullptr, 0);
    if (transactional) {
      rd_kafka_conf_set(conf, "transactional.id", testing::RandomPrefix().c_str(), nullptr, 0);
    }
    KafkaHandle handle(rd_kafka_new(RD_KAFKA_PRODUCER, conf, nullptr, 0));
    if (transactional) {
      Succeeds(rd_kafka_init_transactions(handle.get(), kPatienceMs));
    }
    return handle;
  }
  static void Produce(rd_kafka_t* handle, const std::string& topic, int partition,
                      const Record& record) {
    rd_kafka_headers_t* headers = rd_kafka_headers_new(record.headers.size());
    for (const auto& [name, value] : record.headers) {
      rd_kafka_header_add(headers, name.data(), static_cast<ssize_t>(name.size()), value.data(),
                          static_cast<ssize_t>(value.size()));
    }
    // A pointer to something where it is empty, not null.
    const auto data = [](const std::optional<std::string>& bytes) {
      return bytes ? const_cast<char*>(bytes->data()) : nullptr;
    };
    const auto size = [](const std::optional<std::string>& bytes) {
      return bytes ? bytes->size() : 0;
    };
    EXPECT_EQ(
        rd_kafka_producev(handle, RD_KAFKA_V_TOPIC(topic.c_str()), RD_KAFKA_V_PARTITION(partition),
                          RD_KAFKA_V_KEY(data(record.key), size(record.key)),
                          RD_KAFKA_V_VALUE(data(record.value), size(record.value)),
                          RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_END),
        RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_EQ(rd_kafka_flush(handle, kPatienceMs), RD_KAFKA_RESP_ERR_NO_ERROR);
  }

  const KafkaHandle plain_;
  const KafkaHandle transactional_;
  std::unique_ptr<RecordSource> asks_;
};

INSTANTIATE_TEST_SUITE_P(Kafka, RecordSourceConformance,
                         ::testing::Values(RecordsUnderTest{
                             "Kafka", [] { return std::make_unique<KafkaRecordsFixture>(); }}),
                         RecordsUnderTestName);

TEST(RecordConsumer, MoreThanTheQueueHoldsComesWhole) {
  KafkaRecordsFixture fixture;
  const std::string topic = fixture.NewName();
  fixture.Create(topic, 1);
  Record record;
  record.value = std::string(100'000, 'v');
  for (int i = 0; i < 50; ++i) {
    fixture.Append(topic, 0, record);
  }
  auto source = RecordConsumer::Open(
      {.brokers = kBroker->brokers(), .properties = {}, .queue_bytes_max = 300'000});
  ASSERT_TRUE(source.ok()) << source.status();
  ASSERT_TRUE((*source)->Assign({{topic, PartitionId(0), kNoOffset}}).ok());
  int64_t next = 0;
  while (next < 50) {
    const auto records = (*source)->Read({.wait_max = kKafkaPatience});
    ASSERT_TRUE(records.ok()) << records.status();
    ASSERT_FALSE(records->empty());
    for (const Record& one : *records) {
      EXPECT_EQ(one.offset, Offset(next++));
    }
  }
}

TEST(RecordConsumer, BrokersThatAreNotThere) {
  auto source = RecordConsumer::Open({.brokers = "127.0.0.1:1", .properties = {}});
  ASSERT_TRUE(source.ok()) << source.status();
  ASSERT_TRUE((*source)->Assign({{"topic", PartitionId(0), kNoOffset}}).ok());
  absl::Status status;
  for (int i = 0; i < 600 && status.ok(); ++i) {
    status = (*source)->Read({.wait_max = std::chrono::milliseconds(100)}).status();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
}

TEST(RecordConsumer, PropertiesThatAreOurs) {
  EXPECT_EQ(
      RecordConsumer::Open({.brokers = "b", .properties = {{"group.id", "mine"}}}).status().code(),
      absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace sluice::eventlog
