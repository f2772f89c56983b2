#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "projectors/model/sync_rules.h"
#include "tests/support/rows/plain_value.h"

// Filters as trees: written as text for the system under test, and evaluated here by their meaning
// in OData 4.01 (gateways/docs/api.md, section 4), with a logic of three values.
namespace sluice::testing {

using projectors::CallerClaims;

struct PlainFilter {
  enum class Kind {
    kCompare,  // `op`: eq ne gt ge lt le; `attribute` with `other` or the literal
    kIn,       // `attribute` in the literals
    kCall,     // `op`: contains startswith endswith; `attribute` and the literal
    kBool,     // `attribute` itself
    kClaim,    // `attribute`, or the literal where that is empty, against the claim `op`
    kNot,
    kAnd,
    kOr,
  };
  Kind kind = Kind::kBool;
  std::string op = {};
  std::string attribute = {};
  std::string other = {};
  std::vector<std::optional<PlainValue>> literals = {};  // nullopt: null
  std::vector<PlainFilter> children = {};
  bool swapped = false;  // the text has the literal first
};

// A claim of more bytes matches nothing.
inline constexpr size_t kPlainClaimBytesMax = 1'024;

// nullopt is "unknown".
using Truth = std::optional<bool>;
using Lookup = std::function<std::optional<PlainValue>(const std::string& attribute)>;

[[nodiscard]] std::string FilterText(const PlainFilter& filter);
[[nodiscard]] Truth Evaluate(const PlainFilter& filter, const Lookup& row,
                             const CallerClaims& claims);
// All that the filter names.
void CollectAttributes(const PlainFilter& filter, std::set<std::string>* names);

}  // namespace sluice::testing
