#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "gateways/debezium/transaction_assembler.h"
#include "gateways/debezium/value_codec.h"
#include "schemas/entity_schema.h"
#include "schemas/sluice/v1/sources.pb.h"

namespace sluice::gateways {

// The JSON of one row, at most.
inline constexpr size_t kTableRowBytesMax = 1 << 20;

// A column that no attribute can hold. Codes "invalid_name", "too_many_attributes".
struct RefusedColumn {
  std::string name;
  std::string code;
  std::string reason;
};

struct TableDefinition {
  v1::ProvisioningRequest::PutEntity entity;
  std::vector<RefusedColumn> refused;
};

// A table as an entity: what it is defined as, and what its changes are as rows. An entity has the
// attributes that it has already, those that the settings declare, and the columns of the changes
// that are seen; none is ever taken away. A key of several columns is a string attribute of its
// own, as a composed key of OData is (gateways/docs/sources.md). Not thread-safe.
class TableMapper {
 public:
  // `owner`: EntitySchema::source of what is defined.
  TableMapper(v1::SourceEntity settings, std::string owner);

  const v1::SourceEntity& settings() const { return settings_; }

  // `current`: nullptr where the entity is not defined. kFailedPrecondition, codes "no_key",
  // "incompatible_schema" (the key is not what it was); kInvalidArgument where the change can't be
  // read.
  [[nodiscard]] absl::StatusOr<TableDefinition> Define(const schemas::EntitySchema* current,
                                                       const TableChange& change);

  // The row of `json`, the change's "after" or "before", with its key. `unknown` is without columns
  // that are refused. Codes "too_large", "missing_key", and those of ValueDecoder.
  [[nodiscard]] absl::StatusOr<DecodedRow> Row(const schemas::EntitySchema& entity,
                                               const TableChange& change, std::string_view json);
  // The key of the row that is deleted, and the key that a row had before.
  [[nodiscard]] absl::StatusOr<std::string> DeletedKey(const schemas::EntitySchema& entity,
                                                       const TableChange& change);
  [[nodiscard]] absl::StatusOr<std::string> OldKey(const schemas::EntitySchema& entity,
                                                   const TableChange& change);

 private:
  // Where the key is: columns of the message's key, else of the settings.
  absl::Status LearnKey(const TableChange& change);
  bool key_is_composed() const { return key_columns_.size() > 1; }
  // From a row's bytes: the text of the composed key; empty where a part is missing.
  absl::StatusOr<std::string> ComposedKey(const schemas::EntitySchema& entity,
                                          std::string_view bytes) const;
  absl::StatusOr<std::string> KeyOf(const schemas::EntitySchema& entity,
                                    const ConnectSchema* columns, std::string_view json);

  const v1::SourceEntity settings_;
  const std::string owner_;
  std::vector<std::string> key_columns_;
  bool key_is_told_ = false;  // by a message
  ValueDecoder decoder_;
};

}  // namespace sluice::gateways
