#include "gateways/http/byte_budget.h"

#include <gtest/gtest.h>

namespace sluice::gateways {
namespace {

TEST(ByteBudgetTest, OneOwnerHasAQuarterOrOneHold) {
  ByteBudget budget(1'000, "b", "", "test", nullptr);
  {
    ByteHold large(budget, "a");
    EXPECT_TRUE(large.TryHold(200));
    EXPECT_TRUE(large.TryHold(700)) << "it is the owner's only one";
    ByteHold more(budget, "a");
    EXPECT_FALSE(more.TryHold(1));
    ByteHold other(budget, "b");
    EXPECT_TRUE(other.TryHold(250));
    ByteHold another(budget, "c");
    EXPECT_FALSE(another.TryHold(100)) << "all of it is held";
    EXPECT_EQ(budget.held(), 950U);
    large.Set(100);
    EXPECT_TRUE(more.TryHold(150));
    EXPECT_FALSE(more.TryHold(151));
    EXPECT_FALSE(large.TryHold(101));
  }
  EXPECT_EQ(budget.held(), 0U);
  ByteHold again(budget, "a");
  EXPECT_TRUE(again.TryHold(1'000));
}

}  // namespace
}  // namespace sluice::gateways
