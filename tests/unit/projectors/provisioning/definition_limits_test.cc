#include "projectors/provisioning/definition_limits.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <memory>

#include "schemas/base/status.h"
#include "tests/unit/projectors/provisioning/provisioning_testing.h"

// How much an organisation may define in all.
namespace sluice::projectors {
namespace {

using ::testing::HasSubstr;
using testing::Org;
using testing::ProfileRequest;
using testing::RoleRequest;

// A role of so many bytes.
v1::Role RoleOf(const std::string& name, size_t bytes) {
  v1::Role role;
  role.set_name(name);
  role.add_entities()->add_deny_columns(std::string(bytes, 'c'));
  while (role.ByteSizeLong() > bytes) {
    role.mutable_entities(0)->mutable_deny_columns(0)->pop_back();
  }
  return role;
}

template <typename Message>
std::shared_ptr<const OrgModel> Applied(const OrgModel& model, const Message& message) {
  eventlog::Event event;
  event.type = Message::descriptor()->full_name();
  event.value = message.SerializeAsString();
  auto applied = model.Apply(event);
  EXPECT_TRUE(applied.ok()) << applied.status();
  return *std::move(applied);
}

std::shared_ptr<const OrgModel> WithRole(const OrgModel& model, const v1::Role& role) {
  v1::RoleDefined defined;
  *defined.mutable_role() = role;
  return Applied(model, defined);
}

class DefinitionLimitsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Must(testing::OpenRequest("Contoso"));
    Must(testing::EntityRequest("order"));
  }

  absl::Status Put(const v1::ProvisioningRequest& request) {
    return sequencer_.Carry(org_, request).status();
  }
  void Must(const v1::ProvisioningRequest& request) {
    const absl::Status put = Put(request);
    ASSERT_TRUE(put.ok()) << put;
  }
  void ExpectTooMany(const v1::ProvisioningRequest& request, const std::string& what) {
    const absl::Status put = Put(request);
    EXPECT_EQ(ErrorCode(put), "too_many_definitions") << put;
    EXPECT_EQ(put.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(Message(put)), HasSubstr(what));
  }
  v1::ProvisioningRequest DeleteProfile(const std::string& name) {
    v1::ProvisioningRequest request;
    request.mutable_delete_profile()->set_name(name);
    return request;
  }
  const OrgModel& model() { return *sequencer_.directory().Find(org_)->model; }

  const OrgId org_ = Org("contoso");
  testing::Sequencer sequencer_;
};

TEST_F(DefinitionLimitsTest, EntitiesAreNumbered) {
  for (size_t i = 1; i < kEntitiesOfOrgMax; ++i) {
    Must(testing::EntityRequest(fmt::format("e{}", i)));
  }
  ExpectTooMany(
      testing::EntityRequest("one_more"),
      "entity 'one_more': the organisation would have 1001 entities, at most 1000 are taken");
  Must(testing::EntityRequest("e1", true, "more"));  // of one that is there
  Must(testing::EntityRequest("e1"));
  v1::ProvisioningRequest gone;
  gone.mutable_delete_entity()->set_name("e1");
  Must(gone);
  Must(testing::EntityRequest("one_more"));
}

TEST_F(DefinitionLimitsTest, ProfilesAndRolesAreNumbered) {
  for (size_t i = 0; i < kProfilesOfOrgMax; ++i) {
    Must(ProfileRequest(fmt::format("p{}", i), R"({"entities":{}})"));
  }
  ExpectTooMany(ProfileRequest("p", R"({"entities":{}})"),
                "profile 'p': the organisation would have 1001 profiles, at most 1000 are taken");
  Must(ProfileRequest("p0", R"({"entities":{"order":[{"kind":"all"}]}})"));
  for (size_t i = 0; i < kRolesOfOrgMax; ++i) {
    Must(RoleRequest(fmt::format("r{}", i), R"({"offline":true})"));
  }
  ExpectTooMany(RoleRequest("r", "{}"),
                "role 'r': the organisation would have 1001 roles, at most 1000 are taken");
  Must(RoleRequest("r0", "{}"));
  Must(DeleteProfile("p1"));
  Must(ProfileRequest("p", R"({"entities":{}})"));
}

// Entities, profiles and roles together; what a definition had gives room to what it has now.
TEST_F(DefinitionLimitsTest, BytesAreAddedUp) {
  constexpr size_t kMiB = size_t{1} << 20;
  Must(ProfileRequest("p", R"({"entities":{"order":[{"kind":"all"}]}})"));
  const size_t entity = model().entities().at("order")->proto().ByteSizeLong();
  const size_t profile = model().profiles().at("p")->ByteSizeLong();
  const std::shared_ptr<const OrgEntry> entry = sequencer_.directory().Find(org_);
  std::shared_ptr<const OrgModel> full = entry->model;
  for (size_t i = 1; i < kDefinitionBytesOfOrgMax / kMiB; ++i) {
    full = WithRole(*full, RoleOf(fmt::format("r{}", i), kMiB));
  }
  const size_t rest = kMiB - entity - profile;
  EXPECT_EQ(CheckTotal(*full, RoleOf("last", rest)), absl::OkStatus());
  const absl::Status refused = CheckTotal(*full, RoleOf("last", rest + 1));
  EXPECT_EQ(ErrorCode(refused), "too_many_definitions") << refused;
  EXPECT_EQ(Message(refused),
            fmt::format("role 'last', of {} bytes: the organisation's definitions would have "
                        "16777217 bytes, at most 16777216 are taken; entities have {} of them "
                        "now, profiles {}, roles {}: delete what is not used",
                        rest + 1, entity, profile, 15 * kMiB));
  full = WithRole(*full, RoleOf("last", rest));
  EXPECT_EQ(CheckTotal(*full, RoleOf("r1", kMiB)), absl::OkStatus());
  EXPECT_EQ(ErrorCode(CheckTotal(*full, RoleOf("r1", kMiB + 1))), "too_many_definitions");
  const std::shared_ptr<const OrgModel> roomy = WithRole(*full, RoleOf("last", rest - 100));
  EXPECT_EQ(CheckTotal(*roomy, RoleOf("r1", kMiB + 100)), absl::OkStatus());
  EXPECT_EQ(ErrorCode(CheckTotal(*roomy, RoleOf("r1", kMiB + 101))), "too_many_definitions");

  v1::Profile larger = *full->profiles().at("p");
  larger.add_roles("r");
  EXPECT_EQ(ErrorCode(CheckTotal(*full, larger)), "too_many_definitions");
  v1::EntitySchema wider = full->entities().at("order")->proto();
  wider.add_removed()->set_name("gone");
  EXPECT_EQ(ErrorCode(CheckTotal(*full, wider)), "too_many_definitions");
}

// As a log may have it that was written before there was a limit.
TEST_F(DefinitionLimitsTest, WhatDoesNotGrowIsTakenPastTheLimit) {
  std::shared_ptr<const OrgModel> full = sequencer_.directory().Find(org_)->model;
  full = WithRole(*full, RoleOf("small", 100));
  for (size_t i = 0; i < kRolesOfOrgMax; ++i) {
    full = WithRole(*full, RoleOf(fmt::format("r{}", i), 10));
  }
  full = WithRole(*full, RoleOf("large", 2 * kDefinitionBytesOfOrgMax));
  EXPECT_EQ(CheckTotal(*full, RoleOf("large", 2 * kDefinitionBytesOfOrgMax - 1)), absl::OkStatus());
  EXPECT_EQ(CheckTotal(*full, RoleOf("small", 100)), absl::OkStatus());
  EXPECT_EQ(ErrorCode(CheckTotal(*full, RoleOf("small", 101))), "too_many_definitions");
}

}  // namespace
}  // namespace sluice::projectors
