#include "clients/cpp/load_policy.h"

#include <gtest/gtest.h>

namespace sluice::client {
namespace {

LoadPolicy WithOperations(size_t operations, size_t bytes) {
  LoadPolicy policy(/*first_load=*/true);
  for (size_t i = 0; i < operations; ++i) {
    policy.Came(bytes);
  }
  return policy;
}

TEST(LoadPolicyTest, AFirstLoadGoesBesideTheTable) {
  LoadPolicy policy(/*first_load=*/true);
  EXPECT_EQ(policy.TableName("account"), "_sluice_load_account");
  EXPECT_GT(policy.wal_pages(), LoadPolicy(/*first_load=*/false).wal_pages());
  policy.Start(/*first_load=*/false);
  EXPECT_EQ(policy.TableName("account"), "account");
}

TEST(LoadPolicyTest, AFirstLoadKeepsItsPlaceAfterAQuarterMore) {
  EXPECT_FALSE(WithOperations(9'999, 100).KeepsPlace(10'000));
  EXPECT_TRUE(WithOperations(10'000, 100).KeepsPlace(40'000));
  EXPECT_FALSE(WithOperations(10'000, 100).KeepsPlace(40'004));
  EXPECT_TRUE(WithOperations(500'000, 100).KeepsPlace(100'000'000));  // no more than so many
  // Rows that are few and large, and many that are.
  EXPECT_TRUE(WithOperations(16, 1 << 20).KeepsPlace(1'000'000));
  EXPECT_FALSE(WithOperations(15, 1 << 20).KeepsPlace(1'000'000));
  EXPECT_FALSE(WithOperations(16'384, 4 << 10).KeepsPlace(1'000'000));
  EXPECT_TRUE(WithOperations(32'768, 4 << 10).KeepsPlace(1'000'000));
}

TEST(LoadPolicyTest, WhatIsKeptCountsNoMore) {
  LoadPolicy policy = WithOperations(10'000, 100);
  policy.Kept();
  EXPECT_FALSE(policy.KeepsPlace(10'000));
}

TEST(LoadPolicyTest, ALaterCheckpointIsOneTransaction) {
  LoadPolicy policy(/*first_load=*/false);
  for (int i = 0; i < 20'000; ++i) {
    policy.Came(100 << 10);
  }
  EXPECT_FALSE(policy.KeepsPlace(0));
}

TEST(LoadPolicyTest, RowsAreInsertedWithoutALookWhileMostAreNew) {
  LoadPolicy policy(/*first_load=*/true);
  EXPECT_TRUE(policy.ExpectsNew());
  policy.Wrote(1600, 101);
  EXPECT_FALSE(policy.ExpectsNew());
  policy.Wrote(1600, 100);
  EXPECT_TRUE(policy.ExpectsNew());
  policy.Start(/*first_load=*/false);
  EXPECT_FALSE(policy.ExpectsNew());
}

TEST(LoadPolicyTest, SmallTablesAreCopied) {
  EXPECT_TRUE(LoadPolicy::Copies(20'000, 16 << 20));
  EXPECT_FALSE(LoadPolicy::Copies(20'001, 0));
  EXPECT_FALSE(LoadPolicy::Copies(1, (16 << 20) + 1));
}

}  // namespace
}  // namespace sluice::client
