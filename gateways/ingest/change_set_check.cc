#include "gateways/ingest/change_set_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "projectors/fold/operation_check.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"

namespace sluice::gateways {
namespace {

constexpr size_t kNameBytesMax = 256;

absl::Status CheckOne(const projectors::OrgModel& model, const v1::Operation& op) {
  if (op.kind() != v1::Operation::KIND_UPSERT && op.kind() != v1::Operation::KIND_PATCH &&
      op.kind() != v1::Operation::KIND_DELETE) {
    return InvalidArgument(fmt::format("operations have no kind {}", static_cast<int>(op.kind())));
  }
  if (op.kept_size() > 0 || !op.kept_from().empty()) {
    return InvalidArgument("only a source keeps attributes of a row");
  }
  const schemas::EntitySchema* schema = model.FindEntity(schemas::EntityId(op.entity_id())).get();
  if (schema != nullptr) {
    RETURN_IF_ERROR(CheckOwner(model, *schema));
  }
  if (schema != nullptr && op.kind() == v1::Operation::KIND_DELETE && !op.row().empty()) {
    return RowOfDelete();
  }
  if (schema != nullptr && op.key().empty()) {
    return MissingKey(*schema);
  }
  return projectors::CheckOperation(schema, op);
}

absl::Status Check(const projectors::OrgModel& model, const ChangeSetLimits& limits,
                   const v1::ChangeSet& set, ReadChangeSet& out) {
  RETURN_IF_ERROR(CheckBytes(set.ByteSizeLong(), limits));
  RETURN_IF_ERROR(CheckName(set.id(), "id"));
  out.id = set.id();
  RETURN_IF_ERROR(CheckName(set.source(), "source"));
  out.set.set_source(set.source());
  if (set.has_step() || set.only_changes()) {
    return InvalidArgument("only a source's sets have a step or 'only_changes'");
  }
  out.named = true;
  if (set.incarnation() != 0 && set.incarnation() != model.incarnation()) {
    return Error(absl::StatusCode::kFailedPrecondition, "other_incarnation",
                 fmt::format("the set was made for incarnation {} of the organisation, this is {}",
                             set.incarnation(), model.incarnation()));
  }
  RETURN_IF_ERROR(CheckAny(static_cast<size_t>(set.ops_size())));
  for (int i = 0; i < set.ops_size(); ++i) {
    RETURN_IF_ERROR(CheckMore(static_cast<size_t>(i), limits));
    RETURN_IF_ERROR_CTX(CheckOne(model, set.ops(i)), fmt::format("operation {}", i));
  }
  return absl::OkStatus();
}

}  // namespace

ReadChangeSet CheckChangeSet(const projectors::OrgModel& model, const ChangeSetLimits& limits,
                             v1::ChangeSet& set) {
  ReadChangeSet out;
  out.status = Check(model, limits, set, out);
  if (out.status.ok()) {
    out.set = std::move(set);
  }
  return out;
}

absl::Status InvalidArgument(std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_argument", why);
}

absl::Status CheckName(std::string_view text, std::string_view what) {
  if (text.size() > kNameBytesMax || text.find('\0') != std::string_view::npos) {
    return InvalidArgument(
        fmt::format("'{}' has at most {} bytes and no U+0000", what, kNameBytesMax));
  }
  return IsValidUtf8(text) ? absl::OkStatus()
                           : InvalidArgument(fmt::format("'{}' is not UTF-8", what));
}

absl::Status CheckBytes(size_t bytes, const ChangeSetLimits& limits) {
  return bytes <= limits.line_bytes_max
             ? absl::OkStatus()
             : Error(absl::StatusCode::kInvalidArgument, "too_large",
                     fmt::format("the change set has {} bytes, at most {} are taken; split it",
                                 bytes, limits.line_bytes_max));
}

absl::Status CheckMore(size_t count, const ChangeSetLimits& limits) {
  return count < limits.ops_max
             ? absl::OkStatus()
             : Error(
                   absl::StatusCode::kInvalidArgument, "too_large",
                   fmt::format("a change set has at most {} operations; split it", limits.ops_max));
}

absl::Status CheckAny(size_t count) {
  return count > 0 ? absl::OkStatus() : InvalidArgument("'ops' is empty");
}

absl::Status MissingKey(const schemas::EntitySchema& schema) {
  return Error(absl::StatusCode::kInvalidArgument, "missing_key",
               fmt::format("entity '{}' needs its key: '{}' in the row, or the member 'key'",
                           schema.name(), schema.key().name));
}

absl::Status CheckOwner(const projectors::OrgModel& model, const schemas::EntitySchema& schema) {
  const std::string_view owner = model.OwnerOf(schema.proto());
  return owner.empty()
             ? absl::OkStatus()
             : Error(absl::StatusCode::kFailedPrecondition, "entity_has_source",
                     fmt::format("entity '{}' has its rows from {}; delete the source to write "
                                 "them yourself",
                                 schema.name(), projectors::OrgModel::OwnerText(owner)));
}

absl::Status RowOfDelete() { return InvalidArgument("a delete has a key and no row"); }

}  // namespace sluice::gateways
