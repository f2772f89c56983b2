#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "schemas/sluice/v1/definitions.pb.h"

namespace sluice::gateways {

// How Kafka Connect's JsonConverter writes a column's values, and what they mean.
enum class ColumnForm : uint8_t {
  kBool,
  kInt32,  // int8 to int32
  kInt64,
  kDouble,         // float and double; NaN and infinities are strings
  kString,         // also enumerations, JSON, XML, intervals, times with an offset
  kBytes,          // base64
  kUuid,           // text
  kDecimal,        // base64 of a big-endian two's complement, with the schema's scale; or a number
  kScaledDecimal,  // {"scale":2,"value":base64}
  kDays,           // a number: days since 1970
  kMillisOfDay,    // numbers: the time of a day
  kMicrosOfDay,
  kNanosOfDay,
  kMillis,  // numbers: since 1970, UTC
  kMicros,
  kNanos,
  kZonedDatetime,  // RFC 3339 text
  kIsoDate,        // "2026-01-31Z"
  kIsoTime,        // "10:00:00.5Z"
  kNested,         // arrays, maps and structures: kept as JSON text
  kUndeclared,     // a message without schemas: the JSON and the attribute's type decide
};

struct ConnectColumn {
  std::string name;
  ColumnForm form = ColumnForm::kUndeclared;
  int32_t scale = 0;  // of kDecimal: digits behind the point; may be negative
};

// The columns of a table, in the order of the schema. Immutable, so safe to share between threads.
class ConnectSchema {
 public:
  // Of `json`, a Connect schema of type "struct" as JsonConverter writes it. kInvalidArgument, code
  // "invalid_connect_schema", for anything else, a column named twice among it.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const ConnectSchema>> Parse(
      std::string_view json);
  // The same of the fields "after" or "before" of a change event's schema. nullptr where it has
  // neither.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const ConnectSchema>> ParseEnvelope(
      std::string_view json);

  const std::vector<ConnectColumn>& columns() const { return columns_; }
  // nullptr where there is none. `hint`: where it may be, as rows keep their schema's order.
  const ConnectColumn* Find(std::string_view name, size_t hint = 0) const;

 private:
  ConnectSchema() = default;
  std::vector<ConnectColumn> columns_;
};

// Attributes have no types of their own for these yet: strings, with the text that those will have.
inline constexpr v1::AttributeType kDateType = v1::ATTRIBUTE_TYPE_STRING;
inline constexpr v1::AttributeType kTimeType = v1::ATTRIBUTE_TYPE_STRING;

// The type of attribute that takes every value of the form; UNSPECIFIED for kUndeclared.
[[nodiscard]] v1::AttributeType AttributeTypeOf(ColumnForm form);

}  // namespace sluice::gateways
