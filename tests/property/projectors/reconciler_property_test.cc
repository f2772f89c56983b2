// Random definitions, and then `provisioning` or `changes`, or both at different places, lose their
// ends, go on for a while or not, and are reconciled by a process that may die at any event:
// whatever one of the topics still held counts, both tell the same, and what is defined next takes
// effect. Where both went on, no entity of which there are rows is deleted, and none becomes
// another, but where somebody asked for it.
#include <gmock/gmock.h>

#include <array>
#include <random>
#include <set>

#include "projectors/provisioning/agreement.h"
#include "projectors/provisioning/reconciler.h"
#include "projectors/provisioning/request_ledger.h"
#include "schemas/base/clock.h"
#include "schemas/base/status.h"
#include "tests/support/memory_log.h"
#include "tests/unit/projectors/provisioning/provisioning_testing.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;
using ::testing::AnyOf;

using testing::kPartition;

v1::ProvisioningRequest RandomReconcilerRequest(std::mt19937& random) {
  const std::string entity = std::string(1, static_cast<char>('a' + random() % 3));
  v1::ProvisioningRequest request;
  switch (random() % 12) {
    case 0:
      return testing::OpenRequest("");
    case 1:
      return random() % 3 == 0 ? testing::CloseRequest() : testing::OpenRequest("");
    case 2:
    case 3:
      return testing::EntityRequest(entity, true, "x" + std::to_string(random() % 4));
    case 4:
      return testing::EntityRequest(entity, random() % 2 == 0);  // gives no id that is new
    case 5:
      request.mutable_delete_entity()->set_name(entity);
      return request;
    case 6:
      return testing::ProfileRequest("p",
                                     "{\"entities\":{\"" + entity + "\":[{\"kind\":\"user\"}]}}");
    case 7:
      request.mutable_delete_role()->set_name("r");
      return request;
    case 8:
      request.mutable_put_source()->mutable_settings()->set_name(entity);
      request.mutable_put_source()->mutable_settings()->set_kind("odata");
      request.mutable_put_source()->mutable_settings()->set_url(std::to_string(random() % 2));
      return request;
    case 9:
      request.mutable_delete_source()->set_name(entity);
      return request;
    case 10:
      request.mutable_run_source()->set_name(entity);
      request.mutable_run_source()->set_reload(random() % 2 == 0);
      return request;
    default:
      return testing::RoleRequest(
          "r", "{\"offline\":true,\"entities\":{\"" + entity + "\":{\"read\":true}}}");
  }
}

// One sequencer and its callers, without threads.
class Sequencing {
 public:
  Sequencing(sluice::testing::MemoryLog& log, std::mt19937& random) : log_(log), random_(random) {}

  // Requests with unique ids; the last one may be left undecided, or without its outcome.
  void Run(int requests, bool stops_amid) {
    for (int i = 0; i < requests; ++i) {
      Carry(random_() % 2 == 0 ? "acme" : "beta", RandomReconcilerRequest(random_),
            stops_amid && i == requests - 1 ? static_cast<int>(random_() % 3) : 2);
    }
  }

  void Carry(const std::string& org, v1::ProvisioningRequest request, int steps = 2) {
    request.set_request_id("r" + std::to_string(random_()) + "-" + std::to_string(next_id_++));
    eventlog::Event event;
    event.id = request.request_id();
    event.type = v1::ProvisioningRequest::descriptor()->full_name();
    event.key = org;
    event.value = request.SerializeAsString();
    Append(Topic::kProvisioning, event);
    Decide(steps);
  }

 private:
  Offset Append(Topic topic, eventlog::Event event) {
    return log_.Append(topic, kPartition, {std::move(event)})->front();
  }

  // steps: 0 nothing, 1 the control event, 2 the outcome too.
  void Decide(int steps) {
    for (int round = 0; DecideNext(steps) && steps > 1; ++round) {
      ASSERT_LT(round, 100) << "a request is never decided";
    }
  }

  // One request of each organisation; was there any?
  bool DecideNext(int steps) {
    RequestLedger ledger(log_.Agreed(kPartition).provisioning);
    for (const auto& event : log_.All(Topic::kProvisioning)) {
      (void)ledger.Apply(event);
    }
    for (RequestLedger::Pending& pending : ledger.Next(1'000)) {
      auto decision = projectors::Decide(pending.org, ledger.directory().Find(pending.org).get(),
                                         pending.request, pending.offset);
      v1::ProvisioningOutcome outcome;
      if (decision.ok()) {
        outcome = decision->outcome;
      } else {
        SetRefusal(decision.status(), &outcome);
      }
      outcome.set_request_id(pending.request.request_id());
      outcome.set_request_offset(pending.offset.value());
      outcome.set_changes_offset(kNoOffset.value());
      if (steps > 0 && decision.ok() && decision->control.has_value()) {
        eventlog::Event control = *decision->control;
        control.id = ControlEventId(pending.request.request_id());
        control.answers = pending.offset;
        outcome.set_changes_offset(Append(Topic::kChanges, control).value());
      }
      if (steps > 1) {
        Append(Topic::kProvisioning, testing::OutcomeEvent(pending.org, outcome, Offset(0)).event);
      }
    }
    return ledger.pending() > 0;
  }

  sluice::testing::MemoryLog& log_;
  std::mt19937& random_;
  static inline int next_id_ = 0;
};

struct Folded {
  std::map<std::string, std::string> provisioning;
  std::map<std::string, std::string> changes;
  std::map<std::string, std::array<Offset, 2>> told;  // opened, last control
  std::map<std::string, std::array<Offset, 2>> places;
  size_t pending = 0;
};

// Empty for one that is closed: only what is open has definitions that could differ.
std::string Text(const OrgModel& model) {
  if (!model.open()) {
    return "";
  }
  std::string text = std::to_string(model.incarnation());
  for (const auto& [name, entity] : model.entities()) {
    text += " " + entity->proto().ShortDebugString();
  }
  for (const auto& [name, profile] : model.profiles()) {
    text += " " + profile->ShortDebugString();
  }
  for (const auto& [name, role] : model.roles()) {
    text += " " + role->ShortDebugString();
  }
  for (const auto& [name, source] : model.sources()) {
    text += " " + source.ShortDebugString();
  }
  return text;
}

Folded Fold(const sluice::testing::MemoryLog& log) {
  Folded folded;
  RequestLedger ledger;
  for (const auto& event : log.All(Topic::kProvisioning)) {
    (void)ledger.Apply(event);
  }
  folded.pending = ledger.pending();
  for (const auto& entry : ledger.directory().List("", 100)) {
    const bool open = entry->state == OrgState::kReady || entry->state == OrgState::kProvisioning;
    folded.provisioning[entry->org.value()] = open ? Text(*entry->model) : "";
    folded.changes[entry->org.value()];
    folded.places[entry->org.value()] = {kNoOffset, kNoOffset};
    folded.told[entry->org.value()] = {entry->opened, entry->last_control};
  }
  std::map<std::string, std::shared_ptr<const OrgModel>> models;
  for (const auto& event : log.All(Topic::kChanges)) {
    auto& model = models.try_emplace(event.event.key, OrgModel::Empty()).first->second;
    if (model->Answered(event.event)) {
      continue;
    }
    auto next = model->Apply(event.event);
    if (!next.ok()) {
      continue;
    }
    model = *std::move(next);
    folded.provisioning[event.event.key];
    auto& places =
        folded.places.try_emplace(event.event.key, std::array{kNoOffset, kNoOffset}).first->second;
    places[1] = event.offset;
    if (event.event.type == v1::OrgOpened::descriptor()->full_name()) {
      places[0] = event.offset;
    }
  }
  for (const auto& [org, model] : models) {
    folded.changes[org] = Text(*model);
  }
  return folded;
}

// Entities of an organisation that may have rows, as the fold has them.
struct Held {
  uint32_t incarnation = 0;
  std::map<uint32_t, v1::EntitySchema> entities;
};

std::map<std::string, Held> HeldInChanges(const sluice::testing::MemoryLog& log) {
  std::map<std::string, std::shared_ptr<const OrgModel>> models;
  for (const auto& event : log.All(Topic::kChanges)) {
    auto& model = models.try_emplace(event.event.key, OrgModel::Empty()).first->second;
    if (auto next = model->Apply(event.event); next.ok()) {
      model = *std::move(next);
    }
  }
  std::map<std::string, Held> held;
  for (const auto& [org, model] : models) {
    if (model->open()) {
      held[org].incarnation = model->incarnation();
      for (const auto& [name, schema] : model->entities()) {
        held[org].entities[schema->id().value()] = schema->proto();
      }
    }
  }
  return held;
}

// Was it accepted that the entity is deleted?
bool DeletionWasTold(const sluice::testing::MemoryLog& log, const std::string& org,
                     const v1::EntitySchema& entity) {
  for (const auto& event : log.All(Topic::kProvisioning)) {
    v1::ProvisioningOutcome outcome;
    if (event.event.key == org &&
        event.event.type == v1::ProvisioningOutcome::descriptor()->full_name() &&
        outcome.ParseFromString(event.event.value) && outcome.error_code().empty() &&
        outcome.entity_deleted().entity_id() == entity.entity_id() &&
        outcome.entity_deleted().name() == entity.name()) {
      return true;
    }
  }
  return false;
}

void ExpectNothingWasDeletedUnasked(const sluice::testing::MemoryLog& log,
                                    const std::map<std::string, Held>& before) {
  const auto after = HeldInChanges(log);
  for (const auto& [org, held] : before) {
    const auto now = after.find(org);
    if (now == after.end() || now->second.incarnation != held.incarnation) {
      continue;  // closed, as one of the topics tells
    }
    for (const auto& [id, entity] : held.entities) {
      const auto found = now->second.entities.find(id);
      if (found == now->second.entities.end()) {
        EXPECT_TRUE(DeletionWasTold(log, org, entity)) << org << " " << entity.ShortDebugString();
        continue;
      }
      EXPECT_EQ(found->second.name(), entity.name()) << org << " " << id;
      for (const auto& attribute : entity.attributes()) {
        for (const auto& other : found->second.attributes()) {
          EXPECT_TRUE(attribute.id() != other.id() || attribute.name() == other.name())
              << org << " " << entity.name() << "." << attribute.name() << " is " << other.name();
        }
      }
    }
  }
}

// What ids were given to, by whatever history, as far as the topics tell: an entity's own is 0.
using Ids = std::map<uint32_t, std::set<std::string>>;
using Given = std::map<std::pair<std::string, uint32_t>, std::map<uint32_t, Ids>>;

void AddGiven(const std::string& org, uint32_t incarnation, const v1::EntitySchema& schema,
              Given& given) {
  Ids& ids = given[{org, incarnation}][schema.entity_id()];
  ids[0].insert(schema.name());
  for (const auto& attribute : schema.attributes()) {
    ids[attribute.id()].insert(attribute.name());
  }
}

Given GivenByAnybody(const sluice::testing::MemoryLog& log) {
  Given given;
  Directory directory;
  for (const auto& event : log.All(Topic::kProvisioning)) {
    const auto applied = directory.Apply(event);
    v1::ProvisioningOutcome outcome;
    if (applied.ok() && applied->has_value() && (*applied)->status.ok() &&
        outcome.ParseFromString(event.event.value) && outcome.has_entity_defined()) {
      AddGiven(event.event.key, directory.Find(testing::Org(event.event.key))->incarnation,
               outcome.entity_defined().schema(), given);
    }
  }
  std::map<std::string, std::shared_ptr<const OrgModel>> models;
  for (const auto& event : log.All(Topic::kChanges)) {
    auto& model = models.try_emplace(event.event.key, OrgModel::Empty()).first->second;
    auto next = model->Apply(event.event);
    model = next.ok() ? *std::move(next) : model;
    for (const auto& [name, schema] : model->entities()) {
      AddGiven(event.event.key, model->incarnation(), schema->proto(), given);
    }
  }
  return given;
}

// What is defined next shows nobody the values of something else: those of an attribute of before
// lie in rows under its id.
void ExpectNoIdIsGivenAgain(sluice::testing::MemoryLog& log, Sequencing& sequencing,
                            const Given& given) {
  for (const auto& [org, before] : HeldInChanges(log)) {
    for (const auto& [id, entity] : before.entities) {
      sequencing.Carry(org, testing::EntityRequest(entity.name(), true, "fresh"));
    }
    sequencing.Carry(org, testing::EntityRequest("fresh"));
  }
  for (const auto& [org, now] : HeldInChanges(log)) {
    const auto found = given.find({org, now.incarnation});
    EXPECT_TRUE(std::ranges::any_of(now.entities, [](const auto& entity) {
      return entity.second.name() == "fresh";
    })) << org;
    for (const auto& [id, entity] : now.entities) {
      Ids ids;
      if (found != given.end() && found->second.contains(id)) {
        ids = found->second.at(id);
      }
      ids[0].insert(entity.name());
      EXPECT_EQ(ids[0].size(), 1U) << org << " " << entity.ShortDebugString();
      for (const auto& attribute : entity.attributes()) {
        ids[attribute.id()].insert(attribute.name());
        EXPECT_EQ(ids[attribute.id()].size(), 1U)
            << org << " " << entity.name() << "." << attribute.name() << " has the id "
            << attribute.id() << " of " << *ids[attribute.id()].begin();
      }
    }
  }
}

// Until it comes to its end; it dies a few times before. Organisations in which two histories
// contradict one another are closed, which is asked for as it is told.
Reconciled ReconcileWithDeaths(sluice::testing::MemoryLog& log, const Clock& clock,
                               std::mt19937& random) {
  std::set<std::string> close;
  while (true) {
    for (int death = static_cast<int>(random() % 3); death > 0; --death) {
      log.FailAfter(random() % 12);
      (void)Reconcile(log, clock, kPartition, {}, close);
      log.FailAfter(std::nullopt);
    }
    const size_t controls = log.All(Topic::kChanges).size();
    auto done = Reconcile(log, clock, kPartition, {}, close);
    if (done.ok()) {
      return *std::move(done);
    }
    EXPECT_EQ(ErrorCode(done.status()), "log_diverged");
    EXPECT_EQ(log.All(Topic::kChanges).size(), controls) << done.status();
    bool told = false;
    for (const std::string org : {"acme", "beta"}) {
      told = told || (Message(done.status()).find("--close-org " + org) != std::string::npos &&
                      close.insert(org).second);
    }
    if (!told) {
      ADD_FAILURE() << done.status();
      return {};
    }
  }
}

class ReconcilerProperty : public ::testing::TestWithParam<uint32_t> {};

TEST_P(ReconcilerProperty, BothTopicsTellTheSameAgain) {
  const RealClock clock;
  for (uint32_t history = 0; history < 60; ++history) {
    const uint32_t seed = GetParam() * 1'000 + history;
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    sluice::testing::MemoryLog log;
    Sequencing sequencing(log, random);
    sequencing.Run(10 + static_cast<int>(random() % 20), random() % 2 == 0);
    const Folded before = Fold(log);
    const bool cut_provisioning = random() % 2 == 0;
    const bool cut_changes = !cut_provisioning || random() % 4 == 0;
    const bool goes_on = random() % 2 == 0;
    SCOPED_TRACE(std::string(cut_provisioning ? "provisioning was cut, " : "") +
                 (cut_changes ? "changes was cut, " : "") + (goes_on ? "both went on" : ""));
    if (cut_provisioning) {
      const size_t events = log.All(Topic::kProvisioning).size();
      log.Cut(Topic::kProvisioning, events - random() % (events + 1));
    }
    if (cut_changes) {
      const size_t events = log.All(Topic::kChanges).size();
      log.Cut(Topic::kChanges, events - random() % (events + 1));
    }
    if (goes_on) {
      sequencing.Run(1 + static_cast<int>(random() % 6), random() % 2 == 0);
    }
    const auto held = HeldInChanges(log);
    const Given given = GivenByAnybody(log);
    const Reconciled done = ReconcileWithDeaths(log, clock, random);
    ExpectNothingWasDeletedUnasked(log, held);
    EXPECT_TRUE(goes_on || done.closed == 0) << "one history gives no id twice";
    log.Agree();
    const Folded after = Fold(log);
    EXPECT_THAT(done.unsettled, ::testing::IsEmpty());
    if (!(cut_provisioning && cut_changes) && !goes_on) {
      for (const auto& [org, text] : before.changes) {
        // A control event whose outcome had yet to come may be among what is lost, or told of now.
        const auto known = before.provisioning.find(org);
        const auto told = after.provisioning.find(org);
        EXPECT_THAT(told == after.provisioning.end() ? "" : told->second,
                    AnyOf(text, known == before.provisioning.end() ? "" : known->second));
      }
    }
    ASSERT_EQ(after.provisioning, after.changes);
    EXPECT_EQ(after.told, after.places);
    EXPECT_TRUE(Reconcile(log, clock, kPartition)->nothing()) << "the second time";
    sequencing.Run(8, false);
    const Folded later = Fold(log);
    ASSERT_EQ(later.provisioning, later.changes) << "what was defined next was passed over";
    EXPECT_EQ(later.pending, 0U);
    ExpectNoIdIsGivenAgain(log, sequencing, given);
  }
}

TEST(ReconcilerTest, WhatWasAcceptedAfterTheLossCounts) {
  const RealClock clock;
  std::mt19937 random(1);
  sluice::testing::MemoryLog log;
  Sequencing sequencing(log, random);
  const auto role = [](const std::string& denied) {
    return testing::RoleRequest(
        "r",
        R"({"offline":true,"entities":{"a":{"read":true,"deny_columns":[")" + denied + "\"]}}}");
  };
  sequencing.Carry("acme", testing::OpenRequest(""));
  sequencing.Carry("acme", testing::EntityRequest("a", true, "x1"));
  const size_t kept = log.All(Topic::kProvisioning).size();
  sequencing.Carry("acme", role("owner"));
  sequencing.Carry("acme", testing::EntityRequest("b"));
  log.Cut(Topic::kProvisioning, kept);
  // Accepted, though the fold passes over it: it answers an older request than one that it knows.
  sequencing.Carry("acme", role("x1"));
  ASSERT_TRUE(Reconcile(log, clock, kPartition).ok());
  const Folded after = Fold(log);
  EXPECT_EQ(after.provisioning, after.changes);
  EXPECT_THAT(after.changes.at("acme"), ::testing::HasSubstr("deny_columns: \"x1\""));
  EXPECT_THAT(after.changes.at("acme"), ::testing::HasSubstr("name: \"b\"")) << "was lost";
}

TEST(ReconcilerTest, WhereTwoHistoriesGaveOneIdToTwoEntitiesNothingIsDeletedUnasked) {
  const RealClock clock;
  std::mt19937 random(1);
  sluice::testing::MemoryLog log;
  Sequencing sequencing(log, random);
  for (const std::string org : {"acme", "beta"}) {
    sequencing.Carry(org, testing::OpenRequest(""));
    sequencing.Carry(org, testing::EntityRequest("a"));
  }
  const size_t kept = log.All(Topic::kProvisioning).size();
  sequencing.Carry("beta", testing::EntityRequest("b"));
  sequencing.Carry("acme", testing::EntityRequest("x"));
  log.Cut(Topic::kProvisioning, kept);
  sequencing.Carry("acme", testing::EntityRequest("y"));
  const size_t events = log.All(Topic::kProvisioning).size();
  const auto refused = Reconcile(log, clock, kPartition);
  EXPECT_EQ(ErrorCode(refused.status()), "log_diverged");
  EXPECT_THAT(Message(refused.status()),
              ::testing::HasSubstr("organisation acme: entity 2 is x and y"));
  EXPECT_EQ(log.All(Topic::kProvisioning).size(), events) << "nothing was written";
  const auto closed = Reconcile(log, clock, kPartition, {}, {"acme"});
  ASSERT_TRUE(closed.ok()) << closed.status();
  EXPECT_EQ(closed->closed, 1U);
  EXPECT_THAT(closed->unsettled, ::testing::IsEmpty());
  Folded after = Fold(log);
  EXPECT_EQ(after.provisioning, after.changes);
  EXPECT_EQ(after.changes.at("acme"), "") << "it is closed";
  EXPECT_THAT(after.changes.at("beta"), ::testing::HasSubstr("name: \"b\""));
  EXPECT_EQ(after.told, after.places);
  EXPECT_TRUE(Reconcile(log, clock, kPartition, {}, {"acme"})->nothing()) << "the second time";
  sequencing.Carry("acme", testing::OpenRequest(""));
  sequencing.Carry("acme", testing::EntityRequest("y"));
  after = Fold(log);
  EXPECT_EQ(after.provisioning, after.changes);
}

TEST(ReconcilerTest, WhereTwoHistoriesGaveOneIdToTwoAttributesNothingBecomesAnother) {
  const RealClock clock;
  std::mt19937 random(1);
  sluice::testing::MemoryLog log;
  Sequencing sequencing(log, random);
  sequencing.Carry("acme", testing::OpenRequest(""));
  sequencing.Carry("acme", testing::EntityRequest("a"));
  const size_t kept = log.All(Topic::kProvisioning).size();
  sequencing.Carry("acme", testing::EntityRequest("a", true, "salary"));
  log.Cut(Topic::kProvisioning, kept);
  sequencing.Carry("acme", testing::EntityRequest("a", true, "nickname"));
  const auto refused = Reconcile(log, clock, kPartition);
  EXPECT_EQ(ErrorCode(refused.status()), "log_diverged");
  EXPECT_THAT(
      Message(refused.status()),
      ::testing::HasSubstr("organisation acme: attribute 3 of entity a is nickname and salary"));
}

// The one gave an id of an attribute that may be denied, the other has yet to give it.
TEST(ReconcilerTest, WhatOneHistoryGaveTheOtherGivesToNobody) {
  const RealClock clock;
  std::mt19937 random(1);
  sluice::testing::MemoryLog log;
  Sequencing sequencing(log, random);
  sequencing.Carry("acme", testing::OpenRequest(""));
  sequencing.Carry("acme", testing::EntityRequest("a"));
  const size_t kept = log.All(Topic::kProvisioning).size();
  sequencing.Carry("acme", testing::EntityRequest("a", true, "salary"));
  sequencing.Carry(
      "acme",
      testing::RoleRequest(
          "r", R"({"offline":true,"entities":{"a":{"read":true,"deny_columns":["salary"]}}})"));
  log.Cut(Topic::kProvisioning, kept);
  sequencing.Carry("acme", testing::EntityRequest("a", false));  // nothing that is new
  const auto done = Reconcile(log, clock, kPartition);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_THAT(done->unsettled, ::testing::IsEmpty());
  log.Agree();
  EXPECT_TRUE(Reconcile(log, clock, kPartition)->nothing()) << "the second time";
  EXPECT_EQ(Fold(log).provisioning, Fold(log).changes);
  sequencing.Carry("acme", testing::EntityRequest("a", false, "nickname"));
  const v1::EntitySchema entity = HeldInChanges(log).at("acme").entities.at(1);
  EXPECT_EQ(entity.attributes(2).name(), "nickname");
  EXPECT_EQ(entity.attributes(2).id(), 4U);
  ASSERT_EQ(entity.removed_size(), 1) << "who left it out did not know of it: as if it had";
  EXPECT_EQ(entity.removed(0).name(), "salary");
  EXPECT_EQ(entity.removed(0).id(), 3U);
}

// Rows cannot be told apart by their keys where these are two attributes'.
TEST(ReconcilerTest, WhereTwoHistoriesKeyAnEntityDifferentlyItIsNamed) {
  const RealClock clock;
  std::mt19937 random(1);
  sluice::testing::MemoryLog log;
  Sequencing sequencing(log, random);
  sequencing.Carry("acme", testing::OpenRequest(""));
  const size_t kept = log.All(Topic::kProvisioning).size();
  sequencing.Carry("acme", testing::EntityRequest("a"));
  log.Cut(Topic::kProvisioning, kept);
  v1::ProvisioningRequest other = testing::EntityRequest("a", false);
  other.mutable_put_entity()->set_primary_key("owner");
  sequencing.Carry("acme", other);
  const auto refused = Reconcile(log, clock, kPartition);
  EXPECT_EQ(ErrorCode(refused.status()), "log_diverged");
  EXPECT_THAT(Message(refused.status()),
              ::testing::HasSubstr(
                  "organisation acme: the key of entity a is attribute 1 and attribute 2"));
}

TEST(ReconcilerTest, WhoIsToBeClosedMustBeThere) {
  const RealClock clock;
  std::mt19937 random(1);
  sluice::testing::MemoryLog log;
  Sequencing sequencing(log, random);
  sequencing.Carry("acme", testing::OpenRequest(""));
  log.Cut(Topic::kChanges, 0);
  const auto refused = Reconcile(log, clock, kPartition, {}, {"acme", "amce"});
  EXPECT_EQ(ErrorCode(refused.status()), "org_not_found");
  EXPECT_THAT(Message(refused.status()), ::testing::HasSubstr("\"amce\""));
  EXPECT_EQ(log.All(Topic::kChanges).size(), 0U) << "nothing was written";
  EXPECT_TRUE(Reconcile(log, clock, kPartition, {}, {"acme"}).ok());
}

// Read as another message it would not be valid, which Protobuf tells on a person's terminal.
TEST(ReconcilerTest, WhatIsNoOutcomeIsNotReadAsOne) {
  const RealClock clock;
  sluice::testing::MemoryLog log;
  v1::LogStarted started;
  started.add_ends()->set_changes_hash(~uint64_t{0});
  eventlog::Event event;
  event.type = v1::LogStarted::descriptor()->full_name();
  event.value = started.SerializeAsString();
  ASSERT_TRUE(log.Append(Topic::kProvisioning, kPartition, {event}).ok());
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(Reconcile(log, clock, kPartition).ok());
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

INSTANTIATE_TEST_SUITE_P(Seeds, ReconcilerProperty, ::testing::Range(1U, 9U));

}  // namespace
}  // namespace sluice::projectors
