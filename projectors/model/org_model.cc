#include "projectors/model/org_model.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "schemas/base/status.h"
#include "schemas/sluice/v1/events.pb.h"
#include "schemas/sluice/v1/store.pb.h"

namespace sluice::projectors {
namespace {

constexpr std::string_view kControlEvents[] = {
    "sluice.v1.OrgOpened",     "sluice.v1.OrgClosed",      "sluice.v1.EntityDefined",
    "sluice.v1.EntityDeleted", "sluice.v1.ProfileDefined", "sluice.v1.ProfileDeleted",
    "sluice.v1.RoleDefined",   "sluice.v1.RoleDeleted",    "sluice.v1.SourceDefined",
    "sluice.v1.SourceDeleted"};
// What the owner of an entity begins with, after its kind, that is a source of another
// organisation.
constexpr std::string_view kElsewhere = ":@";

bool IsElsewhere(std::string_view owner) {
  const size_t colon = owner.find(':');
  return colon != std::string_view::npos && owner.substr(colon).starts_with(kElsewhere);
}

absl::Status Malformed(std::string_view type, std::string_view why) {
  return Invalid("malformed_event", "{}: {}", type, why);
}

template <typename Message>
absl::StatusOr<Message> ParsePayload(const eventlog::Event& event) {
  Message message;
  if (!message.ParseFromString(event.value)) {
    return Malformed(event.type, "the payload is not the protobuf message that the type names");
  }
  return message;
}

// A definition replaces an older one of the same entity only: ids are for ever, and so are the name
// and the type of what one was given to. Rows hold values by these ids: under another name they
// would be shown to those to whom the first one is denied.
absl::Status CheckAttribute(const EntitySchema& old, const schemas::Attribute& attribute,
                            std::string_view type) {
  const schemas::Attribute* const before = old.Find(attribute.id);
  if (before == nullptr && attribute.id.value() >= old.proto().next_attribute_id()) {
    return absl::OkStatus();
  }
  const auto is_same = [&](const v1::RemovedAttribute& removed) {
    return removed.id() == attribute.id.value() && removed.name() == attribute.name;
  };
  if (before == nullptr ? std::ranges::none_of(old.proto().removed(), is_same)
                        : before->name != attribute.name) {
    return Malformed(type, fmt::format("attribute id {} of entity {} was given before, not to {}",
                                       attribute.id.value(), old.name(), attribute.name));
  }
  if (before != nullptr && before->type != attribute.type) {
    return Malformed(type, fmt::format("the type of {}.{} changes", old.name(), attribute.name));
  }
  return absl::OkStatus();
}

absl::Status CheckSuccessor(const EntitySchema& old, const EntitySchema& now,
                            std::string_view type) {
  if (old.id() != now.id()) {
    return Malformed(type, fmt::format("entity {} has id {} and is defined with id {}", old.name(),
                                       old.id().value(), now.id().value()));
  }
  if (old.key().id != now.key().id) {
    return Malformed(type, fmt::format("the primary key of entity {} changes", old.name()));
  }
  if (now.proto().next_attribute_id() < old.proto().next_attribute_id()) {
    return Malformed(type, fmt::format("attribute ids of entity {} go back", old.name()));
  }
  for (const schemas::Attribute& attribute : now.attributes()) {
    RETURN_IF_ERROR(CheckAttribute(old, attribute, type));
  }
  return absl::OkStatus();
}

// What is defined again as it was is not defined anew.
template <typename Definition>
void Replace(Definition defined, Offset offset, Definitions<Definition>* definitions) {
  std::shared_ptr<const Definition>& current = (*definitions)[defined.name()];
  defined.set_defined_at(current == nullptr ? 0 : current->defined_at());
  if (current != nullptr && defined.SerializeAsString() == current->SerializeAsString()) {
    return;
  }
  if (offset != kNoOffset) {
    defined.set_defined_at(offset.value());
  }
  current = std::make_shared<const Definition>(std::move(defined));
}

}  // namespace

std::shared_ptr<const OrgModel> OrgModel::Empty() { return Closed(0); }

std::shared_ptr<const OrgModel> OrgModel::Closed(uint32_t incarnation) {
  std::shared_ptr<OrgModel> model(new OrgModel());
  model->incarnation_ = incarnation;
  return model;
}

std::shared_ptr<const OrgModel> OrgModel::WithoutRules() {
  std::shared_ptr<OrgModel> model(new OrgModel());
  model->has_rules_ = false;
  return model;
}

absl::StatusOr<std::shared_ptr<const OrgModel>> OrgModel::Parse(std::string_view bytes) {
  v1::OrgModelState state;
  if (!state.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Error(StatusCode::kDataLoss, "malformed_model",
                 "the stored definitions ({} bytes) can't be read", bytes.size());
  }
  std::shared_ptr<OrgModel> model(new OrgModel());
  model->incarnation_ = state.incarnation();
  model->open_ = state.open();
  model->display_name_ = state.display_name();
  model->answered_ = state.has_answered() ? Offset(state.answered()) : kNoOffset;
  for (const v1::EntitySchema& entity : state.entities()) {
    absl::StatusOr<std::shared_ptr<const EntitySchema>> schema = EntitySchema::FromProto(entity);
    if (!schema.ok()) {
      return Error(StatusCode::kDataLoss, "malformed_model",
                   "the stored definition of entity {}: {}", entity.name(),
                   Message(schema.status()));
    }
    model->entities_.emplace(entity.name(), *std::move(schema));
  }
  for (const v1::Profile& profile : state.profiles()) {
    model->profiles_.emplace(profile.name(), std::make_shared<const v1::Profile>(profile));
  }
  for (const v1::Role& role : state.roles()) {
    model->roles_.emplace(role.name(), std::make_shared<const v1::Role>(role));
  }
  for (const v1::SourceBinding& source : state.sources()) {
    model->sources_.emplace(source.name(), source);
  }
  RuleSet::Numbers numbers;
  for (const auto& rule : state.rules()) {
    numbers.emplace(rule.id(), rule.number());
  }
  model->IndexEntities();
  model->rules_ = RuleSet::Make(model->entities_, model->profiles_, numbers,
                                std::max(state.next_rule_number(), 1U));
  return model;
}

std::string OrgModel::Serialize() const {
  v1::OrgModelState state;
  state.set_incarnation(incarnation_);
  state.set_open(open_);
  state.set_display_name(display_name_);
  if (answered_ != kNoOffset) {
    state.set_answered(answered_.value());
  }
  for (const auto& [name, schema] : entities_) {
    *state.add_entities() = schema->proto();
  }
  for (const auto& [name, profile] : profiles_) {
    *state.add_profiles() = *profile;
  }
  for (const auto& [name, role] : roles_) {
    *state.add_roles() = *role;
  }
  for (const auto& [name, source] : sources_) {
    *state.add_sources() = source;
  }
  for (const std::shared_ptr<const SyncRule>& rule : rules_->rules()) {
    auto& stored = *state.add_rules();
    stored.set_id(rule->id);
    stored.set_number(rule->number);
  }
  state.set_next_rule_number(rules_->next_number());
  return state.SerializeAsString();
}

bool OrgModel::IsControlEvent(std::string_view type) {
  return std::ranges::find(kControlEvents, type) != std::end(kControlEvents);
}

absl::StatusOr<std::shared_ptr<const OrgModel>> OrgModel::Apply(const eventlog::Event& event,
                                                                Offset offset) const {
  // A control event that the sequencer repeats after a crash (same content) changes nothing.
  std::shared_ptr<OrgModel> next(new OrgModel(*this));
  if (IsControlEvent(event.type) && Answered(event)) {
    return next;
  }
  if (eventlog::IsA<v1::OrgOpened>(event)) {
    RETURN_IF_ERROR(next->Open(event));
  } else if (!IsControlEvent(event.type)) {
    return Malformed(event.type, "not a control event");
  } else if (!open_) {
    return Error(StatusCode::kFailedPrecondition, "org_not_open",
                 "{}: the organisation is not open", event.type);
  } else if (eventlog::IsA<v1::OrgClosed>(event)) {
    ASSIGN_OR_RETURN(const v1::OrgClosed closed, ParsePayload<v1::OrgClosed>(event));
    if (closed.incarnation() != incarnation_) {
      return Malformed(event.type, fmt::format("closes incarnation {}, open is {}",
                                               closed.incarnation(), incarnation_));
    }
    next->open_ = false;
  } else {
    RETURN_IF_ERROR(next->Define(event, offset));
  }
  next->answered_ = std::max(answered_, event.answers);  // also that of an earlier incarnation
  next->IndexEntities();
  // All of it is immutable: what is the same object is the same.
  if (has_rules_ && (next->entities_ != entities_ || next->profiles_ != profiles_)) {
    next->rules_ = next->rules_->Next(next->entities_, next->profiles_);
  }
  return next;
}

absl::Status OrgModel::Open(const eventlog::Event& event) {
  ASSIGN_OR_RETURN(const v1::OrgOpened opened, ParsePayload<v1::OrgOpened>(event));
  if (open_ && opened.incarnation() == incarnation_) {
    return absl::OkStatus();
  }
  if (open_ || opened.incarnation() <= incarnation_) {
    return Malformed(event.type,
                     fmt::format("opens incarnation {}, the last one is {} ({})",
                                 opened.incarnation(), incarnation_, open_ ? "open" : "closed"));
  }
  const bool has_rules = has_rules_;
  *this = OrgModel();  // an incarnation starts with no definitions
  has_rules_ = has_rules;
  incarnation_ = opened.incarnation();
  open_ = true;
  display_name_ = opened.display_name();
  return absl::OkStatus();
}

absl::Status OrgModel::Define(const eventlog::Event& event, Offset offset) {
  if (eventlog::IsA<v1::EntityDefined>(event)) {
    return DefineEntity(event);
  }
  if (eventlog::IsA<v1::EntityDeleted>(event)) {
    ASSIGN_OR_RETURN(const v1::EntityDeleted deleted, ParsePayload<v1::EntityDeleted>(event));
    const std::shared_ptr<const EntitySchema> schema = FindEntity(EntityId(deleted.entity_id()));
    if (schema != nullptr) {
      entities_.erase(entities_.find(schema->name()));
    }
  } else if (eventlog::IsA<v1::ProfileDefined>(event)) {
    ASSIGN_OR_RETURN(v1::ProfileDefined defined, ParsePayload<v1::ProfileDefined>(event));
    if (defined.profile().name().empty()) {
      return Malformed(event.type, "the profile has no name");
    }
    Replace(std::move(*defined.mutable_profile()), offset, &profiles_);
  } else if (eventlog::IsA<v1::ProfileDeleted>(event)) {
    ASSIGN_OR_RETURN(const v1::ProfileDeleted deleted, ParsePayload<v1::ProfileDeleted>(event));
    profiles_.erase(deleted.name());
  } else if (eventlog::IsA<v1::RoleDefined>(event)) {
    ASSIGN_OR_RETURN(v1::RoleDefined defined, ParsePayload<v1::RoleDefined>(event));
    if (defined.role().name().empty()) {
      return Malformed(event.type, "the role has no name");
    }
    Replace(std::move(*defined.mutable_role()), offset, &roles_);
  } else if (eventlog::IsA<v1::RoleDeleted>(event)) {
    ASSIGN_OR_RETURN(const v1::RoleDeleted deleted, ParsePayload<v1::RoleDeleted>(event));
    roles_.erase(deleted.name());
  } else if (eventlog::IsA<v1::SourceDefined>(event)) {
    ASSIGN_OR_RETURN(const v1::SourceDefined defined, ParsePayload<v1::SourceDefined>(event));
    return DefineSource(defined, event.type);
  } else {
    ASSIGN_OR_RETURN(const v1::SourceDeleted deleted, ParsePayload<v1::SourceDeleted>(event));
    sources_.erase(deleted.name());
  }
  return absl::OkStatus();
}

absl::Status OrgModel::DefineEntity(const eventlog::Event& event) {
  ASSIGN_OR_RETURN(const v1::EntityDefined defined, ParsePayload<v1::EntityDefined>(event));
  absl::StatusOr<std::shared_ptr<const EntitySchema>> schema =
      EntitySchema::FromProto(defined.schema());
  if (!schema.ok()) {
    return Malformed(event.type, Message(schema.status()));
  }
  const auto same_name = entities_.find((*schema)->name());
  if (same_name != entities_.end()) {
    RETURN_IF_ERROR(CheckSuccessor(*same_name->second, **schema, event.type));
    same_name->second = *std::move(schema);
    return absl::OkStatus();
  }
  const std::shared_ptr<const EntitySchema> same_id = FindEntity((*schema)->id());
  if (same_id != nullptr) {
    return Malformed(event.type,
                     fmt::format("entity id {} is that of {}, not of {}", same_id->id().value(),
                                 same_id->name(), (*schema)->name()));
  }
  std::string name = (*schema)->name();
  entities_.emplace(std::move(name), *std::move(schema));
  return absl::OkStatus();
}

absl::Status OrgModel::DefineSource(const v1::SourceDefined& defined, std::string_view type) {
  if (defined.settings().name().empty() || defined.settings().kind().empty()) {
    return Malformed(type, "the source has no name, or no kind");
  }
  v1::SourceBinding& source = sources_[defined.settings().name()];
  source.set_name(defined.settings().name());
  source.set_kind(defined.settings().kind());
  source.set_epoch(defined.epoch());
  return absl::OkStatus();
}

const v1::SourceBinding* OrgModel::FindSource(std::string_view name) const {
  const auto found = sources_.find(name);
  return found == sources_.end() ? nullptr : &found->second;
}

std::string OrgModel::OwnerName(const v1::SourceBinding& source) {
  return fmt::format("{}:{}", source.kind(), source.name());
}

std::string OrgModel::OwnerText(std::string_view owner) {
  return IsElsewhere(owner) ? "a source of another organisation"
                            : fmt::format("source '{}'", owner);
}

std::string_view OrgModel::OwnerOf(const v1::EntitySchema& schema) const {
  const std::string_view owner = schema.source();
  const size_t colon = owner.find(':');
  if (colon == std::string_view::npos) {
    return "";
  }
  if (IsElsewhere(owner)) {
    return owner;
  }
  const v1::SourceBinding* const source = FindSource(owner.substr(colon + 1));
  return source != nullptr && source->kind() == owner.substr(0, colon) ? owner : "";
}

std::shared_ptr<const EntitySchema> OrgModel::FindEntity(EntityId id) const {
  const auto found = entities_by_id_.find(id);
  return found == entities_by_id_.end() ? nullptr : found->second;
}

void OrgModel::IndexEntities() {
  entities_by_id_.clear();
  for (const auto& [name, schema] : entities_) {
    entities_by_id_.emplace(schema->id(), schema);
  }
}

}  // namespace sluice::projectors
