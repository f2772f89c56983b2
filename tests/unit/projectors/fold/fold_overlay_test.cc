#include "projectors/fold/fold_overlay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "tests/support/model_store.h"

namespace sluice::projectors {
namespace {

using Order = std::pair<uint32_t, BucketKey>;

constexpr EntityId kEntity(1);

// A row that very many give something, and take it from, in whatever order they come.
class FoldOverlayTest : public ::testing::Test {
 protected:
  FoldOverlayTest() : slot_(overlay_.SlotOf(kEntity, "x")) {
    EXPECT_TRUE(overlay_.Load(view_).ok());
    for (uint32_t rule = 1; rule <= 40; ++rule) {
      for (uint64_t source = 0; source < 50; ++source) {
        order_.emplace_back(rule, BucketKey{source, 7 * source});
      }
    }
  }

  // Each of them once, in another order. How often was the row's list moved for it?
  size_t ForAll(int delta) {
    std::ranges::shuffle(order_, random_);
    size_t moved = 0;
    for (const Order& order : order_) {
      const size_t size = overlay_.entry(slot_).now.support.size();
      const auto added = overlay_.AddSupport(slot_, order.first, order.second, delta, view_);
      EXPECT_TRUE(added.ok() && *added);
      moved += overlay_.entry(slot_).now.support.size() != size ? 1 : 0;
    }
    return moved;
  }
  void ExpectAll(uint64_t count) {
    std::vector<Support> all;
    for (const auto& [rule, source] : order_) {
      all.push_back({rule, source, count});
    }
    std::ranges::sort(all, {}, [](const Support& s) { return Order(s.rule, s.source); });
    EXPECT_EQ(overlay_.AllSupport(slot_), all);
  }

  std::mt19937_64 random_{7};  // NOLINT(bugprone-random-generator-seed): one order is as good
  testing::ModelStore view_;
  FoldOverlay overlay_;
  const FoldOverlay::RowSlot slot_;
  std::vector<Order> order_;
};

TEST_F(FoldOverlayTest, NoListOfSupportIsMovedForEachThatComesOrGoes) {
  EXPECT_EQ(ForAll(1), 0u);
  ExpectAll(1);
  EXPECT_EQ(ForAll(1), 0u);
  ExpectAll(2);
  EXPECT_EQ(ForAll(-1), 0u);
  EXPECT_EQ(ForAll(-1), 0u);
  EXPECT_TRUE(overlay_.AllSupport(slot_).empty());
}

TEST_F(FoldOverlayTest, WhatHasNotBeenLookedAtYetCounts) {
  const auto& [rule, source] = order_.front();
  EXPECT_EQ(overlay_.SupportOf(slot_, rule, source, view_).value_or(9), 0u);
  EXPECT_FALSE(overlay_.AddSupport(slot_, rule, source, -1, view_).value_or(true));
  ForAll(1);
  EXPECT_EQ(overlay_.SupportOf(slot_, rule, source, view_).value_or(9), 1u);
  overlay_.DropSupport(slot_, [](uint32_t kept) { return kept != 1; });
  std::erase_if(order_, [](const Order& order) { return order.first == 1; });
  ExpectAll(1);
  ForAll(-1);
  ForAll(1);
  overlay_.Strip(slot_);
  EXPECT_TRUE(overlay_.AllSupport(slot_).empty());
}

}  // namespace
}  // namespace sluice::projectors
