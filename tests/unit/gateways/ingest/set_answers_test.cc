#include "gateways/ingest/set_answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

absl::Status Misfit() { return Error(absl::StatusCode::kInvalidArgument, "unknown_entity", "x"); }
absl::Status NotNow() { return Error(absl::StatusCode::kUnavailable, "unavailable", "x"); }
absl::Status NotTried() { return Error(absl::StatusCode::kFailedPrecondition, "not_tried", "x"); }

class SetAnswersTest : public testing::Test {
 protected:
  void StopsOn(StopOn stop_on) {
    stop_ = std::make_shared<StopMark>(stop_on);
    answers_.emplace(stop_, [this](const std::string& code) { refused_.push_back(code); });
    answers_->set_separator("\n");
  }
  void SetUp() override { StopsOn(StopOn::kNothing); }
  std::shared_ptr<SetTicket> Await(std::string id) {
    auto ticket = std::make_shared<SetTicket>();
    answers_->Await(std::move(id), ticket);
    return ticket;
  }

  std::shared_ptr<StopMark> stop_;
  std::vector<std::string> refused_;
  std::optional<SetAnswers> answers_;
};

TEST_F(SetAnswersTest, AnswersComeInTheOrderOfTheSets) {
  const auto first = Await("a");
  answers_->Refuse("b", Misfit());
  const auto third = Await("c");
  third->Resolve(Offset(9));
  answers_->Drain();
  EXPECT_EQ(answers_->Take(), "");
  EXPECT_EQ(answers_->waiting(), 3U);
  EXPECT_FALSE(answers_->due());
  EXPECT_EQ(answers_->Unresolved(), first);

  first->Resolve(Offset(7));
  EXPECT_TRUE(answers_->due());
  EXPECT_EQ(answers_->Unresolved(), nullptr);
  answers_->Drain();
  EXPECT_THAT(answers_->Take(), AllOf(HasSubstr("{\"id\":\"a\",\"position\":\"7\"}\n{\"id\":\"b\""),
                                      HasSubstr("}}\n{\"id\":\"c\",\"position\":\"9\"}")));
  EXPECT_EQ(answers_->last(), Offset(9));
  EXPECT_THAT(refused_, ElementsAre("unknown_entity"));
  answers_->Refuse("", Misfit());
  answers_->Drain();
  EXPECT_THAT(answers_->Take(), testing::StartsWith("\n{\"error\":{"));
}

TEST_F(SetAnswersTest, WhatIsNotDoneIsLateInTheEnd) {
  Await("a")->Resolve(Offset(7));
  (void)Await("b");
  answers_->GiveUp(NotNow());
  EXPECT_THAT(answers_->Take(), AllOf(HasSubstr("\"position\":\"7\""), HasSubstr("unavailable")));
  EXPECT_EQ(answers_->waiting(), 0U);
}

TEST_F(SetAnswersTest, TheRequestStopsAtWhatItIsToStopAt) {
  for (const auto& [stop_on, misfit, not_now] :
       {std::tuple(StopOn::kNothing, false, false), std::tuple(StopOn::kUnavailable, false, true),
        std::tuple(StopOn::kError, true, true)}) {
    StopsOn(stop_on);
    answers_->Refuse("a", Misfit());
    EXPECT_EQ(stop_->is_set(), misfit);
    StopsOn(stop_on);
    const auto ticket = Await("a");
    ticket->Resolve(NotNow());
    EXPECT_FALSE(stop_->is_set());
    answers_->Drain();
    EXPECT_EQ(stop_->is_set(), not_now);
  }
}

// The set is another request's too, which stopped before it: here nothing stops.
TEST_F(SetAnswersTest, WhatAnotherRequestDidNotTryWasNotSent) {
  Await("a")->Resolve(NotTried());
  answers_->Drain();
  EXPECT_THAT(answers_->Take(), AllOf(HasSubstr("unavailable"), Not(HasSubstr("not_tried"))));
  StopsOn(StopOn::kError);
  Await("a")->Resolve(NotTried());
  answers_->Drain();
  EXPECT_THAT(answers_->Take(), HasSubstr("not_tried"));
}

TEST_F(SetAnswersTest, SetsBeforeTheOneAtWhichTheRequestStops) {
  StopsOn(StopOn::kUnavailable);
  std::vector<std::shared_ptr<SetTicket>> gathered = {Await("a")};
  answers_->Refuse("b", Misfit());
  gathered.push_back(Await("c"));
  const auto elsewhere = Await("d");
  gathered.push_back(Await("e"));
  EXPECT_EQ(answers_->BeforeStop(gathered), 3U);
  elsewhere->Resolve(NotNow());
  EXPECT_EQ(answers_->BeforeStop(gathered), 2U);
  answers_->Drain();
  gathered.front()->Resolve(NotNow());
  answers_->Drain();  // its answer has left the queue
  gathered.erase(gathered.begin());
  EXPECT_EQ(answers_->BeforeStop(gathered), 0U);
}

}  // namespace
}  // namespace sluice::gateways
