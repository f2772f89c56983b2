#include "projectors/rules/filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "projectors/rules/expression.h"
#include "projectors/rules/filter_lexer.h"
#include "projectors/rules/filter_parser.h"
#include "projectors/rules/split.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"

namespace sluice::projectors {
namespace {

absl::Status CheckText(std::string_view where) {
  if (where.size() > kFilterBytesMax) {
    return FilterError(where, kFilterBytesMax, "the filter has {} bytes, more than {}",
                       where.size(), kFilterBytesMax);
  }
  if (IsValidUtf8(where)) {
    return absl::OkStatus();
  }
  size_t at = 0;
  while (const size_t size = Utf8SequenceSize(where.substr(at))) {
    at += size;
  }
  return FilterError(where, at, "this byte is not UTF-8");
}

std::string CanonicalOf(const SplitAlternative& alternative) {
  std::string text;
  for (const ClaimTerm& term : alternative.terms) {
    text.append(text.empty() ? "" : " and ").append(ClaimText(term));
  }
  if (alternative.condition == nullptr) {
    return text.empty() ? "true" : text;
  }
  return text.empty() ? alternative.condition->text
                      : fmt::format("{} and ({})", text, alternative.condition->text);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Filter>> Filter::Parse(std::string_view where,
                                                            const EntitySchema& schema) {
  RETURN_IF_ERROR(CheckText(where));
  std::set<AttributeId> attributes;
  ASSIGN_OR_RETURN(const ExpressionPtr expression,
                   ParseFilterExpression(where, schema, &attributes));
  ASSIGN_OR_RETURN(std::vector<SplitAlternative> split, SplitFilter(expression, where));
  const std::shared_ptr<Filter> filter(new Filter());
  filter->attributes_.assign(attributes.begin(), attributes.end());
  for (SplitAlternative& alternative : split) {
    std::string canonical = CanonicalOf(alternative);
    auto condition =
        alternative.condition == nullptr ? nullptr : CompileCondition(*alternative.condition);
    filter->alternatives_.push_back(
        {std::move(alternative.terms), std::move(condition), std::move(canonical)});
  }
  std::sort(filter->alternatives_.begin(), filter->alternatives_.end(),
            [](const auto& a, const auto& b) { return a.canonical < b.canonical; });
  return std::shared_ptr<const Filter>(filter);
}

}  // namespace sluice::projectors
