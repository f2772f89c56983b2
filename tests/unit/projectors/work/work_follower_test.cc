#include "projectors/work/work_follower.h"

#include <gtest/gtest.h>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "projectors/work/work_ledger.h"
#include "tests/support/memory_log.h"
#include "tests/unit/projectors/work/work_events.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;

TEST(WorkFollower, ReadsOnAndAnewWhereTheTopicHasLostItsEnd) {
  sluice::testing::MemoryLog log;
  const RealClock clock;
  absl::Mutex mutex;
  WorkLedger ledger;
  WorkFollower follower(log, clock, PartitionId(0),
                        {[&](bool whole) {
                           const absl::MutexLock lock(&mutex);
                           ledger.Begin(whole);
                         },
                         [&](const std::vector<eventlog::StoredEvent>& events) {
                           const absl::MutexLock lock(&mutex);
                           for (const auto& event : events) {
                             ASSERT_TRUE(ledger.Apply(event).ok());
                           }
                         }});
  const auto has = [&](const std::string& org, bool wanted) {
    const absl::MutexLock lock(&mutex);
    const auto is = [&] { return (ledger.Find(Key(org)) != nullptr) == wanted; };
    return mutex.AwaitWithTimeout(absl::Condition(&is), absl::Seconds(60));
  };
  const auto say = [](const std::string& org) {
    return WorkEvent(Key(org), Item(Key(org), 100), kWorkStart, org);
  };
  ASSERT_TRUE(log.Append(Topic::kWork, PartitionId(0), {say("a")}).ok());
  follower.Start();
  EXPECT_TRUE(has("a", true));
  ASSERT_TRUE(log.Append(Topic::kWork, PartitionId(0), {say("b")}).ok());
  EXPECT_TRUE(has("b", true));

  log.Replace(Topic::kWork, 1, {say("c"), say("d")}, /*connections_end=*/true);
  EXPECT_TRUE(has("d", true));
  EXPECT_TRUE(has("b", false));
  EXPECT_TRUE(has("c", true));
  follower.Stop();
}

}  // namespace
}  // namespace sluice::projectors
