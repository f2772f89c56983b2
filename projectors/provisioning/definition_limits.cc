#include "projectors/provisioning/definition_limits.h"

#include <string_view>

#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

size_t Bytes(const EntitySchema& entity) { return entity.proto().ByteSizeLong(); }
size_t Bytes(const v1::Profile& profile) { return profile.ByteSizeLong(); }
size_t Bytes(const v1::Role& role) { return role.ByteSizeLong(); }

template <typename Definitions>
size_t BytesOfAll(const Definitions& definitions) {
  size_t bytes = 0;
  for (const auto& [name, definition] : definitions) {
    bytes += Bytes(*definition);
  }
  return bytes;
}

// Definitions of one kind: which there are, and how many there may be.
template <typename Definitions>
struct Kind {
  const Definitions& held;
  size_t max;
  std::string_view one;
  std::string_view several;
};
template <typename Definitions>
Kind(const Definitions&, size_t, std::string_view, std::string_view) -> Kind<Definitions>;

template <typename Definitions, typename Definition>
absl::Status Check(const OrgModel& model, const Kind<Definitions>& kind, const Definition& next) {
  const auto found = kind.held.find(next.name());
  const bool is_new = found == kind.held.end();
  if (is_new && kind.held.size() >= kind.max) {
    return Invalid(
        "too_many_definitions",
        "{} '{}': the organisation would have {} {}, at most {} are taken: delete what is not used",
        kind.one, next.name(), kind.held.size() + 1, kind.several, kind.max);
  }
  const size_t before = is_new ? 0 : Bytes(*found->second);
  const size_t after = next.ByteSizeLong();
  if (after <= before) {
    return absl::OkStatus();
  }
  const size_t entities = BytesOfAll(model.entities());
  const size_t profiles = BytesOfAll(model.profiles());
  const size_t roles = BytesOfAll(model.roles());
  const size_t all = entities + profiles + roles - before + after;
  if (all <= kDefinitionBytesOfOrgMax) {
    return absl::OkStatus();
  }
  return Invalid(
      "too_many_definitions",
      "{} '{}', of {} bytes: the organisation's definitions would have {} bytes, at most {} are "
      "taken; entities have {} of them now, profiles {}, roles {}: delete what is not used",
      kind.one, next.name(), after, all, kDefinitionBytesOfOrgMax, entities, profiles, roles);
}

}  // namespace

absl::Status CheckTotal(const OrgModel& model, const v1::EntitySchema& next) {
  return Check(model, Kind{model.entities(), kEntitiesOfOrgMax, "entity", "entities"}, next);
}

absl::Status CheckTotal(const OrgModel& model, const v1::Profile& next) {
  return Check(model, Kind{model.profiles(), kProfilesOfOrgMax, "profile", "profiles"}, next);
}

absl::Status CheckTotal(const OrgModel& model, const v1::Role& next) {
  return Check(model, Kind{model.roles(), kRolesOfOrgMax, "role", "roles"}, next);
}

absl::Status CheckTotal(const std::map<std::string, OrgSource>& sources,
                        const v1::SourceDefined& next) {
  size_t count = 1;
  auto entities = static_cast<size_t>(next.settings().entities_size());
  size_t bytes = next.ByteSizeLong();
  for (const auto& [name, source] : sources) {
    const v1::SourceDefined& defined = *source.defined;
    if (name == next.settings().name()) {
      if (next.ByteSizeLong() <= defined.ByteSizeLong() &&
          next.settings().entities_size() <= defined.settings().entities_size()) {
        return absl::OkStatus();
      }
    } else {
      ++count;
      entities += static_cast<size_t>(defined.settings().entities_size());
      bytes += defined.ByteSizeLong();
    }
  }
  if (count <= kSourcesOfOrgMax && entities <= kSourceEntitiesOfOrgMax &&
      bytes <= kSourceBytesOfOrgMax) {
    return absl::OkStatus();
  }
  return Invalid(
      "too_many_definitions",
      "source '{}': the organisation would have {} sources (at most {} are taken) with {} "
      "entities (at most {}) and {} bytes (at most {})",
      next.settings().name(), count, kSourcesOfOrgMax, entities, kSourceEntitiesOfOrgMax, bytes,
      kSourceBytesOfOrgMax);
}

}  // namespace sluice::projectors
