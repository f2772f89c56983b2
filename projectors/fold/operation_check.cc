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
absl::Status CheckCanonical(const EntitySchema& schema, const std::string& key) {
  RETURN_IF_ERROR(schemas::ValidateKey(key));
  if (schema.key().type == v1::ATTRIBUTE_TYPE_STRING) {
    return absl::OkStatus();
  }
  const absl::StatusOr<std::string> text = schemas::CanonicalText(schema.key().type, key);
  if (!text.ok() || *text != key) {
    return Invalid("invalid_key", "the operation's key is not the canonical text of {}.{}",
                   schema.name(), schema.key().name);
  }
  return absl::OkStatus();
}

absl::Status CheckKey(const EntitySchema& schema, const v1::Operation& op) {
  return op.kind() == v1::Operation::KIND_UPSERT ? schemas::ValidateKey(op.key())
                                                 : CheckCanonical(schema, op.key());
}

absl::Status CheckKept(const EntitySchema& schema, const v1::Operation& op) {
  uint32_t before = 0;
  for (const uint32_t id : op.kept()) {
    if (id <= before) {
      return Invalid("malformed_event", "the attributes that are kept do not ascend");
    }
    if (id == schema.key().id.value() || id >= schema.proto().next_attribute_id()) {
      return Invalid("unknown_attribute", "{} has no attribute with id {} to be kept",
                     schema.name(), id);
    }
    before = id;
  }
  return op.kept_from().empty() ? absl::OkStatus() : CheckCanonical(schema, op.kept_from());
}

absl::Status UnknownEntity(const v1::Operation& op) {
  return Invalid("unknown_entity", "there is no entity with id {} at this position",
                 op.entity_id());
}

absl::Status UnknownKind(const v1::Operation& op) {
  return Invalid("malformed_event", "operations have no kind {}", static_cast<int>(op.kind()));
}

}  // namespace

absl::Status CheckOperation(const EntitySchema* schema, const v1::Operation& op) {
  if (schema == nullptr) {
    return UnknownEntity(op);
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
      return UnknownKind(op);
  }
}

absl::Status CheckSourceOperation(const EntitySchema* schema, const v1::Operation& op, bool alone) {
  if (schema == nullptr) {
    return UnknownEntity(op);
  }
  switch (op.kind()) {
    case v1::Operation::KIND_UPSERT:
      RETURN_IF_ERROR(CheckOperation(schema, op));
      return CheckKept(*schema, op);
    case v1::Operation::KIND_DELETE:
      return CheckOperation(schema, op);
    case v1::Operation::KIND_TOUCH:
      RETURN_IF_ERROR(CheckKey(*schema, op));
      return op.has_version() ? absl::OkStatus()
                              : Invalid("malformed_event", "a touch has a version");
    case v1::Operation::KIND_SWEEP:
      return alone && op.has_version() && op.key().empty()
                 ? absl::OkStatus()
                 : Invalid("malformed_event",
                           "a sweep is alone in its set, with a version and without a key");
    default:
      return UnknownKind(op);
  }
}

}  // namespace sluice::projectors
