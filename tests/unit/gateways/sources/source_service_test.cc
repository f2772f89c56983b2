#include "gateways/sources/source_service.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "gateways/secrets/memory_key.h"
#include "projectors/provisioning/decide_source.h"
#include "schemas/base/status.h"
#include "tests/unit/gateways/sources/source_world.h"

namespace sluice::gateways {
namespace {

using eventlog::Topic;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<Sealer::Key> KeysOf(std::initializer_list<const char*> ids) {
  std::vector<Sealer::Key> keys;
  for (const char* id : ids) {
    keys.push_back({id, MakeMemoryKey(SecretText(std::string(32, id[1]))).value()});
  }
  return keys;
}

class SourceServiceTest : public ::testing::Test {
 protected:
  SourceServiceTest() {
    service_.Start();
    world_.OpenOrg("acme");
  }
  ~SourceServiceTest() override { service_.Stop(); }

  void Put(const std::string& json) {
    auto request = service_.MakePut(org_, "src", json, /*tenant=*/true);
    ASSERT_TRUE(request.ok()) << request.status();
    EXPECT_THAT(request->ShortDebugString(), Not(HasSubstr("hush")));
    world_.Request("acme", *request);
  }
  nlohmann::json Show() {
    const auto json = service_.Show(*world_.directory.directory().Find(org_), "src");
    EXPECT_TRUE(json.ok()) << json.status();
    return json.ok() ? nlohmann::json::parse(*json) : nlohmann::json();
  }
  std::string CodeOf(const std::string& json) {
    return ErrorCode(service_.MakePut(org_, "src", json, true).status());
  }

  SourceWorld world_{KeysOf({"k1"})};
  const OrgId org_ = OrgId::Parse("acme").value();
  int events_ = 0;
  ScriptedConnector connector_{true, CountingScript(20, 10, 100)};
  SourceService service_{{.interval_min = std::chrono::seconds(1)},
                         {.log = world_.memory,
                          .clock = world_.clock,
                          .directory = world_.directory.directory(),
                          .connectors = {&connector_},
                          .sealer = world_.sealer}};
};

constexpr char kSource[] = R"({"kind":"scripted","url":"https://source.example/","interval":"1s",
  "auth":{"kind":"basic","username":"u"},"secrets":{"password":"hush"},
  "entities":{"account":{"set":"accounts","select":["name"],"interval":"2s"}}})";

TEST_F(SourceServiceTest, ShowsSettingsAndHowItIsAndNoSecret) {
  Put(kSource);
  nlohmann::json shown = Show();
  EXPECT_EQ(shown["url"], "https://source.example/");
  EXPECT_EQ(shown["secrets"], nlohmann::json::array({"password"}));
  EXPECT_EQ(shown["keys"], nlohmann::json::array({"k1"}));
  EXPECT_EQ(shown["auth"]["username"], "u");
  EXPECT_EQ(shown["entities"]["account"]["set"], "accounts");
  EXPECT_EQ(shown["entities"]["account"]["interval"], "2s");
  EXPECT_EQ(shown["entities"]["account"]["state"], "waiting");
  EXPECT_TRUE(shown["entities"]["account"].contains("next_run"));
  EXPECT_THAT(shown.dump(), Not(HasSubstr("hush")));

  SourceWorld::Node node(world_, connector_, "a");
  node.group.Assign();
  EXPECT_TRUE(SourceWorld::Await([&] { return Show()["entities"]["account"]["rows"] == 20; }));
  EXPECT_TRUE(Show()["entities"]["account"].contains("last_run"));
  node.runner.Stop();
  // Neither topic holds it in the clear.
  for (const Topic topic : {Topic::kProvisioning, Topic::kChanges, Topic::kWork}) {
    for (const eventlog::StoredEvent& event : world_.memory.All(topic)) {
      EXPECT_THAT(event.event.value, Not(HasSubstr("hush")));
    }
  }
  for (const eventlog::StoredEvent& event : world_.memory.All(Topic::kChanges)) {
    EXPECT_THAT(event.event.value, Not(HasSubstr("password")));
  }
}

// Whoever asks why nothing comes sees that it waits for a place to run.
TEST_F(SourceServiceTest, ShowsWhatWaitsForAPlace) {
  Put(kSource);
  v1::WorkItem item;
  item.set_id("acme/1/src/account/x");
  v1::StreamName& stream = *item.mutable_stream();
  const auto entry = world_.directory.directory().Find(org_);
  stream.set_incarnation(entry->incarnation);
  stream.set_source("src");
  stream.set_stream("account");
  stream.set_epoch(entry->sources.at("src").defined->epoch());
  item.set_due_us(world_.clock.Now().time_since_epoch().count());
  item.set_request(-1);
  const auto append = [&](const auto& message) {
    eventlog::Event event = eventlog::EventOf("sluice/source", "acme", message);
    event.id = std::to_string(++events_);
    event.time = world_.clock.Now();
    ASSERT_TRUE(world_.memory.Append(Topic::kWork, PartitionId(0), {event}).ok());
  };
  append(item);
  EXPECT_TRUE(
      SourceWorld::Await([&] { return Show()["entities"]["account"]["state"] == "queued"; }));
  v1::WorkStarted started;
  started.set_item(item.id());
  started.set_attempt(1);
  *started.mutable_stream() = stream;
  append(started);
  EXPECT_TRUE(
      SourceWorld::Await([&] { return Show()["entities"]["account"]["state"] == "running"; }));
}

TEST_F(SourceServiceTest, SecretsStayAndAreSealedAnew) {
  Put(kSource);
  Put(R"({"kind":"scripted","url":"https://source.example/","entities":{"account":{}}})");
  EXPECT_EQ(Show()["secrets"].size(), 1U);
  Sealer rotated(KeysOf({"k2", "k1"}));
  SourceService later({}, {.log = world_.memory,
                           .clock = world_.clock,
                           .directory = world_.directory.directory(),
                           .connectors = {&connector_},
                           .sealer = rotated});
  const auto reseal = later.MakeReseal(*world_.directory.directory().Find(org_), "src");
  ASSERT_TRUE(reseal.ok()) << reseal.status();
  world_.Request("acme", *reseal);
  EXPECT_EQ(Show()["keys"], nlohmann::json::array({"k2"}));
  Put(R"({"kind":"scripted","url":"https://source.example/","secrets":{},"entities":{}})");
  EXPECT_EQ(Show()["secrets"].size(), 0U);
}

TEST_F(SourceServiceTest, AnEntityIsReadOrIsNot) {
  const auto change = [this](const std::string& entity, bool enabled, const std::string& json) {
    return service_.MakeEntity(*world_.directory.directory().Find(org_), "src", entity, enabled,
                               json);
  };
  EXPECT_EQ(ErrorCode(change("account", true, "{}").status()), "source_not_found");
  Put(kSource);
  // What is not named stays, the secrets too.
  const auto faster = change("account", true, R"({"interval":"5s"})");
  ASSERT_TRUE(faster.ok()) << faster.status();
  world_.Request("acme", *faster);
  EXPECT_EQ(Show()["entities"]["account"]["interval"], "5s");
  EXPECT_EQ(Show()["entities"]["account"]["set"], "accounts");
  EXPECT_EQ(Show()["secrets"].size(), 1U);
  world_.Request("acme", *change("account", false, "{}"));
  EXPECT_EQ(Show()["entities"]["account"]["disabled"], true);
  world_.Request("acme", *change("account", true, "{}"));
  EXPECT_FALSE(Show()["entities"]["account"].contains("disabled"));
  EXPECT_EQ(Show()["entities"]["account"]["set"], "accounts");
  world_.Request("acme", *change("contact", true, R"({"set":"contacts"})"));
  EXPECT_EQ(Show()["entities"]["contact"]["set"], "contacts");
  world_.Request("acme", *change("order", false, "{}"));
  EXPECT_FALSE(Show()["entities"].contains("order"));
  EXPECT_EQ(ErrorCode(change("account", true, R"({"sets":"x"})").status()), "invalid_argument");
  EXPECT_EQ(ErrorCode(change("9", true, "{}").status()), "invalid_argument");
  // Whoever made his own of what the source was before is told so.
  const auto late = change("account", true, R"({"interval":"7s"})");
  world_.Request("acme", *change("account", true, R"({"interval":"9s"})"));
  const auto outcome = world_.directory.Request(org_, *late, std::chrono::seconds(60));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(ErrorCode(outcome->status), "precondition_failed");
}

TEST_F(SourceServiceTest, RefusesWhatIsNoSource) {
  EXPECT_EQ(CodeOf("["), "invalid_json");
  EXPECT_EQ(CodeOf(R"({"kind":"scripted","kind":"odata"})"), "invalid_json");
  EXPECT_EQ(CodeOf(R"({"kind":"scripted","urls":"x"})"), "invalid_argument");
  EXPECT_EQ(CodeOf(R"({"kind":"scripted","interval":"25h"})"), "invalid_argument");
  EXPECT_EQ(CodeOf(R"({"kind":"scripted","interval":"1500ms"})"), "invalid_argument");
  EXPECT_EQ(CodeOf(R"({"kind":"scripted","secrets":{"a":1}})"), "invalid_argument");
  EXPECT_EQ(CodeOf(R"({"kind":"scripted","entities":{"a":{"select":[1]}}})"), "invalid_argument");
  EXPECT_EQ(CodeOf(R"({"kind":"scripted","entities":[]})"), "invalid_argument");
  EXPECT_EQ(CodeOf(R"({"kind":"fax"})"), "source_not_allowed");
  EXPECT_TRUE(service_.MakePut(org_, "src", R"({"kind":"scripted"})", true).ok());
}

TEST_F(SourceServiceTest, ACheckSaysWhatThereIsAndSendsSecretsNowhereElse) {
  connector_.offer.entities.push_back(
      {ScriptedEntity("lead"), 7, true, {{"x", "type_unknown", "?"}}});
  const auto check = [&](const std::string& json) {
    return service_.Check(*world_.directory.directory().Find(org_), "src", json, true);
  };
  EXPECT_EQ(ErrorCode(check("").status()), "source_not_found");
  const auto offer = check(kSource);
  ASSERT_TRUE(offer.ok()) << offer.status();
  const auto json = nlohmann::json::parse(*offer);
  EXPECT_EQ(json["entities"]["lead"]["rows"], 7);
  EXPECT_EQ(json["entities"]["lead"]["refused"][0]["code"], "type_unknown");
  EXPECT_EQ(json["entities"]["lead"]["attributes"][1]["type"], "string");
  Put(kSource);
  EXPECT_TRUE(check("").ok());
  EXPECT_TRUE(check(R"({"kind":"scripted","url":"https://source.example/"})").ok());
  EXPECT_EQ(ErrorCode(check(R"({"kind":"scripted","url":"https://evil.example/"})").status()),
            "secrets_required");
}

}  // namespace
}  // namespace sluice::gateways
