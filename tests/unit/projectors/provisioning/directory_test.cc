#include "projectors/provisioning/directory.h"

#include <gmock/gmock.h>

#include "schemas/base/status.h"
#include "tests/unit/projectors/provisioning/provisioning_testing.h"

namespace sluice::projectors {
namespace {

using testing::OpenRequest;
using testing::Org;

TEST(DirectoryTest, TheFirstOutcomeOfARequestCounts) {
  testing::Sequencer sequencer;
  const OrgId org = Org("contoso");
  ASSERT_TRUE(sequencer.Carry(org, OpenRequest("One")).ok());
  ASSERT_TRUE(sequencer.Carry(org, OpenRequest("Two")).ok());
  v1::ProvisioningOutcome other;
  ASSERT_TRUE(other.ParseFromString(sequencer.last().event.value));
  other.mutable_org_renamed()->set_display_name("Three");
  const auto ignored = sequencer.directory().Apply(testing::OutcomeEvent(org, other, Offset(9)));
  ASSERT_TRUE(ignored.ok());
  EXPECT_FALSE(ignored->has_value());
  EXPECT_EQ(sequencer.directory().Find(org)->display_name, "Two");
}

TEST(DirectoryTest, MalformedEventsChangeNothing) {
  testing::Sequencer sequencer;
  const OrgId org = Org("contoso");
  ASSERT_TRUE(sequencer.Carry(org, OpenRequest("One")).ok());
  eventlog::StoredEvent event = sequencer.last();
  event.event.value = "\xff\xff";
  EXPECT_EQ(ErrorCode(sequencer.directory().Apply(event).status()), "malformed_event");
  event = sequencer.last();
  event.event.key = "Not An Org";
  EXPECT_EQ(ErrorCode(sequencer.directory().Apply(event).status()), "malformed_event");
  v1::ProvisioningOutcome defined;  // of an organisation that never was
  defined.mutable_entity_defined();
  EXPECT_FALSE(
      sequencer.directory().Apply(testing::OutcomeEvent(Org("other"), defined, Offset(3))).ok());
  EXPECT_EQ(sequencer.directory().Find(Org("other")), nullptr);
}

// As where two histories are joined: what is told of the other one's entity is that it went.
TEST(DirectoryTest, TheIdOfAnEntityThatIsDeletedIsGivenToNoOther) {
  testing::Sequencer sequencer;
  const OrgId org = Org("contoso");
  ASSERT_TRUE(sequencer.Carry(org, OpenRequest("One")).ok());
  ASSERT_TRUE(sequencer.Carry(org, testing::EntityRequest("a")).ok());
  v1::ProvisioningOutcome outcome;
  outcome.set_request_offset(-1);
  outcome.mutable_entity_deleted()->set_entity_id(7);
  outcome.mutable_entity_deleted()->set_name("a");
  ASSERT_TRUE(sequencer.directory().Apply(testing::OutcomeEvent(org, outcome, Offset(3))).ok());
  const auto entry = sequencer.directory().Find(org);
  EXPECT_EQ(entry->next_entity_id, 8U);
  EXPECT_TRUE(entry->model->entities().contains("a")) << "that is another one";
  EXPECT_TRUE(entry->etags.contains("entity/a"));
}

TEST(DirectoryTest, TheLogsOwnEventIsNeitherAnOutcomeNorMalformed) {
  testing::Sequencer sequencer;
  eventlog::StoredEvent event;
  event.event.type = v1::LogStarted::descriptor()->full_name();
  const auto applied = sequencer.directory().Apply(event);
  ASSERT_TRUE(applied.ok()) << applied.status();
  EXPECT_FALSE(applied->has_value());
  // Nor is how far events were read.
  event.event.type = v1::EventPosition::descriptor()->full_name();
  EXPECT_TRUE(sequencer.directory().Apply(event).ok());
}

TEST(DirectoryTest, ARefusalTravelsWhole) {
  testing::Sequencer sequencer;
  v1::ProvisioningOutcome outcome;
  SetRefusal(WithColumn(Error(absl::StatusCode::kInvalidArgument, "invalid_filter", "why"), 7),
             &outcome);
  const auto told =
      sequencer.directory().Apply(testing::OutcomeEvent(Org("a"), outcome, Offset(1)));
  ASSERT_TRUE(told.ok() && told->has_value());
  EXPECT_EQ(ErrorCode((*told)->status), "invalid_filter");
  EXPECT_EQ(Message((*told)->status), "why");
  EXPECT_EQ(ErrorColumn((*told)->status), 7U);
  outcome = {};
  outcome.set_request_offset(1);
  SetRefusal(absl::NotFoundError("no \xc3'"), &outcome);
  v1::ProvisioningOutcome read;
  EXPECT_TRUE(read.ParseFromString(outcome.SerializeAsString()));
  EXPECT_EQ(read.error_detail(), "no \\xc3'");
  SetRefusal(absl::NotFoundError("gone"), &outcome);
  const auto plain =
      sequencer.directory().Apply(testing::OutcomeEvent(Org("a"), outcome, Offset(2)));
  ASSERT_TRUE(plain.ok() && plain->has_value());
  EXPECT_EQ(ErrorCode((*plain)->status), "not_found");
  EXPECT_EQ(ErrorColumn((*plain)->status), std::nullopt);
}

TEST(DirectoryTest, ListsByNameInPages) {
  testing::Sequencer sequencer;
  for (const char* name : {"c", "a", "b"}) {
    ASSERT_TRUE(sequencer.Carry(Org(name), OpenRequest(name)).ok());
  }
  const auto first = sequencer.directory().List("", 2);
  ASSERT_EQ(first.size(), 2U);
  EXPECT_EQ(first[0]->org.value(), "a");
  const auto rest = sequencer.directory().List(first[1]->org.value(), 2);
  ASSERT_EQ(rest.size(), 1U);
  EXPECT_EQ(rest[0]->org.value(), "c");
}

TEST(RequestLedgerTest, ARequestAppendedTwiceIsPendingOnce) {
  RequestLedger ledger;
  eventlog::StoredEvent event;
  auto request = OpenRequest("One");
  request.set_request_id("r1");
  event.event.type = v1::ProvisioningRequest::descriptor()->full_name();
  event.event.key = "contoso";
  event.event.value = request.SerializeAsString();
  for (int64_t offset = 0; offset < 2; ++offset) {
    event.offset = Offset(offset);
    ASSERT_TRUE(ledger.Apply(event).ok());
  }
  ASSERT_EQ(ledger.Next(10).size(), 1U);
  v1::ProvisioningOutcome outcome;
  outcome.set_request_id("r1");
  outcome.set_error_code("org_not_ready");
  outcome.set_error_status(9);
  ASSERT_TRUE(ledger.Apply(testing::OutcomeEvent(Org("contoso"), outcome, Offset(2))).ok());
  event.offset = Offset(3);  // once more, after its outcome
  ASSERT_TRUE(ledger.Apply(event).ok());
  EXPECT_EQ(ledger.pending(), 0U);
}

TEST(RequestLedgerTest, ControlEventIdsAreUuidsOfTheRequest) {
  const std::string id = ControlEventId("0190-a");
  EXPECT_EQ(id, ControlEventId("0190-a"));
  EXPECT_NE(id, ControlEventId("0190-b"));
  EXPECT_THAT(id, ::testing::MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-"
                                          "[0-9a-f]{12}"));
}

TEST(ProfileJsonTest, WhatIsReadIsWritten) {
  const std::string profile =
      R"({"entities":{"account":[{"kind":"user"},{"kind":"team"}],)"
      R"("order":[{"kind":"filter","where":"a eq 1"}],)"
      R"("contact":[{"kind":"related","through":"contact.accountid"}]},"roles":["field-sales"]})";
  EXPECT_EQ(ProfileToJson(*ParseProfile("field", profile)), profile);
  const std::string role =
      R"({"offline":true,"entities":{"account":{"read":true,"deny_columns":["revenue"]}}})";
  EXPECT_EQ(RoleToJson(*ParseRole("sales", role)), role);
}

TEST(ProfileJsonTest, RefusesWhatItDoesNotKnow) {
  const auto code = [](const char* json) { return ErrorCode(ParseProfile("p", json).status()); };
  EXPECT_EQ(code("["), "invalid_json");
  EXPECT_EQ(code("[]"), "invalid_json");
  EXPECT_EQ(code("{\"roles\":[],\"roles\":[]}"), "invalid_json");
  EXPECT_EQ(code("{\"rules\":[]}"), "invalid_argument");
  EXPECT_EQ(code("{\"entities\":[]}"), "invalid_argument");
  EXPECT_EQ(code("{\"entities\":{\"a\":[{\"kind\":\"some\"}]}}"), "invalid_argument");
  EXPECT_EQ(code("{\"entities\":{\"a\":[{\"kind\":\"filter\"}]}}"), "invalid_argument");
  EXPECT_EQ(code("{\"entities\":{\"a\":[{\"kind\":\"all\",\"where\":\"x\"}]}}"),
            "invalid_argument");
  EXPECT_EQ(code("{\"entities\":{\"1a\":[]}}"), "invalid_argument");
  EXPECT_EQ(ErrorCode(ParseRole("", "{}").status()), "invalid_argument");
  EXPECT_EQ(ErrorCode(ParseRole("r", "{\"offline\":1}").status()), "invalid_argument");
}

}  // namespace
}  // namespace sluice::projectors
