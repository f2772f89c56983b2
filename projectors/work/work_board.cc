#include "projectors/work/work_board.h"

#include <utility>

namespace sluice::projectors {

WorkBoard::WorkBoard(int32_t partitions) : ledgers_(static_cast<size_t>(partitions)) {}

void WorkBoard::Begin(PartitionId partition, bool whole) {
  const absl::MutexLock lock(&mutex_);
  ledgers_[static_cast<size_t>(partition.value())].Begin(whole);
}

void WorkBoard::Apply(PartitionId partition, const std::vector<eventlog::StoredEvent>& events) {
  const absl::MutexLock lock(&mutex_);
  WorkLedger& ledger = ledgers_[static_cast<size_t>(partition.value())];
  for (const eventlog::StoredEvent& event : events) {
    // A malformed one tells nothing; the partition's worker counts it.
    static_cast<void>(ledger.Apply(event));
  }
}

std::optional<StreamWork> WorkBoard::Find(PartitionId partition, const StreamKey& key) const {
  const absl::MutexLock lock(&mutex_);
  const StreamWork* const work = ledgers_[static_cast<size_t>(partition.value())].Find(key);
  return work == nullptr ? std::nullopt : std::optional<StreamWork>(*work);
}

std::map<std::string, StreamWork> WorkBoard::StreamsOf(PartitionId partition, const OrgId& org,
                                                       uint32_t incarnation,
                                                       std::string_view source) const {
  const absl::MutexLock lock(&mutex_);
  std::map<std::string, StreamWork> found;
  const auto& streams = ledgers_[static_cast<size_t>(partition.value())].streams();
  for (auto at = streams.lower_bound({org, incarnation, std::string(source), ""});
       at != streams.end() && at->first.org == org && at->first.incarnation == incarnation &&
       at->first.source == source;
       ++at) {
    found.emplace(at->first.stream, at->second);
  }
  return found;
}

}  // namespace sluice::projectors
