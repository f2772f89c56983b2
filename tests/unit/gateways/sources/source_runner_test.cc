#include "gateways/sources/source_runner.h"

#include <gmock/gmock.h>

#include <random>

#include "schemas/base/status.h"
#include "tests/unit/gateways/sources/source_world.h"

namespace sluice::gateways {
namespace {

using eventlog::Topic;
using ::testing::ElementsAre;
using ::testing::SizeIs;

TEST(SourceRunner, RunsEntitiesEachInterval) {
  SourceWorld world;
  ScriptedConnector connector(true, CountingScript(100, 10, 50));
  SourceWorld::Node node(world, connector, "a");
  node.group.Assign();
  world.OpenOrg("acme");
  world.Request("acme", SourceWorld::Source({"account", "contact"}));
  for (const char* entity : {"account", "contact"}) {
    EXPECT_TRUE(SourceWorld::Await([&] { return world.Taken("acme", entity).size() >= 100; }));
    EXPECT_EQ(world.Taken("acme", entity), SourceWorld::Numbers(100));
  }
  // Two runs each brought rows; what they wrote says who and why.
  const auto all = world.memory.All(Topic::kChanges);
  for (const eventlog::StoredEvent& event : all) {
    if (event.event.type == "sluice.v1.ChangeSet") {
      v1::ChangeSet set;
      ASSERT_TRUE(set.ParseFromString(event.event.value));
      EXPECT_EQ(event.event.source, "sluice/source");
      EXPECT_EQ(event.event.cause.subject, "src");
      EXPECT_TRUE(event.event.cause.request_id.starts_with("acme/1/src/"));
      EXPECT_EQ(set.source(), "scripted:src");
      EXPECT_TRUE(set.only_changes());
      EXPECT_EQ(set.ops(0).version(), static_cast<int64_t>(set.step().number()));
    }
  }
  EXPECT_TRUE(
      SourceWorld::Await([&] { return world.All<v1::WorkDone>(Topic::kWork).size() >= 4; }));
  for (const auto& done : world.All<v1::WorkDone>(Topic::kWork)) {
    if (done.attempt() > 0) {
      EXPECT_GT(done.state().number(), 0U);
    }
  }
  node.runner.Stop();
}

TEST(SourceRunner, ARestartGoesOnAndReadsNoMoreThanTheMark) {
  SourceWorld world;
  world.OpenOrg("acme");
  world.Request("acme", SourceWorld::Source({"account"}));
  ScriptedConnector connector(true, CountingScript(200, 10, 20));
  for (int i = 0; i < 4; ++i) {
    SourceWorld::Node node(world, connector, "a");
    node.group.Assign();
    const size_t before = world.Taken("acme", "account").size();
    EXPECT_TRUE(SourceWorld::Await([&] { return world.Taken("acme", "account").size() > before; }));
    node.runner.Stop();
  }
  SourceWorld::Node node(world, connector, "b");
  node.group.Assign();
  EXPECT_TRUE(SourceWorld::Await([&] { return world.Taken("acme", "account").size() >= 200; }));
  EXPECT_EQ(world.Taken("acme", "account"), SourceWorld::Numbers(200));
  EXPECT_TRUE(SourceWorld::Await([&] {
    const auto marks = world.All<v1::WorkMark>(Topic::kWork);
    return marks.size() >= 2 && marks.back().changes_next() > marks.front().changes_next();
  }));
  node.runner.Stop();
}

TEST(SourceRunner, WhereWorkIsLostTheChainIsReadOfChanges) {
  SourceWorld world;
  world.OpenOrg("acme");
  world.Request("acme", SourceWorld::Source({"account"}));
  {
    ScriptedConnector connector(true, CountingScript(50, 10, 1'000));
    SourceWorld::Node node(world, connector, "a");
    node.group.Assign();
    EXPECT_TRUE(SourceWorld::Await([&] { return world.Taken("acme", "account").size() == 50; }));
    node.runner.Stop();
  }
  // A mark of another log: nothing that `work` tells is of this one.
  v1::WorkMark mark;
  mark.set_log_id("another#1");
  mark.set_changes_next(1'000'000);
  eventlog::Event event;
  event.type = v1::WorkMark::descriptor()->full_name();
  event.key = "_mark";
  event.value = mark.SerializeAsString();
  world.memory.Replace(Topic::kWork, 0, {event});
  ScriptedConnector connector(true, CountingScript(80, 10, 1'000));
  SourceWorld::Node node(world, connector, "b");
  node.group.Assign();
  EXPECT_TRUE(SourceWorld::Await([&] { return world.Taken("acme", "account").size() >= 80; }));
  EXPECT_EQ(world.Taken("acme", "account"), SourceWorld::Numbers(80));
  node.runner.Stop();
}

TEST(SourceRunner, AFailureIsRetriedAndGivenUp) {
  SourceWorld world;
  world.OpenOrg("acme");
  world.Request("acme", SourceWorld::Source({"account"}));
  std::atomic<int> runs = 0;
  ScriptedConnector connector(true, [&](const SourceContext&, RowSink&) -> absl::Status {
    ++runs;
    return Error(absl::StatusCode::kUnavailable, "source_unreachable", "no route to it");
  });
  SourceWorld::Node node(world, connector, "a");
  node.group.Assign();
  EXPECT_TRUE(
      SourceWorld::Await([&] { return !world.All<v1::DeadLetter>(Topic::kDeadletter).empty(); }));
  const v1::DeadLetter letter = world.All<v1::DeadLetter>(Topic::kDeadletter).front();
  EXPECT_EQ(letter.topic(), "work");
  EXPECT_EQ(letter.code(), "source_unreachable");
  EXPECT_EQ(letter.reason(), "no route to it");
  EXPECT_EQ(letter.entity(), "account");
  EXPECT_TRUE(SourceWorld::Await([&] {
    const auto failed = world.All<v1::WorkFailed>(Topic::kWork);
    return failed.size() >= 10 && failed[9].final() && failed[9].attempt() == 10;
  }));
  EXPECT_TRUE(SourceWorld::Await([&] { return runs > 10; }));  // the next slot tries anew
  node.runner.Stop();
}

// Its first set is taken each time, and then it breaks: the number grows, but it comes no further.
TEST(SourceRunner, APageThatAlwaysBreaksBehindItsFirstSetIsGivenUp) {
  SourceWorld world;
  world.OpenOrg("acme");
  world.Request("acme", SourceWorld::Source({"account"}));
  ScriptedConnector connector(true, [](const SourceContext&, RowSink& sink) -> absl::Status {
    const auto schema = sink.Define(OrgId(), ScriptedEntity("account"));
    RETURN_IF_ERROR(schema.status());
    SourceSet set;
    set.number_is_version = true;
    v1::Operation op;
    op.set_kind(v1::Operation::KIND_DELETE);
    op.set_entity_id((*schema)->id().value());
    op.set_key("a");
    set.ops.push_back(op);
    RETURN_IF_ERROR(sink.Append(std::move(set)));
    RETURN_IF_ERROR(sink.Flush());
    return Error(absl::StatusCode::kUnavailable, "source_page_broken", "the page ends amid a row");
  });
  SourceWorld::Node node(world, connector, "a");
  node.group.Assign();
  EXPECT_TRUE(
      SourceWorld::Await([&] { return !world.All<v1::DeadLetter>(Topic::kDeadletter).empty(); }));
  EXPECT_EQ(world.All<v1::DeadLetter>(Topic::kDeadletter).front().code(), "source_page_broken");
  EXPECT_GT(world.Taken("acme", "account").size(), 1U);
  node.runner.Stop();
}

TEST(SourceRunner, ARunThatIsToldToStopIsNotDone) {
  SourceWorld world;
  world.OpenOrg("acme");
  world.Request("acme", SourceWorld::Source({"account"}));
  std::atomic<int> runs = 0;
  ScriptedConnector connector(true, [&](const SourceContext&, RowSink& sink) {
    ++runs;
    while (sink.Pause(std::chrono::milliseconds(1'000))) {
    }
    return absl::OkStatus();  // as far as it came
  });
  SourceWorld::Node node(world, connector, "a");
  node.group.Assign();
  ASSERT_TRUE(SourceWorld::Await([&] { return runs == 1; }));
  node.group.Revoke();
  node.runner.Stop();
  const auto failed = world.All<v1::WorkFailed>(Topic::kWork);
  ASSERT_THAT(failed, SizeIs(1));
  EXPECT_EQ(failed[0].code(), "");
  EXPECT_FALSE(failed[0].final());
  for (const auto& done : world.All<v1::WorkDone>(Topic::kWork)) {
    EXPECT_EQ(done.attempt(), 0U);
  }
}

TEST(SourceRunner, AnErrorThatDoesNotPassWaitsForTheNextSlot) {
  SourceWorld world;
  world.OpenOrg("acme");
  world.Request("acme", SourceWorld::Source({"account"}));
  ScriptedConnector connector(true, [](const SourceContext&, RowSink&) -> absl::Status {
    return Error(absl::StatusCode::kFailedPrecondition, "incompatible_schema", "another key");
  });
  SourceWorld::Node node(world, connector, "a");
  node.group.Assign();
  EXPECT_TRUE(
      SourceWorld::Await([&] { return world.All<v1::WorkFailed>(Topic::kWork).size() >= 2; }));
  for (const v1::WorkFailed& failed : world.All<v1::WorkFailed>(Topic::kWork)) {
    EXPECT_TRUE(failed.final());
    EXPECT_EQ(failed.attempt(), 1U);
    EXPECT_EQ(failed.code(), "incompatible_schema");
  }
  EXPECT_THAT(world.All<v1::DeadLetter>(Topic::kDeadletter), SizeIs(0));
  node.runner.Stop();
}

TEST(SourceRunner, RowsThatCantBeTakenGoToDeadLettersAndTheRestGoesOn) {
  SourceWorld world;
  world.OpenOrg("acme");
  world.Request("acme", SourceWorld::Source({"account"}));
  ScriptedConnector connector(
      true, [](const SourceContext& context, RowSink& sink) -> absl::Status {
        const auto schema = sink.Define(OrgId(), ScriptedEntity("account"));
        RETURN_IF_ERROR(schema.status());
        if (!context.cursor.empty()) {
          return absl::OkStatus();
        }
        RETURN_IF_ERROR(
            sink.Reject({{}, "account", "k", "type_mismatch", "no number", "{\"id\":7}"}));
        SourceSet set;
        for (const char* key : {"a", "b", "c"}) {
          v1::Operation op;
          op.set_kind(v1::Operation::KIND_DELETE);
          op.set_entity_id((*schema)->id().value() + (key[0] == 'b' ? 1 : 0));
          op.set_key(key);
          set.ops.push_back(op);
        }
        set.number_is_version = true;
        set.cursor = "done";
        return sink.Append(std::move(set));
      });
  SourceWorld::Node node(world, connector, "a");
  node.group.Assign();
  EXPECT_TRUE(SourceWorld::Await([&] { return world.Taken("acme", "account").size() == 2; }));
  EXPECT_THAT(world.Taken("acme", "account"), ElementsAre("a", "c"));
  const auto letters = world.All<v1::DeadLetter>(Topic::kDeadletter);
  ASSERT_THAT(letters, SizeIs(2));
  EXPECT_EQ(letters[0].topic(), "source:src");
  EXPECT_EQ(letters[0].code(), "type_mismatch");
  EXPECT_EQ(letters[0].value(), "{\"id\":7}");
  EXPECT_EQ(letters[1].code(), "unknown_entity");
  EXPECT_NE(letters[0].id(), letters[1].id());
  EXPECT_TRUE(SourceWorld::Await([&] {
    for (const auto& done : world.All<v1::WorkDone>(Topic::kWork)) {
      if (done.numbers().rejected() == 2 && done.numbers().rows() == 2) {
        return true;
      }
    }
    return false;
  }));
  node.runner.Stop();
}

TEST(SourceRunner, AReloadBeginsAnewAndNumbersGoOn) {
  SourceWorld world;
  world.OpenOrg("acme");
  world.Request("acme", SourceWorld::Source({"account"}));
  ScriptedConnector connector(true, CountingScript(20, 10, 100));
  SourceWorld::Node node(world, connector, "a");
  node.group.Assign();
  EXPECT_TRUE(SourceWorld::Await([&] { return world.Taken("acme", "account").size() == 20; }));
  v1::ProvisioningRequest reload;
  reload.mutable_run_source()->set_name("src");
  reload.mutable_run_source()->set_reload(true);
  world.Request("acme", reload);
  EXPECT_TRUE(SourceWorld::Await([&] { return world.Taken("acme", "account").size() == 40; }));
  node.runner.Stop();
}

TEST(SourceRunner, AllEntitiesAreFoundOut) {
  SourceWorld world;
  world.OpenOrg("acme");
  ScriptedConnector connector(true, CountingScript(20, 10, 100));
  connector.offer.entities.push_back({ScriptedEntity("lead"), {}, false, {}});
  connector.offer.entities.push_back({ScriptedEntity("task"), {}, false, {}});
  v1::ProvisioningRequest source = SourceWorld::Source({});
  source.mutable_put_source()->mutable_settings()->set_all_entities(true);
  world.Request("acme", source);
  SourceWorld::Node node(world, connector, "a");
  node.group.Assign();
  for (const char* entity : {"lead", "task"}) {
    EXPECT_TRUE(SourceWorld::Await([&] { return world.Taken("acme", entity).size() == 20; }));
  }
  node.runner.Stop();
}

// What is asked of provisioning for it stays in its topic for ever.
TEST(SourceRunner, AnEntityThatIsRefusedIsAskedForSeldom) {
  SourceWorld world;
  world.OpenOrg("acme");
  ScriptedConnector connector(true, CountingScript(20, 10, 100));
  connector.offer.entities.push_back({ScriptedEntity("No name"), {}, false, {}});
  connector.offer.entities.push_back({ScriptedEntity("task"), {}, false, {}});
  v1::ProvisioningRequest source = SourceWorld::Source({});
  source.mutable_put_source()->mutable_settings()->set_all_entities(true);
  world.Request("acme", source);
  SourceRunnerOptions options = SourceWorld::OptionsOf("a");
  options.worker.intervals.discovery = std::chrono::seconds(1);
  SourceWorld::Node node(world, connector, options);
  node.group.Assign();
  const auto told = [&] {
    std::vector<std::string> codes;
    for (const auto& failed : world.All<v1::WorkFailed>(Topic::kWork)) {
      codes.push_back(failed.code());
    }
    return codes;
  };
  EXPECT_TRUE(SourceWorld::Await([&] { return told().size() >= 16; }));
  size_t asked = 0;
  for (const auto& request : world.All<v1::ProvisioningRequest>(Topic::kProvisioning)) {
    asked += request.put_entity().name() == "No name" ? 1 : 0;
  }
  // Behind waits of 1, 2, 4 and 8 s.
  EXPECT_GE(asked, 1U);
  EXPECT_LE(asked, 8U);
  // Each run says so, whether it asked or not.
  EXPECT_THAT(told(), ::testing::Each(told()[0]));
  EXPECT_TRUE(SourceWorld::Await([&] { return world.Taken("acme", "task").size() == 20; }));
  node.runner.Stop();
}

TEST(SourceRunner, ASourceThatLastsIsBegunAnewWhenItIsDefinedOtherwise) {
  SourceWorld world;
  world.OpenOrg("acme");
  std::atomic<int> with_scope = 0;
  ScriptedConnector connector(false, [&](const SourceContext& context, RowSink& sink) {
    with_scope += context.settings.auth().scope() == "new" ? 1 : 0;
    while (sink.Pause(std::chrono::milliseconds(1'000))) {
    }
    return absl::OkStatus();
  });
  v1::ProvisioningRequest source = SourceWorld::Source({"account"});
  world.Request("acme", source);
  SourceWorld::Node node(world, connector, "a");
  node.group.Assign();
  EXPECT_TRUE(
      SourceWorld::Await([&] { return !world.All<v1::WorkStarted>(Topic::kWork).empty(); }));
  source.mutable_put_source()->mutable_settings()->mutable_auth()->set_scope("new");
  world.Request("acme", source);
  EXPECT_TRUE(SourceWorld::Await([&] { return with_scope > 0; }));
  v1::ProvisioningRequest gone;
  gone.mutable_delete_source()->set_name("src");
  world.Request("acme", gone);
  node.runner.RefreshMetrics();
  node.runner.Stop();
}

// The hard part: workers that are killed, paused, revoked or not told so, over one log, whose
// answers are lost at times. Each row comes once and in order, by the log's order alone.
TEST(SourceRunner, OtherOrganisationsAreOpenedAndWalked) {
  SourceWorld world;
  for (const char* const org : {"acme", "closed", "elsewhere"}) world.OpenOrg(org);
  v1::ProvisioningRequest request;
  request.mutable_close_org();
  world.Request("closed", request);
  *request.mutable_put_entity() = ScriptedEntity("account");
  world.Request("elsewhere", request);
  world.Request("acme", SourceWorld::Source({"account"}));
  std::string closed;
  std::vector<std::string> walked;
  std::atomic<bool> done = false;
  const auto run = [&](RowSink& sink) -> absl::Status {
    for (const char* const org : {"b", "a", "b", "acme"}) {
      const OrgId id = *OrgId::Parse(org);
      RETURN_IF_ERROR(sink.OpenOrg(id));
      RETURN_IF_ERROR(sink.Define(id, ScriptedEntity("account")).status());
    }
    RETURN_IF_ERROR(sink.OpenOrg(*OrgId::Parse("c")));  // without the entity
    closed = ErrorCode(sink.OpenOrg(*OrgId::Parse("closed")));
    return sink.ForEachOrg("account", [&](const OrgId& org) {
      walked.push_back(org.value());
      return absl::OkStatus();
    });
  };
  ScriptedConnector connector(false, [&](const SourceContext&, RowSink& sink) {
    const absl::Status status = done ? absl::OkStatus() : run(sink);
    EXPECT_TRUE(status.ok()) << status;
    done = true;
    while (sink.Pause(std::chrono::milliseconds(10))) {
    }
    return status;
  });
  SourceWorld::Node node(world, connector, "a");
  node.group.Assign();
  EXPECT_TRUE(SourceWorld::Await([&] { return done.load(); }));
  node.runner.Stop();
  EXPECT_EQ(closed, "org_not_found");
  EXPECT_THAT(walked, ElementsAre("a", "acme", "b"));
}

TEST(SourceRunner, WorkersThatTakeThemselvesForTheOnlyOneMakeOneChain) {
  size_t stale = 0;
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    constexpr uint64_t kRows = 400;
    SourceWorld world;
    world.OpenOrg("acme");
    world.Request("acme", SourceWorld::Source({"account", "contact"}));
    std::mt19937 random(seed);
    std::atomic<uint32_t> pauses = seed;
    ScriptedConnector connector(true, CountingScript(kRows, 2, 60, [&](RowSink& sink) {
                                  return sink.Pause(std::chrono::milliseconds(++pauses % 7))
                                             ? absl::OkStatus()
                                             : absl::CancelledError("");
                                }));
    std::vector<std::unique_ptr<SourceWorld::Node>> nodes;
    std::vector<std::unique_ptr<SourceWorld::Node>> killed;
    for (const char* name : {"a", "b"}) {
      nodes.push_back(std::make_unique<SourceWorld::Node>(world, connector, name));
      nodes.back()->log.Fail(9, seed);
    }
    for (int step = 0; step < 40; ++step) {
      const size_t which = random() % 2;
      SourceWorld::Node& node = *nodes[which];
      switch (random() % 8) {
        case 0:
        case 1:
        case 2:
          node.group.Assign();  // whether or not the other one has it
          break;
        case 3:
          node.log.Release();
          node.group.Revoke();
          break;
        case 4:
          node.log.Hold();
          break;
        case 5:
        case 6:
          node.log.Release();
          break;
        default:
          node.log.Kill();
          killed.push_back(std::move(nodes[which]));
          nodes[which] = std::make_unique<SourceWorld::Node>(world, connector, "c");
          nodes[which]->log.Fail(9, seed + static_cast<uint32_t>(step));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 60));
    }
    for (const auto& node : nodes) {
      node->log.Release();
      node->log.Fail(0, 0);
    }
    nodes[0]->group.Revoke();
    nodes[1]->group.Assign();
    for (const char* entity : {"account", "contact"}) {
      EXPECT_TRUE(SourceWorld::Await([&] { return world.Taken("acme", entity).size() >= kRows; }));
      EXPECT_EQ(world.Taken("acme", entity), SourceWorld::Numbers(kRows));
    }
    size_t ops = 0;
    for (const v1::ChangeSet& set : world.All<v1::ChangeSet>(Topic::kChanges)) {
      ops += static_cast<size_t>(set.ops_size());
    }
    stale += ops - 2 * kRows;
    for (auto* all : {&killed, &nodes}) {
      for (const auto& node : *all) {
        node->runner.Stop();
      }
    }
  }
  EXPECT_GT(stale, 0U);  // they did get in each other's way
}

}  // namespace
}  // namespace sluice::gateways
