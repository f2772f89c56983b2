// Sessions of ingest, step by step.
#include "gateways/admin/ingest_session.h"

#include <gmock/gmock.h>

#include <thread>
#include <utility>
#include <vector>

#include "tests/integration/gateways/admin_fixture.h"
#include "tests/support/forwarding_log.h"

namespace sluice::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Nothing more comes; returns when every set is answered.
void EndAndSettle(gateways::IngestSession& session) {
  session.End();
  while (session.waiting()) {
    session.Settle();
    std::this_thread::yield();
  }
}

// A log that says nothing of the first append, as where its broker is away, until that is given up,
// and takes what comes behind it.
class GivingUpLog final : public ForwardingLog {
 public:
  using ForwardingLog::ForwardingLog;
  void AppendAsync(eventlog::Topic topic, PartitionId partition, std::vector<eventlog::Event> batch,
                   AppendCallback done) override {
    if (appends_++ == 0) {
      done_ = std::move(done);
      return;
    }
    log_.AppendAsync(topic, partition, std::move(batch), std::move(done));
  }
  void GiveUp() { done_(Error(absl::StatusCode::kUnavailable, "unavailable", "given up")); }
  int appends() const { return appends_; }

 private:
  int appends_ = 0;
  AppendCallback done_;
};

class IngestSessionTest : public ::testing::Test {
 protected:
  AdminFixture admin_;
  httplib::Client client_ = admin_.Client();
};

// A log can give up the older of two appends and take the younger.
TEST_F(IngestSessionTest, NothingIsAppendedBehindABatchThatMayFailWhereThatIsAskedFor) {
  admin_.MakeOrg("contoso");
  for (const auto stop_on :
       {gateways::StopOn::kUnavailable, gateways::StopOn::kError, gateways::StopOn::kNothing}) {
    const bool stops = stop_on != gateways::StopOn::kNothing;
    SCOPED_TRACE(static_cast<int>(stop_on));
    GivingUpLog log(admin_.log());
    gateways::IngestService service({}, log, admin_.directory().directory(), nullptr,
                                    admin_.clock(), nullptr);
    gateways::IngestSession session(service, *OrgId::Parse("contoso"), "", {}, {}, stop_on);
    ASSERT_TRUE(session.Refresh().ok());
    session.Add(SetLine("first", "A"));
    session.Pause();
    session.Add(SetLine("second", "A"));
    session.Pause();
    EXPECT_EQ(log.appends(), stops ? 1 : 2);
    session.Add(SetLine("third", "A"));
    session.End();
    EXPECT_EQ(log.appends(), stops ? 1 : 3);
    EXPECT_EQ(session.due(), false);
    const auto first = session.Unresolved();
    EXPECT_TRUE(first != nullptr || !stops);
    log.GiveUp();
    EXPECT_TRUE(session.due());
    while (session.waiting()) {
      session.Settle();
      std::this_thread::yield();
    }
    EXPECT_EQ(log.appends(), stops ? 1 : 3);
    const std::string answers = session.TakeAnswers();
    EXPECT_THAT(answers, HasSubstr(R"({"id":"first","error":{"type":"urn:sluice:problem:unav)"));
    EXPECT_THAT(answers, stops ? AllOf(HasSubstr("not_tried"), Not(HasSubstr("position")))
                               : AllOf(HasSubstr("position"), Not(HasSubstr("not_tried"))));
  }
}

// Nor behind a set that another request has in flight.
TEST_F(IngestSessionTest, NothingIsAppendedBehindWhatAnotherRequestHasInFlight) {
  admin_.MakeOrg("contoso");
  for (const auto stop_on : {gateways::StopOn::kUnavailable, gateways::StopOn::kError}) {
    SCOPED_TRACE(static_cast<int>(stop_on));
    GivingUpLog log(admin_.log());
    gateways::IngestService service({}, log, admin_.directory().directory(), nullptr,
                                    admin_.clock(), nullptr);
    const auto org = *OrgId::Parse("contoso");
    gateways::IngestSession before(service, org, "", {}, {}, gateways::StopOn::kUnavailable);
    ASSERT_TRUE(before.Refresh().ok());
    before.Add(SetLine("first", "A"));
    before.Pause();  // in flight
    before.Add(SetLine("second", "A"));
    before.End();  // gathered behind it
    gateways::IngestSession again(service, org, "", {}, {}, stop_on);
    ASSERT_TRUE(again.Refresh().ok());
    for (const char* id : {"first", "second", "third"}) {
      again.Add(SetLine(id, "A"));
    }
    again.End();
    gateways::IngestSession apart(service, org, "", {});  // asks for no order
    ASSERT_TRUE(apart.Refresh().ok());
    apart.Add(SetLine("second", "A"));
    EXPECT_EQ(log.appends(), 1);
    log.GiveUp();
    for (auto* session : {&before, &again, &apart}) {
      if (session == &apart) {
        session->End();
      }
      while (session->waiting()) {
        session->Settle();
        std::this_thread::yield();
      }
    }
    EXPECT_EQ(log.appends(), 1);
    EXPECT_THAT(again.TakeAnswers(),
                AllOf(HasSubstr(R"("id":"third","error":{"type":"urn:sluice:problem:not_tried)"),
                      Not(HasSubstr("position"))));
    EXPECT_THAT(apart.TakeAnswers(), Not(HasSubstr("not_tried")));
  }
}

// Whoever sends one of them again, and waits for its answer here, gets one.
TEST_F(IngestSessionTest, WhatIsGatheredBehindABatchGoesWithItsRequest) {
  admin_.MakeOrg("contoso");
  GivingUpLog log(admin_.log());
  gateways::IngestService service({}, log, admin_.directory().directory(), nullptr, admin_.clock(),
                                  nullptr);
  const auto org = *OrgId::Parse("contoso");
  gateways::IngestSession again(service, org, "", {});
  {
    gateways::IngestSession session(service, org, "", {}, {}, gateways::StopOn::kUnavailable);
    ASSERT_TRUE(session.Refresh().ok());
    session.Add(SetLine("first", "A"));
    session.Pause();
    session.Add(SetLine("second", "A"));
    ASSERT_TRUE(again.Refresh().ok());
    again.Add(SetLine("second", "A"));
  }
  EndAndSettle(again);
  EXPECT_THAT(again.TakeAnswers(), HasSubstr("urn:sluice:problem:unavailable"));
  EXPECT_EQ(log.appends(), 1);
  log.GiveUp();
}

TEST_F(IngestSessionTest, WhatWasCheckedAgainstAnotherIncarnationIsNotAppended) {
  admin_.MakeOrg("contoso");
  gateways::IngestService service({}, admin_.log(), admin_.directory().directory(), nullptr,
                                  admin_.clock(), nullptr);
  gateways::IngestSession session(service, *OrgId::Parse("contoso"), "", {});
  ASSERT_TRUE(session.Refresh().ok());
  session.Add(SetLine("held", "A"));  // gathered, on its way
  ASSERT_EQ(client_.Delete("/v1/orgs/contoso?wait=30s")->status, 200);
  admin_.MakeOrg("contoso");
  EndAndSettle(session);
  EXPECT_THAT(session.TakeAnswers(), HasSubstr("org_not_ready"));
  EXPECT_EQ(session.last(), kNoOffset);
}

TEST_F(IngestSessionTest, NothingIsTakenBehindASetForWhichThereIsNoRoomWhereThatIsAskedFor) {
  admin_.MakeOrg("contoso");
  gateways::IngestOptions options;
  options.in_flight_bytes_max = 1;
  options.batch_bytes_max = 1;
  options.append_timeout = std::chrono::milliseconds(0);
  gateways::IngestService service(options, admin_.log(), admin_.directory().directory(), nullptr,
                                  admin_.clock(), nullptr);
  for (const auto stop_on : {gateways::StopOn::kUnavailable, gateways::StopOn::kNothing}) {
    ASSERT_TRUE(service.in_flight()->Acquire(1, 1, absl::InfiniteFuture()));
    gateways::IngestSession session(service, *OrgId::Parse("contoso"), "", {}, {}, stop_on);
    session.set_separator("\n");
    ASSERT_TRUE(session.Refresh().ok());
    session.Add(SetLine("full", "A"));
    service.in_flight()->Release(1, 1);
    session.Add(SetLine("behind", "A"));
    EndAndSettle(session);
    const std::string answers = session.TakeAnswers();
    EXPECT_THAT(answers, HasSubstr("append_queue_full"));
    EXPECT_EQ(answers.find("not_tried") != std::string::npos,
              stop_on == gateways::StopOn::kUnavailable);
    EXPECT_TRUE(session.last() == kNoOffset || stop_on == gateways::StopOn::kNothing);
  }
}

// The last look comes after the last wait: a slow log makes a request wait for room.
TEST_F(IngestSessionTest, WhatWaitedForRoomWhileItsOrganisationWasMadeAnewIsNotAppended) {
  admin_.MakeOrg("contoso");
  gateways::IngestOptions options;
  options.in_flight_bytes_max = 1;
  options.append_timeout = kAdminPatience;
  gateways::IngestService service(options, admin_.log(), admin_.directory().directory(), nullptr,
                                  admin_.clock(), nullptr);
  ASSERT_TRUE(service.in_flight()->Acquire(1, 1, absl::InfiniteFuture()));
  gateways::IngestSession session(service, *OrgId::Parse("contoso"), "", {});
  ASSERT_TRUE(session.Refresh().ok());
  session.Add(SetLine("held", "A"));
  std::thread finish([&] { EndAndSettle(session); });
  while (service.in_flight()->waiting() == 0) {
    std::this_thread::yield();
  }
  ASSERT_EQ(client_.Delete("/v1/orgs/contoso?wait=30s")->status, 200);
  admin_.MakeOrg("contoso");
  service.in_flight()->Release(1, 1);
  finish.join();
  EXPECT_THAT(session.TakeAnswers(), HasSubstr("org_not_ready"));
  EXPECT_EQ(session.last(), kNoOffset);
  EXPECT_EQ(service.in_flight()->bytes(), 0U);
}

}  // namespace
}  // namespace sluice::testing
