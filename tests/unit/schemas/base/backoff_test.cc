#include "schemas/base/backoff.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace sluice {
namespace {

using std::chrono::milliseconds;

std::vector<int64_t> Waits(Backoff backoff, int count) {
  std::vector<int64_t> waits;
  for (int i = 0; i < count; ++i) {
    waits.push_back(backoff.Next().count());
  }
  return waits;
}

TEST(BackoffTest, WaitsAreDoubledUpToTheLongest) {
  const Backoff backoff(milliseconds(100), milliseconds(1'000), Backoff::Jitter::kNone);
  EXPECT_EQ(Waits(backoff, 6), (std::vector<int64_t>{100, 200, 400, 800, 1'000, 1'000}));
  const Backoff longer(milliseconds(5'000), milliseconds(1'000), Backoff::Jitter::kNone);
  EXPECT_EQ(Waits(longer, 2), (std::vector<int64_t>{1'000, 1'000}));
}

TEST(BackoffTest, TheNextFailuresAreTheFirstOnesAfterASuccess) {
  Backoff backoff(milliseconds(100), milliseconds(1'000), Backoff::Jitter::kNone);
  EXPECT_FALSE(backoff.failing());
  EXPECT_EQ(backoff.Next(), milliseconds(100));
  EXPECT_EQ(backoff.Next(), milliseconds(200));
  EXPECT_TRUE(backoff.failing());
  backoff.Reset();
  EXPECT_FALSE(backoff.failing());
  EXPECT_EQ(backoff.Next(), milliseconds(100));
}

TEST(BackoffTest, ALimitCountsForTheWaitsAfterItToo) {
  Backoff backoff(milliseconds(100), milliseconds(10'000), Backoff::Jitter::kNone);
  for (int i = 0; i < 10; ++i) {
    (void)backoff.Next();
  }
  EXPECT_EQ(backoff.Next(milliseconds(300)), milliseconds(300));
  EXPECT_EQ(backoff.Next(), milliseconds(600));
}

TEST(BackoffTest, WaitsAreSpreadOverTheirPart) {
  struct Case {
    Backoff::Jitter jitter;
    int64_t divisor;  // of the whole, for the least; 0: there is none
  };
  for (const Case& spread : {Case{Backoff::Jitter::kEqual, 2}, Case{Backoff::Jitter::kFull, 0}}) {
    for (int failures = 1; failures <= 80; failures += failures < 8 ? 1 : 24) {
      const int64_t whole = failures < 7 ? 100 << (failures - 1) : 5'000;
      const int64_t least = spread.divisor == 0 ? 0 : whole / spread.divisor;
      std::set<int64_t> waits;
      for (uint32_t seed = 1; seed <= 200; ++seed) {
        waits.insert(
            Waits(Backoff(milliseconds(100), milliseconds(5'000), spread.jitter, seed * 7'919),
                  failures)
                .back());
      }
      ASSERT_GE(*waits.begin(), least) << failures;
      ASSERT_LE(*waits.rbegin(), whole) << failures;
      ASSERT_GT(*waits.rbegin() - *waits.begin(), (whole - least) * 4 / 5) << failures;
    }
  }
}

// All that were told the same time would come back in the same millisecond.
TEST(BackoffTest, WhatWasAskedForIsSpreadToo) {
  std::set<int64_t> waits;
  for (uint32_t seed = 1; seed <= 100; ++seed) {
    Backoff backoff(milliseconds(100), milliseconds(5'000), Backoff::Jitter::kFull, seed * 7'919);
    (void)backoff.Next();
    (void)backoff.Next();
    const int64_t wait = backoff.NextAfter(milliseconds(2'000)).count();
    EXPECT_GE(wait, 2'000);
    EXPECT_LE(wait, 2'400);
    waits.insert(wait);
  }
  EXPECT_GT(waits.size(), 50U);
}

TEST(BackoffTest, WhatWasAskedForIsTheLeastUpToTheLongest) {
  for (uint32_t seed = 1; seed <= 100; ++seed) {
    const auto first_wait = [seed](milliseconds asked) {
      return Backoff(milliseconds(100), milliseconds(5'000), Backoff::Jitter::kFull, seed * 7'919)
          .NextAfter(asked);
    };
    EXPECT_GE(first_wait(milliseconds(900)), milliseconds(900));
    EXPECT_GE(first_wait(milliseconds(86'400)), milliseconds(5'000));
    EXPECT_LE(first_wait(milliseconds(86'400)), milliseconds(5'100));
  }
}

TEST(BackoffTest, ASeedGivesTheSameWaits) {
  const auto waits = [](uint32_t seed) {
    return Waits(Backoff(milliseconds(100), milliseconds(5'000), Backoff::Jitter::kFull, seed), 20);
  };
  EXPECT_EQ(waits(7), waits(7));
  EXPECT_NE(waits(7), waits(8));
}

}  // namespace
}  // namespace sluice
