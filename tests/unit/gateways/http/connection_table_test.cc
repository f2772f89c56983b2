#include "gateways/http/connection_table.h"

#include <gtest/gtest.h>

namespace sluice::gateways {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const ConnectionTable::Time kStart{seconds(1'000)};

TEST(ConnectionTableTest, TheOldestSilentOneMakesRoom) {
  ConnectionTable table(3, milliseconds(1'000));
  for (uint64_t id = 0; id < 3; ++id) {
    EXPECT_TRUE(table.Enter(id, kStart + milliseconds(id)).admitted);
  }
  EXPECT_FALSE(table.Enter(3, kStart + milliseconds(999)).admitted) << "all are young";
  EXPECT_TRUE(table.Busy(0));
  const auto admission = table.Enter(4, kStart + seconds(2));
  EXPECT_TRUE(admission.admitted);
  EXPECT_EQ(admission.closed, 1U) << "the first is busy";
  EXPECT_FALSE(table.Busy(1)) << "its request comes too late";
  EXPECT_EQ(table.size(), 3U);
}

TEST(ConnectionTableTest, ThoseWithAKnownCallerStayLonger) {
  ConnectionTable table(2, milliseconds(0));
  (void)table.Enter(1, kStart);
  EXPECT_TRUE(table.Busy(1));
  table.Silent(1, kStart + seconds(1));
  (void)table.Enter(2, kStart + seconds(5));
  EXPECT_EQ(table.Enter(3, kStart + seconds(6)).closed, 2U);
  table.Leave(3);
  EXPECT_TRUE(table.Enter(4, kStart + seconds(7)).admitted);
  EXPECT_TRUE(table.Busy(4));
  EXPECT_EQ(table.Enter(5, kStart + seconds(8)).closed, 1U);
}

TEST(ConnectionTableTest, AnAnswerToAStrangerKeepsNoPlace) {
  ConnectionTable table(2, milliseconds(1'000));
  (void)table.Enter(1, kStart);
  (void)table.Enter(2, kStart + milliseconds(1));
  table.Silent(1, kStart + seconds(5));  // it has been answered, and nobody was known
  EXPECT_EQ(table.Enter(3, kStart + seconds(5)).closed, 1U);
  EXPECT_FALSE(table.Contains(1));
  EXPECT_TRUE(table.Contains(2));
}

TEST(ConnectionTableTest, WhenAllAreBusyNobodyMakesRoom) {
  ConnectionTable table(1, milliseconds(0));
  (void)table.Enter(1, kStart);
  EXPECT_TRUE(table.Busy(1));
  EXPECT_FALSE(table.Enter(2, kStart + seconds(100)).admitted);
  EXPECT_EQ(table.CloseOldestSilent(), std::nullopt);
  table.Silent(1, kStart);
  EXPECT_EQ(table.CloseOldestSilent(), 1U);
  EXPECT_EQ(table.size(), 0U);
  table.Leave(1);  // it ends after it was forgotten
  EXPECT_EQ(table.size(), 0U);
}

}  // namespace
}  // namespace sluice::gateways
