#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/model_store.h"
#include "tests/support/random_history.h"
#include "tests/support/reference_fold.h"

namespace sluice::testing {
namespace {

using eventlog::StoredEvent;
using projectors::FoldOptions;

// Small, so that a history crosses them.
constexpr FoldOptions kOptions{.dedup_window = 50, .tombstone_horizon = 500};

// The model is compared between stores; the reference does not keep one.
StoreContent WithoutModel(StoreContent content) {
  content.model.clear();
  return content;
}

uint64_t FoldAll(ModelStore& store, std::span<const StoredEvent> events) {
  uint64_t rejected = 0;
  while (!events.empty()) {
    const auto result = store.Apply(kOptions, events);
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) {
      return rejected;
    }
    rejected += result->rejected.size();
    events = events.subspan(result->consumed);
  }
  return rejected;
}

// Invariant 1: store == fold(log), whatever the batches were, and equal to the plain model.
TEST(FoldProperty, AnySplitIntoBatchesEqualsTheReference) {
  const uint64_t seed = TestSeed();
  for (size_t round = 0; round < TestSteps(20); ++round) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " round " << round);
    RandomHistory history(seed + round);
    ReferenceFold reference(kOptions);
    ModelStore one_by_one;
    ModelStore batched;
    uint64_t rejected = 0;
    for (int span = 0; span < 12; ++span) {
      const std::vector<StoredEvent> events = history.Next(history.Between1And(120));
      for (const StoredEvent& event : events) {
        reference.Apply(event);
        FoldAll(one_by_one, {&event, 1});
      }
      for (std::span<const StoredEvent> rest(events); !rest.empty();) {
        const size_t size = std::min(rest.size(), history.Between1And(90));
        rejected += FoldAll(batched, rest.first(size));
        rest = rest.subspan(size);
      }
      ASSERT_EQ(Differences(batched.content(), one_by_one.content()), "");
      ASSERT_EQ(Differences(WithoutModel(batched.content()), reference.Content()), "");
    }
    EXPECT_EQ(rejected, reference.rejected());
  }
}

TEST(FoldProperty, EventsThatAreAppliedAgainChangeNothing) {
  const uint64_t seed = TestSeed();
  for (size_t round = 0; round < TestSteps(5); ++round) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " round " << round);
    RandomHistory history(seed + round);
    const std::vector<StoredEvent> events = history.Next(600);
    ModelStore once;
    FoldAll(once, events);
    ModelStore again;
    for (size_t done = 0; done < events.size();) {
      const size_t back = std::min(done, history.Between1And(40) - 1);
      const size_t end = std::min(events.size(), done + history.Between1And(60));
      FoldAll(again, std::span(events).subspan(done - back, end - done + back));
      done = end;
    }
    ASSERT_EQ(Differences(again.content(), once.content()), "");
  }
}

// A history that never meets a rule, a removal or a duplicate would prove nothing.
TEST(FoldProperty, TheHistoriesReachWhatTheyShould) {
  RandomHistory history(7);
  ReferenceFold reference(kOptions);
  ModelStore store;
  const std::vector<StoredEvent> events = history.Next(1500);
  for (const StoredEvent& event : events) {
    reference.Apply(event);
  }
  const auto result = store.Apply(kOptions, events);
  ASSERT_TRUE(result.ok()) << result.status();
  const projectors::FoldCounters& counters = result->counters;
  EXPECT_EQ(counters.duplicates, reference.duplicates());
  EXPECT_GT(counters.duplicates, 20u);
  EXPECT_GT(counters.stale_versions, 100u);
  EXPECT_GT(counters.patches_of_nothing, 50u);
  EXPECT_GT(result->rejected.size(), 20u);
  const auto& deltas = store.content().deltas;
  const auto removals = std::ranges::count_if(deltas, [](const auto& d) { return !d.second.put; });
  EXPECT_GT(removals, 50);
  EXPECT_GT(static_cast<int64_t>(deltas.size()) - removals, 50);
  EXPECT_GT(store.content().buckets.size(), 20u);
}

}  // namespace
}  // namespace sluice::testing
