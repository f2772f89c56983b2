#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "projectors/provisioning/directory.h"
#include "projectors/provisioning/request_ledger.h"
#include "schemas/base/ids.h"

namespace sluice::projectors {

// What became of the requests of a partition whose ids their senders made from what they are about
// (UUIDs of version 8): they come again, and the sequencer, which knows them too, answers them
// once. It remembers RequestLedger::kDecidedMax requests of all kinds, and this as many of these
// alone: whatever it passes over is answered here. Not thread-safe.
class AnsweredRequests {
 public:
  // Of several outcomes of one request the first counts.
  void Add(const Directory::Outcome& outcome);
  // Without etag and control event.
  [[nodiscard]] std::optional<Directory::Outcome> Find(std::string_view request_id) const;

 private:
  using Key = std::array<char, 16>;
  struct Answer {
    absl::Status status;
    Offset changes_offset;
    bool existed = false;
  };
  static std::optional<Key> KeyOf(std::string_view request_id);

  absl::flat_hash_map<Key, Answer> answers_;
  std::deque<Key> order_;
};

}  // namespace sluice::projectors
