#include <utility>

#include "projectors/fold/bucket_placer.h"
#include "schemas/base/status.h"

// The part of BucketPlacer that deletes what a source has no more.
namespace sluice::projectors {

// Deletes as so many operations of the event would, and so before any round: what the rows give to
// others is taken back by the buckets that they are in, none of which has changed. The batch can be
// cut between any two rows. The store is read past the batch: it must not have changed anything
// before.
absl::StatusOr<bool> BucketPlacer::Sweep(EntityId entity, int64_t version, std::string* after,
                                         uint64_t* swept) {
  while (true) {
    ASSIGN_OR_RETURN(auto records, parts_.view.ScanRecords(entity, *after, Chunk(), Room()));
    if (records.empty()) {
      return true;
    }
    for (auto& [key, record] : records) {
      if (Full()) {
        return false;
      }
      // Also of those that stay: they are read, however many they are.
      work_ += kRuleWork + record.row.size() / kBytesPerWork;
      if (!record.deleted && (!record.version.has_value() || *record.version <= version)) {
        const RowSlot slot = parts_.overlay.Adopt(key, std::move(record));
        const References before = ReferencesOf(slot);
        (void)parts_.overlay.Delete(slot, Position{offset_, next_index_++}, version);
        RETURN_IF_ERROR(Written(slot, before));
        ++*swept;
      }
      *after = key.key;
    }
  }
}

}  // namespace sluice::projectors
