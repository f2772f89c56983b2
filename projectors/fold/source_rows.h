#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "projectors/fold/bucket_placer.h"
#include "projectors/fold/fold.h"
#include "projectors/fold/fold_overlay.h"
#include "projectors/fold/fold_view.h"

namespace sluice::projectors {

// What the operations of a source's set (`only_changes`) do to rows. A source is read again and
// again, and mostly tells what is known: what changes nothing makes no operation in any bucket, and
// only notes that the row is as new as that. docs/fold.md, "What a source writes".
// Not thread-safe.
class SourceRows {
 public:
  struct Parts {
    FoldView& view;
    FoldOverlay& overlay;
    BucketPlacer& placer;
    FoldCounters& counters;
  };
  explicit SourceRows(const Parts& parts) : parts_(parts) {}

  // An upsert, delete or touch that has been checked against `schema`, of the row of `slot`.
  [[nodiscard]] absl::Status Apply(Position position, const v1::Operation& op,
                                   const EntitySchema& schema, FoldOverlay::RowSlot slot);

 private:
  absl::Status Upsert(Position position, const v1::Operation& op, const EntitySchema& schema,
                      FoldOverlay::RowSlot slot);
  // The row with what it keeps.
  absl::StatusOr<std::string> RowOf(const v1::Operation& op, const EntitySchema& schema,
                                    FoldOverlay::RowSlot slot);

  const Parts parts_;
};

}  // namespace sluice::projectors
