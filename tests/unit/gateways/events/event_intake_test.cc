#include "gateways/events/event_intake.h"

#include <gmock/gmock.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <set>
#include <string>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using projectors::Directory;
using ::testing::ElementsAre;
using Request = v1::ProvisioningRequest;

// What the intake works on, with requests that the test answers.
class EventIntakeTest : public ::testing::Test {
 protected:
  using Answer = std::function<absl::StatusOr<Directory::Outcome>(const OrgId&, const Request&)>;

  ~EventIntakeTest() override {
    if (intake_ != nullptr) {
      intake_->Stop();
    }
  }

  EventIntake& Start(Answer answer, EventIntakeOptions options = {}) {
    options.retry_first = options.retry_max = std::chrono::milliseconds(1);
    answer_ = std::move(answer);
    intake_ = std::make_unique<EventIntake>(
        options,
        EventIntakeDeps{
            .clock = clock_,
            .request = [this](const OrgId& org, const Request& request, auto,
                              const eventlog::Cause&) { return answer_(org, request); },
            .find = [this](const OrgId&) { return entry_; },
            .reach =
                [this](const OrgId&) {
                  ++reached_;
                  entry_ = entry_after_ == nullptr ? entry_ : entry_after_;
                  return absl::OkStatus();
                },
            .may_decide = [this](const OrgId&) { return may_decide_; },
            .put_source =
                [](const OrgId&, const SourceDefinition& source) {
                  Request request;
                  request.mutable_put_source()->mutable_settings()->set_name(source.name);
                  return request;
                },
            .change_entity =
                [](const projectors::OrgEntry&, const SourceEntityChange& change) {
                  Request request;
                  request.mutable_put_source()->mutable_settings()->set_name(change.source);
                  return request;
                },
            .registry = nullptr});
    return *intake_;
  }

  static BusinessEvent Event(const std::string& org, const std::string& id, size_t steps = 1) {
    BusinessEvent event;
    event.source = "/crm";
    event.id = id;
    event.org = *OrgId::Parse(org);
    for (size_t i = 0; i < steps; ++i) {
      Request request;
      request.mutable_open_org()->set_display_name(id + "." + std::to_string(i));
      event.steps.emplace_back(std::move(request));
    }
    return event;
  }

  std::future<absl::StatusOr<Offset>> Submit(BusinessEvent event,
                                             absl::Status expected = absl::OkStatus()) {
    auto promise = std::make_shared<std::promise<absl::StatusOr<Offset>>>();
    auto future = promise->get_future();
    EXPECT_EQ(intake_
                  ->Submit({.event = std::move(event),
                            .cause = {},
                            .cancelled = cancelled_,
                            .done =
                                [promise](absl::StatusOr<Offset> end) {
                                  promise->set_value(std::move(end));
                                }})
                  .code(),
              expected.code());
    return future;
  }

  static Directory::Outcome Ok(int64_t offset) {
    Directory::Outcome outcome;
    outcome.changes_offset = Offset(offset);
    return outcome;
  }
  static Directory::Outcome Refused(absl::StatusCode kind, const std::string& code) {
    Directory::Outcome outcome;
    outcome.status = Error(kind, code, "refused");
    return outcome;
  }
  static std::shared_ptr<const projectors::OrgEntry> EntryWithSource() {
    auto entry = std::make_shared<projectors::OrgEntry>();
    entry->last_control = Offset(77);
    entry->sources["crm"] = {};
    return entry;
  }

  RealClock clock_;
  Answer answer_;
  absl::Status may_decide_;
  std::shared_ptr<const projectors::OrgEntry> entry_;
  std::shared_ptr<const projectors::OrgEntry> entry_after_;
  std::atomic<int> reached_{0};
  std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  std::unique_ptr<EventIntake> intake_;
};

TEST_F(EventIntakeTest, StepsInOrderWithIdsOfTheEvent) {
  std::vector<std::string> ids;
  Start([&](const OrgId&, const Request& request) {
    ids.push_back(request.request_id());
    return Ok(10 + static_cast<int64_t>(ids.size()));
  });
  const BusinessEvent event = Event("a", "1", 2);
  EXPECT_EQ(*Submit(event).get(), Offset(12));
  EXPECT_THAT(ids, ElementsAre(RequestIdOf(event, 0, 0), RequestIdOf(event, 1, 0)));
}

// The first of an organisation waits; its second does, another organisation's does not.
TEST_F(EventIntakeTest, OneAtATimePerOrganisationAndManyAtOnce) {
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  std::mutex mutex;
  std::vector<std::string> begun;
  Start(
      [&](const OrgId& org, const Request& request) {
        {
          const std::lock_guard<std::mutex> lock(mutex);
          begun.push_back(request.open_org().display_name());
        }
        if (org.value() == "a") {
          released.wait();
        }
        return Ok(1);
      },
      {.orgs_at_once = 2});
  auto first = Submit(Event("a", "a1"));
  auto second = Submit(Event("a", "a2"));
  EXPECT_TRUE(Submit(Event("b", "b1")).get().ok());
  EXPECT_TRUE(Submit(Event("b", "b2")).get().ok());
  {
    const std::lock_guard<std::mutex> lock(mutex);
    EXPECT_EQ(std::count(begun.begin(), begun.end(), "a2.0"), 0);
  }
  release.set_value();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

TEST_F(EventIntakeTest, WhatPassesIsTriedAgainAndHoldsUpNoOther) {
  std::atomic<bool> away{true};
  std::atomic<int> tries{0};
  Start(
      [&](const OrgId& org, const Request&) -> absl::StatusOr<Directory::Outcome> {
        if (org.value() == "a") {
          ++tries;
          if (away) {
            return Error(absl::StatusCode::kUnavailable, "log_unavailable", "away");
          }
        }
        return Ok(5);
      },
      {.orgs_at_once = 1});
  auto first = Submit(Event("a", "1"));
  auto second = Submit(Event("a", "2"));
  while (tries < 3) {
    EXPECT_EQ(*Submit(Event("b", std::to_string(tries))).get(), Offset(5));
  }
  away = false;
  EXPECT_EQ(*first.get(), Offset(5));
  EXPECT_EQ(*second.get(), Offset(5));
}

TEST_F(EventIntakeTest, ARefusalEndsTheEventAndNotTheNext) {
  std::vector<std::string> asked;
  Start([&](const OrgId&, const Request& request) {
    asked.push_back(request.open_org().display_name());
    return asked.size() == 2 ? Refused(absl::StatusCode::kInvalidArgument, "unknown_entity")
                             : Ok(4);
  });
  auto first = Submit(Event("a", "1", 3));
  auto second = Submit(Event("a", "2"));
  EXPECT_EQ(ErrorCode(first.get().status()), "unknown_entity");
  EXPECT_TRUE(second.get().ok());
  EXPECT_THAT(asked, ElementsAre("1.0", "1.1", "2.0"));
}

TEST_F(EventIntakeTest, NothingIsDecidedWhereNothingMayBe) {
  may_decide_ = Error(absl::StatusCode::kUnavailable, "log_diverged", "another history");
  Start([&](const OrgId&, const Request&) {
    ADD_FAILURE() << "asked";
    return Ok(1);
  });
  auto end = Submit(Event("a", "1"));
  *cancelled_ = true;
  EXPECT_TRUE(absl::IsCancelled(end.get().status()));
}

TEST_F(EventIntakeTest, FullByNumberAndByBytes) {
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  Start(
      [&](const OrgId&, const Request&) {
        released.wait();
        return Ok(1);
      },
      {.events_max = 3, .bytes_max = 100});
  BusinessEvent large = Event("a", "1");
  large.bytes = 90;
  auto first = Submit(large);
  Submit(large, absl::UnavailableError(""));
  auto second = Submit(Event("a", "2"));
  auto third = Submit(Event("b", "3"));
  Submit(Event("c", "4"), absl::UnavailableError(""));
  release.set_value();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
  EXPECT_TRUE(third.get().ok());
  EXPECT_TRUE(Submit(large).get().ok());
}

TEST_F(EventIntakeTest, StopCancelsWhatIsLeft) {
  Start([&](const OrgId&, const Request&) -> absl::StatusOr<Directory::Outcome> {
    return Error(absl::StatusCode::kUnavailable, "log_unavailable", "away");
  });
  auto first = Submit(Event("a", "1"));
  auto second = Submit(Event("a", "2"));
  intake_->Stop();
  EXPECT_TRUE(absl::IsCancelled(first.get().status()));
  EXPECT_TRUE(absl::IsCancelled(second.get().status()));
  Submit(Event("a", "3"), absl::CancelledError(""));
}

TEST_F(EventIntakeTest, ASourceThatIsChangedMeanwhileIsReadAgain) {
  entry_ = EntryWithSource();
  std::vector<std::string> ids;
  Start([&](const OrgId&, const Request& request) {
    ids.push_back(request.request_id());
    return ids.size() < 3 ? Refused(absl::StatusCode::kFailedPrecondition, "precondition_failed")
                          : Ok(kNoOffset.value());
  });
  BusinessEvent event = Event("a", "1", 0);
  event.steps.emplace_back(SourceEntityChange{"crm", "account", true, "{}"});
  EXPECT_EQ(*Submit(event).get(), Offset(77));  // nothing had to change: the newest control event
  EXPECT_THAT(ids, ElementsAre(RequestIdOf(event, 0, 0), RequestIdOf(event, 0, 1),
                               RequestIdOf(event, 0, 2)));
  EXPECT_EQ(reached_, 2);
}

TEST_F(EventIntakeTest, NoLastWordOfASourceThatMayBeOnItsWay) {
  Start([&](const OrgId&, const Request&) { return Ok(8); });
  BusinessEvent event = Event("a", "1", 0);
  event.steps.emplace_back(SourceEntityChange{"crm", "account", true, "{}"});
  EXPECT_EQ(ErrorCode(Submit(event).get().status()), "org_not_found");
  entry_after_ = std::make_shared<projectors::OrgEntry>();
  EXPECT_EQ(ErrorCode(Submit(event).get().status()), "source_not_found");
  entry_after_ = EntryWithSource();
  EXPECT_EQ(*Submit(event).get(), Offset(8));
  EXPECT_EQ(reached_, 3);
}

TEST_F(EventIntakeTest, WhatIsNotThereNeedNotBeRemoved) {
  Start([&](const OrgId&, const Request&) {
    return Refused(absl::StatusCode::kNotFound, "org_not_found");
  });
  BusinessEvent entity = Event("a", "1", 0);
  entity.steps.emplace_back(SourceEntityChange{"crm", "account", false, "{}"});
  EXPECT_EQ(*Submit(entity).get(), kNoOffset);
  BusinessEvent org = Event("a", "2", 0);
  Request close;
  close.mutable_close_org();
  org.steps.emplace_back(close);
  EXPECT_EQ(*Submit(org).get(), kNoOffset);
}

}  // namespace
}  // namespace sluice::gateways
