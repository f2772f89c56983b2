#include <cstdint>
#include <cstdlib>
#include <string>

#include "projectors/rules/filter.h"
#include "schemas/base/status.h"
#include "tests/unit/projectors/rules/filter_testing.h"

// A filter, a zero byte, a row: nothing crashes whatever they are. What is refused has a code and a
// column within the text; what is accepted obeys its invariants, and its canonical text is itself.

namespace {

using namespace sluice::projectors;

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

void CheckAlternative(const FilterAlternative& alternative, std::string_view row) {
  for (size_t i = 0; i < alternative.terms.size(); ++i) {
    const ClaimTerm& term = alternative.terms[i];
    Require(i == 0 || alternative.terms[i - 1] < term);
    Require(term.attribute.value() == 0 || term.constant.empty());
  }
  if (alternative.condition != nullptr) {
    const auto matches = alternative.condition->Matches(row);
    Require(matches.ok() || sluice::ErrorCode(matches.status()) == "malformed_row");
  }
  if (alternative.canonical.size() > kFilterBytesMax) {
    return;
  }
  const auto again =
      Filter::Parse(alternative.canonical, sluice::projectors::testing::FilterSchema());
  if (!again.ok()) {
    // Splitting may nest deeper and write longer lists than a text may; nothing else is refused.
    Require(sluice::Message(again.status()).find("more than") != std::string_view::npos);
    return;
  }
  Require((*again)->alternatives().size() == 1);
  Require((*again)->alternatives()[0].canonical == alternative.canonical);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view where = input.substr(0, input.find('\0'));
  const std::string_view row = where.size() < size ? input.substr(where.size() + 1) : "";
  const auto filter = Filter::Parse(where, sluice::projectors::testing::FilterSchema());
  if (!filter.ok()) {
    const std::string code = sluice::ErrorCode(filter.status());
    const auto column = sluice::ErrorColumn(filter.status());
    Require(code == "invalid_filter" || code == "unknown_attribute");
    Require(column.has_value() && *column >= 1 && *column <= where.size() + 1);
    return 0;
  }
  const auto& alternatives = (*filter)->alternatives();
  Require(!alternatives.empty() && alternatives.size() <= kFilterAlternativesMax);
  for (size_t i = 0; i < alternatives.size(); ++i) {
    Require(i == 0 || alternatives[i - 1].canonical < alternatives[i].canonical);
    CheckAlternative(alternatives[i], row);
  }
  return 0;
}
