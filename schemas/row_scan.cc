#include <fmt/format.h>

#include "schemas/base/status.h"
#include "schemas/field_value.h"
#include "schemas/row_codec.h"
#include "schemas/wire.h"

// What is done with row bytes without decoding the whole row.
namespace sluice::schemas {
namespace {

// Whether `id` is in `ids` (ascending) from `*at` on; moves *at so that ascending questions cost
// one walk.
bool TakeId(std::span<const AttributeId> ids, size_t* at, AttributeId id) {
  while (*at < ids.size() && ids[*at] < id) {
    ++*at;
  }
  return *at < ids.size() && ids[*at] == id;
}

}  // namespace

absl::Status wire::MalformedRow(std::string_view reason) {
  return Error(StatusCode::kDataLoss, "malformed_row", "these bytes are not a row: {}", reason);
}

bool RowScanner::Next() {
  if (rest_.empty() || malformed_) {
    return false;
  }
  const char* const end = rest_.data() + rest_.size();
  const char* const next = wire::ReadField(rest_.data(), end, field_.id.value(), &field_);
  if (next == nullptr) {
    malformed_ = true;
    return false;
  }
  rest_ = {next, static_cast<size_t>(end - next)};
  return true;
}

absl::Status RowScanner::status() const {
  return malformed_ ? wire::MalformedRow(fmt::format(
                          "malformed or out of order {} bytes before its end", rest_.size()))
                    : absl::OkStatus();
}

absl::StatusOr<std::optional<std::string>> AttributeText(const Attribute& attribute,
                                                         std::string_view row) {
  RowScanner scanner(row);
  while (scanner.Next()) {
    if (scanner.field().id == attribute.id) {
      std::string text;
      RETURN_IF_ERROR(AppendFieldText(attribute, scanner.field(), &text));
      return std::optional<std::string>(std::move(text));
    }
    if (scanner.field().id > attribute.id) {
      return std::optional<std::string>();
    }
  }
  RETURN_IF_ERROR(scanner.status());
  return std::optional<std::string>();
}

absl::Status ValidateRow(const EntitySchema& schema, std::string_view row) {
  const auto at = [&schema](const Attribute& attribute) {
    return fmt::format("{}.{}", schema.name(), attribute.name);
  };
  RowScanner scanner(row);
  while (scanner.Next()) {
    const FieldView& field = scanner.field();
    const Attribute* const attribute = schema.Find(field.id);
    if (attribute == nullptr) {
      if (field.id.value() < schema.proto().next_attribute_id()) {
        continue;
      }
      return Invalid("unknown_attribute", "{} has no attribute of id {}", schema.name(),
                     field.id.value());
    }
    if (absl::Status checked = CheckField(*attribute, field); !checked.ok()) {
      return Annotate(checked, at(*attribute));
    }
    if (attribute->id == schema.key().id) {
      std::string key;
      RETURN_IF_ERROR(AppendFieldText(*attribute, field, &key));
      RETURN_IF_ERROR_CTX(ValidateKey(key), at(*attribute));
    }
  }
  if (absl::Status status = scanner.status(); !status.ok()) {
    return Invalid("malformed_row", "{}", Message(status));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> PatchRow(std::string_view row, std::string_view patch,
                                     std::span<const AttributeId> cleared) {
  std::string result;
  result.reserve(row.size() + patch.size());
  RowScanner old_fields(row);
  RowScanner new_fields(patch);
  bool has_old = old_fields.Next();
  bool has_new = new_fields.Next();
  size_t cleared_at = 0;
  while (has_old || has_new) {
    if (has_new && (!has_old || new_fields.field().id <= old_fields.field().id)) {
      const bool replaces = has_old && new_fields.field().id == old_fields.field().id;
      result.append(new_fields.field().raw);
      has_new = new_fields.Next();
      has_old = replaces ? old_fields.Next() : has_old;
      continue;
    }
    if (!TakeId(cleared, &cleared_at, old_fields.field().id)) {
      result.append(old_fields.field().raw);
    }
    has_old = old_fields.Next();
  }
  RETURN_IF_ERROR(old_fields.status());
  RETURN_IF_ERROR_CTX(new_fields.status(), "the patch");
  return result;
}

}  // namespace sluice::schemas
