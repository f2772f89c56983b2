#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "projectors/model/claim_texts.h"
#include "projectors/rules/filter.h"
#include "schemas/base/ids.h"
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

// A rule's kind as profiles name it; "all" for one of a later version.
[[nodiscard]] std::string_view RuleKindName(v1::RuleKind kind);
[[nodiscard]] std::optional<v1::RuleKind> ParseRuleKind(std::string_view name);
// The attribute that a rule of `kind` compares; 0 for the kinds that compare none.
[[nodiscard]] AttributeId OwnershipAttribute(v1::RuleKind kind, const v1::Ownership& ownership);
[[nodiscard]] constexpr bool NeedsOwnership(v1::RuleKind kind) {
  return kind == v1::RULE_KIND_USER || kind == v1::RULE_KIND_TEAM ||
         kind == v1::RULE_KIND_BUSINESS_UNIT;
}

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

// A bucket is known by its key. Of its name, which is for people, so much is kept: one value of a
// row may be in the names of thousands of buckets. Of a longer one its beginning is kept and the
// key, "e3|filter:0f...=900000:aaa...#<32 hex digits>".
inline constexpr size_t kKeptNameBytesMax = 1'024;
[[nodiscard]] std::string KeptName(BucketKey key, std::string name);
// May `kept` be what is kept of the name of that bucket, now or by an earlier program?
[[nodiscard]] bool IsKeptName(BucketKey key, std::string_view kept);

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
// Its name alone: less to do where the key is known.
[[nodiscard]] std::string DerivedName(const SyncRule& rule, BucketKey source);

// How many buckets may be named, and of how many bytes their names may be together.
struct NamesRoom {
  uint64_t buckets = 0;
  uint64_t bytes = 0;
};

// The buckets of one rule that a caller's claims choose. They are counted before any is named: a
// few values of a few claims have millions of combinations.
struct ClaimedBuckets {
  uint64_t count = 0;             // UINT64_MAX for as many or more
  uint64_t bytes = 0;             // of their names; 0 where there is no room for so many buckets
  std::vector<BucketName> names;  // all, or none where there is no room for them
};

// Those of `rule`, of a kind other than related. A claim that cannot be a value of the attribute
// names no bucket.
[[nodiscard]] ClaimedBuckets BucketsOfCaller(const SyncRule& rule, const EntitySchema& schema,
                                             ClaimTexts& claims, const NamesRoom& room);

}  // namespace sluice::projectors
