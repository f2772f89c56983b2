#pragma once

#include "absl/status/status.h"
#include "projectors/staging/org_model.h"
#include "schemas/sluice/v1/definitions.pb.h"

// What a profile, a role or a new version of a schema may say, given the other definitions. Pure;
// errors name profile, entity and rule, and go to the caller.
namespace sluice::projectors {

// Of all profiles: each row of an entity is held against all of its rules, and all rules of an
// organisation are held in memory (some 13 KiB each).
inline constexpr size_t kRulesOfEntityMax = 2'000;
inline constexpr size_t kRulesOfOrgMax = 10'000;

// kInvalidArgument with code "unknown_entity", "unknown_attribute", "invalid_filter" (both with a
// column, where a filter's text is at fault), "circular_rules", "rules_too_deep",
// "too_many_rules" or "invalid_argument".
[[nodiscard]] absl::Status CheckProfile(const OrgModel& model, const v1::Profile& profile);

// kInvalidArgument with code "unknown_entity", "unknown_attribute" or "invalid_argument".
[[nodiscard]] absl::Status CheckRole(const OrgModel& model, const v1::Role& role);

// What the rules of profiles use of `current` must be the same in `next`: kFailedPrecondition, code
// "attribute_in_use".
[[nodiscard]] absl::Status CheckInUse(const OrgModel& model, const EntitySchema& current,
                                      const v1::EntitySchema& next);

}  // namespace sluice::projectors
