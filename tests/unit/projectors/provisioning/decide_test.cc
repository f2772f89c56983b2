#include <gmock/gmock.h>

#include "schemas/base/status.h"
#include "tests/unit/projectors/provisioning/provisioning_testing.h"

namespace sluice::projectors {
namespace {

using testing::CloseRequest;
using testing::EntityRequest;
using testing::OpenRequest;
using testing::Org;
using testing::ProfileRequest;
using testing::RoleRequest;

class DecideTest : public ::testing::Test {
 protected:
  Directory::Outcome Accepted(v1::ProvisioningRequest request) {
    auto outcome = sequencer_.Carry(org_, std::move(request));
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.value_or(Directory::Outcome{});
  }
  std::string Refused(v1::ProvisioningRequest request) {
    const auto outcome = sequencer_.Carry(org_, std::move(request));
    EXPECT_FALSE(outcome.ok());
    return outcome.ok() ? "" : ErrorCode(outcome.status());
  }
  std::shared_ptr<const OrgEntry> Entry() { return sequencer_.directory().Find(org_); }
  void AnnounceStoreDeleted(uint32_t incarnation) {
    v1::ProvisioningOutcome outcome;
    outcome.set_request_offset(-1);
    outcome.set_changes_offset(-1);
    outcome.mutable_store_deleted()->set_incarnation(incarnation);
    ASSERT_TRUE(
        sequencer_.directory().Apply(testing::OutcomeEvent(org_, outcome, Offset(1'000))).ok());
  }

  const OrgId org_ = Org("contoso");
  testing::Sequencer sequencer_;
};

TEST_F(DecideTest, OpensRenamesAndRepeats) {
  const auto opened = Accepted(OpenRequest("Contoso"));
  EXPECT_FALSE(opened.existed);
  EXPECT_EQ(Entry()->state, OrgState::kReady);
  EXPECT_EQ(Entry()->incarnation, 1U);
  EXPECT_EQ(Entry()->opened, opened.changes_offset);
  const auto again = Accepted(OpenRequest("Contoso"));
  EXPECT_TRUE(again.existed);
  EXPECT_EQ(again.changes_offset, kNoOffset);
  const auto renamed = Accepted(OpenRequest("Contoso Ltd"));
  EXPECT_TRUE(renamed.existed);
  EXPECT_NE(renamed.etag, opened.etag);
  EXPECT_EQ(Entry()->display_name, "Contoso Ltd");
  EXPECT_EQ(Entry()->last_control, opened.changes_offset);
}

TEST_F(DecideTest, ClosesAndOpensANewIncarnation) {
  EXPECT_EQ(Refused(CloseRequest()), "org_not_found");
  Accepted(OpenRequest("Contoso"));
  Accepted(EntityRequest("account"));
  Accepted(CloseRequest());
  EXPECT_EQ(Entry()->state, OrgState::kClosing);
  EXPECT_TRUE(Accepted(CloseRequest()).existed);
  EXPECT_EQ(Refused(EntityRequest("contact")), "org_not_ready");
  Accepted(OpenRequest("Contoso"));  // while the old store is still going
  EXPECT_EQ(Entry()->incarnation, 2U);
  EXPECT_TRUE(Entry()->model->entities().empty());
  AnnounceStoreDeleted(1);  // late, of the old one
  EXPECT_EQ(Entry()->state, OrgState::kReady);
  Accepted(CloseRequest());
  AnnounceStoreDeleted(2);
  EXPECT_EQ(Entry()->state, OrgState::kClosed);
}

TEST_F(DecideTest, EntityIdsAreNeverGivenAgain) {
  Accepted(OpenRequest("Contoso"));
  Accepted(EntityRequest("account"));
  const auto first = Entry()->model->entities().at("account")->id();
  v1::ProvisioningRequest remove;
  remove.mutable_delete_entity()->set_name("account");
  Accepted(remove);
  EXPECT_EQ(Refused(remove), "entity_not_found");
  Accepted(EntityRequest("account"));
  EXPECT_NE(Entry()->model->entities().at("account")->id(), first);
}

TEST_F(DecideTest, AnIdenticalReplacementChangesNothing) {
  Accepted(OpenRequest("Contoso"));
  const auto first = Accepted(EntityRequest("account"));
  const auto again = Accepted(EntityRequest("account"));
  EXPECT_EQ(again.changes_offset, kNoOffset);
  EXPECT_EQ(Entry()->etags.at("entity/account"), first.etag);
  EXPECT_EQ(Accepted(EntityRequest("account", true, "city")).existed, true);
  EXPECT_NE(Entry()->etags.at("entity/account"), first.etag);
}

TEST_F(DecideTest, IncompatibleSchemaIsRefused) {
  Accepted(OpenRequest("Contoso"));
  Accepted(EntityRequest("account"));
  auto changed = EntityRequest("account");
  changed.mutable_put_entity()->mutable_attributes(1)->set_type(v1::ATTRIBUTE_TYPE_INT32);
  EXPECT_EQ(Refused(changed), "incompatible_schema");
}

TEST_F(DecideTest, OwnershipThatARuleNeedsStays) {
  Accepted(OpenRequest("Contoso"));
  Accepted(EntityRequest("account"));
  Accepted(ProfileRequest("field", R"({"entities":{"account":[{"kind":"user"}]}})"));
  EXPECT_EQ(Refused(EntityRequest("account", /*owned=*/false)), "attribute_in_use");
  Accepted(ProfileRequest("field", R"({"entities":{"account":[{"kind":"all"}]}})"));
  Accepted(EntityRequest("account", /*owned=*/false));
  EXPECT_EQ(Refused(ProfileRequest("field", R"({"entities":{"account":[{"kind":"user"}]}})")),
            "invalid_argument");
}

TEST_F(DecideTest, ProfilesAndRolesNameWhatExists) {
  Accepted(OpenRequest("Contoso"));
  EXPECT_EQ(Refused(ProfileRequest("field", R"({"entities":{"account":[{"kind":"all"}]}})")),
            "unknown_entity");
  EXPECT_EQ(Refused(RoleRequest("sales", R"({"offline":true,"entities":{"account":{}}})")),
            "unknown_entity");
  Accepted(EntityRequest("account"));
  Accepted(RoleRequest("sales", R"({"offline":true,"entities":{"account":{"read":true}}})"));
  EXPECT_EQ(Refused(RoleRequest("sales", R"({"entities":{"account":{"deny_columns":["nope"]}}})")),
            "unknown_attribute");
  EXPECT_EQ(Refused(RoleRequest("sales", R"({"entities":{"account":{"deny_columns":["id"]}}})")),
            "invalid_argument");
  Accepted(RoleRequest("sales", R"({"entities":{"account":{"deny_columns":["owner"]}}})"));
}

TEST_F(DecideTest, OfSeveralWithOneEtagOneSucceeds) {
  Accepted(OpenRequest("Contoso"));
  const auto first = Accepted(EntityRequest("account"));
  auto guarded = EntityRequest("account", true, "city");
  guarded.set_if_match(first.etag);
  Accepted(guarded);
  auto late = EntityRequest("account", true, "street");
  late.set_if_match(first.etag);
  EXPECT_EQ(Refused(late), "precondition_failed");
  late.set_if_match("\"0\" , " + Entry()->etags.at("entity/account"));
  Accepted(late);
  auto any = EntityRequest("contact");
  any.set_if_match("*");
  EXPECT_EQ(Refused(any), "precondition_failed");
  auto fresh = EntityRequest("account");
  fresh.set_if_none_match(true);
  EXPECT_EQ(Refused(fresh), "precondition_failed");
}

TEST_F(DecideTest, TheControlEventIsComplete) {
  Accepted(OpenRequest("Contoso"));
  Accepted(EntityRequest("account"));
  ASSERT_TRUE(sequencer_.last_control().has_value());
  EXPECT_EQ(sequencer_.last_control()->type, "sluice.v1.EntityDefined");
  EXPECT_EQ(sequencer_.last_control()->subject, "contoso/account");
  EXPECT_EQ(sequencer_.last_control()->key, "contoso");
}

}  // namespace
}  // namespace sluice::projectors
