// Sessions of ingest, step by step.
#include "gateways/ingest/ingest_session.h"

#include <gmock/gmock.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "tests/integration/gateways/admin_fixture.h"
#include "tests/support/change_events.h"
#include "tests/support/forwarding_log.h"

namespace sluice::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
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
  // Takes it after all: its events are nowhere, and have positions.
  void Take() { done_(std::vector<Offset>{Offset(1'000'000)}); }
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

// And no thread waits for another request, which may need one to go on: what is gathered between
// two such sets waits for the request's end, and what comes behind is sent again.
TEST_F(IngestSessionTest, NoThreadWaitsForWhatAnotherRequestHasGathered) {
  admin_.MakeOrg("contoso");
  GivingUpLog log(admin_.log());
  gateways::IngestOptions options;
  options.batch_bytes_max = 512;  // times eight: some twenty sets
  options.append_timeout = std::chrono::minutes(10);
  gateways::IngestService service(options, log, admin_.directory().directory(), nullptr,
                                  admin_.clock(), nullptr);
  const auto org = *OrgId::Parse("contoso");
  gateways::IngestSession other(service, org, "", {}, {}, gateways::StopOn::kError);
  ASSERT_TRUE(other.Refresh().ok());
  other.Add(SetLine("in-flight", "A"));
  other.Pause();
  other.Add(SetLine("x0", "A"));
  other.Add(SetLine("x1", "A"));  // gathered behind it

  gateways::IngestSession between(service, org, "", {}, {}, gateways::StopOn::kError);
  gateways::IngestSession many(service, org, "", {}, {}, gateways::StopOn::kUnavailable);
  for (auto* session : {&between, &many}) {
    ASSERT_TRUE(session->Refresh().ok());
    session->set_separator("\n");
  }
  absl::Notification added;
  std::thread adds([&] {
    for (const char* id : {"before", "x0", "z", "x1", "behind"}) {
      between.Add(SetLine(id, "B"));
    }
    many.Add(SetLine("x0", "A"));
    for (int i = 0; i < 100; ++i) {
      many.Add(SetLine("many" + std::to_string(i), "C"));
    }
    added.Notify();
  });
  EXPECT_TRUE(added.WaitForNotificationWithTimeout(absl::Seconds(20)));
  EXPECT_EQ(log.appends(), 2);  // "before", which waits for nobody
  log.Take();
  adds.join();
  for (auto* session : {&other, &between, &many}) {
    EndAndSettle(*session);
  }
  // What came between the two goes when the first is taken, and what is behind the second is not
  // tried, because it was not known then what would become of that.
  EXPECT_THAT(between.TakeAnswers(),
              MatchesRegex(R"(.*"before","position".*"x0","position".*"z","position".*)"
                           R"("x1","position".*"behind","error".*not_tried.*)"));
  EXPECT_THAT(many.TakeAnswers(), AllOf(HasSubstr(R"("many0","position")"),
                                        HasSubstr(R"("many99","error")"), HasSubstr("not_tried")));
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

// A refusal waits for the answers of the sets before it, and is larger than what it refuses.
TEST_F(IngestSessionTest, AnswersThatWaitForTheLogCountForTheLimit) {
  admin_.MakeOrg("contoso");
  GivingUpLog log(admin_.log());
  gateways::IngestOptions options;
  options.answer_bytes_max = 1 << 20;
  gateways::IngestService service(options, log, admin_.directory().directory(), nullptr,
                                  admin_.clock(), nullptr);
  gateways::IngestSession session(service, *OrgId::Parse("contoso"), "", {});
  ASSERT_TRUE(session.Refresh().ok());
  session.Add(SetLine("first", "A"));
  session.Pause();
  EXPECT_EQ(session.waiting_bytes(), 0U);  // in flight
  for (int i = 0; i < 10'000 && !session.full(); ++i) {
    session.Add("x");
  }
  EXPECT_TRUE(session.full());
  EXPECT_GT(session.waiting_bytes(), 500'000U);
  log.GiveUp();
  EndAndSettle(session);
}

// The other node has its sender's sets before them, and may refuse those.
TEST_F(IngestSessionTest, WhatAnotherNodeAsksAboutIsNotTaken) {
  admin_.MakeOrg("contoso");
  gateways::IngestService service({}, admin_.log(), admin_.directory().directory(), nullptr,
                                  admin_.clock(), nullptr);
  const auto org = *OrgId::Parse("contoso");
  const auto send = [&](const std::string& line, const gateways::RelayCaller& caller) {
    gateways::IngestSession session(service, org, "", {}, caller);
    EXPECT_TRUE(session.Refresh().ok());
    session.Add(line);
    EndAndSettle(session);
    return session.TakeAnswers();
  };
  const gateways::RelayCaller relayed{
      .authorization = "", .traceparent = "", .request_id = "", .relayed = true};
  std::string without_id = SetLine("x", "A");
  without_id.erase(without_id.find(R"("id":"x",)"), 9);
  for (const std::string& line : {SetLine("new", "A"), without_id}) {
    EXPECT_THAT(send(line, relayed), AllOf(HasSubstr("not_caught_up"), Not(HasSubstr("position"))));
  }
  const std::string taken = send(SetLine("new", "A"), {});
  EXPECT_THAT(taken, HasSubstr("position"));
  EXPECT_EQ(send(SetLine("new", "A"), relayed), taken);
}

// It was taken, and may be lost since: sent again it is not told to be taken while that is not
// known.
TEST_F(IngestSessionTest, WhatWasTakenIsNotToldWhileItMayBeLost) {
  admin_.MakeOrg("contoso");
  absl::Status may_append;
  gateways::IngestServing serving;
  serving.may_append = [&](PartitionId) { return may_append; };
  serving.applied = [](const OrgId&) { return kNoOffset; };  // so it is remembered
  gateways::IngestService service({}, admin_.log(), admin_.directory().directory(), nullptr,
                                  admin_.clock(), nullptr, serving);
  const auto send = [&](const std::string& line) {
    gateways::IngestSession session(service, *OrgId::Parse("contoso"), "", {});
    EXPECT_TRUE(session.Refresh().ok());
    session.Add(line);
    EndAndSettle(session);
    return session.TakeAnswers();
  };
  const std::string line = SetLine("set", "A");
  std::string misfit = line;
  misfit.replace(misfit.find("\"name\""), 6, "\"gone\"");
  const std::string taken = send(line);
  EXPECT_THAT(taken, HasSubstr("position"));
  for (const std::string code : {"log_end_doubted", "log_truncated"}) {
    may_append = Error(absl::StatusCode::kUnavailable, code, "not now");
    EXPECT_THAT(send(line), AllOf(HasSubstr(code), Not(HasSubstr("position"))));
    EXPECT_THAT(send(misfit), AllOf(HasSubstr(code), Not(HasSubstr("position"))));
  }
  may_append = absl::OkStatus();
  EXPECT_EQ(send(line), taken);
  EXPECT_EQ(send(misfit), taken);
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

// A set as its sender may have it: as text, or as a message.
struct BothWays {
  std::string what;
  std::string answer;  // "position", or the code that it is refused with
  std::string ops;     // of the text
  std::vector<v1::Operation> typed;
};

std::vector<BothWays> SetsBothWays() {
  constexpr uint32_t kSetEntity = 1;
  const auto row = [](std::string_view key) { return RowWriter().Text(1, key); };
  const std::string a = row("A").bytes();
  const std::string upsert = R"({"op":"upsert","entity":"account","row":{"accountid":"A"}})";
  const std::string remove = R"({"op":"delete","entity":"account")";
  v1::Operation no_kind = Delete(kSetEntity, "A");
  no_kind.set_kind(v1::Operation::KIND_UNSPECIFIED);
  v1::Operation delete_with_row = Delete(kSetEntity, "A");
  delete_with_row.set_row(a);
  return {
      {"upsert", "position", upsert, {Upsert(kSetEntity, "A", a)}},
      {"patch",
       "position",
       R"({"op":"patch","entity":"account","key":"A","row":{"name":null,"employees":5}})",
       {Patch(kSetEntity, "A", RowWriter().Varint(3, 5).bytes(), {2})}},
      {"delete", "position", remove + R"(,"key":"A","version":7})", {Delete(kSetEntity, "A", 7)}},
      {"entity", "unknown_entity", R"({"op":"delete","entity":"no","key":"A"})", {Delete(9, "A")}},
      {"attribute",
       "unknown_attribute",
       R"({"op":"upsert","entity":"account","row":{"accountid":"A","no":"x"}})",
       {Upsert(kSetEntity, "A", row("A").Text(99, "x").bytes())}},
      {"type",
       "type_mismatch",
       R"({"op":"upsert","entity":"account","row":{"accountid":"A","employees":"x"}})",
       {Upsert(kSetEntity, "A", row("A").Text(3, "x").bytes())}},
      {"no key in the row",
       "missing_key",
       R"({"op":"upsert","entity":"account","row":{"name":"n"}})",
       {Upsert(kSetEntity, "A", RowWriter().Text(2, "n").bytes())}},
      {"no key", "missing_key", remove + "}", {Delete(kSetEntity, "")}},
      {"bad key",
       "invalid_key",
       remove + R"(,"key":"a\u0000b"})",
       {Delete(kSetEntity, std::string_view("a\0b", 3))}},
      {"two keys",
       "invalid_key",
       R"({"op":"patch","entity":"account","key":"A","row":{"accountid":"B"}})",
       {Patch(kSetEntity, "A", row("B").bytes())}},
      {"kind", "invalid_argument", R"({"op":"merge","entity":"account","key":"A"})", {no_kind}},
      {"row of a delete",
       "invalid_argument",
       remove + R"(,"key":"A","row":{"accountid":"A"}})",
       {delete_with_row}},
      {"nothing", "invalid_argument", "", {}},
      {"as many as may be",
       "position",
       upsert + "," + upsert,
       {Upsert(kSetEntity, "A", a), Upsert(kSetEntity, "A", a)}},
      {"too many",
       "too_large",
       upsert + "," + upsert + "," + upsert,
       {Upsert(kSetEntity, "A", a), Upsert(kSetEntity, "A", a), Upsert(kSetEntity, "A", a)}},
      {"the second is wrong",
       "missing_key",
       upsert + "," + remove + "}",
       {Upsert(kSetEntity, "A", a), Delete(kSetEntity, "")}},
  };
}

// The answer to one set, an error without what people read.
template <typename Set>
nlohmann::json AnswerTo(gateways::IngestService& service, Set set,
                        const gateways::RelayCaller& caller = {}) {
  gateways::IngestSession session(service, *OrgId::Parse("contoso"), "", {}, caller);
  EXPECT_TRUE(session.Refresh().ok());
  session.Add(std::move(set));
  EndAndSettle(session);
  nlohmann::json answer = nlohmann::json::parse(session.TakeAnswers());
  if (answer.contains("error")) {
    answer["error"].erase("detail");
  }
  return answer;
}

std::string TextOf(const std::string& id, const std::string& ops) {
  return R"({"id":")" + id + R"(","source":"crm","ops":[)" + ops + "]}";
}

// Also of a set that came the other way before.
TEST_F(IngestSessionTest, ASetIsAnsweredTheSameAsTextAndAsAMessage) {
  admin_.MakeOrg("contoso");
  gateways::IngestOptions options;
  options.set_limits.ops_max = 2;
  gateways::IngestServing serving;
  serving.applied = [](const OrgId&) { return kNoOffset; };  // so they are remembered
  gateways::IngestService service(options, admin_.log(), admin_.directory().directory(),
                                  &admin_.stores(), admin_.clock(), nullptr, serving);
  for (const BothWays& both : SetsBothWays()) {
    SCOPED_TRACE(both.what);
    const auto first = AnswerTo(service, TextOf("text " + both.what, both.ops));
    EXPECT_EQ(first, AnswerTo(service, MakeSet(both.typed, "text " + both.what, "crm")));
    const auto second = AnswerTo(service, MakeSet(both.typed, "message " + both.what, "crm"));
    EXPECT_EQ(second, AnswerTo(service, TextOf("message " + both.what, both.ops)));
    const std::string got =
        first.contains("error") ? first["error"].value("code", "none") : "position";
    EXPECT_EQ(got, both.answer);
    EXPECT_EQ(second.contains("position"), first.contains("position"));
    EXPECT_NE(first, second);  // they have names of their own
  }
}

TEST_F(IngestSessionTest, AMessageIsRecognisedAlthoughItDoesNotFitAnyMore) {
  admin_.MakeOrg("contoso");
  gateways::IngestServing serving;
  serving.applied = [](const OrgId&) { return kNoOffset; };
  gateways::IngestService service({}, admin_.log(), admin_.directory().directory(), nullptr,
                                  admin_.clock(), nullptr, serving);
  const auto taken = AnswerTo(service, SetLine("set", "A"));
  EXPECT_TRUE(taken.contains("position"));
  EXPECT_EQ(AnswerTo(service, MakeSet({Delete(9, "A")}, "set", "crm")), taken);
}

// Its ids would stand for other entities and attributes.
TEST_F(IngestSessionTest, AMessageForAnotherIncarnationIsNotTaken) {
  admin_.MakeOrg("contoso");
  gateways::IngestService service({}, admin_.log(), admin_.directory().directory(), nullptr,
                                  admin_.clock(), nullptr);
  v1::ChangeSet set = MakeSet({Delete(1, "A")}, "", "crm");
  set.set_incarnation(1);
  EXPECT_TRUE(AnswerTo(service, set).contains("position"));
  set.set_incarnation(2);
  EXPECT_EQ(AnswerTo(service, set)["error"]["code"], "other_incarnation");
  // Nor one whose names are none, or that is too large.
  set.set_incarnation(0);
  set.set_source(std::string(300, 'x'));
  EXPECT_EQ(AnswerTo(service, set)["error"]["code"], "invalid_argument");
  set.set_source("crm");
  set.set_id("\xff");
  EXPECT_EQ(AnswerTo(service, set)["error"]["code"], "invalid_argument");
  set.set_id("set");
  set.mutable_ops(0)->set_row(std::string(2 << 20, 'x'));
  EXPECT_EQ(AnswerTo(service, set)["error"]["code"], "too_large");
}

// The node that serves the organisation is asked, as for a set that is text.
TEST_F(IngestSessionTest, AnotherNodeKnowsOfAMessageWhetherItWasTaken) {
  admin_.MakeOrg("contoso");
  gateways::IngestServing serving;
  serving.may_serve = [](const OrgId&) {
    return Error(absl::StatusCode::kUnavailable, "not_served_here", "elsewhere");
  };
  serving.relay_to = [&](const OrgId&) {
    return std::make_optional("http://127.0.0.1:" + std::to_string(admin_.port()));
  };
  gateways::IngestService service({}, admin_.log(), admin_.directory().directory(), nullptr,
                                  admin_.clock(), nullptr, serving);
  const auto result =
      client_.Post(std::string(kChanges) + "?wait=30s", SetLine("set", "A"), kLines);
  ASSERT_TRUE(result && result->status == 200);
  const gateways::RelayCaller caller{.authorization = "Bearer sluice.ingest",
                                     .traceparent = "",
                                     .request_id = "",
                                     .relayed = false};
  const v1::Operation misfit = Upsert(1, "A", RowWriter().Text(1, "A").Text(99, "x").bytes());
  EXPECT_EQ(AnswerTo(service, MakeSet({misfit}, "set", "crm"), caller)["position"],
            nlohmann::json::parse(result->body)["position"]);
  EXPECT_EQ(AnswerTo(service, MakeSet({misfit}, "never", "crm"), caller)["error"]["code"],
            "unknown_attribute");
}

}  // namespace
}  // namespace sluice::testing
