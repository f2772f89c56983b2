#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "schemas/sluice/v1/definitions.pb.h"
#include "tests/support/change_events.h"

namespace sluice::testing {

// The types that random organisations use: one of each way in which values are written and
// compared.
enum class PlainType { kString, kInt32, kInt64, kDecimal, kBool, kDatetime };

[[nodiscard]] v1::AttributeType ProtoType(PlainType type);

// A value of a row, or a literal of a filter. Numbers are exact to a thousandth, so that all of
// them compare as integers.
struct PlainValue {
  PlainType type = PlainType::kString;
  std::string text;    // of a string
  int64_t number = 0;  // thousandths; a bool's 0 or 1; days of January 2026, from 1
  friend bool operator==(const PlainValue&, const PlainValue&) = default;
};

[[nodiscard]] PlainValue Text(std::string_view text);
[[nodiscard]] PlainValue Number(PlainType type, int64_t number);

// As keys, owners and references are compared (gateways/docs/api.md, section 0).
[[nodiscard]] std::string TextOf(const PlainValue& value);
// As a row in JSON has it (gateways/docs/api.md, section 0).
[[nodiscard]] nlohmann::json JsonOf(const PlainValue& value);
// Appends the value to row bytes (schemas/docs/row-format.md).
void AppendField(uint32_t id, const PlainValue& value, RowWriter* row);
// Below, equal or above: -1, 0, 1. Of two strings, two datetimes, two bools or two numbers.
[[nodiscard]] int Order(const PlainValue& a, const PlainValue& b);

}  // namespace sluice::testing
