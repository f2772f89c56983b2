#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "projectors/model/org_model.h"
#include "projectors/provisioning/directory.h"
#include "schemas/sluice/v1/definitions.pb.h"

// How much an organisation may define in all. Every process holds all definitions of all
// organisations, several times and compiled: each byte is some tens of bytes of every process, also
// at its next start, as the log has them.
namespace sluice::projectors {

inline constexpr size_t kEntitiesOfOrgMax = 1'000;
inline constexpr size_t kProfilesOfOrgMax = 1'000;
inline constexpr size_t kRolesOfOrgMax = 1'000;
inline constexpr size_t kSourcesOfOrgMax = 64;
inline constexpr size_t kSourceEntitiesOfOrgMax = 1'000;         // that the sources list, together
inline constexpr size_t kSourceBytesOfOrgMax = size_t{4} << 20;  // of all sources
inline constexpr size_t kDefinitionBytesOfOrgMax = size_t{16} << 20;  // as the log has it

// May `next` be put, given the other definitions? kInvalidArgument with code
// "too_many_definitions", which says of what there would be how much. What neither is new nor
// becomes larger may be put also where there is too much. Pure.
[[nodiscard]] absl::Status CheckTotal(const OrgModel& model, const v1::EntitySchema& next);
[[nodiscard]] absl::Status CheckTotal(const OrgModel& model, const v1::Profile& next);
[[nodiscard]] absl::Status CheckTotal(const OrgModel& model, const v1::Role& next);
[[nodiscard]] absl::Status CheckTotal(const std::map<std::string, OrgSource>& sources,
                                      const v1::SourceDefined& next);

}  // namespace sluice::projectors
