// What the directory says of itself while its reader has trouble.
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <thread>

#include "projectors/provisioning/provisioning.h"
#include "schemas/base/clock.h"
#include "tests/support/gap_log.h"
#include "tests/support/memory_log.h"
#include "tests/unit/projectors/provisioning/provisioning_testing.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;

class DirectoryFollowerTest : public ::testing::Test {
 protected:
  static constexpr auto kPatience = std::chrono::seconds(60);

  template <typename Condition>
  static void Await(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!condition() && std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
    EXPECT_TRUE(condition());
  }
  void AwaitEnd() {
    ASSERT_TRUE(follower_.Start().ok());
    Await([this] {
      return follower_.ReadUntil(testing::Org("acme")) == sluice::testing::GapLog::kEnd;
    });
  }

  const RealClock clock_;
  sluice::testing::MemoryLog memory_;
  sluice::testing::GapLog log_{memory_};
  DirectoryFollower follower_{log_, clock_, nullptr};
};

// Events may come there now: what lies there is not folded, though the log is away for long.
TEST_F(DirectoryFollowerTest, WhatWasPassedOverAndHasGoneIsNotFolded) {
  eventlog::Event event;
  event.key = "acme";
  ASSERT_TRUE(memory_.Append(Topic::kProvisioning, PartitionId(0), {event, event}).ok());
  AwaitEnd();
  log_.goes_away = true;
  log_.lost = true;
  Await([this] { return !follower_.CaughtUp(PartitionId(0)).ok(); });
  EXPECT_EQ(follower_.ReadUntil(testing::Org("acme")), Offset(2));
}

TEST_F(DirectoryFollowerTest, AReaderThatIsSlowToCloseHoldsUpNobody) {
  AwaitEnd();
  log_.slow_to_close = true;
  log_.lost = true;
  log_.closing.WaitForNotification();
  std::future<Offset> asked =
      std::async(std::launch::async, [this] { return follower_.ReadUntil(testing::Org("acme")); });
  EXPECT_EQ(asked.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  log_.closed.Notify();
}

}  // namespace
}  // namespace sluice::projectors
