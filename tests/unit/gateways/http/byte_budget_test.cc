#include "gateways/http/byte_budget.h"

#include <gtest/gtest.h>

namespace sluice::gateways {
namespace {

TEST(ByteBudgetTest, OneOwnerHasAQuarterOrOneHold) {
  ByteBudget budget(1'000, "b", "", "test", nullptr);
  {
    ByteHold large(budget, Owner{"a", ""});
    EXPECT_TRUE(large.TryHold(200));
    EXPECT_TRUE(large.TryHold(700)) << "it is the owner's only one";
    ByteHold more(budget, Owner{"a", ""});
    EXPECT_FALSE(more.TryHold(1));
    ByteHold other(budget, Owner{"b", ""});
    EXPECT_TRUE(other.TryHold(250));
    ByteHold another(budget, Owner{"c", ""});
    EXPECT_FALSE(another.TryHold(100)) << "all of it is held";
    EXPECT_EQ(budget.held(), 950U);
    large.Set(100);
    EXPECT_TRUE(more.TryHold(150));
    EXPECT_FALSE(more.TryHold(151));
    EXPECT_FALSE(large.TryHold(101));
  }
  EXPECT_EQ(budget.held(), 0U);
  ByteHold again(budget, Owner{"a", ""});
  EXPECT_TRUE(again.TryHold(1'000));
}

TEST(ByteBudgetTest, OneCallerHasHalfOfThatOrOneHold) {
  ByteBudget budget(1'000, "b", "", "test", nullptr);
  {
    ByteHold first(budget, Owner{"o", "mallory"});
    EXPECT_TRUE(first.TryHold(60));
    ByteHold second(budget, Owner{"o", "mallory"});
    EXPECT_TRUE(second.TryHold(65));
    ByteHold third(budget, Owner{"o", "mallory"});
    EXPECT_FALSE(third.TryHold(1));
    EXPECT_FALSE(second.TryHold(66));
    ByteHold bob(budget, Owner{"o", "bob"});
    EXPECT_TRUE(bob.TryHold(125));
    EXPECT_FALSE(bob.TryHold(126)) << "all of the owner's quarter is held";
    second.Set(0);
    EXPECT_TRUE(third.TryHold(65));
  }
  EXPECT_EQ(budget.held(), 0U);
  ByteHold large(budget, Owner{"o", "mallory"});
  EXPECT_TRUE(large.TryHold(200)) << "it is the caller's only one";
}

}  // namespace
}  // namespace sluice::gateways
