#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "projectors/work/work_ledger.h"
#include "schemas/base/clock.h"
#include "schemas/sluice/v1/sources.pb.h"

namespace sluice::projectors {

// A stream that is to be read again and again.
struct ScheduledStream {
  StreamKey key;
  int64_t epoch = 0;
  std::chrono::seconds interval{300};  // at least 1
  int64_t request = -1;  // position in `provisioning` of the newest request to run it; -1: none
};

// The items that are due now, at most `limit`: of a stream without an open item one, either as a
// request asks for it or as its slot has come. Slots are `interval` apart and begin at a place of
// the stream's own, so that streams which were made together do not run together; of slots that
// were missed the last alone counts. Every process makes the same items of the same ledger. Pure.
[[nodiscard]] std::vector<v1::WorkItem> DueItems(const WorkLedger& ledger,
                                                 std::span<const ScheduledStream> streams,
                                                 SystemTime now, size_t limit = 1'000);

// When the stream's next slot begins that it has not had.
[[nodiscard]] SystemTime NextSlot(const StreamWork* work, const ScheduledStream& stream,
                                  SystemTime now);

}  // namespace sluice::projectors
