#pragma once

#include "absl/status/status.h"
#include "projectors/model/org_model.h"
#include "projectors/provisioning/rule_counts.h"
#include "schemas/sluice/v1/definitions.pb.h"

// What a profile, a role or a new version of a schema may say, given the other definitions. Errors
// name profile, entity and rule, and go to the caller.
namespace sluice::projectors {

// Of all profiles together, as they are compiled: a filter counts once for each of its
// alternatives, a related rule once for each rule of the entity that its rows come by, and each
// rule at least once. Each row of an entity is held against all of its rules, and all rules of an
// organisation are held in memory (some 13 KiB each). Who has more already may put what does not
// become more.
inline constexpr size_t kRulesOfEntityMax = 2'000;
inline constexpr size_t kRulesOfOrgMax = 10'000;
// Of the filters of all profiles together (ProfileRules::filter_bytes). All of them are compiled
// when an entity that they name is defined, and the organisation's partition waits for it: some
// 200 ms for these.
inline constexpr size_t kFilterBytesOfOrgMax = size_t{4} << 20;
// Of one entity, that related rules of all profiles go through: a row that comes, or moves, has to
// do with as many others, each of which may be large.
inline constexpr size_t kThroughOfEntityMax = 64;

// `counts` is the organisation's.

// kInvalidArgument with code "unknown_entity", "unknown_attribute", "invalid_filter" (both with a
// column, where a filter's text is at fault), "circular_rules", "rules_too_deep",
// "too_many_rules" or "invalid_argument".
[[nodiscard]] absl::Status CheckProfile(const OrgModel& model, const v1::Profile& profile,
                                        RuleCounts& counts);

// kInvalidArgument with code "unknown_entity", "unknown_attribute" or "invalid_argument".
[[nodiscard]] absl::Status CheckRole(const OrgModel& model, const v1::Role& role);

// What the rules of profiles use of the entity must be the same in `next`: kFailedPrecondition,
// code "attribute_in_use". Rules that meant nothing may come to mean something by it, where an
// entity has been deleted: kInvalidArgument, code "too_many_rules".
[[nodiscard]] absl::Status CheckEntity(const OrgModel& model, const v1::EntitySchema& next,
                                       RuleCounts& counts);

}  // namespace sluice::projectors
