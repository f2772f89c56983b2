#include "tests/support/hot_row.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "schemas/base/status.h"
#include "tests/support/model_store.h"

// A row that many others point at: what one of those costs, and a change of the row itself.
namespace sluice::projectors {
namespace {

using eventlog::StoredEvent;
using testing::HotRowEvents;
using testing::ModelStore;

constexpr size_t kRowBytes = 4096;
constexpr int kOrders = 300;
const std::string kName(kRowBytes, 'n');
const RecordKey kHot{EntityId(HotRowEvents::kProduct), "P"};

class HotRowTest : public ::testing::Test {
 protected:
  HotRowTest() {
    options_.step_bytes = 16 * kRowBytes;
    for (const StoredEvent& event : events_.Definitions()) {
      Apply(event);
    }
  }

  // In as many batches as it takes.
  void Apply(const StoredEvent& event) {
    parts_ = 0;
    largest_ = 0;
    for (bool partial = true; partial; ++parts_) {
      const auto result = store_.Apply(options_, {&event, 1});
      ASSERT_TRUE(result.ok()) << result.status();
      ASSERT_TRUE(result->rejected.empty());
      partial = result->partial;
      size_t bytes = 0;
      for (const auto& [place, op] : result->batch.delta_puts) {
        bytes += op.row.size();
      }
      largest_ = std::max(largest_, bytes);
      memberships_ = result->batch.memberships.size();
      support_ = result->batch.support.size();
    }
    FoldOptions whole = options_;
    whole.step_bytes = size_t{1} << 40;
    whole.inline_max = 1'000'000;
    const auto result = whole_.Apply(whole, {&event, 1});
    ASSERT_TRUE(result.ok() && !result->partial) << result.status();
    ASSERT_EQ(Differences(store_.content(), whole_.content()), "");
  }
  void ExpectInParts() {
    EXPECT_GT(parts_, kOrders / 40) << "it was not cut";
    // The floor is as many places as a record keeps with it.
    EXPECT_LE(largest_, options_.step_bytes + options_.inline_max * (kRowBytes + 64));
  }
  // The positions of the product's operations.
  std::set<Position> Positions() const {
    std::set<Position> positions;
    for (const Membership& m : store_.content().records.at(kHot).memberships) {
      positions.insert(m.position);
    }
    return positions;
  }

  HotRowEvents events_;
  FoldOptions options_;
  ModelStore store_;
  ModelStore whole_;  // in one batch each, with nothing apart
  int parts_ = 0;
  size_t largest_ = 0;  // bytes of rows in operations of one batch
  size_t memberships_ = 0;
  size_t support_ = 0;
};

TEST_F(HotRowTest, OneThatPointsAtItReadsAndWritesItsOwnPlaceAlone) {
  Apply(events_.Product("hot"));
  for (int i = 0; i < kOrders; ++i) {
    Apply(events_.Order(i));
  }
  EXPECT_EQ(store_.apart(), 1u);
  EXPECT_EQ(store_.whole_reads(), 0u);
  Apply(events_.NoOrder(7));
  EXPECT_EQ(memberships_, 1u);
  EXPECT_EQ(support_, 1u);
  EXPECT_EQ(store_.whole_reads(), 0u);
  Apply(events_.Product("cold"));
  EXPECT_EQ(store_.whole_reads(), 1u);
}

// What a thread has no time for is left to another one, whole: nothing of it is read or written.
TEST_F(HotRowTest, AChangeOfItIsNotBegunWhereThereIsNoTimeForAllItsPlaces) {
  Apply(events_.Product("hot"));
  for (int i = 0; i < kOrders; ++i) {
    Apply(events_.Order(i));
  }
  FoldOptions turn = options_;
  turn.places_max = kOrders;
  const StoredEvent order = events_.Order(kOrders);
  ASSERT_TRUE(store_.Apply(turn, {&order, 1}).ok()) << "one that points at it has its own place";
  ASSERT_TRUE(whole_.Apply(options_, {&order, 1}).ok());
  const StoredEvent product = events_.Product("cold");
  const auto result = store_.Apply(turn, {&product, 1});
  EXPECT_EQ(ErrorCode(result.status()), "large_event");
  EXPECT_EQ(store_.whole_reads(), 0u);
  Apply(product);
}

TEST_F(HotRowTest, WhatFewPointAtAgainIsInItsRecordAgain) {
  options_.tombstone_horizon = 100;
  Apply(events_.Product("hot"));
  Apply(events_.Orders(0, 40));
  EXPECT_EQ(store_.apart(), 1u);
  for (int i = 0; i < 39; ++i) {
    Apply(events_.NoOrder(i));
  }
  EXPECT_EQ(store_.apart(), 1u) << "the removals are there";
  for (int i = 0; i < 100; ++i) {
    Apply(events_.Order(40));
  }
  Apply(events_.Product("cold"));
  EXPECT_EQ(store_.apart(), 0u);
  EXPECT_EQ(store_.content().records.at(kHot).support.size(), 2u);
}

TEST_F(HotRowTest, AChangeOfItGoesInParts) {
  Apply(events_.Product("hot"));
  for (int i = 0; i < kOrders; ++i) {
    Apply(events_.Order(i));
  }
  Apply(events_.Product(kName));
  ExpectInParts();
  EXPECT_EQ(Positions().size(), 1u);
  Apply(events_.NoProduct());
  Apply(events_.Product(kName));
  ExpectInParts();
}

TEST_F(HotRowTest, ASetOfAllThatPointAtItGoesInParts) {
  Apply(events_.Product(kName));
  Apply(events_.Orders(0, kOrders));
  ExpectInParts();
  EXPECT_EQ(Positions().size(), 1u) << "it moves once in an event, wherever that is cut";
}

TEST_F(HotRowTest, ADefinitionThatMovesItGoesInParts) {
  Apply(events_.Profile(false));
  Apply(events_.Product(kName));
  for (int from = 0; from < kOrders; from += 20) {
    Apply(events_.Orders(from, from + 20));
  }
  Apply(events_.Profile(true));
  ExpectInParts();
  EXPECT_EQ(Positions().size(), 1u);
  Apply(events_.Profile(false));
}

}  // namespace
}  // namespace sluice::projectors
