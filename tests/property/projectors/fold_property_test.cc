#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/support/model_store.h"
#include "tests/support/random_history.h"
#include "tests/support/reference_fold.h"

namespace sluice::testing {
namespace {

using eventlog::StoredEvent;
using projectors::FoldOptions;

// Small, so that a history crosses them.
constexpr FoldOptions kOptions{.dedup_window = 50, .tombstone_horizon = 31};

// Batches that hold so few rows that every event of some size is cut.
FoldOptions CutAt(size_t rows) {
  FoldOptions options = kOptions;
  options.step_rows = rows;
  options.inline_max = rows % 4;
  options.step_bytes = rows % 2 == 0 ? options.step_bytes : 100 * rows;
  options.step_work = rows % 3 == 0 ? 200 * rows : options.step_work;
  options.turned_max = rows % 4;
  return options;
}

// How many batches ended within an event, and of these among its operations.
struct Parts {
  size_t all = 0;
  size_t among_operations = 0;
};

uint64_t FoldAll(ModelStore& store, std::span<const StoredEvent> events,
                 const FoldOptions& options = kOptions, Parts* parts = nullptr) {
  uint64_t rejected = 0;
  while (!events.empty()) {
    const auto result = store.Apply(options, events);
    if (result.ok() && result->partial && parts != nullptr) {
      ++parts->all;
      parts->among_operations += result->batch.applied.partial->op > 0 ? 1 : 0;
    }
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) {
      return rejected;
    }
    rejected += result->rejected.size();
    events = events.subspan(result->consumed);
  }
  return rejected;
}

// Every operation of a bucket is one of a record's, with its row, and counts are their sums.
void ExpectConsistent(const StoreContent& content) {
  std::map<BucketKey, uint64_t> counts;
  size_t places = 0;
  for (const auto& [key, record] : content.records) {
    for (const projectors::Membership& m : record.memberships) {
      ++places;
      const auto delta = content.deltas.find({m.bucket, m.position});
      ASSERT_NE(delta, content.deltas.end());
      ASSERT_EQ(delta->second.put, m.member);
      ASSERT_EQ(delta->second.entered, m.first_entered());
      ASSERT_EQ(delta->second.returned, !m.earlier.empty());
      ASSERT_EQ(delta->second.key, key.key);
      ASSERT_EQ(delta->second.row, m.member ? record.row : "");
      counts[m.bucket] += m.member ? 1 : 0;
    }
  }
  ASSERT_EQ(places, content.deltas.size());
  for (const auto& [bucket, count] : counts) {
    ASSERT_TRUE(count == 0 || content.buckets.contains(bucket));
  }
  for (const auto& [bucket, state] : content.buckets) {
    ASSERT_EQ(state.count, counts[bucket]) << state.name;
  }
}

// Invariant 1: store == fold(log), whatever the batches were, and equal to the plain model.
TEST(FoldProperty, AnySplitIntoBatchesEqualsTheReference) {
  const uint64_t seed = TestSeed();
  Parts parts;
  for (size_t round = 0; round < TestSteps(20); ++round) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " round " << round);
    RandomHistory history(seed + round);
    const FoldOptions cut = CutAt(history.Between1And(12));
    ReferenceFold reference(kOptions);
    ModelStore one_by_one;
    ModelStore batched;
    ModelStore in_parts;
    uint64_t rejected = 0;
    for (int span = 0; span < 12; ++span) {
      const std::vector<StoredEvent> events = history.Next(history.Between1And(120));
      for (const StoredEvent& event : events) {
        reference.Apply(event);
        FoldAll(one_by_one, {&event, 1});
        if (::testing::Test::HasFatalFailure()) {
          return;
        }
      }
      for (std::span<const StoredEvent> rest(events); !rest.empty();) {
        const size_t size = std::min(rest.size(), history.Between1And(90));
        rejected += FoldAll(batched, rest.first(size));
        FoldAll(in_parts, rest.first(size), cut, &parts);
        rest = rest.subspan(size);
      }
      ASSERT_EQ(Differences(batched.content(), one_by_one.content()), "");
      ASSERT_EQ(Differences(in_parts.content(), one_by_one.content()), "");
      ASSERT_EQ(ReferenceFold::Describe(batched.content(), *batched.model()), reference.Describe());
      ExpectConsistent(batched.content());
    }
    EXPECT_EQ(rejected, reference.rejected());
  }
  EXPECT_GT(parts.all, 20u);
  EXPECT_GT(parts.among_operations, 20u);
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
  projectors::FoldCounters counters;
  size_t rejected = 0;
  for (std::span<const StoredEvent> rest(events); !rest.empty();) {
    const auto result = store.Apply(kOptions, rest);
    ASSERT_TRUE(result.ok()) << result.status();
    counters.duplicates += result->counters.duplicates;
    counters.stale_versions += result->counters.stale_versions;
    counters.patches_of_nothing += result->counters.patches_of_nothing;
    counters.stale_steps += result->counters.stale_steps;
    counters.unchanged += result->counters.unchanged;
    counters.kept_of_nothing += result->counters.kept_of_nothing;
    counters.touches_of_nothing += result->counters.touches_of_nothing;
    counters.swept += result->counters.swept;
    rejected += result->rejected.size();
    rest = rest.subspan(result->consumed);
  }
  EXPECT_EQ(counters.duplicates, reference.duplicates());
  EXPECT_GT(counters.duplicates, 20u);
  EXPECT_GT(counters.stale_versions, 100u);
  EXPECT_GT(counters.patches_of_nothing, 50u);
  EXPECT_EQ(counters.stale_steps, reference.stale_steps());
  EXPECT_GT(counters.stale_steps, 50u);
  EXPECT_LT(counters.stale_steps, 300u);
  EXPECT_GT(counters.unchanged, 20u);
  EXPECT_GT(counters.kept_of_nothing, 10u);
  EXPECT_GT(counters.touches_of_nothing, 20u);
  EXPECT_GT(counters.swept, 30u);
  EXPECT_GT(rejected, 20u);
  const auto& deltas = store.content().deltas;
  const auto removals = std::ranges::count_if(deltas, [](const auto& d) { return !d.second.put; });
  EXPECT_GT(removals, 50);
  EXPECT_GT(static_cast<int64_t>(deltas.size()) - removals, 50);
  EXPECT_GT(store.content().buckets.size(), 20u);
}

}  // namespace
}  // namespace sluice::testing
