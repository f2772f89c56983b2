#include "gateways/sync/change_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::gateways {
namespace {

using projectors::AppliedChange;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

AppliedChange Change(int64_t applied, std::vector<uint64_t> keys) {
  std::vector<BucketKey> buckets;
  for (const uint64_t key : keys) {
    buckets.push_back({key, 0});
  }
  return {.applied = Offset(applied),
          .buckets = std::make_shared<const std::vector<BucketKey>>(std::move(buckets))};
}

std::vector<uint64_t> KeysOf(const ChangeFeed::News& news) {
  std::vector<uint64_t> keys;
  for (const auto& buckets : news.buckets) {
    for (const BucketKey& key : *buckets) {
      keys.push_back(key.high);
    }
  }
  return keys;
}

TEST(ChangeFeedTest, TellsOnceThatThereAreNews) {
  ChangeFeed feed;
  EXPECT_TRUE(feed.Add(Change(5, {1, 2})));
  EXPECT_FALSE(feed.Add(Change(6, {2, 3})));
  const ChangeFeed::News news = feed.Take();
  EXPECT_FALSE(news.any);
  EXPECT_EQ(news.applied, Offset(6));
  EXPECT_THAT(KeysOf(news), ElementsAre(1, 2, 2, 3));
  EXPECT_THAT(KeysOf(feed.Take()), IsEmpty());
  EXPECT_TRUE(feed.Add(Change(7, {})));
  EXPECT_EQ(feed.Take().applied, Offset(7));
}

TEST(ChangeFeedTest, WhatAnyBucketMayHaveChangedBy) {
  for (const AppliedChange& change :
       {AppliedChange{.applied = Offset(6)},
        AppliedChange{.applied = Offset(6), .buckets = Change(6, {1}).buckets, .definitions = true},
        AppliedChange{.applied = Offset(6), .buckets = Change(6, {1}).buckets, .closed = true},
        Change(5, {1}), Change(4, {1})}) {
    ChangeFeed feed;
    (void)feed.Add(Change(5, {1}));
    (void)feed.Take();
    EXPECT_TRUE(feed.Add(change));
    EXPECT_TRUE(feed.Take().any);
    EXPECT_FALSE(feed.Take().any);
  }
}

TEST(ChangeFeedTest, BetweenTwoPositions) {
  ChangeFeed feed;
  EXPECT_EQ(feed.Between(Offset(3), Offset(4)), std::nullopt);  // nothing has come
  for (int64_t i = 5; i < 9; ++i) {
    (void)feed.Add(Change(i, {static_cast<uint64_t>(i)}));
  }
  EXPECT_EQ(feed.Between(Offset(4), Offset(8)), std::nullopt);  // what was before is not known
  EXPECT_THAT(*feed.Between(Offset(6), Offset(8)), ElementsAre(BucketKey{7, 0}, BucketKey{8, 0}));
  EXPECT_EQ(feed.Between(Offset(6), Offset(9)), std::nullopt);  // the change has yet to be told of
  EXPECT_THAT(*feed.Between(Offset(8), Offset(8)), IsEmpty());
  (void)feed.Add({.applied = Offset(9)});
  EXPECT_EQ(feed.Between(Offset(8), Offset(9)), std::nullopt);
  (void)feed.Add(Change(10, {3}));
  EXPECT_EQ(feed.Between(Offset(8), Offset(10)), std::nullopt);
  EXPECT_THAT(*feed.Between(Offset(9), Offset(10)), ElementsAre(BucketKey{3, 0}));
}

TEST(ChangeFeedTest, IsBounded) {
  ChangeFeed many;
  for (int64_t i = 0; i < 1'000; ++i) {
    (void)many.Add(Change(i, {7}));
  }
  EXPECT_TRUE(many.Take().any);
  EXPECT_EQ(many.Between(Offset(900), Offset(999)), std::nullopt);
  EXPECT_NE(many.Between(Offset(998), Offset(999)), std::nullopt);
  ChangeFeed large;
  std::vector<uint64_t> keys(projectors::kChangedBucketsMax);
  (void)large.Add(Change(1, keys));
  (void)large.Add(Change(2, {1}));
  EXPECT_TRUE(large.Take().any);
  EXPECT_EQ(large.Between(Offset(0), Offset(2)), std::nullopt);
  EXPECT_THAT(*large.Between(Offset(1), Offset(2)), ElementsAre(BucketKey{1, 0}));
}

}  // namespace
}  // namespace sluice::gateways
