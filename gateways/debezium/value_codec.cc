#include "gateways/debezium/value_codec.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <optional>

#include "gateways/json_members.h"
#include "schemas/attribute_type.h"
#include "schemas/base/ascii.h"
#include "schemas/base/date.h"
#include "schemas/base/datetime.h"
#include "schemas/base/decimal.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"
#include "schemas/base/time_of_day.h"
#include "schemas/field_value.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

// Behind a number's, true's, false's or null's characters in simdjson's token.
constexpr std::string_view kJsonBlanks = " \t\r\n";

namespace ondemand = simdjson::ondemand;
using schemas::Attribute;
using schemas::AttributeId;
using schemas::EntitySchema;

// Some 2,460 digits, as a number of few digits may have many zeros behind them. Dividing is
// quadratic.
constexpr size_t kUnscaledBytesMax = 1024;
constexpr int64_t kScaleMax = 100'000;

// What stands for a value that did not change and that PostgreSQL does not send: of a column of
// text, of bytes, and of arrays and maps by what they hold (Debezium's
// UnchangedToastedPlaceholder).
constexpr std::string_view kUnavailable = "__debezium_unavailable_value";
constexpr std::string_view kUnavailableBase64 = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==";
constexpr std::string_view kUnavailableMap =
    R"({"__debezium_unavailable_value":"__debezium_unavailable_value"})";
constexpr auto kUnavailableNested = std::to_array<std::string_view>({
    R"(["__debezium_unavailable_value"])",
    R"(["X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="])",
    "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,"
    "108,117,101]",
    R"(["b68a35a7-17ad-35b3-af2a-ae46edb4545a"])",
    kUnavailableMap,
});

absl::Status InvalidJson(std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_json", why);
}

#define RETURN_IF_SIMDJSON_ERROR(expr) RETURN_IF_JSON_ERROR(NotJson, expr)

// A value as it stands in the JSON.
struct JsonValue {
  enum class Kind : uint8_t { kNull, kBool, kNumber, kString, kNested };
  Kind kind = Kind::kNull;
  std::string_view text;  // a string's characters, or the JSON of anything else
};

absl::StatusOr<JsonValue> ReadValue(ondemand::value value) {
  JsonValue result;
  ondemand::json_type type{};
  RETURN_IF_SIMDJSON_ERROR(value.type().get(type));
  switch (type) {
    case ondemand::json_type::string:
      result.kind = JsonValue::Kind::kString;
      RETURN_IF_SIMDJSON_ERROR(value.get_string().get(result.text));
      return result;
    case ondemand::json_type::array:
    case ondemand::json_type::object:
      result.kind = JsonValue::Kind::kNested;
      RETURN_IF_SIMDJSON_ERROR(simdjson::to_json_string(value).get(result.text));
      return result;
    default:
      break;
  }
  result.text = TrimBlanks(value.raw_json_token(), kJsonBlanks);
  if (result.text == "null") {
    return result;
  }
  if (result.text == "true" || result.text == "false") {
    result.kind = JsonValue::Kind::kBool;
    return result;
  }
  result.kind = JsonValue::Kind::kNumber;
  if (!IsJsonNumber(result.text)) {
    return InvalidJson(fmt::format("{} is no JSON value", QuoteForError(result.text)));
  }
  return result;
}

bool IsUnavailable(ColumnForm form, const JsonValue& value) {
  const bool undeclared = form == ColumnForm::kUndeclared;
  if (value.kind == JsonValue::Kind::kNested) {
    return std::ranges::find(kUnavailableNested, value.text) != kUnavailableNested.end();
  }
  return value.kind == JsonValue::Kind::kString &&
         (value.text == kUnavailable || value.text == kUnavailableMap ||
          (value.text == kUnavailableBase64 && (undeclared || form == ColumnForm::kBytes)));
}

absl::StatusOr<std::string> DateText(int64_t days) {
  if (days < kDateMin || days > kDateMax) {
    return TypeMismatch("days since 1970 is no date of the years 1 to 9999");
  }
  return FormatDate(days);
}

absl::StatusOr<std::string> TimeText(int64_t micros) {
  if (micros < 0 || micros > kTimeOfDayMax) {
    return TypeMismatch("is no time of a day");
  }
  return FormatTimeOfDay(micros);
}

// `units_per_micro` above 0: that many make a microsecond; below: so many microseconds make one.
absl::StatusOr<int64_t> ToMicros(int64_t count, int64_t units_per_micro) {
  if (units_per_micro > 0) {
    // Towards the past, also before 1970: what is finer is cut off.
    return count / units_per_micro - (count % units_per_micro < 0 ? 1 : 0);
  }
  int64_t micros = 0;
  if (__builtin_mul_overflow(count, -units_per_micro, &micros)) {
    return TypeMismatch("is beyond the years 1 to 9999");
  }
  return micros;
}

absl::StatusOr<std::string> DatetimeText(int64_t micros) {
  if (micros < kDatetimeMin || micros > kDatetimeMax) {
    return TypeMismatch("is beyond the years 1 to 9999");
  }
  return FormatDatetime(micros);
}

absl::StatusOr<int64_t> Count(const JsonValue& value) {
  if (value.kind != JsonValue::Kind::kNumber) {
    return TypeMismatch("is not a number");
  }
  return ParseInteger(value.text, std::numeric_limits<int64_t>::min(),
                      std::numeric_limits<int64_t>::max());
}

absl::StatusOr<std::string> CountText(ColumnForm form, int64_t count) {
  switch (form) {
    case ColumnForm::kDays:
      return DateText(count);
    case ColumnForm::kMillisOfDay:
    case ColumnForm::kMicrosOfDay:
    case ColumnForm::kNanosOfDay: {
      ASSIGN_OR_RETURN(const int64_t micros,
                       ToMicros(count, form == ColumnForm::kMillisOfDay   ? -1'000
                                       : form == ColumnForm::kMicrosOfDay ? 1
                                                                          : 1'000));
      return TimeText(micros);
    }
    default: {
      ASSIGN_OR_RETURN(const int64_t micros,
                       ToMicros(count, form == ColumnForm::kMillis   ? -1'000
                                       : form == ColumnForm::kMicros ? 1
                                                                     : 1'000));
      return DatetimeText(micros);
    }
  }
}

absl::StatusOr<std::string> Base64Decimal(std::string_view base64, int64_t scale) {
  const std::optional<std::string> unscaled = DecodeBase64(base64);
  if (!unscaled.has_value()) {
    return TypeMismatch("is not the base64 of a decimal's unscaled value");
  }
  return DecimalText(*unscaled, scale);
}

// {"scale":2,"value":"base64"}
absl::StatusOr<std::string> ScaledDecimalText(std::string_view json) {
  ondemand::parser parser;
  const simdjson::padded_string padded(json);
  ondemand::document document;
  RETURN_IF_SIMDJSON_ERROR(parser.iterate(padded).get(document));
  int64_t scale = 0;
  std::string_view value;
  if (document["scale"].get_int64().get(scale) || document["value"].get_string().get(value)) {
    return TypeMismatch("is not a decimal with its scale");
  }
  return Base64Decimal(value, scale);
}

absl::Status WrongType(v1::AttributeType type) {
  return TypeMismatch("is no {}", schemas::AttributeTypeName(type));
}

// A value of a message without schemas: a date, time or datetime by the attribute's type, anything
// else as it stands.
absl::StatusOr<std::string> UndeclaredText(v1::AttributeType type, const JsonValue& value) {
  const bool string = type == v1::ATTRIBUTE_TYPE_STRING;
  switch (value.kind) {
    case JsonValue::Kind::kString:
      return std::string(value.text);
    case JsonValue::Kind::kBool:
    case JsonValue::Kind::kNested: {
      const bool fits =
          string || (value.kind == JsonValue::Kind::kBool && type == v1::ATTRIBUTE_TYPE_BOOL);
      return fits ? absl::StatusOr<std::string>(value.text) : WrongType(type);
    }
    default:
      break;
  }
  switch (type) {
    case v1::ATTRIBUTE_TYPE_DATE:
    case v1::ATTRIBUTE_TYPE_TIME:
    case v1::ATTRIBUTE_TYPE_DATETIME: {
      ASSIGN_OR_RETURN(const int64_t count, Count(value));
      return CountText(type == v1::ATTRIBUTE_TYPE_DATE   ? ColumnForm::kDays
                       : type == v1::ATTRIBUTE_TYPE_TIME ? ColumnForm::kMicrosOfDay
                                                         : ColumnForm::kMicros,
                       count);
    }
    case v1::ATTRIBUTE_TYPE_INT32:
    case v1::ATTRIBUTE_TYPE_INT64:
    case v1::ATTRIBUTE_TYPE_DOUBLE:
    case v1::ATTRIBUTE_TYPE_DECIMAL:
    case v1::ATTRIBUTE_TYPE_STRING:
      return std::string(value.text);
    default:
      return WrongType(type);
  }
}

absl::StatusOr<std::string> Expect(JsonValue::Kind kind, const JsonValue& value) {
  if (value.kind != kind) {
    return TypeMismatch("is not what the message's schema says");
  }
  return std::string(value.text);
}

// The value's text, as AppendField() takes it, by what the message's schema says of it.
absl::StatusOr<std::string> DeclaredText(const ConnectColumn& column, const JsonValue& value) {
  switch (column.form) {
    case ColumnForm::kBool:
      return Expect(JsonValue::Kind::kBool, value);
    case ColumnForm::kInt32:
    case ColumnForm::kInt64:
    case ColumnForm::kDouble:
      return Expect(JsonValue::Kind::kNumber, value);
    case ColumnForm::kString:
    case ColumnForm::kBytes:
    case ColumnForm::kUuid:
    case ColumnForm::kZonedDatetime:
      return Expect(JsonValue::Kind::kString, value);
    case ColumnForm::kIsoDate:
    case ColumnForm::kIsoTime: {
      ASSIGN_OR_RETURN(std::string text, Expect(JsonValue::Kind::kString, value));
      if (text.ends_with('Z')) {
        text.pop_back();
      }
      return text;
    }
    case ColumnForm::kNested:
      return Expect(JsonValue::Kind::kNested, value);
    case ColumnForm::kDecimal:
      return value.kind == JsonValue::Kind::kNumber   ? CanonicalDecimal(value.text)
             : value.kind == JsonValue::Kind::kString ? Base64Decimal(value.text, column.scale)
                                                      : Expect(JsonValue::Kind::kString, value);
    case ColumnForm::kScaledDecimal: {
      ASSIGN_OR_RETURN(const std::string json, Expect(JsonValue::Kind::kNested, value));
      return ScaledDecimalText(json);
    }
    default: {
      ASSIGN_OR_RETURN(const int64_t count, Count(value));
      return CountText(column.form, count);
    }
  }
}

bool IsNumber(v1::AttributeType type) {
  return type == v1::ATTRIBUTE_TYPE_INT32 || type == v1::ATTRIBUTE_TYPE_INT64 ||
         type == v1::ATTRIBUTE_TYPE_DOUBLE || type == v1::ATTRIBUTE_TYPE_DECIMAL;
}

// Whether an attribute that somebody declared takes a column's values by their text: any text may
// be of its type, anything has a text, and numbers are compared by value. Not more: `1234` and
// `true` are base64, too.
bool Takes(v1::AttributeType type, ColumnForm form) {
  const v1::AttributeType natural = AttributeTypeOf(form);
  return type == natural || type == v1::ATTRIBUTE_TYPE_STRING || form == ColumnForm::kString ||
         (IsNumber(type) && IsNumber(natural));
}

}  // namespace

absl::StatusOr<std::string> DecimalText(std::string_view unscaled, int64_t scale) {
  if (unscaled.empty()) {
    return TypeMismatch("is no number");
  }
  if (unscaled.size() > kUnscaledBytesMax || std::abs(scale) > kScaleMax) {
    return TypeMismatch("needs more than the {} digits of a decimal", kDecimalDigitsMax);
  }
  const bool negative = (static_cast<uint8_t>(unscaled[0]) & 0x80) != 0;
  // The absolute value, in digits of 32 bits, the least first.
  std::vector<uint32_t> number((unscaled.size() + 3) / 4, negative ? UINT32_MAX : 0);
  for (size_t i = 0; i < unscaled.size(); ++i) {
    const size_t shift = 8 * (i % 4);
    uint32_t& digit = number[i / 4];
    digit = (digit & ~(uint32_t{0xff} << shift)) |
            uint32_t{static_cast<uint8_t>(unscaled[unscaled.size() - 1 - i])} << shift;
  }
  if (negative) {
    uint64_t carry = 1;
    for (uint32_t& digit : number) {
      carry += static_cast<uint32_t>(~digit);
      digit = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    if (carry != 0) {
      number.push_back(1);
    }
  }
  constexpr uint32_t kChunk = 1'000'000'000;
  std::string text;  // reversed
  while (!number.empty()) {
    uint64_t rest = 0;
    for (size_t i = number.size(); i-- > 0;) {
      rest = rest << 32 | number[i];
      number[i] = static_cast<uint32_t>(rest / kChunk);
      rest %= kChunk;
    }
    while (!number.empty() && number.back() == 0) {
      number.pop_back();
    }
    for (int i = 0; i < 9; ++i, rest /= 10) {
      text.push_back(static_cast<char>('0' + rest % 10));
    }
  }
  text.erase(text.find_last_not_of('0') + 1);  // leading zeros
  if (text.empty()) {
    return std::string("0");
  }
  text.append(negative ? "-" : "");
  std::ranges::reverse(text);
  return CanonicalDecimal(fmt::format("{}e{}", text, -scale));
}

struct ValueDecoder::Impl {
  struct Span {
    AttributeId id;
    size_t begin = 0;
    size_t size = 0;  // 0: kept
  };

  absl::StatusOr<ondemand::object> Open(std::string_view json);
  absl::Status TakeColumn(const EntitySchema& entity, const ConnectColumn& column,
                          const JsonValue& value, DecodedRow* row);
  absl::Status JoinFields(const EntitySchema& entity, DecodedRow* row);

  JsonText input;
  std::string fields;
  std::vector<Span> spans;
  ConnectColumn undeclared;
};

absl::StatusOr<ondemand::object> ValueDecoder::Impl::Open(std::string_view json) {
  RETURN_IF_SIMDJSON_ERROR(input.Open(json));
  ondemand::object object;
  RETURN_IF_SIMDJSON_ERROR(input.Object().get(object));
  return object;
}

absl::Status ValueDecoder::Impl::TakeColumn(const EntitySchema& entity, const ConnectColumn& column,
                                            const JsonValue& value, DecodedRow* row) {
  const Attribute* const attribute = entity.Find(column.name);
  if (value.kind == JsonValue::Kind::kNull) {
    return absl::OkStatus();
  }
  if (attribute == nullptr) {
    row->unknown.push_back(column.name);
    return absl::OkStatus();
  }
  if (IsUnavailable(column.form, value)) {
    spans.push_back({attribute->id, 0, 0});
    return absl::OkStatus();
  }
  const bool undeclared_form = column.form == ColumnForm::kUndeclared;
  absl::StatusOr<std::string> text = undeclared_form ? UndeclaredText(attribute->type, value)
                                     : Takes(attribute->type, column.form)
                                         ? DeclaredText(column, value)
                                         : WrongType(attribute->type);
  const size_t begin = fields.size();
  absl::Status status =
      text.ok() ? schemas::AppendField(*attribute, *text, &fields) : text.status();
  if (!status.ok()) {
    return Error(absl::StatusCode::kInvalidArgument, ErrorCode(status),
                 fmt::format("{}.{}: {} {}", entity.name(), attribute->name,
                             QuoteForError(value.text), Message(status)));
  }
  spans.push_back({attribute->id, begin, fields.size() - begin});
  if (attribute->id == entity.key().id) {
    schemas::RowScanner scanner(std::string_view(fields).substr(begin));
    scanner.Next();
    RETURN_IF_ERROR(schemas::AppendFieldText(*attribute, scanner.field(), &row->key));
    RETURN_IF_ERROR_CTX(schemas::ValidateKey(row->key),
                        fmt::format("{}.{}", entity.name(), attribute->name));
  }
  return absl::OkStatus();
}

absl::Status ValueDecoder::Impl::JoinFields(const EntitySchema& entity, DecodedRow* row) {
  std::ranges::sort(spans, {}, &Span::id);
  const auto twice = std::ranges::adjacent_find(spans, {}, &Span::id);
  if (twice != spans.end()) {
    return InvalidJson(
        fmt::format("row of {}: {} comes twice", entity.name(), entity.Find(twice->id)->name));
  }
  row->bytes.reserve(fields.size());
  for (const Span& span : spans) {
    if (span.size == 0) {
      row->kept.push_back(span.id);
    } else {
      row->bytes.append(fields, span.begin, span.size);
    }
  }
  return absl::OkStatus();
}

ValueDecoder::ValueDecoder() : impl_(std::make_unique<Impl>()) {}
ValueDecoder::~ValueDecoder() = default;
ValueDecoder::ValueDecoder(ValueDecoder&&) noexcept = default;
ValueDecoder& ValueDecoder::operator=(ValueDecoder&&) noexcept = default;

absl::StatusOr<DecodedRow> ValueDecoder::Decode(const EntitySchema& entity,
                                                const ConnectSchema* columns,
                                                std::string_view json) {
  impl_->fields.clear();
  impl_->spans.clear();
  ASSIGN_OR_RETURN(ondemand::object object, impl_->Open(json));
  DecodedRow row;
  size_t index = 0;
  RETURN_IF_ERROR(ForEachMember(
      object, NotJson, [&](std::string_view name, ondemand::value inner) -> absl::Status {
        const ConnectColumn* column = nullptr;
        if (columns == nullptr) {
          impl_->undeclared.name = name;
          column = &impl_->undeclared;
        } else if (column = columns->Find(name, index++); column == nullptr) {
          return InvalidJson(fmt::format("row of {}: the message's schema lacks {}", entity.name(),
                                         QuoteForError(name)));
        }
        ASSIGN_OR_RETURN(const JsonValue value, ReadValue(inner));
        return impl_->TakeColumn(entity, *column, value, &row);
      }));
  if (impl_->input.Rest() == simdjson::SUCCESS) {
    return InvalidJson("something follows the row");
  }
  RETURN_IF_ERROR(impl_->JoinFields(entity, &row));
  return row;
}

absl::StatusOr<std::vector<std::pair<std::string, v1::AttributeType>>> ValueDecoder::Suggest(
    std::string_view json) {
  ASSIGN_OR_RETURN(ondemand::object object, impl_->Open(json));
  std::vector<std::pair<std::string, v1::AttributeType>> columns;
  RETURN_IF_ERROR(ForEachMember(
      object, NotJson, [&](std::string_view name, ondemand::value inner) -> absl::Status {
        std::string owned(name);
        ASSIGN_OR_RETURN(const JsonValue value, ReadValue(inner));
        switch (value.kind) {
          case JsonValue::Kind::kNull:
            break;
          case JsonValue::Kind::kBool:
            columns.emplace_back(std::move(owned), v1::ATTRIBUTE_TYPE_BOOL);
            break;
          case JsonValue::Kind::kNumber:
            columns.emplace_back(std::move(owned), Count(value).ok() ? v1::ATTRIBUTE_TYPE_INT64
                                                                     : v1::ATTRIBUTE_TYPE_DOUBLE);
            break;
          default:
            columns.emplace_back(std::move(owned), v1::ATTRIBUTE_TYPE_STRING);
            break;
        }
        return absl::OkStatus();
      }));
  return columns;
}

}  // namespace sluice::gateways
