#include "gateways/http/connection_table.h"

#include <gtest/gtest.h>

namespace sluice::gateways {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

using Place = ConnectionTable::Place;

const ConnectionTable::Time kStart{seconds(1'000)};

TEST(ConnectionTableTest, TheOldestSilentOneMakesRoom) {
  ConnectionTable table(3, milliseconds(1'000), 2);
  for (uint64_t id = 0; id < 3; ++id) {
    EXPECT_FALSE(table.Enter(id, kStart + milliseconds(id)).reserved);
  }
  EXPECT_TRUE(table.Enter(3, kStart + milliseconds(999)).reserved) << "all are young";
  EXPECT_EQ(table.Busy(0, {"a", ""}), Place::kOwn);
  const auto admission = table.Enter(4, kStart + seconds(2));
  EXPECT_FALSE(admission.reserved);
  EXPECT_EQ(admission.closed, 1U) << "the first is busy";
  EXPECT_EQ(table.Busy(1, {"a", ""}), Place::kGone) << "its request comes too late";
  EXPECT_EQ(table.size(), 4U) << "with the one in the reserve";
}

TEST(ConnectionTableTest, ThoseWithAKnownCallerStayLonger) {
  ConnectionTable table(2, milliseconds(0), 2);
  (void)table.Enter(1, kStart);
  EXPECT_EQ(table.Busy(1, {"a", ""}), Place::kOwn);
  table.Silent(1, kStart + seconds(1));
  (void)table.Enter(2, kStart + seconds(5));
  EXPECT_EQ(table.Enter(3, kStart + seconds(6)).closed, 2U);
  table.Leave(3);
  EXPECT_FALSE(table.Enter(4, kStart + seconds(7)).reserved);
  EXPECT_EQ(table.Busy(4, {"a", ""}), Place::kOwn);
  EXPECT_EQ(table.Enter(5, kStart + seconds(8)).closed, 1U);
}

TEST(ConnectionTableTest, AnAnswerToAStrangerKeepsNoPlace) {
  ConnectionTable table(2, milliseconds(1'000), 2);
  (void)table.Enter(1, kStart);
  (void)table.Enter(2, kStart + milliseconds(1));
  table.Silent(1, kStart + seconds(5));  // it has been answered, and nobody was known
  EXPECT_EQ(table.Enter(3, kStart + seconds(5)).closed, 1U);
  EXPECT_FALSE(table.Contains(1));
  EXPECT_TRUE(table.Contains(2));
}

TEST(ConnectionTableTest, WhenAllAreBusyNobodyMakesRoom) {
  ConnectionTable table(1, milliseconds(0), 2);
  (void)table.Enter(1, kStart);
  EXPECT_EQ(table.Busy(1, {"a", ""}), Place::kOwn);
  EXPECT_TRUE(table.Enter(2, kStart + seconds(100)).reserved);
  EXPECT_EQ(table.CloseOldestSilent(), 2U) << "the one in the reserve";
  EXPECT_EQ(table.CloseOldestSilent(), std::nullopt);
  table.Silent(1, kStart);
  EXPECT_EQ(table.CloseOldestSilent(), 1U);
  EXPECT_EQ(table.size(), 0U);
  table.Leave(1);  // it ends after it was forgotten
  EXPECT_EQ(table.size(), 0U);
}

TEST(ConnectionTableTest, TheReserveIsForTheLatest) {
  ConnectionTable table(1, milliseconds(1'000), 2);
  (void)table.Enter(1, kStart);
  EXPECT_TRUE(table.Enter(2, kStart).reserved);
  EXPECT_EQ(table.Busy(2, {"b", ""}), Place::kShare) << "it serves no caller";
  EXPECT_EQ(table.Enter(3, kStart).closed, std::nullopt);
  EXPECT_EQ(table.Enter(4, kStart).closed, 2U);
  EXPECT_EQ(table.Enter(5, kStart).closed, 3U);
  EXPECT_EQ(table.size(), 3U);
}

TEST(ConnectionTableTest, OneOwnerLeavesAFifth) {
  ConnectionTable table(5, milliseconds(0), 2);
  for (uint64_t id = 1; id <= 5; ++id) {
    (void)table.Enter(id, kStart);
  }
  EXPECT_EQ(table.Busy(1, {"a", ""}), Place::kOwn);
  EXPECT_EQ(table.Busy(1, {"a", ""}), Place::kOwn) << "the same request";
  EXPECT_EQ(table.Busy(2, {"a", ""}), Place::kOwn);
  EXPECT_EQ(table.Busy(3, {"a", ""}), Place::kOwn);
  EXPECT_EQ(table.Busy(4, {"a", ""}), Place::kOwn);
  EXPECT_EQ(table.Busy(5, {"a", ""}), Place::kShare);
  EXPECT_EQ(table.Busy(5, {"b", ""}), Place::kOwn);
  table.Silent(5, kStart);
  table.Silent(1, kStart);
  EXPECT_EQ(table.Busy(1, {"a", ""}), Place::kOwn);
  table.Leave(2);
  EXPECT_EQ(table.Busy(4, {"a", ""}), Place::kOwn);
}

TEST(ConnectionTableTest, OneCallerLeavesHalfOfThat) {
  ConnectionTable table(10, milliseconds(0), 2);
  for (uint64_t id = 1; id <= 10; ++id) {
    (void)table.Enter(id, kStart);
  }
  const Owner mallory{"o", "mallory"};
  for (uint64_t id = 1; id <= 4; ++id) {
    EXPECT_EQ(table.Busy(id, mallory), Place::kOwn) << id;
  }
  EXPECT_EQ(table.Busy(5, mallory), Place::kShare);
  EXPECT_EQ(table.Busy(5, {"o", "bob"}), Place::kOwn);
  table.Silent(1, kStart);
  EXPECT_EQ(table.Busy(6, mallory), Place::kShare) << "bob's counts too";
  table.Silent(2, kStart);
  EXPECT_EQ(table.Busy(6, mallory), Place::kOwn);
}

}  // namespace
}  // namespace sluice::gateways
