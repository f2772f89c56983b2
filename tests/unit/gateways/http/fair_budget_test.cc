#include "gateways/http/fair_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class FairBudgetTest : public ::testing::Test {
 protected:
  struct Asker {
    std::string name;
    std::optional<absl::StatusOr<FairBudget::Share>> got;
  };

  // For a caller of its own, unless one is given.
  Asker& Ask(const std::string& name, const std::string& org, size_t units,
             std::chrono::milliseconds wait = std::chrono::hours(1), std::string caller = "",
             bool admitted = false) {
    caller = caller.empty() ? name : caller;
    Asker& asker = askers_.emplace_back();
    asker.name = name;
    boost::asio::co_spawn(
        io_,
        [this, &asker, org, units, wait, caller, admitted]() -> boost::asio::awaitable<void> {
          asker.got = co_await budget_.Take(org, caller, units,
                                            std::chrono::steady_clock::now() + wait, admitted);
        },
        boost::asio::detached);
    Poll();
    return asker;
  }
  void Poll() {
    io_.restart();
    io_.poll();
  }
  // Who has a share.
  std::vector<std::string> Have() {
    Poll();
    std::vector<std::string> names;
    for (const Asker& asker : askers_) {
      if (asker.got.has_value() && asker.got->ok()) {
        names.push_back(asker.name);
      }
    }
    return names;
  }
  void Release(Asker& asker) { asker.got.reset(); }

  FairBudget budget_{{.units_max = 400,
                      .waiting_max = 16,
                      .refusal = Error(absl::StatusCode::kUnavailable, "queue_full", "full"),
                      .on_change = [this](size_t taken, size_t waiting) {
                        taken_ = taken;
                        waiting_ = waiting;
                      }}};
  size_t taken_ = 0;
  size_t waiting_ = 0;
  boost::asio::io_context io_;
  std::list<Asker> askers_;
};

TEST_F(FairBudgetTest, WhoDoesNotFitWaitsForWhatIsGivenBack) {
  Asker& a = Ask("a", "o1", 100);
  Asker& b = Ask("b", "o2", 100);
  Ask("c", "o3", 100);
  Ask("d", "o4", 100);
  Asker& e = Ask("e", "o5", 60);
  Ask("f", "o6", 10);  // does not overtake
  EXPECT_THAT(Have(), ElementsAre("a", "b", "c", "d"));
  a.got->value().Keep(50);
  EXPECT_THAT(Have(), ElementsAre("a", "b", "c", "d"));
  a.got->value().Keep(40);
  EXPECT_THAT(Have(), ElementsAre("a", "b", "c", "d", "e"));
  Release(b);
  EXPECT_THAT(Have(), ElementsAre("a", "c", "d", "e", "f"));
  EXPECT_TRUE(e.got->ok());
}

// Clients of one organisation that do not read hold up none of another's.
TEST_F(FairBudgetTest, OneOrganisationHasAQuarter) {
  Asker& a = Ask("a", "o1", 60);
  Ask("b", "o1", 60);
  Ask("c", "o1", 10);
  EXPECT_THAT(Have(), ElementsAre("a"));
  Ask("d", "o2", 60);
  EXPECT_THAT(Have(), ElementsAre("a", "d"));
  Release(a);
  EXPECT_THAT(Have(), ElementsAre("b", "c", "d"));
}

TEST_F(FairBudgetTest, WaitingEnds) {
  Ask("a", "o1", 100);
  Asker& b = Ask("b", "o1", 100, std::chrono::milliseconds(1));
  Ask("c", "o1", 50);
  while (!b.got.has_value()) {
    io_.restart();
    io_.run_one();
  }
  EXPECT_EQ(ErrorCode(b.got->status()), "queue_full");
  EXPECT_THAT(Have(), ElementsAre("a"));
  Release(askers_.front());
  EXPECT_THAT(Have(), ElementsAre("c"));
  Release(askers_.back());
  EXPECT_THAT(Have(), IsEmpty());
}

TEST_F(FairBudgetTest, WhatIsLargerThanAllGoesOutAlone) {
  Asker& a = Ask("a", "o1", 5'000);
  EXPECT_THAT(Have(), ElementsAre("a"));
  Ask("b", "o2", 1);
  EXPECT_THAT(Have(), ElementsAre("a"));
  Release(a);
  EXPECT_THAT(Have(), ElementsAre("b"));
}

// Nor hold up one caller's clients those of another of the same organisation.
TEST_F(FairBudgetTest, OneCallerHasHalfOfIt) {
  const auto hour = std::chrono::hours(1);
  Ask("m1", "o1", 25, hour, "mallory");
  Asker& m2 = Ask("m2", "o1", 25, hour, "mallory");
  Ask("m3", "o1", 25, hour, "mallory");
  Ask("m4", "o1", 25, hour, "mallory");
  Ask("b1", "o1", 25, hour, "bob");
  EXPECT_THAT(Have(), ElementsAre("m1", "m2", "b1"));
  Ask("b2", "o1", 25, hour, "bob");
  EXPECT_THAT(Have(), ElementsAre("m1", "m2", "b1", "b2"));
  Ask("b3", "o1", 25, hour, "bob");
  Ask("c1", "o1", 25, hour, "carol");
  Release(m2);  // in turns: mallory's next came first
  EXPECT_THAT(Have(), ElementsAre("m1", "m3", "b1", "b2"));
  EXPECT_EQ(taken_, 100U);
  EXPECT_EQ(waiting_, 3U);
}

TEST_F(FairBudgetTest, AsManyWaitAsMayAndAnOrganisationsAQuarterOfThem) {
  Ask("a", "o1", 100);
  for (const char* name : {"b", "c", "d", "d2"}) {
    EXPECT_FALSE(Ask(name, "o1", 1).got.has_value());
  }
  Asker& e = Ask("e", "o1", 1);
  ASSERT_TRUE(e.got.has_value());
  EXPECT_EQ(ErrorCode(e.got->status()), "queue_full");
  Ask("f", "o2", 1);
  EXPECT_THAT(Have(), ElementsAre("a", "f"));
}

TEST_F(FairBudgetTest, OneCallersQueueLeavesRoomToItsColleagues) {
  const auto hour = std::chrono::hours(1);
  Ask("a", "o1", 100);
  EXPECT_FALSE(Ask("m1", "o1", 1, hour, "mallory").got.has_value());
  EXPECT_FALSE(Ask("m2", "o1", 1, hour, "mallory").got.has_value());
  Asker& m3 = Ask("m3", "o1", 1, hour, "mallory");
  ASSERT_TRUE(m3.got.has_value());
  EXPECT_EQ(ErrorCode(m3.got->status()), "queue_full");
  EXPECT_FALSE(Ask("b", "o1", 1, hour, "bob").got.has_value());
  EXPECT_EQ(waiting_, 3U);
}

// Whoever holds a place elsewhere waits for its turn, however many do, and takes no newcomer's.
TEST_F(FairBudgetTest, WhoWasAdmittedIsNotCountedAmongThoseWhoWait) {
  const auto hour = std::chrono::hours(1);
  Asker& first = Ask("first", "o1", 100);
  for (int i = 0; i < 40; ++i) {
    EXPECT_FALSE(Ask("live", "o1", 1, hour, "ann", /*admitted=*/true).got.has_value());
  }
  EXPECT_EQ(waiting_, 40U);
  for (const char* name : {"b", "c", "d", "e"}) {
    EXPECT_FALSE(Ask(name, "o1", 1).got.has_value());
  }
  Asker& one_more = Ask("f", "o1", 1);
  ASSERT_TRUE(one_more.got.has_value());
  EXPECT_EQ(ErrorCode(one_more.got->status()), "queue_full");
  Release(first);
  EXPECT_THAT(Have(), SizeIs(44));
  EXPECT_EQ(waiting_, 0U);
  EXPECT_EQ(taken_, 44U);
  // None of those who have had their turn counts any more.
  Asker& again = Ask("again", "o1", 56);
  for (const char* name : {"b", "c", "d", "e"}) {
    EXPECT_FALSE(Ask(name, "o1", 100).got.has_value());
  }
  EXPECT_EQ(ErrorCode(Ask("f", "o1", 1).got->status()), "queue_full");
  Release(again);
  EXPECT_EQ(waiting_, 4U);
}

// Who may have more gets all of it at once, also beside one whose turns give it nothing.
TEST_F(FairBudgetTest, ATurnThatGivesNothingEndsNobodyElses) {
  Asker& all = Ask("all", "o1", 400);
  Ask("a", "o1", 60);
  Ask("b", "o1", 60);
  for (const char* name : {"c", "d", "e"}) {
    Ask(name, "o2", 10);
  }
  Release(all);
  EXPECT_THAT(Have(), ElementsAre("a", "c", "d", "e"));
}

}  // namespace
}  // namespace sluice::gateways
