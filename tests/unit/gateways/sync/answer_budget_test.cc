#include "gateways/sync/answer_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "schemas/status.h"

namespace sluice::gateways {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class AnswerBudgetTest : public ::testing::Test {
 protected:
  struct Asker {
    std::string name;
    std::optional<absl::StatusOr<AnswerBudget::Share>> got;
  };

  Asker& Ask(const std::string& name, const std::string& org, size_t bytes,
             std::chrono::milliseconds wait = std::chrono::hours(1)) {
    Asker& asker = askers_.emplace_back();
    asker.name = name;
    boost::asio::co_spawn(
        io_,
        [this, &asker, org, bytes, wait]() -> boost::asio::awaitable<void> {
          asker.got = co_await budget_.Take(*OrgId::Parse(org), bytes,
                                            std::chrono::steady_clock::now() + wait);
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

  SyncMetrics metrics_{nullptr, 1, 1, 400};
  AnswerBudget budget_{400, metrics_};
  boost::asio::io_context io_;
  std::list<Asker> askers_;
};

TEST_F(AnswerBudgetTest, WhoDoesNotFitWaitsForWhatIsGivenBack) {
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
TEST_F(AnswerBudgetTest, OneOrganisationHasAQuarter) {
  Asker& a = Ask("a", "o1", 60);
  Ask("b", "o1", 60);
  Ask("c", "o1", 10);
  EXPECT_THAT(Have(), ElementsAre("a"));
  Ask("d", "o2", 60);
  EXPECT_THAT(Have(), ElementsAre("a", "d"));
  Release(a);
  EXPECT_THAT(Have(), ElementsAre("b", "c", "d"));
}

TEST_F(AnswerBudgetTest, WaitingEnds) {
  Ask("a", "o1", 100);
  Asker& b = Ask("b", "o1", 100, std::chrono::milliseconds(1));
  Ask("c", "o1", 50);
  while (!b.got.has_value()) {
    io_.restart();
    io_.run_one();
  }
  EXPECT_EQ(ErrorCode(b.got->status()), "answers_queue_full");
  EXPECT_THAT(Have(), ElementsAre("a"));
  Release(askers_.front());
  EXPECT_THAT(Have(), ElementsAre("c"));
  Release(askers_.back());
  EXPECT_THAT(Have(), IsEmpty());
}

TEST_F(AnswerBudgetTest, WhatIsLargerThanAllGoesOutAlone) {
  Asker& a = Ask("a", "o1", 5'000);
  EXPECT_THAT(Have(), ElementsAre("a"));
  Ask("b", "o2", 1);
  EXPECT_THAT(Have(), ElementsAre("a"));
  Release(a);
  EXPECT_THAT(Have(), ElementsAre("b"));
}

}  // namespace
}  // namespace sluice::gateways
