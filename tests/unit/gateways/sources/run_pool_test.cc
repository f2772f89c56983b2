#include "gateways/sources/run_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace sluice::gateways {
namespace {

OrgId PoolOrg(const std::string& name) { return OrgId::Parse(name).value(); }

template <typename Condition>
bool AwaitPool(Condition condition) {
  for (int i = 0; i < 6'000 && !condition(); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  return condition();
}

TEST(RunPool, AnOrganisationHasItsPlacesAndHoldsUpNoOther) {
  RunPool pool({.runs_max = 3, .per_org_max = 2, .per_host_max = 8, .queue_max = 100});
  absl::Notification release;
  std::atomic<int> slow = 0;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(pool.Add(PoolOrg("slow"), "", [&] {
      ++slow;
      release.WaitForNotification();
    }));
  }
  std::atomic<int> others = 0;
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(pool.Add(PoolOrg("other"), "", [&] { ++others; }));
  }
  EXPECT_TRUE(AwaitPool([&] { return others == 5; }));
  EXPECT_EQ(slow, 2);
  EXPECT_EQ(pool.queued(), 8U);
  release.Notify();
  EXPECT_TRUE(AwaitPool([&] { return slow == 10; }));
}

TEST(RunPool, AHostHasItsPlaces) {
  RunPool pool({.runs_max = 4, .per_org_max = 4, .per_host_max = 1, .queue_max = 100});
  absl::Notification release;
  std::atomic<int> busy = 0;
  for (const char* org : {"a", "b", "c"}) {
    ASSERT_TRUE(pool.Add(PoolOrg(org), "slow.example", [&] {
      ++busy;
      release.WaitForNotification();
    }));
  }
  std::atomic<int> others = 0;
  ASSERT_TRUE(pool.Add(PoolOrg("a"), "quick.example", [&] { ++others; }));
  EXPECT_TRUE(AwaitPool([&] { return others == 1; }));
  EXPECT_EQ(busy, 1);
  release.Notify();
  EXPECT_TRUE(AwaitPool([&] { return busy == 3; }));
}

TEST(RunPool, WhatIsFullTakesNoMore) {
  RunPool pool({.runs_max = 1, .per_org_max = 1, .per_host_max = 1, .queue_max = 1});
  absl::Notification release;
  absl::Notification begun;
  ASSERT_TRUE(pool.Add(PoolOrg("a"), "", [&] {
    begun.Notify();
    release.WaitForNotification();
  }));
  begun.WaitForNotification();
  std::atomic<bool> ran = false;
  EXPECT_TRUE(pool.Add(PoolOrg("a"), "", [&] { ran = true; }));
  EXPECT_FALSE(pool.Add(PoolOrg("b"), "", [] {}));
  release.Notify();
  EXPECT_TRUE(AwaitPool([&] { return ran.load(); }));
  pool.Stop();
  EXPECT_FALSE(pool.Add(PoolOrg("b"), "", [] {}));
}

}  // namespace
}  // namespace sluice::gateways
