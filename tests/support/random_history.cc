#include "tests/support/random_history.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>

namespace sluice::testing {
namespace {

// What the attributes 6 and 7 of an entity point at.
struct Pointers {
  std::string_view entity;
  std::string_view first;
  std::string_view second;
};
constexpr Pointers kPointers[] = {
    {"account", "order", ""}, {"order", "account", "task"}, {"task", "account", "order"}};
constexpr std::string_view kPointerNames[] = {"parent", "other"};

const Pointers& PointersOf(std::string_view entity) {
  return *std::ranges::find(kPointers, entity, &Pointers::entity);
}

constexpr std::string_view kFilters[] = {"amount eq 1",
                                         "owner eq @user and amount ne 2",
                                         "team in @teams or amount gt 1",
                                         "amount eq null and 'sales' in @roles",
                                         "(owner eq @user or deputy eq @user) and amount lt 2",
                                         "contains(deputy,'3') or deputy eq owner"};

}  // namespace

uint64_t TestSeed() {
  const char* given = std::getenv("SLUICE_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()() % 1'000'000'000;
  std::printf("SLUICE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

size_t TestSteps(size_t normal) {
  const char* factor = std::getenv("SLUICE_STEPS");
  return factor == nullptr ? normal : normal * std::strtoull(factor, nullptr, 10);
}

eventlog::StoredEvent RandomHistory::Event(const google::protobuf::Message& payload) {
  offset_ += static_cast<int64_t>(Chance(90) ? 1 : Between1And(4));
  return MakeEvent(offset_, payload);
}

std::vector<eventlog::StoredEvent> RandomHistory::Next(size_t count) {
  std::vector<eventlog::StoredEvent> events;
  while (events.size() < count) {
    const size_t step = step_++;
    const size_t dice = Below(1000);
    if (step < 8) {
      events.push_back(Start(step));
    } else if (dice < 20) {
      events.push_back(Control());
    } else if (dice < 35) {
      events.push_back(Strange());
    } else if (dice < 42) {
      events.push_back(ChangeSource());
    } else if (dice < 400) {
      events.push_back(SourceChanges());
    } else {
      events.push_back(Changes());
    }
  }
  return events;
}

eventlog::StoredEvent RandomHistory::Start(size_t step) {
  switch (step) {
    case 0:
      return Event(MakeSet({Upsert(1, "early", RowWriter().Text(1, "early").bytes())}));
    case 1:
      return Event(OpenOrg(1));
    case 2:
    case 3:
    case 4: {
      Entity entity{.id = next_entity_id_++,
                    .name = step == 2   ? "account"
                            : step == 3 ? "order"
                                        : "task"};
      entity.number_key = step == 3;
      entities_[entity.name] = entity;
      return Event(Definition(entity));
    }
    case 5:
      return Event(DefineRole("sales", true, {"account", "order", "task"}));
    default:
      return Event(RandomProfile());
  }
}

v1::EntityDefined RandomHistory::Definition(const Entity& entity) const {
  std::vector<TestAttribute> attributes = {
      {1, "id", entity.number_key ? v1::ATTRIBUTE_TYPE_INT64 : v1::ATTRIBUTE_TYPE_STRING},
      {2, "owner"},
      {3, "team"},
      {4, "amount", v1::ATTRIBUTE_TYPE_INT64},
      {5, "deputy"},
      {6, "parent"},
      {7, "other"}};
  if (entity.extra) {
    attributes.push_back({entity.next_extra - 1, "note"});
  }
  v1::EntityDefined defined = DefineEntity(entity.id, entity.name, attributes, entity.owner, 3, 4);
  defined.mutable_schema()->set_next_attribute_id(entity.next_extra);
  const Pointers& pointers = PointersOf(entity.name);
  for (v1::Attribute& attribute : *defined.mutable_schema()->mutable_attributes()) {
    if (attribute.id() == 6 || attribute.id() == 7) {
      attribute.set_references(std::string(attribute.id() == 6 ? pointers.first : pointers.second));
    }
  }
  return defined;
}

v1::ProfileDefined RandomHistory::RandomProfile() {
  constexpr v1::RuleKind kKinds[] = {v1::RULE_KIND_ALL, v1::RULE_KIND_USER, v1::RULE_KIND_TEAM,
                                     v1::RULE_KIND_BUSINESS_UNIT, v1::RULE_KIND_FILTER};
  v1::ProfileDefined defined;
  v1::Profile& profile = *defined.mutable_profile();
  profile.set_name(Chance(50) ? "field" : "office");
  profile.add_roles("sales");
  for (const std::string name : {"account", "order", "task", "ghost"}) {
    v1::EntityRules& rules = *profile.add_entities();
    rules.set_entity(name);
    for (const v1::RuleKind kind : kKinds) {
      if (Chance(kind == v1::RULE_KIND_ALL ? 15 : 30)) {
        v1::Rule& rule = *rules.add_rules();
        rule.set_kind(kind);
        if (kind == v1::RULE_KIND_FILTER) {
          rule.set_where(std::string(kFilters[Below(std::size(kFilters))]));
        }
      }
    }
  }
  AddRelatedRules(&profile);
  return defined;
}

// Some of those that make no circle: rows are related to rows of entities earlier in a random
// order.
void RandomHistory::AddRelatedRules(v1::Profile* profile) {
  std::vector<std::string> order = {"account", "order", "task"};
  std::shuffle(order.begin(), order.end(), random_);
  for (size_t i = 1; i < order.size(); ++i) {
    const auto add = [&](std::string_view holder, std::string_view attribute) {
      if (Chance(60)) {
        v1::Rule& rule =
            *std::ranges::find(*profile->mutable_entities(), order[i], &v1::EntityRules::entity)
                 ->add_rules();
        rule.set_kind(v1::RULE_KIND_RELATED);
        rule.set_through(std::string(holder) + "." + std::string(attribute));
      }
    };
    for (size_t source = 0; source < i; ++source) {
      const auto relate = [&](const std::string& holder, const std::string& target) {
        const Pointers& pointers = PointersOf(holder);
        if (pointers.first == target) {
          add(holder, kPointerNames[0]);
        }
        if (pointers.second == target) {
          add(holder, kPointerNames[1]);
        }
      };
      relate(order[i], order[source]);
      relate(order[source], order[i]);
    }
  }
}

eventlog::StoredEvent RandomHistory::Control() {
  const size_t dice = Below(10);
  if (dice < 5) {
    return Event(RandomProfile());
  }
  if (dice == 5) {
    v1::ProfileDeleted deleted;
    deleted.set_name(Chance(50) ? "field" : "office");
    return Event(deleted);
  }
  if (dice == 6) {
    return Event(DefineRole("sales", Chance(50), {"account"}));
  }
  return ChangeEntity();
}

eventlog::StoredEvent RandomHistory::ChangeEntity() {
  const std::string name(kPointers[Below(std::size(kPointers))].entity);
  const auto found = entities_.find(name);
  if (found == entities_.end()) {
    Entity entity{.id = next_entity_id_++, .name = name};
    entity.number_key = name == "order";
    entities_[name] = entity;
    return Event(Definition(entity));
  }
  Entity& entity = found->second;
  if (Chance(25)) {
    v1::EntityDeleted deleted;
    deleted.set_entity_id(entity.id);
    deleted.set_name(name);
    entities_.erase(found);
    return Event(deleted);
  }
  if (Chance(40)) {
    entity.owner = entity.owner == 2 ? 5 : 2;
  } else {
    entity.extra = !entity.extra;
    entity.next_extra += entity.extra ? 1 : 0;
  }
  return Event(Definition(entity));
}

// What a fold must refuse, or take for a repetition.
eventlog::StoredEvent RandomHistory::Strange() {
  switch (Below(5)) {
    case 0: {
      eventlog::StoredEvent event = Event(MakeSet({}));
      event.event.value = "\x0f no protobuf";
      return event;
    }
    case 1: {
      eventlog::StoredEvent event = Event(MakeSet({}));
      event.event.type = "sluice.v1.Tomorrow";
      return event;
    }
    case 2: {
      v1::EntityDefined contradiction = DefineEntity(next_entity_id_ + 100, "account", {{1, "id"}});
      if (!entities_.contains("account")) {
        contradiction.mutable_schema()->set_primary_key(77);
      }
      return Event(contradiction);
    }
    case 3:
      return Event(OpenOrg(1));
    default: {
      v1::EntityDeleted deleted;
      deleted.set_entity_id(next_entity_id_ + 50);
      deleted.set_name("nothing");
      return Event(deleted);
    }
  }
}

std::string RandomHistory::RandomKey(const Entity& entity) {
  return (entity.number_key ? "" : "K") + std::to_string(Below(40));
}

// Whether or not there is such a row, or such an entity at the moment.
std::string RandomHistory::RandomKeyOf(const std::string& entity) {
  return (entity == "order" ? "" : "K") + std::to_string(Below(40));
}

std::string RandomHistory::RandomRow(const Entity& entity, const std::string& key, bool patch) {
  RowWriter row;
  if (!patch || Chance(20)) {
    entity.number_key ? row.Varint(1, std::stoull(key)) : row.Text(1, key);
  }
  if (Chance(60)) {
    row.Text(2, "user" + std::to_string(Below(4)));
  }
  if (Chance(50)) {
    row.Text(3, std::string(Below(3), 't'));
  }
  if (Chance(50)) {
    row.Varint(4, Below(3));
  }
  if (Chance(40)) {
    row.Text(5, "user" + std::to_string(Below(4)));
  }
  const Pointers& pointers = PointersOf(entity.name);
  if (Chance(70)) {
    row.Text(6, RandomKeyOf(std::string(pointers.first)));
  }
  if (!pointers.second.empty() && Chance(60)) {
    row.Text(7, RandomKeyOf(std::string(pointers.second)));
  }
  if (entity.next_extra > 8 && Chance(30)) {
    row.Text(8, std::string(Below(40), 'n'));  // perhaps removed since
  }
  return row.bytes();
}

v1::Operation RandomHistory::RandomOp() {
  if (entities_.empty()) {
    return Delete(77, "K1");
  }
  const Entity& entity =
      std::next(entities_.begin(), static_cast<int64_t>(Below(entities_.size())))->second;
  const std::string key = RandomKey(entity);
  std::optional<int64_t> version;
  if (Chance(30)) {
    version = static_cast<int64_t>(step_ / 20 + Below(20));
  }
  const size_t dice = Below(100);
  if (dice < 50) {
    return Upsert(entity.id, key, RandomRow(entity, key, false), version);
  }
  if (dice < 75) {
    std::vector<uint32_t> cleared;
    std::string row = RandomRow(entity, key, true);
    if (Chance(30)) {
      row = RowWriter().Varint(4, Below(3)).bytes();
      cleared = Chance(50) ? std::vector<uint32_t>{2, 6} : std::vector<uint32_t>{5, 3};
    }
    return Patch(entity.id, key, row, cleared, version);
  }
  return Delete(entity.id, key, version);
}

eventlog::StoredEvent RandomHistory::ChangeSource() {
  const std::string name = Chance(60) ? "crm" : "erp";
  if (epochs_.contains(name) && Chance(20)) {
    epochs_.erase(name);
    v1::SourceDeleted deleted;
    deleted.set_name(name);
    return Event(deleted);
  }
  if (!epochs_.contains(name) || Chance(50)) {
    epochs_[name] = next_epoch_++;
  }
  v1::SourceDefined defined;
  defined.mutable_settings()->set_name(name);
  defined.mutable_settings()->set_kind("odata");
  defined.set_epoch(epochs_[name]);
  return Event(defined);
}

v1::Operation RandomHistory::SourceOp() {
  if (entities_.empty()) {
    return Delete(77, "K1");
  }
  const Entity& entity =
      std::next(entities_.begin(), static_cast<int64_t>(Below(entities_.size())))->second;
  const std::string key = RandomKey(entity);
  v1::Operation op = Upsert(entity.id, key, "");
  if (Chance(50)) {
    op.set_version(RandomVersion());
  }
  const size_t dice = Below(100);
  if (dice < 15) {
    op.set_kind(v1::Operation::KIND_DELETE);
    return op;
  }
  if (dice < 30) {
    op.set_kind(v1::Operation::KIND_TOUCH);
    op.set_version(RandomVersion());
    return op;
  }
  const auto known = rows_.find({entity.id, key});
  op.set_row(known != rows_.end() && Chance(75) ? known->second : RandomRow(entity, key, false));
  rows_[{entity.id, key}] = op.row();
  if (Chance(25)) {
    for (const uint32_t id : {2U, 4U, 5U, 6U}) {
      if (Chance(60)) {
        op.add_kept(id);  // some are in the row, which counts
      }
    }
    if (Chance(40)) {
      op.set_kept_from(RandomKey(entity));
    }
  }
  return op;
}

v1::Operation RandomHistory::BadSourceOp(v1::Operation op) {
  switch (Below(6)) {
    case 0:
      op.set_kind(v1::Operation::KIND_SWEEP);  // not alone, or with a key
      break;
    case 1:
      op.set_kind(v1::Operation::KIND_TOUCH);
      op.clear_version();
      break;
    case 2:
      op.set_kind(v1::Operation::KIND_UPSERT);
      op.clear_kept();
      op.add_kept(Chance(50) ? 1 : 500);
      break;
    case 3:
      op.set_kind(v1::Operation::KIND_UPSERT);
      op.add_kept(3);
      op.add_kept(3);
      break;
    case 4:
      op.set_kind(v1::Operation::KIND_PATCH);
      break;
    default:
      return BadOp(op);
  }
  return op;
}

v1::ChangeSet RandomHistory::SourceOps() {
  v1::ChangeSet set = MakeSet({}, "step" + std::to_string(next_set_id_++), "crm");
  set.set_only_changes(true);
  if (!entities_.empty() && Chance(6)) {
    v1::Operation& sweep = *set.add_ops();
    sweep.set_kind(v1::Operation::KIND_SWEEP);
    sweep.set_entity_id(
        std::next(entities_.begin(), static_cast<int64_t>(Below(entities_.size())))->second.id);
    sweep.set_version(static_cast<int64_t>(step_ / 20 + Below(8)));
    return set;
  }
  for (size_t i = Chance(5) ? Below(40) : Below(5); i > 0; --i) {
    *set.add_ops() = SourceOp();
    if (Chance(4)) {
      v1::Operation& bad = *set.mutable_ops(set.ops_size() - 1);
      bad = BadSourceOp(bad);
    }
  }
  return set;
}

// Mostly the next one of its stream.
void RandomHistory::AddStep(v1::ChangeSet* set) {
  v1::SourceStep& step = *set->mutable_step();
  step.set_source(Chance(60) ? "crm" : "erp");
  step.set_stream(Chance(70) ? "account" : "");
  const auto epoch = epochs_.find(step.source());
  Chain chain = chains_[{step.source(), step.stream()}];
  step.set_epoch(epoch == epochs_.end() ? 0 : epoch->second);
  step.set_after(chain.epoch == step.epoch() ? chain.last : "");
  step.set_number(chain.number + 1);
  step.set_cursor(Chance(10) ? "" : "after " + set->id());
  bool fits = epoch != epochs_.end();
  if (Chance(15)) {
    fits = false;
    switch (Below(4)) {
      case 0:
        step.set_after("lost");
        break;
      case 1:
        step.set_number(step.number() + 1);
        break;
      case 2:
        step.set_epoch(step.epoch() - 1);
        break;
      default:
        set->set_incarnation(7);
    }
  }
  if (fits) {
    chains_[{step.source(), step.stream()}] = {step.epoch(), set->id(), step.number()};
  }
}

eventlog::StoredEvent RandomHistory::SourceChanges() {
  v1::ChangeSet set = SourceOps();
  if (Chance(85)) {
    AddStep(&set);
  }
  sent_.push_back(set);
  return Event(set);
}

v1::Operation RandomHistory::BadOp(v1::Operation op) {
  switch (Below(6)) {
    case 0:
      op.set_entity_id(99);
      break;
    case 1:
      op.set_key("");
      break;
    case 2:
      op.set_kind(v1::Operation::KIND_UPSERT);
      op.set_row(RowWriter().Text(2, "keyless").bytes());
      break;
    case 3:
      op.set_kind(v1::Operation::KIND_PATCH);
      op.add_cleared(1);
      break;
    case 4:
      op.set_kind(v1::Operation::KIND_UPSERT);
      op.set_row("\xff\xff");
      break;
    default:
      op.set_kind(v1::Operation::KIND_UNSPECIFIED);
  }
  return op;
}

eventlog::StoredEvent RandomHistory::Changes() {
  if (!sent_.empty() && Chance(8)) {
    return Event(sent_[sent_.size() - 1 - Below(std::min<size_t>(sent_.size(), 60))]);
  }
  std::vector<v1::Operation> ops;
  for (size_t i = Chance(5) ? Below(40) : Between1And(4); i > 0; --i) {
    ops.push_back(RandomOp());
  }
  if (!ops.empty() && Chance(2)) {
    v1::Operation& bad = ops[Below(ops.size())];
    bad = BadOp(bad);
  }
  const bool with_id = Chance(70);
  v1::ChangeSet set = MakeSet(ops, with_id ? "set" + std::to_string(next_set_id_++) : "",
                              Chance(50) ? "crm" : "erp");
  if (with_id) {
    sent_.push_back(set);
  }
  return Event(set);
}

}  // namespace sluice::testing
