#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/event.h"
#include "schemas/base/ids.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::gateways {

// What a dead letter is called in paths: the same for the letters that are one, whoever wrote them
// and however often. 1 to 64 letters, digits, '.', '_' and '-'.
[[nodiscard]] std::string LetterIdOf(const v1::DeadLetter& letter);

// The fold of `deadletter` by letter: which letters of an organisation are open, and where the
// newest event of each is. It keeps ids and places, no texts: some 200 bytes a letter. Past a limit
// the oldest letters are kept no more; they stay in the topic. Thread-safe.
class LetterIndex {
 public:
  struct Limits {
    size_t letters_max = 200'000;  // past it the organisation with the most loses its oldest
    size_t per_org_max = 10'000;   // past it its oldest goes
  };
  struct Page {
    std::vector<Offset> places;  // newest first
    bool more = false;           // there are older ones
    bool forgot = false;         // letters that were older than all others are not kept
  };

  explicit LetterIndex(Limits limits) : limits_(limits) {}

  // What was read of the partition counts no more.
  void Begin(PartitionId partition) ABSL_LOCKS_EXCLUDED(mutex_);
  // An event that is no letter, or can't be read, changes nothing.
  void Apply(PartitionId partition, const std::vector<eventlog::StoredEvent>& events)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // The newest `count` of those before `before`; kNoOffset: of all.
  [[nodiscard]] Page List(const OrgId& org, Offset before, size_t count) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] std::optional<Offset> Find(const OrgId& org, std::string_view id) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  [[nodiscard]] size_t size() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Letters that are kept no more, since the process began.
  [[nodiscard]] uint64_t forgotten() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Org {
    PartitionId partition;
    std::map<Offset, std::string> letters;  // ids by place
    absl::flat_hash_map<std::string, Offset> places;
    bool forgot = false;
  };
  using Orgs = std::map<std::string, Org, std::less<>>;

  void Take(PartitionId partition, const eventlog::StoredEvent& event)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The organisation has one letter more or less.
  void Resize(Orgs::iterator org, size_t before) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetOldest(Orgs::iterator org) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Limits limits_;
  mutable absl::Mutex mutex_;
  Orgs orgs_ ABSL_GUARDED_BY(mutex_);
  std::set<std::pair<size_t, std::string>> by_size_ ABSL_GUARDED_BY(mutex_);  // none at 0
  size_t size_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t forgotten_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sluice::gateways
