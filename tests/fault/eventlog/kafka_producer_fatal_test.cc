#include <gmock/gmock.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "eventlog/kafka/conf.h"
#include "eventlog/kafka/kafka_log.h"
#include "tests/integration/eventlog/kafka_test_util.h"

// Errors that a healthy broker does not give, injected by librdkafka's mock cluster.
namespace sluice::eventlog {
namespace {

constexpr int16_t kProduceKey = 0;

class KafkaProducerFatalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    KafkaLogOptions none;
    none.brokers = "127.0.0.1:1";  // the host of the mock cluster asks nobody
    auto conf = MakeConf(none, {});
    ASSERT_TRUE(conf.ok()) << conf.status();
    auto host = MakeHandle(RD_KAFKA_PRODUCER, std::move(*conf));
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = std::move(*host);
    cluster_ = rd_kafka_mock_cluster_new(host_.get(), 2);
    options_ = TestOptions(rd_kafka_mock_cluster_bootstraps(cluster_));
    options_.metrics = metrics_;
    options_.check_settings = false;  // the mock cluster does not know them
    for (const Topic topic : kAllTopics) {
      const std::string name = options_.topic_prefix + std::string(TopicName(topic));
      rd_kafka_mock_topic_create(cluster_, name.c_str(), topic == Topic::kNodes ? 1 : 2, 1);
    }
  }

  void TearDown() override { rd_kafka_mock_cluster_destroy(cluster_); }

  KafkaHandle host_;
  rd_kafka_mock_cluster_t* cluster_ = nullptr;
  KafkaLogOptions options_;
  std::shared_ptr<prometheus::Registry> metrics_ = std::make_shared<prometheus::Registry>();
};

TEST_F(KafkaProducerFatalTest, AFatalErrorFailsWhatIsInFlightAndTheNextProducerGoesOn) {
  auto log = KafkaLog::Open(options_);
  ASSERT_TRUE(log.ok()) << log.status();
  // Fatal for an idempotent producer: the broker lost its place.
  rd_kafka_mock_push_request_errors(cluster_, kProduceKey, 1,
                                    RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
  const auto append = [&](const std::string& value) {
    return (*log)->Append(Topic::kChanges, PartitionId(0), {MakeKafkaEvent("acme", value)});
  };
  const auto failed = append("first");
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kUnavailable) << failed.status();
  const auto deadline = std::chrono::steady_clock::now() + kKafkaPatience;
  auto appended = append("again");
  while (!appended.ok() && std::chrono::steady_clock::now() < deadline) {
    appended = append("again");
  }
  ASSERT_TRUE(appended.ok()) << appended.status();
  const auto read = ReadAll(**log, Topic::kChanges, PartitionId(0), 1);
  ASSERT_EQ(read.size(), 1U);
  EXPECT_EQ(read.front().event.value, "again");
  EXPECT_EQ(read.front().offset, appended->front());
  const std::string text = prometheus::TextSerializer().Serialize(metrics_->Collect());
  EXPECT_THAT(text,
              ::testing::HasSubstr("sluice_eventlog_producer_restarts_total{log=\"kafka\"} 1"));
}

// Partition 1's leader is gone for good, and its appends are given up again and again; whoever
// appends to partition 0 notices nothing. Nobody was told of that one's leader but by the cluster.
TEST_F(KafkaProducerFatalTest, APartitionThatIsGivenUpLeavesTheOthersAlone) {
  // A new producer that asks the broker that is down first needs a second for the other one.
  options_.append_timeout = std::chrono::seconds(4);
  options_.brokers = options_.brokers.substr(options_.brokers.find(',') + 1);
  auto log = KafkaLog::Open(options_);
  ASSERT_TRUE(log.ok()) << log.status();
  const auto append = [&](int32_t partition) {
    return (*log)
        ->Append(Topic::kChanges, PartitionId(partition), {MakeKafkaEvent("acme", "x")})
        .status();
  };
  ASSERT_TRUE(append(1).ok());
  const std::string changes = options_.topic_prefix + "changes";
  rd_kafka_mock_partition_set_leader(cluster_, changes.c_str(), 0, 1);
  rd_kafka_mock_partition_set_leader(cluster_, changes.c_str(), 1, 2);
  rd_kafka_mock_broker_set_down(cluster_, 2);
  std::atomic<bool> stopping = false;
  std::atomic<size_t> appended = 0;
  std::thread neighbour([&] {
    while (!stopping) {
      const absl::Status status = append(0);
      EXPECT_TRUE(status.ok()) << status;
      ++appended;
    }
  });
  for (int i = 0; i < 2; ++i) {
    // Many at once, of which all but one are refused without a wait once the first have failed.
    std::vector<std::future<absl::Status>> answers;
    for (int k = 0; k < 10; ++k) {
      answers.push_back(std::async(std::launch::async, append, 1));
    }
    for (auto& answer : answers) {
      EXPECT_EQ(answer.get().code(), absl::StatusCode::kUnavailable);
    }
  }
  rd_kafka_mock_broker_set_up(cluster_, 2);
  const auto deadline = std::chrono::steady_clock::now() + kKafkaPatience;
  absl::Status back = append(1);
  while (!back.ok() && std::chrono::steady_clock::now() < deadline) {
    back = append(1);
  }
  EXPECT_TRUE(back.ok()) << back;
  stopping = true;
  neighbour.join();
  EXPECT_GT(appended, 0U);
}

TEST_F(KafkaProducerFatalTest, RetriesKeepTheOrderOfAPartition) {
  options_.properties["retry.backoff.ms"] = "10";
  auto log = KafkaLog::Open(options_);
  ASSERT_TRUE(log.ok()) << log.status();
  rd_kafka_mock_push_request_errors(
      cluster_, kProduceKey, 4, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
      RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
      RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS);
  std::vector<std::future<absl::StatusOr<std::vector<Offset>>>> answers;
  for (int i = 0; i < 200; ++i) {
    auto promise = std::make_shared<std::promise<absl::StatusOr<std::vector<Offset>>>>();
    answers.push_back(promise->get_future());
    (*log)->AppendAsync(Topic::kChanges, PartitionId(1),
                        {MakeKafkaEvent("acme", std::to_string(i))},
                        [promise](auto result) { promise->set_value(std::move(result)); });
  }
  std::vector<Offset> offsets;
  for (auto& answer : answers) {
    const auto result = answer.get();
    ASSERT_TRUE(result.ok()) << result.status();
    offsets.push_back(result->front());
  }
  const auto read = ReadAll(**log, Topic::kChanges, PartitionId(1), offsets.size());
  ASSERT_EQ(read.size(), offsets.size());
  for (size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].event.value, std::to_string(i));
    EXPECT_EQ(read[i].offset, offsets[i]);
  }
}

}  // namespace
}  // namespace sluice::eventlog
