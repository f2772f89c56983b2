#include "gateways/sources/run_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
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
  EXPECT_FALSE(pool.Add(PoolOrg("a"), "", [] {}));
  std::atomic<bool> other_ran = false;
  EXPECT_TRUE(pool.Add(PoolOrg("b"), "", [&] { other_ran = true; })) << "a's wait is not b's";
  EXPECT_FALSE(pool.Add(PoolOrg("b"), "", [] {}));
  release.Notify();
  EXPECT_TRUE(AwaitPool([&] { return ran && other_ran; }));
  pool.Stop();
  EXPECT_FALSE(pool.Add(PoolOrg("b"), "", [] {}));
}

// Runs that last until they are asked for their places, one after the other.
class LastingRuns {
 public:
  explicit LastingRuns(RunPoolOptions options) : pool(options) {}
  ~LastingRuns() {
    stopping_ = true;
    pool.Stop();
  }

  void Add(const std::string& org, const std::string& name, bool gives_back = true,
           const std::string& host = "") {
    Run& run = runs_[name];
    const auto asked = [&run] {
      run.asked = true;
      run.ends = true;
    };
    ASSERT_TRUE(pool.Add(
        PoolOrg(org), host,
        [this, &run] {
          run.runs = true;
          while (!run.ends && !stopping_) {
            absl::SleepFor(absl::Milliseconds(1));
          }
          run.runs = false;
        },
        gives_back ? std::function<void()>(asked) : nullptr));
  }
  bool AwaitRunning(const std::string& name) {
    return AwaitPool([&] { return runs_[name].runs.load(); });
  }
  bool asked(const std::string& name) { return runs_[name].asked; }
  void Later(std::chrono::seconds by) {
    now_ += by;
    pool.TakeTurns(now_);
  }

  RunPool pool;

 private:
  struct Run {
    std::atomic<bool> runs = false;
    std::atomic<bool> ends = false;
    std::atomic<bool> asked = false;
  };
  std::map<std::string, Run> runs_;
  std::atomic<bool> stopping_ = false;
  SteadyTime now_{std::chrono::hours(1)};
};

constexpr std::chrono::seconds kTurn{60};

TEST(RunPoolTurns, WhoHasHadItsTurnGivesItsPlaceToWhoWaits) {
  LastingRuns runs(
      {.runs_max = 2, .per_org_max = 2, .per_host_max = 8, .queue_max = 9, .turn = kTurn});
  runs.Add("a", "a1");
  ASSERT_TRUE(runs.AwaitRunning("a1"));
  runs.Later(std::chrono::seconds(1));
  runs.Add("a", "a2");
  ASSERT_TRUE(runs.AwaitRunning("a2"));
  runs.Later(kTurn * 2);
  EXPECT_FALSE(runs.asked("a1") || runs.asked("a2"));  // nobody waits
  runs.Add("b", "b1");
  runs.Later(std::chrono::seconds(0));
  EXPECT_TRUE(runs.asked("a1"));  // it has had its place longest
  EXPECT_TRUE(runs.AwaitRunning("b1"));
  runs.Later(std::chrono::seconds(0));
  EXPECT_FALSE(runs.asked("a2"));  // one waited, one was asked
}

TEST(RunPoolTurns, NobodyIsAskedBeforeItsTurnIsOverNorWhoCanNot) {
  LastingRuns runs(
      {.runs_max = 2, .per_org_max = 2, .per_host_max = 8, .queue_max = 9, .turn = kTurn});
  runs.Add("a", "a1", /*gives_back=*/false);
  runs.Add("b", "b1");
  ASSERT_TRUE(runs.AwaitRunning("a1") && runs.AwaitRunning("b1"));
  runs.Later(std::chrono::seconds(1));
  runs.Add("c", "c1");
  runs.Later(kTurn - std::chrono::seconds(1));
  EXPECT_FALSE(runs.asked("b1"));
  runs.Later(std::chrono::seconds(1));
  EXPECT_TRUE(runs.asked("b1"));
  EXPECT_TRUE(runs.AwaitRunning("c1"));
}

TEST(RunPoolTurns, AnOrganisationsSourcesTakeTurnsAmongThemselves) {
  LastingRuns runs(
      {.runs_max = 8, .per_org_max = 1, .per_host_max = 8, .queue_max = 9, .turn = kTurn});
  runs.Add("other", "o1");
  ASSERT_TRUE(runs.AwaitRunning("o1"));
  runs.Later(std::chrono::seconds(1));
  runs.Add("a", "a1");
  ASSERT_TRUE(runs.AwaitRunning("a1"));
  runs.Later(std::chrono::seconds(1));
  runs.Add("a", "a2");
  runs.Later(kTurn * 2);
  EXPECT_TRUE(runs.asked("a1"));
  EXPECT_FALSE(runs.asked("o1"));
  EXPECT_TRUE(runs.AwaitRunning("a2"));
}

TEST(RunPoolTurns, WhoHasMostGives) {
  LastingRuns runs(
      {.runs_max = 3, .per_org_max = 3, .per_host_max = 8, .queue_max = 9, .turn = kTurn});
  runs.Add("b", "b1");
  ASSERT_TRUE(runs.AwaitRunning("b1"));
  runs.Later(std::chrono::seconds(1));
  runs.Add("a", "a1");
  runs.Add("a", "a2");
  ASSERT_TRUE(runs.AwaitRunning("a1") && runs.AwaitRunning("a2"));
  runs.Later(std::chrono::seconds(1));
  runs.Add("c", "c1");
  runs.Later(kTurn);
  EXPECT_FALSE(runs.asked("b1"));
  EXPECT_TRUE(runs.asked("a1") != runs.asked("a2"));
  EXPECT_TRUE(runs.AwaitRunning("c1"));
}

}  // namespace
}  // namespace sluice::gateways
