#include "projectors/provisioning/decide_source.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "projectors/provisioning/definition_limits.h"
#include "schemas/attribute_type.h"
#include "schemas/base/ascii.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

using Request = v1::ProvisioningRequest;

constexpr size_t kSourceNameBytesMax = 63;
constexpr int kSecretsMax = 16;
constexpr size_t kSecretNameBytesMax = 64;
constexpr size_t kSealedBytesMax = size_t{65} << 10;

absl::Status InvalidSource(std::string_view message) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_argument", message);
}

// As an organisation's: it is part of keys and of topics' and metrics' labels.
bool IsSourceName(std::string_view name) {
  const auto is_inner = [](char c) { return c == '-' || (IsLetterOrDigit(c) && !IsUpper(c)); };
  return !name.empty() && name.size() <= kSourceNameBytesMax &&
         std::ranges::all_of(name, is_inner) && name.front() != '-' && name.back() != '-';
}

absl::Status CheckSettings(const v1::SourceSettings& settings) {
  RETURN_IF_ERROR(CheckSourceName(settings.name()));
  if (!IsSourceName(settings.kind())) {
    return InvalidSource(fmt::format("{} is no kind of source", QuoteForError(settings.kind())));
  }
  std::set<std::string_view> names;
  for (const v1::SourceEntity& entity : settings.entities()) {
    if (!schemas::IsValidName(entity.name())) {
      return InvalidSource(fmt::format("{} is no entity name", QuoteForError(entity.name())));
    }
    if (!names.insert(entity.name()).second) {
      return InvalidSource(fmt::format("entity '{}' is given twice", entity.name()));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSecrets(const Request::PutSource& put) {
  if (put.keep_secrets() && (put.reseal() || put.secrets_size() > 0)) {
    return InvalidSource("secrets are kept or given, not both");
  }
  if (put.secrets_size() > kSecretsMax) {
    return InvalidSource(fmt::format("a source has at most {} secrets", kSecretsMax));
  }
  std::set<std::string_view> names;
  for (const v1::SealedSecret& secret : put.secrets()) {
    if (secret.name().empty() || secret.name().size() > kSecretNameBytesMax ||
        !names.insert(secret.name()).second) {
      return InvalidSource("secrets have names of 1 to 64 bytes, each its own");
    }
    if (secret.sealed().empty() || secret.sealed().size() > kSealedBytesMax) {
      return InvalidSource(fmt::format("secret {} is not sealed", QuoteForError(secret.name())));
    }
  }
  return absl::OkStatus();
}

// Are other rows read than before, or other places in the source meant by a cursor?
bool BeginsAnew(const v1::SourceSettings& before, const v1::SourceSettings& now) {
  if (before.url() != now.url() || before.brokers() != now.brokers() ||
      before.transactions() != now.transactions() ||
      before.tenants().SerializeAsString() != now.tenants().SerializeAsString()) {
    return true;
  }
  return std::ranges::any_of(now.entities(), [&before](const v1::SourceEntity& entity) {
    const auto was = std::ranges::find(before.entities(), entity.name(), &v1::SourceEntity::name);
    return was != before.entities().end() &&
           (was->set() != entity.set() || was->topic() != entity.topic() ||
            !std::ranges::equal(was->select(), entity.select()) ||
            !std::ranges::equal(was->key(), entity.key()));
  });
}

std::set<std::string_view> NamesOf(const google::protobuf::RepeatedPtrField<v1::SealedSecret>& of) {
  std::set<std::string_view> names;
  for (const v1::SealedSecret& secret : of) {
    names.insert(secret.name());
  }
  return names;
}

absl::StatusOr<v1::SourceDefined> Resealed(const OrgEntry& entry, const Request::PutSource& put) {
  ASSIGN_OR_RETURN(const OrgSource source, FindSource(entry, put.settings().name()));
  const v1::SourceDefined* const current = source.defined.get();
  if (NamesOf(current->secrets()) != NamesOf(put.secrets())) {
    return InvalidSource("the secrets that are sealed anew are not those that the source has");
  }
  v1::SourceDefined next = *current;
  *next.mutable_secrets() = put.secrets();
  RETURN_IF_ERROR(CheckTotal(entry.sources, next));
  return next;
}

// One source has an entity's rows for the entity's life, also when it has been deleted: its
// versions are in the rows, and another one's can't be compared with them, so that what that one
// writes might all be older than what is there.
absl::Status CheckOwner(const v1::EntitySchema& schema, std::string_view owner) {
  if (schema.source().empty() || schema.source() == owner) {
    return absl::OkStatus();
  }
  return Error(absl::StatusCode::kFailedPrecondition, "entity_has_source",
               fmt::format("entity '{}' has its rows from {}, for its life: delete the entity to "
                           "have them from another one",
                           schema.name(), OrgModel::OwnerText(schema.source())));
}

absl::Status CheckEntities(const OrgModel& model, const v1::SourceSettings& settings,
                           std::string_view owner) {
  for (const v1::SourceEntity& entity : settings.entities()) {
    const auto found = model.entities().find(entity.name());
    if (!entity.disabled() && found != model.entities().end()) {
      RETURN_IF_ERROR(CheckOwner(found->second->proto(), owner));
    }
  }
  return absl::OkStatus();
}

std::string NameOf(const v1::EntitySchema& schema, uint32_t id) {
  const auto found = std::ranges::find(schema.attributes(), id, &v1::Attribute::id);
  return found == schema.attributes().end() ? "" : found->name();
}

// In the order that there is, and then what is new.
void AddTo(const v1::EntitySchema& current, Request::PutEntity* entity) {
  auto wanted = std::exchange(*entity->mutable_attributes(), {});
  std::set<std::string_view> there;
  for (const v1::Attribute& attribute : current.attributes()) {
    const auto again = std::ranges::find(wanted, attribute.name(), &v1::Attribute::name);
    if (again == wanted.end() && attribute.implied()) {
      continue;  // the ownership names it
    }
    v1::Attribute& added = *entity->add_attributes();
    added = again == wanted.end() ? attribute : *again;
    if (added.references().empty()) {
      added.set_references(attribute.references());
    }
    there.insert(attribute.name());
  }
  for (v1::Attribute& attribute : wanted) {
    if (!there.contains(attribute.name())) {
      *entity->add_attributes() = std::move(attribute);
    }
  }
  const v1::Ownership& ownership = current.ownership();
  const auto keep = [&current](uint32_t id, std::string* owner) {
    if (owner->empty()) {
      *owner = NameOf(current, id);
    }
  };
  keep(ownership.user(), entity->mutable_owner_user());
  keep(ownership.team(), entity->mutable_owner_team());
  keep(ownership.business_unit(), entity->mutable_owner_business_unit());
}

}  // namespace

absl::Status CheckSourceName(std::string_view name) {
  if (IsSourceName(name)) {
    return absl::OkStatus();
  }
  return InvalidSource(
      fmt::format("{} is no name for a source: a-z, 0-9 and -, not at either end, and at most {} "
                  "characters",
                  QuoteForError(name), kSourceNameBytesMax));
}

absl::Status CheckSecretsStay(const v1::SourceSettings& before, const v1::SourceSettings& now) {
  const auto is_new = [&before](const std::string& host) {
    return std::ranges::find(before.link_hosts(), host) == before.link_hosts().end();
  };
  const auto properties = [](const v1::SourceSettings& settings) {
    return std::map<std::string, std::string>(settings.kafka().begin(), settings.kafka().end());
  };
  if (before.url() == now.url() && before.auth().token_url() == now.auth().token_url() &&
      before.brokers() == now.brokers() && properties(before) == properties(now) &&
      std::ranges::none_of(now.link_hosts(), is_new)) {
    return absl::OkStatus();
  }
  return Error(
      absl::StatusCode::kFailedPrecondition, "secrets_required",
      fmt::format("source '{}' would send its secrets to another place, or in another way, "
                  "than they were given for: give them again",
                  now.name()));
}

std::string CanonicalBytes(const v1::SourceDefined& defined) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  (void)defined.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

v1::SourceDefined AsInChanges(v1::SourceDefined defined) {
  v1::SourceSettings& settings = *defined.mutable_settings();
  settings.clear_url();
  settings.clear_auth();
  settings.clear_kafka();
  defined.clear_secrets();
  return defined;
}

absl::StatusOr<OrgSource> FindSource(const OrgEntry& entry, const std::string& name) {
  const auto found = entry.sources.find(name);
  if (found == entry.sources.end()) {
    return Error(absl::StatusCode::kNotFound, "source_not_found",
                 fmt::format("there is no source {}", QuoteForError(name)));
  }
  return found->second;
}

absl::StatusOr<v1::SourceDefined> NextSource(const OrgEntry& entry, const Request::PutSource& put,
                                             Offset at) {
  RETURN_IF_ERROR(CheckSecrets(put));
  const v1::SourceSettings& settings = put.settings();
  const auto found = entry.sources.find(settings.name());
  const v1::SourceDefined* const current =
      found == entry.sources.end() ? nullptr : found->second.defined.get();
  if (put.reseal()) {
    return Resealed(entry, put);
  }
  RETURN_IF_ERROR(CheckSettings(settings));
  if (current != nullptr && current->settings().kind() != settings.kind()) {
    return Error(absl::StatusCode::kFailedPrecondition, "incompatible_source",
                 fmt::format("source '{}' is of kind {} and cannot become {}: delete it, or give "
                             "the new one another name",
                             settings.name(), current->settings().kind(), settings.kind()));
  }
  v1::SourceDefined next;
  *next.mutable_settings() = settings;
  *next.mutable_secrets() = put.secrets();
  if (put.keep_secrets() && current != nullptr) {
    if (current->secrets_size() > 0) {
      RETURN_IF_ERROR(CheckSecretsStay(current->settings(), settings));
    }
    *next.mutable_secrets() = current->secrets();
  }
  const bool anew = current == nullptr || BeginsAnew(current->settings(), settings);
  next.set_epoch(anew ? at.value() : current->epoch());
  v1::SourceBinding binding;
  binding.set_name(settings.name());
  binding.set_kind(settings.kind());
  RETURN_IF_ERROR(CheckEntities(*entry.model, settings, OrgModel::OwnerName(binding)));
  RETURN_IF_ERROR(CheckTotal(entry.sources, next));
  return next;
}

absl::Status CheckRun(const OrgEntry& entry, const OrgSource& source,
                      const Request::RunSource& run) {
  if (run.entity().empty()) {
    return absl::OkStatus();
  }
  if (run.reload()) {
    return InvalidSource("a reload is of all entities of a source");
  }
  const v1::SourceSettings& settings = source.defined->settings();
  if (std::ranges::find(settings.entities(), run.entity(), &v1::SourceEntity::name) !=
      settings.entities().end()) {
    return absl::OkStatus();
  }
  const auto found = entry.model->entities().find(run.entity());
  const v1::SourceBinding* const binding = entry.model->FindSource(run.name());
  if (found != entry.model->entities().end() && binding != nullptr &&
      entry.model->OwnerOf(found->second->proto()) == OrgModel::OwnerName(*binding)) {
    return absl::OkStatus();
  }
  return Error(
      absl::StatusCode::kInvalidArgument, "unknown_entity",
      fmt::format("source '{}' has no entity {}", run.name(), QuoteForError(run.entity())));
}

absl::StatusOr<Request::PutEntity> WithSource(const OrgModel& model,
                                              const v1::EntitySchema* current,
                                              const Request::PutEntity& wanted) {
  Request::PutEntity entity = wanted;
  if (wanted.source().empty()) {
    entity.set_source(current == nullptr ? "" : current->source());
    return entity;
  }
  v1::EntitySchema asked;
  asked.set_source(wanted.source());
  if (model.OwnerOf(asked).empty()) {
    return Error(absl::StatusCode::kNotFound, "source_not_found",
                 fmt::format("there is no source {}", QuoteForError(wanted.source())));
  }
  if (current != nullptr) {
    RETURN_IF_ERROR(CheckOwner(*current, wanted.source()));
    AddTo(*current, &entity);
  }
  return entity;
}

}  // namespace sluice::projectors
