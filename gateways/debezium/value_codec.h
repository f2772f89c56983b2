#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gateways/debezium/connect_schema.h"
#include "schemas/entity_schema.h"

namespace sluice::gateways {

// One row of a change event.
struct DecodedRow {
  std::string key;    // text of the key's value; empty where the row does not hold it
  std::string bytes;  // row bytes (schemas/row_codec.h)
  // Attributes whose values did not change and are not in the message, ascending: values that
  // PostgreSQL keeps beside the row (TOAST), and for which Debezium writes a placeholder.
  std::vector<schemas::AttributeId> kept;
  // Columns that the entity lacks and that are not null, in the row's order.
  std::vector<std::string> unknown;
};

// Decodes rows from Connect's JSON, exactly: decimals from their unscaled integers, times from
// counts of what their schema says; what is finer than a microsecond is cut off. Holds a parser, so
// reuse it; not thread-safe.
class ValueDecoder {
 public:
  ValueDecoder();
  ~ValueDecoder();
  ValueDecoder(ValueDecoder&&) noexcept;
  ValueDecoder& operator=(ValueDecoder&&) noexcept;

  // `json` is one object {column: value}, a change event's "after", "before" or key; `columns` its
  // schema, nullptr for a message without schemas: then an attribute's type says how a value is
  // read (a number is days of a date and microseconds of a time or datetime). Columns that the
  // entity lacks are passed over. kInvalidArgument, codes "type_mismatch", "invalid_key",
  // "invalid_json"; the message names entity, attribute and value (cut short).
  [[nodiscard]] absl::StatusOr<DecodedRow> Decode(const schemas::EntitySchema& entity,
                                                  const ConnectSchema* columns,
                                                  std::string_view json);

  // What a row without a schema suggests for each column that is not null: bool, int64, double or
  // string. Code "invalid_json".
  [[nodiscard]] absl::StatusOr<std::vector<std::pair<std::string, v1::AttributeType>>> Suggest(
      std::string_view json);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The canonical text of the decimal with this unscaled value, a big-endian two's complement, as
// java.math.BigInteger has it, and `scale` digits behind the point. Code "type_mismatch" where
// there are no bytes or it needs more digits than a decimal has.
[[nodiscard]] absl::StatusOr<std::string> DecimalText(std::string_view unscaled, int64_t scale);

}  // namespace sluice::gateways
