#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/odata/entity_mapper.h"
#include "schemas/entity_schema.h"

namespace sluice::gateways {

// A value is no longer than this; in bytes of its text.
inline constexpr size_t kPropertyBytesMax = size_t{512} << 10;

// What an element of a page says.
struct ODataRow {
  enum class Kind : uint8_t {
    kUpsert,
    kDelete,
    kPassedOver,  // a link that was added or removed between rows
  };

  // Why the row can't be taken. kInvalidArgument: the row alone, codes "type_mismatch",
  // "missing_key", "invalid_key", "too_large", "invalid_json" (a property comes twice, or
  // what a string has are no characters).
  // kUnavailable, "source_answer_invalid": it is no JSON object, so the page is none either.
  absl::Status status;
  Kind kind = Kind::kUpsert;
  std::string key;    // the text of the key's value; of a row that can't be taken where it is known
  std::string bytes;  // row bytes of an upsert (schemas/row_codec.h), the key included
  // Attributes that the row says nothing of, ascending: those of properties that were asked for and
  // did not come. Null ones are neither here nor in `bytes`.
  std::vector<schemas::AttributeId> missing;
};

// Reads rows of one entity, of a load or of a delta, in the forms of 4.0 and 4.01. Holds buffers,
// so reuse it; not thread-safe.
class ODataRowReader {
 public:
  // kFailedPrecondition, code "incompatible_schema", where the schema lacks an attribute of the
  // mapping, has it with another type, or has another key.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ODataRowReader>> Create(
      MappedEntity entity, std::shared_ptr<const schemas::EntitySchema> schema);
  ~ODataRowReader();

  // `json`: the text of one element of a page.
  [[nodiscard]] ODataRow Read(std::string_view json);

 private:
  struct Impl;
  explicit ODataRowReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::gateways
