// Offsets that hold no event: what a transaction's end leaves in the log, and an aborted one's
// events. A reader that has read everything says so.
#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>

#include <memory>
#include <string>

#include "eventlog/kafka/kafka_log.h"
#include "tests/integration/eventlog/kafka_test_util.h"
#include "tests/integration/eventlog/shared_broker.h"

namespace sluice::eventlog {
namespace {

constexpr PartitionId kPartition{0};

struct Destroy {
  void operator()(rd_kafka_t* handle) const { rd_kafka_destroy(handle); }
  void operator()(rd_kafka_error_t* error) const { rd_kafka_error_destroy(error); }
};

void Succeeds(rd_kafka_error_t* error) {
  const std::unique_ptr<rd_kafka_error_t, Destroy> owned(error);
  EXPECT_EQ(owned, nullptr) << rd_kafka_error_string(owned.get());
}

// One message in a transaction of its own.
class Transactions {
 public:
  explicit Transactions(const std::string& brokers) {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", brokers.c_str(), nullptr, 0);
    rd_kafka_conf_set(conf, "transactional.id", testing::RandomPrefix().c_str(), nullptr, 0);
    producer_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, conf, nullptr, 0));
    Succeeds(rd_kafka_init_transactions(producer_.get(), 60'000));
  }
  void Write(const std::string& topic, bool commit) {
    Succeeds(rd_kafka_begin_transaction(producer_.get()));
    ASSERT_EQ(
        rd_kafka_producev(producer_.get(), RD_KAFKA_V_TOPIC(topic.c_str()), RD_KAFKA_V_PARTITION(0),
                          RD_KAFKA_V_VALUE(const_cast<char*>("v"), 1),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
        RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_flush(producer_.get(), 60'000);
    Succeeds(commit ? rd_kafka_commit_transaction(producer_.get(), 60'000)
                    : rd_kafka_abort_transaction(producer_.get(), 60'000));
  }

 private:
  std::unique_ptr<rd_kafka_t, Destroy> producer_;
};

// Reads until next() says that everything below the end has been read; how many events came.
size_t ReadToEnd(Reader& reader, Offset end) {
  size_t events = 0;
  for (int empty = 0; reader.next() < end && empty < 10;) {
    const auto batch = reader.Read({.wait_max = std::chrono::seconds(6)});
    EXPECT_TRUE(batch.ok()) << batch.status();
    events += batch.ok() ? batch->size() : 0;
    empty = batch.ok() && !batch->empty() ? 0 : empty + 1;
  }
  EXPECT_GE(reader.next(), end);
  return events;
}

TEST(KafkaControlRecords, AnEndThatNoEventComesBeforeIsReached) {
  const KafkaLogOptions options = TestOptions(kBroker->brokers(), 1);
  const auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  const auto reader = *(*log)->OpenReader(Topic::kChanges, kPartition, Offset(0));
  Transactions transactions(kBroker->brokers());
  const std::string topic = options.topic_prefix + "changes";
  size_t expected = 0;
  int64_t transactions_done = 0;
  for (const bool commit : {true, true, false, true, false}) {
    transactions.Write(topic, commit);
    expected += commit ? 1 : 0;
    // A transaction is two offsets, of which the end counts when the marker is there.
    const Offset end(2 * ++transactions_done);
    const SteadyTime deadline = SteadyTime::clock::now() + kKafkaPatience;
    while ((*log)->Range(Topic::kChanges, kPartition)->end < end) {
      ASSERT_LT(SteadyTime::clock::now(), deadline);
    }
    ReadToEnd(*reader, end);
    // The same from the beginning, and from behind the last event.
    const auto again = *(*log)->OpenReader(Topic::kChanges, kPartition, Offset(0));
    EXPECT_EQ(ReadToEnd(*again, end), expected);
    const auto behind = *(*log)->OpenReader(Topic::kChanges, kPartition, Offset(end.value() - 1));
    EXPECT_EQ(ReadToEnd(*behind, end), 0U);
  }
  const Event event = MakeKafkaEvent("acme", "value");
  ASSERT_TRUE((*log)->Append(Topic::kChanges, kPartition, {event}).ok());
  const auto batch = reader->Read({.wait_max = kKafkaPatience});
  ASSERT_TRUE(batch.ok() && batch->size() == 1);
  EXPECT_EQ(batch->front().event.id, event.id);
}

}  // namespace
}  // namespace sluice::eventlog
