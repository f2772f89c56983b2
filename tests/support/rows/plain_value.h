#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "schemas/sluice/v1/definitions.pb.h"
#include "tests/support/change_events.h"

namespace sluice::testing {

// The types that random organisations use: one of each way in which values are written and
// compared.
enum class PlainType { kString, kInt32, kInt64, kDecimal, kBool, kDatetime, kDate, kTime };

[[nodiscard]] v1::AttributeType ProtoType(PlainType type);

// A value of a row, or a literal of a filter. Numbers are exact to a thousandth, so that all of
// them compare as integers.
struct PlainValue {
  PlainType type = PlainType::kString;
  std::string text;  // of a string
  // Thousandths; a bool's 0 or 1; days of January 2026, from 1; the place among PlainDates() or
  // PlainTimes().
  int64_t number = 0;
  friend bool operator==(const PlainValue&, const PlainValue&) = default;
};

[[nodiscard]] PlainValue Text(std::string_view text);
[[nodiscard]] PlainValue Number(PlainType type, int64_t number);

// The dates and times that random organisations use, their ends among them, in their order: as text
// and as row bytes hold them.
struct PlainMoment {
  std::string_view text;
  uint64_t wire = 0;
};
[[nodiscard]] std::span<const PlainMoment> PlainDates();
[[nodiscard]] std::span<const PlainMoment> PlainTimes();

// As keys, owners and references are compared (gateways/docs/api.md, section 0).
[[nodiscard]] std::string TextOf(const PlainValue& value);
// As a row in JSON has it (gateways/docs/api.md, section 0).
[[nodiscard]] nlohmann::json JsonOf(const PlainValue& value);
// Appends the value to row bytes (schemas/docs/row-format.md).
void AppendField(uint32_t id, const PlainValue& value, RowWriter* row);
// Below, equal or above: -1, 0, 1. Of two strings, datetimes, dates, times, bools or numbers.
[[nodiscard]] int Order(const PlainValue& a, const PlainValue& b);

}  // namespace sluice::testing
