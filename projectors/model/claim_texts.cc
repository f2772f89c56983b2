#include "projectors/model/claim_texts.h"

#include <algorithm>
#include <iterator>

#include "schemas/base/collect.h"
#include "schemas/row_codec.h"

namespace sluice::projectors {
namespace {

std::vector<std::string_view> ValuesOf(Claim claim, const CallerClaims& caller) {
  switch (claim) {
    case Claim::kUser:
      return caller.user.empty() ? std::vector<std::string_view>()
                                 : std::vector<std::string_view>{caller.user};
    case Claim::kTeams:
      return {caller.teams.begin(), caller.teams.end()};
    case Claim::kBusinessUnit:
      return caller.business_unit.has_value() ? std::vector<std::string_view>{*caller.business_unit}
                                              : std::vector<std::string_view>();
    case Claim::kRoles:
      return {caller.roles.begin(), caller.roles.end()};
  }
  return {};
}

}  // namespace

const std::vector<std::string_view>& ClaimTexts::Values(Claim claim) {
  const auto [found, added] = values_.try_emplace(claim);
  if (added) {
    found->second = ValuesOf(claim, caller_);
    std::erase_if(found->second,
                  [](std::string_view value) { return value.size() > kClaimBytesMax; });
    SortUnique(&found->second);
  }
  return found->second;
}

const std::vector<std::string>& ClaimTexts::Common(Set claims, v1::AttributeType type) {
  const auto [found, added] = texts_.try_emplace({claims, type});
  std::vector<std::string>& texts = found->second;
  if (!added) {
    return texts;
  }
  bool first = true;
  for (const Claim claim : {Claim::kUser, Claim::kTeams, Claim::kBusinessUnit, Claim::kRoles}) {
    if ((claims & Of(claim)) == 0) {
      continue;
    }
    std::vector<std::string> of_claim;
    for (const std::string_view value : Values(claim)) {
      if (auto text = schemas::CanonicalText(type, value); text.ok()) {
        of_claim.push_back(*std::move(text));
      }
    }
    SortUnique(&of_claim);
    if (!std::exchange(first, false)) {
      std::vector<std::string> both;
      std::ranges::set_intersection(texts, of_claim, std::back_inserter(both));
      of_claim = std::move(both);
    }
    texts = std::move(of_claim);
  }
  return texts;
}

bool ClaimTexts::Has(Claim claim, std::string_view constant) {
  return std::ranges::binary_search(Values(claim), constant);
}

}  // namespace sluice::projectors
