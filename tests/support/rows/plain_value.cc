#include "tests/support/rows/plain_value.h"

#include <fmt/format.h>

#include <cstdlib>

namespace sluice::testing {
namespace {

constexpr int64_t kFirstDayMicros = 1'767'225'600'000'000;  // 2026-01-01T00:00:00Z
constexpr int64_t kDayMicros = 86'400'000'000;

// sint32: days since 1970-01-01, 2n for n and 2n - 1 for -n.
constexpr PlainMoment kDates[] = {{"0001-01-01", 2 * 719'162 - 1},
                                  {"1969-12-31", 1},
                                  {"1970-01-01", 0},
                                  {"2026-01-31", 2 * 20'484},
                                  {"9999-12-31", 2 * 2'932'896}};
constexpr PlainMoment kTimes[] = {{"00:00:00.000000", 0},
                                  {"00:00:00.000001", 1},
                                  {"10:00:00.500000", 36'000'500'000},
                                  {"23:59:59.999999", 86'399'999'999}};

const PlainMoment& MomentOf(const PlainValue& value) {
  const auto place = static_cast<size_t>(value.number);
  return value.type == PlainType::kDate ? kDates[place] : kTimes[place];
}

std::string DecimalText(int64_t thousandths) {
  const int64_t size = std::abs(thousandths);
  std::string text =
      fmt::format("{}{}.{:03}", thousandths < 0 ? "-" : "", size / 1'000, size % 1'000);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') {
    text.pop_back();
  }
  return text;
}

}  // namespace

v1::AttributeType ProtoType(PlainType type) {
  switch (type) {
    case PlainType::kString:
      return v1::ATTRIBUTE_TYPE_STRING;
    case PlainType::kInt32:
      return v1::ATTRIBUTE_TYPE_INT32;
    case PlainType::kInt64:
      return v1::ATTRIBUTE_TYPE_INT64;
    case PlainType::kDecimal:
      return v1::ATTRIBUTE_TYPE_DECIMAL;
    case PlainType::kBool:
      return v1::ATTRIBUTE_TYPE_BOOL;
    case PlainType::kDatetime:
      return v1::ATTRIBUTE_TYPE_DATETIME;
    case PlainType::kDate:
      return v1::ATTRIBUTE_TYPE_DATE;
    case PlainType::kTime:
      return v1::ATTRIBUTE_TYPE_TIME;
  }
  return v1::ATTRIBUTE_TYPE_UNSPECIFIED;
}

PlainValue Text(std::string_view text) { return {PlainType::kString, std::string(text), 0}; }

PlainValue Number(PlainType type, int64_t number) { return {type, "", number}; }

std::span<const PlainMoment> PlainDates() { return kDates; }
std::span<const PlainMoment> PlainTimes() { return kTimes; }

std::string TextOf(const PlainValue& value) {
  switch (value.type) {
    case PlainType::kString:
      return value.text;
    case PlainType::kBool:
      return value.number != 0 ? "true" : "false";
    case PlainType::kDatetime:
      return fmt::format("2026-01-{:02}T00:00:00.000000Z", value.number);
    case PlainType::kDate:
    case PlainType::kTime:
      return std::string(MomentOf(value).text);
    default:
      return DecimalText(value.number);
  }
}

nlohmann::json JsonOf(const PlainValue& value) {
  if (value.type == PlainType::kInt32) {
    return value.number / 1'000;
  }
  if (value.type == PlainType::kBool) {
    return value.number != 0;
  }
  return TextOf(value);
}

void AppendField(uint32_t id, const PlainValue& value, RowWriter* row) {
  switch (value.type) {
    case PlainType::kString:
    case PlainType::kDecimal:
      row->Text(id, TextOf(value));
      break;
    case PlainType::kBool:
      row->Varint(id, static_cast<uint64_t>(value.number));
      break;
    case PlainType::kDatetime:
      row->Fixed64(id, static_cast<uint64_t>(kFirstDayMicros + (value.number - 1) * kDayMicros));
      break;
    case PlainType::kDate:
    case PlainType::kTime:
      row->Varint(id, MomentOf(value).wire);
      break;
    default:
      row->Varint(id, static_cast<uint64_t>(value.number / 1'000));
  }
}

int Order(const PlainValue& a, const PlainValue& b) {
  if (a.type == PlainType::kString) {
    const int order = a.text.compare(b.text);
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  return a.number < b.number ? -1 : a.number > b.number ? 1 : 0;
}

}  // namespace sluice::testing
