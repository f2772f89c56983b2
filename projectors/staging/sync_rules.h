#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/base/ids.h"
#include "projectors/rules/filter.h"
#include "schemas/entity_schema.h"

// The rules of an organisation's profiles as the fold evaluates them, and the buckets they make.
namespace sluice::projectors {

using schemas::AttributeId;
using schemas::EntityId;
using schemas::EntitySchema;

// Chains of related rules are this long at most, the rule that they begin with included.
inline constexpr uint32_t kRuleDepthMax = 8;
// One profile makes no more rules than this.
inline constexpr size_t kRulesPerProfileMax = 1'000;

// One way in which rows of an entity come to callers, the same for all profiles that name it. A
// filter makes one for each of its alternatives, a related rule one for each rule of the entity
// that its rows are related to.
struct SyncRule {
  std::string id;       // canonical text, such as "e3|user:a5"; equal rules are one rule
  std::string text;     // as a profile has it, for people; equal rules may have different ones
  uint32_t number = 0;  // in the organisation's incarnation; never given again
  EntityId entity{};    // of the rows that it brings
  v1::RuleKind kind = v1::RULE_KIND_UNSPECIFIED;
  uint32_t depth = 1;  // rules in its chain, itself included
  // Ownership: what is compared with the caller's claim. Related: the reference, an attribute of
  // `entity` where `down`, of `source_entity` otherwise.
  AttributeId attribute{};
  FilterAlternative filter{};
  size_t comparisons = 1;  // about how many the filter makes
  size_t searches = 0;     // Condition::searches() of it
  // Related: the rows of `entity` that point at a source row (`down`), or that source rows point
  // at; a source row is one that the rule numbered `source` brings.
  bool down = false;
  EntityId source_entity{};
  uint32_t source = 0;
};

struct BucketName {
  BucketKey key;     // BucketKey::OfName(name)
  std::string name;  // rule id, for parameters "=" and the values: "e3|user:a5=U1"
  friend auto operator<=>(const BucketName&, const BucketName&) = default;
};
[[nodiscard]] BucketName MakeBucketName(std::string name);

// The bucket of `rule`, of a kind other than related, that a row is in; nullopt for none. Pure.
[[nodiscard]] absl::StatusOr<std::optional<BucketName>> BucketOfRow(const SyncRule& rule,
                                                                    const EntitySchema& schema,
                                                                    std::string_view row);

// The key that the row points at by `attribute`; "" where that is null, no attribute, or longer
// than a key can be.
[[nodiscard]] std::string ReferencedKey(const EntitySchema& schema, AttributeId attribute,
                                        std::string_view row);

// The same of several attributes, ascending: one walk over the row.
[[nodiscard]] std::vector<std::string> ReferencedKeys(const EntitySchema& schema,
                                                      std::span<const AttributeId> attributes,
                                                      std::string_view row);

// The bucket that `rule`, a related one, derives from the bucket `source` of its source rule.
[[nodiscard]] BucketName DerivedBucket(const SyncRule& rule, BucketKey source);

// Who asks: what a sync token's claims say of the caller. An absent claim matches nothing.
struct CallerClaims {
  std::string user;  // `sub`
  std::vector<std::string> roles;
  std::vector<std::string> teams;
  std::optional<std::string> business_unit;
};

// The buckets of `rule`, of a kind other than related, that a caller's claims choose, but no more
// than `max` + 1. A claim that cannot be a value of the attribute names no bucket.
[[nodiscard]] std::vector<BucketName> BucketsOfCaller(const SyncRule& rule,
                                                      const EntitySchema& schema,
                                                      const CallerClaims& caller, size_t max);

}  // namespace sluice::projectors
