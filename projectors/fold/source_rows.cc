#include "projectors/fold/source_rows.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "schemas/base/status.h"
#include "schemas/row_codec.h"

namespace sluice::projectors {
namespace {

std::optional<int64_t> VersionOf(const v1::Operation& op) {
  return op.has_version() ? std::optional(op.version()) : std::nullopt;
}

// Not older than what is there: one transaction of the source may write a row twice, and the parts
// of one that is too large for a set have one version.
bool IsStale(const FoldOverlay::Entry& entry, const v1::Operation& op) {
  return op.has_version() && entry.exists && entry.now.version.has_value() &&
         op.version() < *entry.now.version;
}

// A row keeps the bytes of attributes that the schema has no more until it is written again, and
// nobody reads them.
absl::StatusOr<std::string> Known(const EntitySchema& schema, std::string_view row) {
  std::string known;
  schemas::RowScanner scanner(row);
  while (scanner.Next()) {
    if (schema.Find(scanner.field().id) != nullptr) {
      known.append(scanner.field().raw);
    }
  }
  RETURN_IF_ERROR(scanner.status());
  return known;
}

absl::StatusOr<bool> IsSame(const EntitySchema& schema, std::string_view before,
                            std::string_view now) {
  if (before == now) {
    return true;
  }
  if (schema.attributes().size() + 1 == schema.proto().next_attribute_id()) {
    return false;  // none was removed
  }
  ASSIGN_OR_RETURN(const std::string known_before, Known(schema, before));
  ASSIGN_OR_RETURN(const std::string known_now, Known(schema, now));
  return known_before == known_now;
}

}  // namespace

absl::Status SourceRows::Apply(Position position, const v1::Operation& op,
                               const EntitySchema& schema, FoldOverlay::RowSlot slot) {
  ++parts_.counters.ops;
  const FoldOverlay::Entry& entry = parts_.overlay.entry(slot);
  if (IsStale(entry, op)) {
    ++parts_.counters.stale_versions;
    return absl::OkStatus();
  }
  if (op.kind() == v1::Operation::KIND_UPSERT) {
    return Upsert(position, op, schema, slot);
  }
  if (op.kind() == v1::Operation::KIND_TOUCH) {
    if (entry.live()) {
      parts_.placer.Passed(entry.now.row.size());
      parts_.overlay.SetVersion(slot, op.version());
    } else {
      ++parts_.counters.touches_of_nothing;
    }
    return absl::OkStatus();
  }
  if (entry.exists && !entry.live() && op.has_version() && entry.now.version == op.version()) {
    ++parts_.counters.unchanged;  // told again
    return absl::OkStatus();
  }
  const BucketPlacer::References before = parts_.placer.ReferencesOf(slot);
  return parts_.overlay.Delete(slot, position, VersionOf(op)) ? parts_.placer.Written(slot, before)
                                                              : absl::OkStatus();
}

absl::Status SourceRows::Upsert(Position position, const v1::Operation& op,
                                const EntitySchema& schema, FoldOverlay::RowSlot slot) {
  ASSIGN_OR_RETURN(std::string row, RowOf(op, schema, slot));
  const FoldOverlay::Entry& entry = parts_.overlay.entry(slot);
  bool same = false;
  if (entry.live()) {
    ASSIGN_OR_RETURN(same, IsSame(schema, entry.now.row, row));
  }
  if (same) {
    parts_.placer.Passed(row.size() + entry.now.row.size());
    // Where the row and its operations stand stays as it was: nobody is told anything.
    ++parts_.counters.unchanged;
    if (op.has_version()) {
      parts_.overlay.SetVersion(slot, op.version());
    }
    return absl::OkStatus();
  }
  const BucketPlacer::References before = parts_.placer.ReferencesOf(slot);
  parts_.overlay.Write(slot, position, VersionOf(op), std::move(row));
  return parts_.placer.Written(slot, before);
}

// As the rows are at the operation's place, behind the ones before it: whatever batches the set is
// cut into finds them so.
absl::StatusOr<std::string> SourceRows::RowOf(const v1::Operation& op, const EntitySchema& schema,
                                              FoldOverlay::RowSlot slot) {
  if (op.kept_size() == 0) {
    return op.row();
  }
  FoldOverlay::RowSlot from = slot;
  // No row gets the key of one that is there: where this version has written it already, its set is
  // done again, and what has the old key by now is nothing or another row.
  const FoldOverlay::Entry& own = parts_.overlay.entry(slot);
  const bool is_again = own.live() && op.has_version() && own.now.version == op.version();
  if (!op.kept_from().empty() && !is_again) {
    from = parts_.overlay.SlotOfCopy(EntityId(op.entity_id()), op.kept_from());
    RETURN_IF_ERROR(parts_.overlay.Load(parts_.view));
  }
  const FoldOverlay::Entry& entry = parts_.overlay.entry(from);
  if (!entry.live()) {
    ++parts_.counters.kept_of_nothing;
    return op.row();
  }
  std::vector<AttributeId> dropped;
  schemas::RowScanner scanner(entry.now.row);
  while (scanner.Next()) {
    const AttributeId id = scanner.field().id;
    if (!std::ranges::binary_search(op.kept(), id.value()) || schema.Find(id) == nullptr) {
      dropped.push_back(scanner.field().id);
    }
  }
  RETURN_IF_ERROR(scanner.status());
  parts_.placer.Passed(entry.now.row.size());
  return schemas::PatchRow(entry.now.row, op.row(), dropped);
}

}  // namespace sluice::projectors
