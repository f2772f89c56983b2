#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "projectors/rules/filter.h"
#include "schemas/entity_schema.h"

namespace sluice::projectors {

// Who asks: what a sync token's claims say of the caller. An absent claim matches nothing.
struct CallerClaims {
  std::string user;  // `sub`
  std::vector<std::string> roles;
  std::vector<std::string> teams;
  std::optional<std::string> business_unit;
};

// A claim's value of more bytes than this matches nothing. Rows that have such a value are in
// buckets that no caller can name.
inline constexpr size_t kClaimBytesMax = 1'024;

// What a caller's claims can match, found once for all that is compared with them: an organisation
// may compare attributes with claims a million times. Not thread-safe.
class ClaimTexts {
 public:
  using Set = uint8_t;  // of claims, a bit each
  static constexpr Set Of(Claim claim) {
    return static_cast<Set>(1U << static_cast<unsigned>(claim));
  }

  // `caller` must outlive the object.
  explicit ClaimTexts(const CallerClaims& caller) : caller_(caller) {}

  // The values that all of `claims` have, as canonical texts of the type: ascending and unique.
  // They last as long as the object.
  const std::vector<std::string>& Common(Set claims, v1::AttributeType type);
  // Is the constant, as it is, one of the claim's values?
  [[nodiscard]] bool Has(Claim claim, std::string_view constant);

 private:
  const std::vector<std::string_view>& Values(Claim claim);

  const CallerClaims& caller_;
  std::map<Claim, std::vector<std::string_view>> values_;  // ascending
  std::map<std::pair<Set, v1::AttributeType>, std::vector<std::string>> texts_;
};

}  // namespace sluice::projectors
