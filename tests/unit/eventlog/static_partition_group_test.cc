#include "eventlog/static_partition_group.h"

#include <gmock/gmock.h>

#include <vector>

namespace sluice::eventlog {
namespace {

using ::testing::ElementsAre;

TEST(StaticPartitionGroupTest, AssignsAllAtStartAndRevokesAllOnceAtStop) {
  std::vector<PartitionId> assigned;
  std::vector<PartitionId> revoked;
  StaticPartitionGroup group(3);
  PartitionGroup::Callbacks callbacks;
  callbacks.on_assigned = [&](const std::vector<PartitionId>& p) { assigned = p; };
  callbacks.on_revoked = [&](const std::vector<PartitionId>& p) {
    revoked.insert(revoked.end(), p.begin(), p.end());
  };
  ASSERT_TRUE(group.Start(std::move(callbacks)).ok());
  EXPECT_THAT(assigned, ElementsAre(PartitionId(0), PartitionId(1), PartitionId(2)));
  EXPECT_TRUE(revoked.empty());
  group.CommitHint(PartitionId(1), Offset(7));
  group.Stop();
  group.Stop();
  EXPECT_EQ(revoked, assigned);
}

TEST(StaticPartitionGroupTest, DestructorRevokesAndASecondStartIsRefused) {
  int revocations = 0;
  {
    StaticPartitionGroup group(1);
    PartitionGroup::Callbacks callbacks;
    callbacks.on_assigned = [](const std::vector<PartitionId>&) {};
    callbacks.on_revoked = [&](const std::vector<PartitionId>&) { ++revocations; };
    ASSERT_TRUE(group.Start(std::move(callbacks)).ok());
    EXPECT_EQ(group.Start({}).code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_EQ(revocations, 1);
}

}  // namespace
}  // namespace sluice::eventlog
