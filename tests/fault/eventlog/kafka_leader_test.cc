#include <gmock/gmock.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>

#include "eventlog/kafka/conf.h"
#include "eventlog/kafka/kafka_log.h"
#include "schemas/base/status.h"
#include "tests/integration/eventlog/kafka_test_util.h"

// A leader that dies while the cluster goes on naming it, as it does until it has elected another.
// librdkafka's mock cluster decides when that is.
namespace sluice::eventlog {
namespace {

constexpr PartitionId kPartition(0);
constexpr int32_t kOldLeader = 1;
constexpr int32_t kNewLeader = 2;
// What the documentation of KafkaLog promises from the election on.
constexpr std::chrono::seconds kRecoveryMax{10};
constexpr std::chrono::seconds kRecoveryFromHangMax{30};

class KafkaLeaderTest : public ::testing::Test {
 protected:
  explicit KafkaLeaderTest(int32_t partitions = 1) : partitions_(partitions) {}
  void SetUp() override {
    KafkaLogOptions none;
    none.brokers = "127.0.0.1:1";  // the host of the mock cluster asks nobody
    auto conf = MakeConf(none, {});
    ASSERT_TRUE(conf.ok()) << conf.status();
    auto host = MakeHandle(RD_KAFKA_PRODUCER, std::move(*conf));
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = std::move(*host);
    cluster_ = rd_kafka_mock_cluster_new(host_.get(), 2);
    KafkaLogOptions& options = options_;
    options = TestOptions(rd_kafka_mock_cluster_bootstraps(cluster_), partitions_);
    options.health_interval = std::chrono::milliseconds(50);
    options.operation_timeout = std::chrono::seconds(4);
    options.check_settings = false;  // the mock cluster does not know them
    changes_ = options.topic_prefix + std::string(TopicName(Topic::kChanges));
    for (const Topic topic : kAllTopics) {
      const std::string name = options.topic_prefix + std::string(TopicName(topic));
      rd_kafka_mock_topic_create(cluster_, name.c_str(), topic == Topic::kNodes ? 1 : partitions_,
                                 2);
    }
    Lead(kOldLeader);
    auto log = KafkaLog::Open(options);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = std::move(*log);
    ASSERT_TRUE(log_->Append(Topic::kChanges, kPartition, {MakeKafkaEvent("acme", "0")}).ok());
  }

  void TearDown() override {
    log_.reset();
    rd_kafka_mock_cluster_destroy(cluster_);
  }

  void Lead(int32_t broker) {
    rd_kafka_mock_partition_set_leader(cluster_, changes_.c_str(), kPartition.value(), broker);
  }

  // Range(), or kDeadlineExceeded where it does not return in time; then the dead leader comes
  // back, so that it returns after all and the test ends.
  absl::StatusOr<OffsetRange> RangeInTime() {
    auto range =
        std::async(std::launch::async, [this] { return log_->Range(Topic::kChanges, kPartition); });
    if (range.wait_for(kRecoveryMax) == std::future_status::ready) {
      return range.get();
    }
    rd_kafka_mock_broker_set_up(cluster_, kOldLeader);
    return absl::DeadlineExceededError("Range() goes on for longer than it may");
  }

  void AppendAndReadWithin(Reader& reader, std::chrono::seconds bound) {
    const auto elected_at = std::chrono::steady_clock::now();
    const auto appended = log_->Append(Topic::kChanges, kPartition, {MakeKafkaEvent("acme", "1")});
    ASSERT_TRUE(appended.ok()) << appended.status();
    EXPECT_EQ(appended->front(), Offset(1));
    EXPECT_LT(std::chrono::steady_clock::now() - elected_at, bound);
    const auto read = reader.Read({.wait_max = kKafkaPatience});
    ASSERT_TRUE(read.ok()) << read.status();
    ASSERT_EQ(read->size(), 1U);
    EXPECT_EQ(read->front().event.value, "1");
    EXPECT_LT(std::chrono::steady_clock::now() - elected_at, bound);
  }

  const int32_t partitions_;
  KafkaLogOptions options_;
  KafkaHandle host_;
  rd_kafka_mock_cluster_t* cluster_ = nullptr;
  std::string changes_;
  std::unique_ptr<KafkaLog> log_;
};

TEST_F(KafkaLeaderTest, AQuestionToADeadLeaderEndsInTimeAndTheNextOneIsAskedOfTheNewLeader) {
  ASSERT_EQ(RangeInTime()->end, Offset(1));
  rd_kafka_mock_broker_set_down(cluster_, kOldLeader);
  const auto unanswered = RangeInTime();
  EXPECT_EQ(unanswered.status().code(), absl::StatusCode::kUnavailable) << unanswered.status();
  Lead(kNewLeader);
  const auto range = RangeInTime();
  ASSERT_TRUE(range.ok()) << range.status();
  EXPECT_EQ(range->begin, Offset(0));
  EXPECT_EQ(range->end, Offset(1));
}

TEST_F(KafkaLeaderTest, ReadersAndAppendsFollowTheLeaderWithinTheBound) {
  auto reader = log_->OpenReader(Topic::kChanges, kPartition, Offset(0));
  ASSERT_TRUE(reader.ok()) << reader.status();
  ASSERT_EQ((*reader)->Read({.wait_max = kKafkaPatience})->size(), 1U);
  rd_kafka_mock_broker_set_down(cluster_, kOldLeader);
  // By the time that this gives up, librdkafka's questions after the broken connections have been
  // answered as well, and with the dead leader.
  EXPECT_EQ(RangeInTime().status().code(), absl::StatusCode::kUnavailable);
  Lead(kNewLeader);
  AppendAndReadWithin(**reader, kRecoveryMax);
}

TEST_F(KafkaLeaderTest, ALeaderThatHangsIsLeftWithinTheBound) {
  auto reader = log_->OpenReader(Topic::kChanges, kPartition, Offset(0));
  ASSERT_TRUE(reader.ok()) << reader.status();
  ASSERT_EQ((*reader)->Read({.wait_max = kKafkaPatience})->size(), 1U);
  // Connections stay, but nothing is answered.
  rd_kafka_mock_broker_set_rtt(cluster_, kOldLeader, 600'000);
  EXPECT_EQ(RangeInTime().status().code(), absl::StatusCode::kUnavailable);
  Lead(kNewLeader);
  AppendAndReadWithin(**reader, kRecoveryFromHangMax);
  rd_kafka_mock_broker_set_rtt(cluster_, kOldLeader, 0);
}

class TwoPartitionsTest : public KafkaLeaderTest {
 protected:
  TwoPartitionsTest() : KafkaLeaderTest(2) {}
};

TEST_F(TwoPartitionsTest, APartitionWithoutALeaderIsNotTheTroubleOfTheOther) {
  constexpr PartitionId kDead(1);
  auto reader = log_->OpenReader(Topic::kChanges, kPartition, Offset(1));
  ASSERT_TRUE(reader.ok()) << reader.status();
  rd_kafka_mock_partition_set_leader(cluster_, changes_.c_str(), kDead.value(), -1);
  // Gives up after many a look at how the log is.
  EXPECT_EQ(log_->Range(Topic::kChanges, kDead).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(log_->Health().ok()) << log_->Health();
  const auto quiet = (*reader)->Read({.wait_max = std::chrono::seconds(1)});
  EXPECT_TRUE(quiet.ok()) << quiet.status();
  ASSERT_TRUE(log_->Append(Topic::kChanges, kPartition, {MakeKafkaEvent("acme", "1")}).ok());
  const auto read = (*reader)->Read({.wait_max = kKafkaPatience});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->size(), 1U);
}

// A rolling update must not take everybody away for as long as one partition has no leader.
TEST_F(TwoPartitionsTest, ALogIsOpenedWhileAPartitionHasNoLeader) {
  constexpr PartitionId kDead(1);
  const std::string provisioning =
      options_.topic_prefix + std::string(TopicName(Topic::kProvisioning));
  for (const std::string& topic : {changes_, provisioning}) {
    rd_kafka_mock_partition_set_leader(cluster_, topic.c_str(), kDead.value(), -1);
  }
  const auto begun = std::chrono::steady_clock::now();
  const auto second = KafkaLog::Open(options_);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, options_.operation_timeout);
  EXPECT_EQ((*second)->id(), log_->id());
  EXPECT_EQ((*second)->PartitionCount(Topic::kChanges), 2);
  EXPECT_TRUE((*second)->Health().ok()) << (*second)->Health();
  EXPECT_TRUE((*second)->Append(Topic::kChanges, kPartition, {MakeKafkaEvent("acme", "1")}).ok());
  EXPECT_EQ((*second)->Range(Topic::kChanges, kDead).status().code(),
            absl::StatusCode::kUnavailable);
  rd_kafka_mock_partition_set_leader(cluster_, changes_.c_str(), kDead.value(), kNewLeader);
  EXPECT_TRUE((*second)->Append(Topic::kChanges, kDead, {MakeKafkaEvent("b", "2")}).ok());
}

TEST_F(TwoPartitionsTest, AnEpochIsDeclaredOnlyOfALogThatCanBeReadWhole) {
  rd_kafka_mock_partition_set_leader(cluster_, changes_.c_str(), 1, -1);
  bool asked = false;
  const auto declared = KafkaLog::StartEpoch(options_, [&asked](Log&) {
    asked = true;
    return absl::OkStatus();
  });
  EXPECT_EQ(ErrorCode(declared.status()), "log_unavailable") << declared.status();
  EXPECT_FALSE(asked);
}

}  // namespace
}  // namespace sluice::eventlog
