#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "schemas/entity_schema.h"

// The `where` of a filter rule (gateways/docs/api.md, section 4): a subset of OData 4.01's $filter.
// What is taken, and how a filter becomes buckets, is in projectors/docs/filters.md.
namespace sluice::projectors {

using schemas::AttributeId;
using schemas::EntitySchema;

// Limits, each refused with code "invalid_filter".
inline constexpr size_t kFilterBytesMax = 8 * 1024;
inline constexpr uint32_t kFilterNestingMax = 64;     // parentheses, not, functions, comparisons
inline constexpr size_t kFilterInItemsMax = 256;      // of one `in`
inline constexpr size_t kFilterAlternativesMax = 32;  // of the filter and of each part of it
// Canonical text of all alternatives: and over or repeats conditions, so they can outgrow the text.
inline constexpr size_t kFilterCanonicalBytesMax = 128 * 1024;

// What a parameter stands for. Numbers are part of the order of terms, so they do not change.
enum class Claim : uint8_t { kUser = 1, kTeams = 2, kBusinessUnit = 3, kRoles = 4 };

// `attribute eq @user`, `attribute in @teams`, or with a constant in place of the attribute:
// `'boss' in @roles`.
struct ClaimTerm {
  Claim claim = Claim::kUser;
  AttributeId attribute;  // 0: the constant
  std::string constant;   // canonical text
  friend auto operator<=>(const ClaimTerm&, const ClaimTerm&) = default;
};

// An expression without parameters, compiled. Immutable, so safe to share between threads.
class Condition {
 public:
  struct Program;
  explicit Condition(std::unique_ptr<const Program> program);
  ~Condition();

  // True only where the expression is true: neither where it is false nor where it is null. Decodes
  // the attributes that it names in one pass. kDataLoss, code "malformed_row", for bytes that are
  // no row, as far as it had to read them.
  [[nodiscard]] absl::StatusOr<bool> Matches(std::string_view row) const;

  // How many of its steps may each read a whole value of the row: contains(), and what compares two
  // attributes. All others read as much as a literal has.
  [[nodiscard]] size_t searches() const;

 private:
  std::unique_ptr<const Program> program_;
};

// A row is an alternative's where all its terms and its condition hold.
struct FilterAlternative {
  std::vector<ClaimTerm> terms;  // ascending, unique; empty: the same rows for everybody
  std::shared_ptr<const Condition> condition;  // nullptr: always true
  // Terms and condition with attribute ids, "a5 eq @user and (a3 eq 'open')": alternatives of any
  // profiles that mean the same by their form have the same text.
  std::string canonical;
};

// A parsed filter as a disjunction: a row passes where one of its alternatives does. Immutable, so
// safe to share between threads.
class Filter {
 public:
  // kInvalidArgument with a column (schemas/base/status.h): code "invalid_filter", or
  // "unknown_attribute" for a name that the schema lacks.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const Filter>> Parse(
      std::string_view where, const EntitySchema& schema);

  // Ascending by canonical text, no two with the same terms; exactly one for a filter without
  // parameters.
  const std::vector<FilterAlternative>& alternatives() const { return alternatives_; }
  // All that the text names, ascending.
  const std::vector<AttributeId>& attributes() const { return attributes_; }

 private:
  Filter() = default;
  std::vector<FilterAlternative> alternatives_;
  std::vector<AttributeId> attributes_;
};

}  // namespace sluice::projectors
