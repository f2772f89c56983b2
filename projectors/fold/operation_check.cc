#include "projectors/fold/operation_check.h"

#include <optional>
#include <string>

#include "schemas/base/status.h"
#include "schemas/row_codec.h"

namespace sluice::projectors {
namespace {

// A patch's row and an upsert's hold bytes that must fit the schema; the key in them is the
// operation's, and a patch can leave it out.
absl::Status CheckRow(const EntitySchema& schema, const v1::Operation& op) {
  RETURN_IF_ERROR(schemas::ValidateRow(schema, op.row()));
  ASSIGN_OR_RETURN(const std::optional<std::string> key,
                   schemas::AttributeText(schema.key(), op.row()));
  if (!key.has_value() && op.kind() == v1::Operation::KIND_UPSERT) {
    return Invalid("missing_key", "the row of {} has no {}", schema.name(), schema.key().name);
  }
  if (key.has_value() && *key != op.key()) {
    return Invalid("invalid_key", "the row's {}.{} is not the operation's key", schema.name(),
                   schema.key().name);
  }
  return absl::OkStatus();
}

absl::Status CheckCleared(const EntitySchema& schema, const v1::Operation& op) {
  for (const uint32_t id : op.cleared()) {
    if (id == schema.key().id.value()) {
      return Invalid("invalid_key", "a patch can't clear the key {}.{}", schema.name(),
                     schema.key().name);
    }
    if (id == 0 || id >= schema.proto().next_attribute_id()) {
      return Invalid("unknown_attribute", "{} never had an attribute with id {}", schema.name(),
                     id);
    }
  }
  return absl::OkStatus();
}

// Keys are compared as text, so the text has to be the canonical one.
absl::Status CheckKey(const EntitySchema& schema, const v1::Operation& op) {
  RETURN_IF_ERROR(schemas::ValidateKey(op.key()));
  if (op.kind() == v1::Operation::KIND_UPSERT || schema.key().type == v1::ATTRIBUTE_TYPE_STRING) {
    return absl::OkStatus();
  }
  const absl::StatusOr<std::string> text = schemas::CanonicalText(schema.key().type, op.key());
  if (!text.ok() || *text != op.key()) {
    return Invalid("invalid_key", "the operation's key is not the canonical text of {}.{}",
                   schema.name(), schema.key().name);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckOperation(const EntitySchema* schema, const v1::Operation& op) {
  if (schema == nullptr) {
    return Invalid("unknown_entity", "there is no entity with id {} at this position",
                   op.entity_id());
  }
  RETURN_IF_ERROR(CheckKey(*schema, op));
  switch (op.kind()) {
    case v1::Operation::KIND_UPSERT:
      return CheckRow(*schema, op);
    case v1::Operation::KIND_PATCH:
      RETURN_IF_ERROR(CheckRow(*schema, op));
      return CheckCleared(*schema, op);
    case v1::Operation::KIND_DELETE:
      return absl::OkStatus();
    default:
      return Invalid("malformed_event", "operations have no kind {}", static_cast<int>(op.kind()));
  }
}

}  // namespace sluice::projectors
