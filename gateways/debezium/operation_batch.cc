#include "gateways/debezium/operation_batch.h"

#include <algorithm>

#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

constexpr size_t kOperationOverhead = 24;

}  // namespace

// `earlier` is what the row is by now: values that it has itself are taken over, those that it
// keeps are kept from where it does.
void OperationBatch::CompleteFrom(const v1::Operation& earlier, v1::Operation* op) {
  std::string fields;
  schemas::RowScanner scanner(earlier.row());
  while (scanner.Next()) {
    const auto& kept = op->kept();
    if (std::find(kept.begin(), kept.end(), scanner.field().id.value()) != kept.end()) {
      fields += scanner.field().raw;
    }
  }
  // Both are rows that we made: it can't fail.
  op->set_row(schemas::PatchRow(op->row(), fields, {}).value_or(op->row()));
  google::protobuf::RepeatedField<uint32_t> kept;
  for (const uint32_t id : op->kept()) {
    if (std::find(earlier.kept().begin(), earlier.kept().end(), id) != earlier.kept().end()) {
      kept.Add(id);
    }
  }
  *op->mutable_kept() = std::move(kept);
  std::string from = earlier.kept_from().empty() ? earlier.key() : earlier.kept_from();
  op->set_kept_from(op->kept().empty() || from == op->key() ? std::string() : std::move(from));
}

void OperationBatch::Upsert(uint32_t entity_id, DecodedRow row, std::string kept_from,
                            int64_t version) {
  v1::Operation& op = ops_.emplace_back();
  op.set_kind(v1::Operation::KIND_UPSERT);
  op.set_entity_id(entity_id);
  op.set_key(std::move(row.key));
  op.set_row(std::move(row.bytes));
  op.set_version(version);
  for (const schemas::AttributeId id : row.kept) {
    op.add_kept(id.value());
  }
  if (!op.kept().empty()) {
    const bool is_moved = !kept_from.empty() && kept_from != op.key();
    const auto found = upserts_.find({entity_id, is_moved ? kept_from : op.key()});
    op.set_kept_from(is_moved ? std::move(kept_from) : std::string());
    // The delete of a row that moves may come before what it has become.
    if (found != upserts_.end() && (is_moved || !found->second.deleted)) {
      CompleteFrom(ops_[found->second.upsert], &op);
    } else if (found != upserts_.end()) {
      op.clear_kept();  // deleted, and made anew with values that nobody has
    }
    moves_ = moves_ || !op.kept_from().empty();
  }
  bytes_ += op.row().size() + op.key().size() + kOperationOverhead;
  upserts_[{entity_id, op.key()}] = {ops_.size() - 1, false};
}

void OperationBatch::Delete(uint32_t entity_id, std::string key, int64_t version) {
  if (const auto found = upserts_.find({entity_id, key}); found != upserts_.end()) {
    found->second.deleted = true;
  }
  v1::Operation& op = ops_.emplace_back();
  op.set_kind(v1::Operation::KIND_DELETE);
  op.set_entity_id(entity_id);
  op.set_key(std::move(key));
  op.set_version(version);
  bytes_ += op.key().size() + kOperationOverhead;
}

std::vector<v1::Operation> OperationBatch::Take() {
  upserts_.clear();
  bytes_ = 0;
  moves_ = false;
  return std::exchange(ops_, {});
}

}  // namespace sluice::gateways
