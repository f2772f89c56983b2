#include "gateways/admin/dead_letter_routes.h"

#include <gmock/gmock.h>
#include <prometheus/registry.h>

#include <nlohmann/json.hpp>

#include "schemas/base/status.h"
#include "tests/integration/gateways/applied_stores.h"
#include "tests/unit/gateways/sources/source_world.h"

namespace sluice::gateways {
namespace {

using eventlog::Topic;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// The routes over a log in memory; a source "src" and, of no source, the entity "note".
class DeadLetterRoutesTest : public ::testing::Test {
 protected:
  DeadLetterRoutesTest() {
    EXPECT_TRUE(letters_.Start().ok());
    world_.OpenOrg("acme");
    world_.Request("acme", SourceWorld::Source({"account"}));
    v1::ProvisioningRequest entity;
    *entity.mutable_put_entity() = ScriptedEntity("note");
    world_.Request("acme", entity);
  }
  ~DeadLetterRoutesTest() override { letters_.Stop(); }

  std::shared_ptr<const projectors::OrgEntry> Entry() const {
    return world_.directory.directory().Find(acme_);
  }
  void Append(const v1::DeadLetter& letter) {
    eventlog::Event event = eventlog::EventOf("sluice/staging", "acme", letter);
    event.time = world_.real_clock.Now();
    ASSERT_TRUE(world_.memory.Append(Topic::kDeadletter, PartitionId(0), {event}).ok());
  }
  static v1::DeadLetter LetterOf(const std::string& topic, const std::string& id) {
    v1::DeadLetter letter;
    letter.set_topic(topic);
    letter.set_id(id);
    letter.set_code("type_mismatch");
    letter.set_reason("no number");
    if (topic == "work" || topic.starts_with("source:")) {
      letter.set_source("src");
      letter.set_entity("account");
    }
    return letter;
  }
  // Of a set that deletes the note `key`, as the fold writes it of the event at `offset`.
  v1::DeadLetter LetterOfSet(const std::string& key, int64_t offset) {
    v1::DeadLetter letter = LetterOf("changes", "event-" + key);
    letter.set_offset(offset);
    letter.set_type("sluice.v1.ChangeSet");
    letter.set_value(SetOf(key).SerializeAsString());
    return letter;
  }
  v1::ChangeSet SetOf(const std::string& key) const {
    v1::ChangeSet set;
    set.set_id(key);
    set.set_source("t");
    set.set_incarnation(Entry()->incarnation);
    v1::Operation& op = *set.add_ops();
    op.set_kind(v1::Operation::KIND_DELETE);
    op.set_entity_id(Entry()->model->entities().find("note")->second->id().value());
    op.set_key(key);
    return set;
  }

  using Route = absl::StatusOr<Answer> (DeadLetterRoutes::*)(const RequestContext&) const;
  absl::StatusOr<nlohmann::json> Call(Route route, const std::string& id,
                                      const std::string& query = "") {
    HttpHead http;
    http.query = query;
    http.request_id = "r";
    RequestContext context{.http = http};
    context.match.org = "acme";
    context.match.name = id;
    const absl::StatusOr<Answer> answer = (routes_.*route)(context);
    RETURN_IF_ERROR(answer.status());
    return nlohmann::json::parse(answer->response.body);
  }
  std::vector<std::string> Open() {
    std::vector<std::string> ids;
    const auto list = Call(&DeadLetterRoutes::List, "");
    EXPECT_TRUE(list.ok()) << list.status();
    for (const auto& letter : (*list)["deadletters"]) {
      ids.push_back(letter["id"].get<std::string>());
    }
    return ids;
  }
  std::string CodeOf(Route route, const std::string& id) {
    return ErrorCode(Call(route, id).status());
  }
  // Ids of the sets in `changes` that were replayed.
  std::vector<std::string> Replayed() const {
    std::vector<std::string> ids;
    for (const v1::ChangeSet& set : world_.All<v1::ChangeSet>(Topic::kChanges)) {
      if (set.id().starts_with("replay/")) {
        ids.push_back(set.id());
      }
    }
    return ids;
  }
  bool RunAskedFor() const { return Entry()->sources.at("src").runs.contains("account"); }

  SourceWorld world_;
  const OrgId acme_ = OrgId::Parse("acme").value();
  DeadLetters letters_{world_.memory, world_.real_clock, {}, nullptr};
  sluice::testing::AppliedStores stores_{world_.memory};
  IngestService ingest_{{},       world_.memory,     world_.directory.directory(),
                        &stores_, world_.real_clock, std::make_shared<prometheus::Registry>()};
  AppliedWait applied_{nullptr, {}, {}};
  DeadLetterRoutes routes_{world_.directory, letters_, ingest_, applied_, std::chrono::seconds(60)};
};

TEST_F(DeadLetterRoutesTest, ARowOfASourceIsReadAgainAndStaysUntilItIsDropped) {
  Append(LetterOf("source:src", "row"));
  const auto replayed = Call(&DeadLetterRoutes::Replay, "row");
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  EXPECT_EQ((*replayed)["handled"], false);
  EXPECT_TRUE(RunAskedFor());
  EXPECT_THAT(Open(), ElementsAre("row"));
  EXPECT_TRUE(Call(&DeadLetterRoutes::Drop, "row").ok());
  EXPECT_THAT(Open(), IsEmpty());
  EXPECT_EQ(CodeOf(&DeadLetterRoutes::Drop, "row"), "deadletter_not_found");
  EXPECT_EQ(CodeOf(&DeadLetterRoutes::Replay, "row"), "deadletter_not_found");
  const v1::DeadLetter handled = world_.All<v1::DeadLetter>(Topic::kDeadletter).back();
  EXPECT_TRUE(handled.handled());
  EXPECT_EQ(handled.id(), "row");
}

TEST_F(DeadLetterRoutesTest, AWorkItemIsARequestedRun) {
  Append(LetterOf("work", "item"));
  const auto replayed = Call(&DeadLetterRoutes::Replay, "item");
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  EXPECT_EQ((*replayed)["handled"], true);
  EXPECT_TRUE(RunAskedFor());
  EXPECT_THAT(Open(), IsEmpty());
}

TEST_F(DeadLetterRoutesTest, ARunThatCanNotBeHadLeavesTheLetter) {
  v1::DeadLetter letter = LetterOf("work", "item");
  letter.set_source("gone");
  Append(letter);
  EXPECT_EQ(CodeOf(&DeadLetterRoutes::Replay, "item"), "source_not_found");
  EXPECT_THAT(Open(), ElementsAre("item"));
}

TEST_F(DeadLetterRoutesTest, ASourcesSetIsReadAgainFromTheSource) {
  v1::DeadLetter letter = LetterOf("changes", "set");
  letter.set_source("src");
  letter.set_entity("account");
  Append(letter);
  const auto replayed = Call(&DeadLetterRoutes::Replay, Open().at(0));
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  EXPECT_EQ((*replayed)["handled"], false);
  EXPECT_TRUE(RunAskedFor());
  EXPECT_THAT(Replayed(), IsEmpty());
}

TEST_F(DeadLetterRoutesTest, ASetGoesInAgainUnderAnotherIdOnce) {
  const v1::DeadLetter letter = LetterOfSet("k", 1042);
  Append(letter);
  const auto first = Call(&DeadLetterRoutes::Replay, "changes-0-1042-0");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ((*first)["handled"], true);
  EXPECT_THAT(Replayed(), ElementsAre("replay/" + letter.id() + "/0"));
  EXPECT_THAT(Open(), IsEmpty());
  // As where the process had ended before the letter was handled.
  Append(letter);
  const auto again = Call(&DeadLetterRoutes::Replay, "changes-0-1042-0");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)["position"], (*first)["position"]);
  EXPECT_THAT(Replayed(), SizeIs(1));
}

TEST_F(DeadLetterRoutesTest, ASetThatIsRefusedLeavesTheLetter) {
  v1::DeadLetter letter = LetterOfSet("k", 1);
  v1::ChangeSet set = SetOf("k");
  set.mutable_ops(0)->set_entity_id(77);
  letter.set_value(set.SerializeAsString());
  Append(letter);
  EXPECT_EQ(CodeOf(&DeadLetterRoutes::Replay, "changes-0-1-0"), "unknown_entity");
  set = SetOf("k");
  set.set_incarnation(77);
  letter.set_value(set.SerializeAsString());
  Append(letter);
  EXPECT_EQ(CodeOf(&DeadLetterRoutes::Replay, "changes-0-1-0"), "other_incarnation");
  EXPECT_THAT(Open(), ElementsAre("changes-0-1-0"));
  EXPECT_THAT(Replayed(), IsEmpty());
}

// The fold leaves the value out where it is large: `changes` has it.
TEST_F(DeadLetterRoutesTest, ASetThatTheLetterLacksIsReadWhereItWas) {
  eventlog::Event event = eventlog::EventOf("sluice/ingest", "acme", SetOf("k"));
  event.id = "event-k";
  const auto at = world_.memory.Append(Topic::kChanges, PartitionId(0), {event});
  v1::DeadLetter letter = LetterOfSet("k", at->front().value());
  letter.clear_value();
  Append(letter);
  const std::string id = Open().at(0);
  letter.set_id("another");
  Append(letter);  // of another log, which had another event there
  EXPECT_EQ(CodeOf(&DeadLetterRoutes::Replay, id), "deadletter_not_replayable");
  letter.set_id("event-k");
  Append(letter);
  EXPECT_TRUE(Call(&DeadLetterRoutes::Replay, id).ok());
  EXPECT_THAT(Replayed(), ElementsAre("replay/event-k/0"));
}

TEST_F(DeadLetterRoutesTest, WhatIsNoSetAndNoSourcesIsNotReplayed) {
  v1::DeadLetter control = LetterOf("changes", "control");
  control.set_type("sluice.v1.OrgOpened");
  Append(control);
  v1::DeadLetter event = LetterOf("events", "urn:x");
  event.set_source("crm.example");  // CloudEvents' source
  Append(event);
  for (const std::string& id : Open()) {
    EXPECT_EQ(CodeOf(&DeadLetterRoutes::Replay, id), "deadletter_not_replayable") << id;
  }
  EXPECT_THAT(Open(), SizeIs(2));
}

TEST_F(DeadLetterRoutesTest, ShowsAValueAsTextOrAsBytes) {
  v1::DeadLetter row = LetterOf("source:src", "row");
  row.set_type("sluice.source.Row");
  row.set_value("{\"id\":7}");
  Append(row);
  EXPECT_EQ((*Call(&DeadLetterRoutes::Get, "row"))["value"], "{\"id\":7}");
  row.set_value("\xff");
  Append(row);
  EXPECT_EQ((*Call(&DeadLetterRoutes::Get, "row"))["value_base64"], "/w==");
  const auto listed = (*Call(&DeadLetterRoutes::List, ""))["deadletters"];
  ASSERT_THAT(listed, SizeIs(1));
  EXPECT_EQ(listed[0]["value_bytes"], 1);
  EXPECT_FALSE(listed[0].contains("value_base64"));
}

TEST_F(DeadLetterRoutesTest, PagesEndEarlyWhereLettersAreLarge) {
  v1::DeadLetter large = LetterOf("source:src", "");
  large.set_value(std::string(size_t{3} << 20, 'x'));
  for (int i = 0; i < 20; ++i) {
    large.set_id("row" + std::to_string(i));
    Append(large);
    for (int j = 0; j < 10; ++j) {  // between them those of others
      Append(LetterOf("source:src", "small"));
    }
  }
  std::vector<std::string> ids;
  std::string token;
  size_t pages = 0;
  do {
    const auto page = *Call(&DeadLetterRoutes::List, "", "page_token=" + token);
    ++pages;
    for (const auto& letter : page["deadletters"]) {
      ids.push_back(letter["id"].get<std::string>());
    }
    token = page["next_page_token"].get<std::string>();
  } while (!token.empty());
  EXPECT_GT(pages, 1U);
  ASSERT_THAT(ids, SizeIs(21));
  EXPECT_EQ(ids.front(), "small");
  EXPECT_EQ(ids.back(), "row0");
}

}  // namespace
}  // namespace sluice::gateways
