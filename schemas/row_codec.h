#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "schemas/entity_schema.h"

// Row bytes: a protobuf message whose field numbers are attribute ids, fields in ascending order,
// each at most once, null attributes absent; so equal rows have equal bytes. The format, with a
// worked byte example, is schemas/docs/row-format.md:
//   string  length-delimited UTF-8          datetime  sfixed64, microseconds since 1970 UTC
//   int32   varint (as proto int32)         date      varint (as proto sint32), days since 1970
//   int64   varint (as proto int64)         time      varint, microseconds since midnight
//   double  fixed64                         uuid      length-delimited, 16 bytes
//   bool    varint 0 or 1                   bytes     length-delimited
//   decimal length-delimited canonical text ("-12.5": no exponent, no needless zeros; 38 digits at
//   most)
namespace sluice::schemas {

// One change of a row, as ingest takes it.
struct EncodedRow {
  std::string key;                   // text of the key's value; empty where a patch's row has none
  std::string bytes;                 // row bytes
  std::vector<AttributeId> cleared;  // attributes given as null, ascending (meaningful for a patch)
};

// Encodes rows from JSON. Holds a parser, so reuse it; not thread-safe.
class RowEncoder {
 public:
  RowEncoder();
  ~RowEncoder();
  RowEncoder(RowEncoder&&) noexcept;
  RowEncoder& operator=(RowEncoder&&) noexcept;

  // `json` is the text of one JSON object {attribute name: value}. Both numbers and strings are
  // taken for numeric types. Errors are kInvalidArgument with code "unknown_attribute",
  // "type_mismatch", "invalid_key" or "invalid_json", and name the entity, the attribute and the
  // value (cut short). Duplicate names in the object are "invalid_json".
  [[nodiscard]] absl::StatusOr<EncodedRow> Encode(const EntitySchema& schema,
                                                  std::string_view json);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A field of row bytes; `payload` is the bytes after the tag (and length, where there is one).
struct FieldView {
  AttributeId id;
  uint8_t wire_type = 0;
  uint64_t scalar = 0;       // wire types 0, 1 and 5
  std::string_view payload;  // wire type 2
  std::string_view raw;      // tag and everything after it
};

// Walks row bytes without decoding them. `Next` is false at the end or at malformed bytes: then
// status() tells which.
class RowScanner {
 public:
  explicit RowScanner(std::string_view row) : rest_(row) {}
  bool Next();
  const FieldView& field() const { return field_; }
  [[nodiscard]] absl::Status status() const;

 private:
  std::string_view rest_;
  FieldView field_;
  bool malformed_ = false;
};

// The text of one attribute's value (as keys, ownership and JSON strings use it), nullopt where
// null. kDataLoss, code "malformed_row", for bytes that are not a row.
[[nodiscard]] absl::StatusOr<std::optional<std::string>> AttributeText(const Attribute& attribute,
                                                                       std::string_view row);

// Checks bytes that came from elsewhere: well-formed, ascending, known attributes of the right wire
// type, values in range, UTF-8. Codes as in Encode. Attributes that the schema no longer has are
// accepted when their id is below next_attribute_id.
[[nodiscard]] absl::Status ValidateRow(const EntitySchema& schema, std::string_view row);

// `row` with the attributes in `patch` replaced and those in `cleared` (ascending) removed.
[[nodiscard]] absl::StatusOr<std::string> PatchRow(std::string_view row, std::string_view patch,
                                                   std::span<const AttributeId> cleared);

// Appends the row as a JSON object to `out`: attributes in ascending id, null and unknown (removed)
// ones left out, those whose id is in `denied` (ascending) too. gateways/docs/api.md, section 0,
// says how values are written. This is the hot path of serving: no intermediate document is built.
[[nodiscard]] absl::Status AppendRowJson(const EntitySchema& schema, std::string_view row,
                                         std::span<const AttributeId> denied, std::string* out);

// `row` without the attributes in `denied` (ascending) and without those that the schema no longer
// has.
[[nodiscard]] absl::StatusOr<std::string> MaskRow(const EntitySchema& schema, std::string_view row,
                                                  std::span<const AttributeId> denied);

// The canonical text of a value given as text: what a key or an ownership value is compared as
// (decimal "1.50" -> "1.5", uuid to lower case, ...). Code "type_mismatch" where it is not of the
// type.
[[nodiscard]] absl::StatusOr<std::string> CanonicalText(v1::AttributeType type,
                                                        std::string_view text);

// A primary key: 1 to 512 bytes of UTF-8 without U+0000. Code "invalid_key".
[[nodiscard]] absl::Status ValidateKey(std::string_view key);

}  // namespace sluice::schemas
