#include "eventlog/kafka/kafka_group.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <memory>
#include <set>
#include <string>

#include "absl/synchronization/mutex.h"
#include "eventlog/kafka/kafka_log.h"
#include "schemas/base/status.h"
#include "tests/integration/eventlog/kafka_test_util.h"
#include "tests/integration/eventlog/shared_broker.h"

namespace sluice::eventlog {
namespace {

constexpr int32_t kPartitions = 6;
// Who holds which partition, over all members of a group.
class Ownership {
 public:
  PartitionGroup::Callbacks CallbacksOf(int member) {
    PartitionGroup::Callbacks callbacks;
    callbacks.on_assigned = [this, member](const std::vector<PartitionId>& partitions) {
      const absl::MutexLock lock(&mutex_);
      for (const PartitionId partition : partitions) {
        EXPECT_TRUE(owners_.emplace(partition, member).second)
            << "partition " << partition.value() << " has been assigned twice";
      }
    };
    callbacks.on_revoked = [this, member](const std::vector<PartitionId>& partitions) {
      const absl::MutexLock lock(&mutex_);
      for (const PartitionId partition : partitions) {
        EXPECT_EQ(owners_[partition], member);
        owners_.erase(partition);
        ++revocations_;
      }
    };
    return callbacks;
  }

  // Waits until the members hold these numbers of partitions.
  bool Await(const std::map<int, int>& counts) {
    const absl::MutexLock lock(&mutex_);
    const auto reached = [&] {
      std::map<int, int> now;
      for (const auto& [partition, member] : owners_) {
        ++now[member];
      }
      return now == counts;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&reached), absl::FromChrono(kKafkaPatience));
  }

  int revocations() {
    const absl::MutexLock lock(&mutex_);
    return revocations_;
  }

 private:
  absl::Mutex mutex_;
  std::map<PartitionId, int> owners_;
  int revocations_ = 0;
};

class KafkaGroupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.log = TestOptions(kBroker->brokers(), kPartitions);
    options_.replica_set = "a";
    options_.commit_interval = std::chrono::milliseconds(100);
    ASSERT_TRUE(KafkaLog::Open(options_.log).ok());
  }

  std::unique_ptr<KafkaPartitionGroup> Join(int member, Ownership& ownership) {
    auto group = KafkaPartitionGroup::Create(options_);
    EXPECT_TRUE(group.ok()) << group.status();
    if (!group.ok()) {
      return nullptr;
    }
    EXPECT_TRUE((*group)->Start(ownership.CallbacksOf(member)).ok());
    return std::move(*group);
  }

  KafkaGroupOptions options_;
};

TEST_F(KafkaGroupTest, MembersSplitThePartitionsAndOneThatLeavesGivesItsOwnBack) {
  Ownership ownership;
  const auto first = Join(1, ownership);
  ASSERT_TRUE(ownership.Await({{1, kPartitions}}));
  const auto second = Join(2, ownership);
  ASSERT_TRUE(ownership.Await({{1, kPartitions / 2}, {2, kPartitions / 2}}));
  EXPECT_EQ(ownership.revocations(), kPartitions / 2) << "those that stay are not interrupted";
  first->Stop();
  ASSERT_TRUE(ownership.Await({{2, kPartitions}}));
  second->Stop();
  EXPECT_TRUE(ownership.Await({}));
  EXPECT_EQ(ownership.revocations(), kPartitions / 2 + kPartitions / 2 + kPartitions);
}

TEST_F(KafkaGroupTest, AnotherReplicaSetHasAllPartitionsToo) {
  Ownership ownership_a;
  Ownership ownership_b;
  const auto a = Join(1, ownership_a);
  options_.replica_set = "b";
  const auto b = Join(1, ownership_b);
  EXPECT_TRUE(ownership_a.Await({{1, kPartitions}}));
  EXPECT_TRUE(ownership_b.Await({{1, kPartitions}}));
}

TEST_F(KafkaGroupTest, AStaticMemberThatComesBackMovesNobody) {
  options_.session_timeout = std::chrono::seconds(30);
  Ownership ownership;
  options_.instance_id = "node-1";
  auto first = Join(1, ownership);
  options_.instance_id = "node-2";
  const auto second = Join(2, ownership);
  ASSERT_TRUE(ownership.Await({{1, kPartitions / 2}, {2, kPartitions / 2}}));
  const int before = ownership.revocations();
  first->Stop();
  EXPECT_TRUE(ownership.Await({{2, kPartitions / 2}}));
  options_.instance_id = "node-1";
  first = Join(1, ownership);
  EXPECT_TRUE(ownership.Await({{1, kPartitions / 2}, {2, kPartitions / 2}}));
  EXPECT_EQ(ownership.revocations(), before + kPartitions / 2) << "only those of the one away";
}

// Another process of the same name, or a coordinator that takes this one's own new session for
// that.
TEST_F(KafkaGroupTest, AMemberThatIsPutOutOfTheGroupSaysSoAndJoinsAnew) {
  options_.instance_id = "node-1";
  options_.log.metrics = std::make_shared<prometheus::Registry>();
  options_.rejoin_min = std::chrono::milliseconds(100);
  Ownership of_first;
  const auto first = Join(1, of_first);
  ASSERT_TRUE(of_first.Await({{1, kPartitions}}));
  EXPECT_TRUE(first->Health().ok()) << first->Health();

  options_.rejoin_min = options_.rejoin_max = std::chrono::hours(1);  // it stays outside
  Ownership of_second;
  const auto second = Join(2, of_second);
  ASSERT_TRUE(of_second.Await({{2, kPartitions}}));
  // The first has been put out, has come back, and has put out the second.
  EXPECT_TRUE(of_second.Await({}));
  EXPECT_EQ(ErrorCode(second->Health()), "group_fenced");
  ASSERT_TRUE(of_first.Await({{1, kPartitions}}));
  EXPECT_EQ(of_first.revocations(), kPartitions) << "it gave back what it had";
  first->Stop();
  EXPECT_TRUE(first->Health().ok()) << first->Health();
  EXPECT_THAT(
      prometheus::TextSerializer().Serialize(options_.log.metrics->Collect()),
      ::testing::HasSubstr(R"(sluice_eventlog_group_fenced_total{group="a",log="kafka"} 2)"));
}

TEST_F(KafkaGroupTest, HintsAreCommittedForTheGroupsLag) {
  Ownership ownership;
  const auto group = Join(1, ownership);
  ASSERT_TRUE(ownership.Await({{1, kPartitions}}));
  auto log = KafkaLog::Open(options_.log);
  ASSERT_TRUE(log.ok()) << log.status();
  ASSERT_TRUE((*log)
                  ->Append(Topic::kChanges, PartitionId(4),
                           {MakeKafkaEvent("a", "1"), MakeKafkaEvent("a", "2")})
                  .ok());
  group->CommitHint(PartitionId(4), Offset(1));
  group->Stop();  // commits what is hinted
  const auto described = testing::RunKafkaTool(
      fmt::format("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --describe "
                  "--bootstrap-server {} --group {}a",
                  options_.log.brokers, options_.log.topic_prefix));
  ASSERT_TRUE(described.ok()) << described.status();
  // partition, committed offset, end, lag
  EXPECT_THAT(*described, ::testing::ContainsRegex("changes +4 +1 +2 +1 ")) << *described;
}

TEST_F(KafkaGroupTest, AGroupNeedsAName) {
  options_.replica_set = "";
  EXPECT_EQ(KafkaPartitionGroup::Create(options_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace sluice::eventlog
