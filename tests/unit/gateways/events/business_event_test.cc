#include "gateways/events/business_event.h"

#include <gmock/gmock.h>

#include <set>
#include <string>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using ::testing::HasSubstr;
using Request = v1::ProvisioningRequest;

absl::StatusOr<BusinessEvent> Parse(const std::string& type, const std::string& data) {
  CloudEvent event;
  event.id = "7";
  event.source = "/crm";
  event.type = type;
  event.data = data;
  return ParseBusinessEvent(event);
}

Request RequestAt(const BusinessEvent& event, size_t step) {
  const auto* request = std::get_if<Request>(&event.steps.at(step));
  EXPECT_NE(request, nullptr);
  return request == nullptr ? Request() : *request;
}

void ExpectRefused(const std::string& type, const std::string& data, const std::string& text,
                   const std::string& code) {
  const auto event = Parse(type, data);
  EXPECT_EQ(ErrorCode(event.status()), code) << event.status();
  EXPECT_THAT(std::string(Message(event.status())), HasSubstr(text));
}

TEST(BusinessEventTest, AnOrganisationWithAllItsDefinitions) {
  const auto event = Parse("sluice.org.enabled", R"({
    "org":"acme","display_name":"Acme",
    "definitions":{
      "sources":{"crm":{"kind":"odata","url":"https://crm.example/","secrets":{"token":"x"}}},
      "profiles":{"field":{"entities":{"account":[{"kind":"all"}]},"roles":["sales"]}},
      "roles":{"sales":{"offline":true,"entities":{"account":{"read":true}}}},
      "entities":{"account":{"primary_key":"id","attributes":[{"name":"id","type":"string"}]}}}})");
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->org.value(), "acme");
  EXPECT_EQ(event->source, "/crm");
  EXPECT_EQ(event->id, "7");
  ASSERT_EQ(event->steps.size(), 5U);
  EXPECT_EQ(RequestAt(*event, 0).open_org().display_name(), "Acme");
  EXPECT_EQ(RequestAt(*event, 1).put_entity().primary_key(), "id");
  EXPECT_EQ(RequestAt(*event, 2).put_role().role().name(), "sales");
  EXPECT_EQ(RequestAt(*event, 3).put_profile().profile().name(), "field");
  const auto& source = std::get<SourceDefinition>(event->steps[4]);
  EXPECT_EQ(source.name, "crm");
  EXPECT_EQ(source.json,
            R"({"kind":"odata","url":"https://crm.example/","secrets":{"token":"x"}})");
}

TEST(BusinessEventTest, OrganisationsComeAndGo) {
  EXPECT_TRUE(RequestAt(*Parse("sluice.org.enabled", R"({"org":"acme"})"), 0).has_open_org());
  EXPECT_TRUE(RequestAt(*Parse("sluice.org.disabled", R"({"org":"acme"})"), 0).has_close_org());
}

TEST(BusinessEventTest, EntitiesOfASource) {
  const auto enabled = Parse(
      "sluice.entity.enabled",
      R"({"org":"acme","source":"crm","entity":"account","interval":"15m","set":"accounts"})");
  ASSERT_TRUE(enabled.ok()) << enabled.status();
  const auto& change = std::get<SourceEntityChange>(enabled->steps.at(0));
  EXPECT_EQ(change.source, "crm");
  EXPECT_EQ(change.entity, "account");
  EXPECT_TRUE(change.enabled);
  EXPECT_EQ(change.json, R"({"interval":"15m","set":"accounts"})");
  const auto disabled =
      Parse("sluice.entity.disabled", R"({"org":"acme","source":"crm","entity":"account"})");
  ASSERT_TRUE(disabled.ok()) << disabled.status();
  EXPECT_FALSE(std::get<SourceEntityChange>(disabled->steps.at(0)).enabled);
  ExpectRefused("sluice.entity.disabled",
                R"({"org":"acme","source":"crm","entity":"account","set":"x"})", "\"set\"",
                "invalid_event");
  ExpectRefused("sluice.entity.enabled",
                R"({"org":"acme","source":"crm","entity":"account","disabled":true})",
                "\"disabled\"", "invalid_event");
}

TEST(BusinessEventTest, ProfilesAndRoles) {
  const auto profile = Parse(
      "sluice.profile.changed",
      R"({"org":"acme","profile":"field","definition":{"entities":{"account":[{"kind":"all"}]}}})");
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(RequestAt(*profile, 0).put_profile().profile().name(), "field");
  EXPECT_EQ(RequestAt(*Parse("sluice.profile.changed",
                             R"({"org":"acme","profile":"field","definition":null})"),
                      0)
                .delete_profile()
                .name(),
            "field");
  const auto role =
      Parse("sluice.role.changed",
            R"({"org":"acme","role":"sales","definition":{"offline":true,"entities":{}}})");
  ASSERT_TRUE(role.ok()) << role.status();
  EXPECT_TRUE(RequestAt(*role, 0).put_role().role().offline());
  EXPECT_EQ(
      RequestAt(*Parse("sluice.role.changed", R"({"org":"acme","role":"r","definition":null})"), 0)
          .delete_role()
          .name(),
      "r");
}

TEST(BusinessEventTest, WhatIsRefused) {
  ExpectRefused("sluice.org.renamed", R"({"org":"acme"})", "\"sluice.org.renamed\"",
                "invalid_event");
  ExpectRefused("sluice.org.enabled", "", "", "invalid_json");
  ExpectRefused("sluice.org.enabled", "[]", "object", "invalid_json");
  ExpectRefused("sluice.org.enabled", "{}", "'org'", "invalid_event");
  ExpectRefused("sluice.org.enabled", R"({"org":5})", "org", "invalid_argument");
  ExpectRefused("sluice.org.enabled", R"({"org":"Acme!"})", "Acme!", "invalid_argument");
  ExpectRefused("sluice.org.enabled", R"({"org":"acme","name":"x"})", "name", "invalid_argument");
  ExpectRefused("sluice.org.enabled", R"({"org":"acme","display_name":5})", "display_name",
                "invalid_argument");
  ExpectRefused("sluice.org.enabled", R"({"org":"acme","definitions":{"views":{}}})", "views",
                "invalid_argument");
  ExpectRefused("sluice.org.enabled", R"({"org":"acme","definitions":{"roles":[]}})", "roles",
                "invalid_event");
  ExpectRefused("sluice.org.enabled", R"({"org":"acme","definitions":{"entities":{"a":{}}}})",
                "entities \"a\"", "invalid_argument");
  ExpectRefused("sluice.org.disabled", R"({"org":"acme","display_name":"x"})", "display_name",
                "invalid_argument");
  ExpectRefused("sluice.profile.changed", R"({"org":"acme","profile":"p"})", "'definition'",
                "invalid_event");
  ExpectRefused("sluice.role.changed", R"({"org":"acme","definition":null})", "'role'",
                "invalid_event");
  ExpectRefused("sluice.entity.enabled", R"({"org":"acme","source":"","entity":"a"})", "'source'",
                "invalid_event");
  std::string many;
  for (size_t i = 0; i < kEventStepsMax; ++i) {
    many += (i == 0 ? "\"r" : ",\"r") + std::to_string(i) + R"(":{"entities":{}})";
  }
  ExpectRefused("sluice.org.enabled", R"({"org":"acme","definitions":{"roles":{)" + many + "}}}",
                "999", "invalid_event");
}

// The ids are for ever: what was carried out once is known by them after an update, too.
TEST(BusinessEventTest, RequestIdsAreMadeOfTheEvent) {
  const auto event = Parse("sluice.org.disabled", R"({"org":"acme"})");
  EXPECT_EQ(RequestIdOf(*event, 0, 0), "de6d41a0-b915-8a77-9746-2f14222b30be");
  EXPECT_EQ(RequestIdOf(*event, 1, 0), "22a85d4d-6646-8880-89dd-34074d36eda3");
  EXPECT_EQ(RequestIdOf(*event, 0, 1), "18fd1918-f067-89b7-b1ec-b57e220fe535");
  std::set<std::string> ids;
  for (const auto& [source, id] :
       {std::pair("a", "bc"), std::pair("ab", "c"), std::pair("a", "b")}) {
    BusinessEvent other = *event;
    other.source = source;
    other.id = id;
    ids.insert(RequestIdOf(other, 0, 0));
  }
  EXPECT_EQ(ids.size(), 3U);
}

TEST(BusinessEventTest, WhatIsGoneAnyway) {
  const auto not_found = [](const std::string& kind) {
    return Error(absl::StatusCode::kNotFound, kind + "_not_found", "x");
  };
  Request close;
  close.mutable_close_org();
  EXPECT_TRUE(IsGoneAnyway(close, not_found("org")));
  Request profile;
  profile.mutable_delete_profile();
  EXPECT_TRUE(IsGoneAnyway(profile, not_found("profile")));
  EXPECT_TRUE(IsGoneAnyway(profile, not_found("org")));
  EXPECT_FALSE(IsGoneAnyway(profile, not_found("role")));
  Request role;
  role.mutable_put_role();
  EXPECT_FALSE(IsGoneAnyway(role, not_found("org")));
}

}  // namespace
}  // namespace sluice::gateways
