#include "gateways/sources/source_set_check.h"

#include <string>
#include <string_view>
#include <utility>

#include "fmt/format.h"
#include "projectors/fold/operation_check.h"
#include "schemas/base/status.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

absl::Status CheckOne(const schemas::EntitySchema* schema, std::string_view owner,
                      const v1::Operation& op) {
  if (schema == nullptr) {
    return Error(absl::StatusCode::kInvalidArgument, "unknown_entity",
                 fmt::format("there is no entity with id {}", op.entity_id()));
  }
  if (schema->proto().source() != owner) {
    return Error(absl::StatusCode::kInvalidArgument, "entity_has_source",
                 fmt::format("the rows of {} are not of this source", schema->name()));
  }
  switch (op.kind()) {
    case v1::Operation::KIND_SWEEP:
      return absl::OkStatus();
    case v1::Operation::KIND_TOUCH:
      return schemas::ValidateKey(op.key());
    default:
      return projectors::CheckOperation(schema, op);
  }
}

}  // namespace

absl::Status TakeOutMisfits(const projectors::OrgModel& model, std::string_view owner,
                            std::vector<v1::Operation>& ops,
                            absl::FunctionRef<absl::Status(const RejectedRow&)> reject) {
  size_t kept = 0;
  for (size_t i = 0; i < ops.size(); ++i) {
    v1::Operation& op = ops[i];
    const auto schema = model.FindEntity(schemas::EntityId(op.entity_id()));
    const absl::Status fits = CheckOne(schema.get(), owner, op);
    if (fits.ok()) {
      if (kept != i) {
        ops[kept] = std::move(op);
      }
      ++kept;
      continue;
    }
    std::string json;
    if (schema == nullptr || !schemas::AppendRowJson(*schema, op.row(), {}, &json).ok()) {
      json.clear();
    }
    RejectedRow row;
    row.entity = schema == nullptr ? "" : schema->name();
    row.key = op.key();
    row.code = ErrorCode(fits);
    row.reason = std::string(Message(fits));
    row.row = json;
    RETURN_IF_ERROR(reject(row));
  }
  ops.resize(kept);
  return absl::OkStatus();
}

}  // namespace sluice::gateways
