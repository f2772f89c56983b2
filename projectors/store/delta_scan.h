#pragma once

#include <memory>

#include "projectors/store/org_db.h"
#include "projectors/store/org_snapshot.h"
#include "schemas/base/ids.h"

namespace rocksdb {
class Snapshot;
}

namespace sluice::projectors {

// The operations of `bucket` after `after`, in position order, without the removals at or below
// `horizon`. Both `db` and `snapshot` must outlive the iterator. See DeltaIterator.
[[nodiscard]] std::unique_ptr<DeltaIterator> NewDeltaScan(const OrgDb& db,
                                                          const rocksdb::Snapshot* snapshot,
                                                          BucketKey bucket, Position after,
                                                          Offset horizon);

}  // namespace sluice::projectors
