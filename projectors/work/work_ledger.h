#pragma once

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "eventlog/event.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"
#include "schemas/sluice/v1/sources.pb.h"

namespace sluice::projectors {

// What is read of a source on its own: an entity, or "" for the source as a whole.
struct StreamKey {
  OrgId org;
  uint32_t incarnation = 0;
  std::string source;
  std::string stream;
  friend auto operator<=>(const StreamKey&, const StreamKey&) = default;
};

// A stream as `work` tells it.
struct StreamWork {
  int64_t epoch = -1;  // of the newest item
  std::optional<v1::WorkItem> open;
  uint32_t attempt = 0;         // of the open item, that counts; 0: none yet
  bool running = false;         // it has not ended, as far as it was told
  std::string started_id;       // ce_id of its WorkStarted
  Offset started;               // and its place
  SystemTime heard{};           // when it was heard of last
  uint32_t fruitless = 0;       // attempts in a row that moved no cursor; this one included
  SystemTime not_before{};      // of the next attempt, which
  SystemTime::duration wait{};  // was so long after the failure
  int64_t last_due_us = 0;      // no item that was due by then is opened any more
  int64_t last_request = -1;

  // What was taken below changes_next, where the stream's epoch was `bound` (-1: it had none).
  v1::SourceState state;
  int64_t bound = -1;
  Offset changes_next = kNoOffset;  // kNoOffset: never told
  SystemTime told_at{};

  // For people.
  v1::RunNumbers numbers;
  std::string error_code;  // of the last attempt; empty: it failed not
  std::string error_detail;
  SystemTime failed_at{};
  SystemTime last_run{};  // end of the last one that was done
};

// The fold of one partition of `work`: which streams are to be read, by whom, and how far they are.
// Whoever reads the partition sees the same, so that of two workers who take an item for theirs one
// attempt counts. Pure; not thread-safe. projectors/docs/work.md.
class WorkLedger {
 public:
  // Whether the partition is read from its first event ever, or from where retention has cut it.
  void Begin(bool whole);
  // kInvalidArgument: malformed, changes nothing. Events of other types are passed over.
  [[nodiscard]] absl::Status Apply(const eventlog::StoredEvent& event);

  // nullptr: nothing is known of it.
  [[nodiscard]] const StreamWork* Find(const StreamKey& key) const;
  [[nodiscard]] const std::map<StreamKey, StreamWork>& streams() const { return streams_; }
  // The place in `changes` of which `work` tells every stream that had a state there; nullopt where
  // that can't be known: `changes` has to be read from its begin then. `log_id`: Log::id().
  [[nodiscard]] std::optional<Offset> Marked(std::string_view log_id) const;
  // Of the newest mark: what is told of places in `changes` is of this log.
  [[nodiscard]] const std::string& log_id() const { return log_id_; }
  // Nobody has ever run anything.
  [[nodiscard]] bool untouched() const { return whole_ && streams_.empty() && log_id_.empty(); }
  // The first event that is not older than kWorkKept; kNoOffset where there is none.
  [[nodiscard]] Offset FirstKept(SystemTime now) const;

 private:
  absl::Status ApplyItem(const eventlog::StoredEvent& event);
  absl::Status ApplyStarted(const eventlog::StoredEvent& event);
  absl::Status ApplyProgress(const eventlog::StoredEvent& event);
  absl::Status ApplyDone(const eventlog::StoredEvent& event);
  absl::Status ApplyFailed(const eventlog::StoredEvent& event);
  absl::Status ApplyMark(const eventlog::StoredEvent& event);
  // Forgets streams of which nothing was heard since `before`: who is there is heard of daily.
  void DropUnheard(SystemTime before);

  std::map<StreamKey, StreamWork> streams_;
  bool whole_ = false;
  std::optional<SystemTime> first_time_;
  std::string log_id_;  // of the newest mark
  Offset mark_;
  SystemTime marked_at_{};
  std::deque<std::pair<SystemTime, Offset>> hours_;  // the first event of each hour, about
};

// How long events of `work` are kept, at least; its topic's retention.
inline constexpr std::chrono::hours kWorkKept{7 * 24};
// Streams that are told anew after so long are within two days of any mark.
inline constexpr std::chrono::hours kWorkRetold{24};
// Clocks of nodes differ by less. A slot, or an attempt's time, that lies so much further in the
// future than it was planned was made by a clock that was wrong, and keeps no other from coming: no
// stream sleeps for longer than its interval, or its back-off, and this.
inline constexpr std::chrono::minutes kSkewMax{5};

// Whether the next attempt of the open item may begin.
[[nodiscard]] bool MayBegin(const StreamWork& work, SystemTime now);

}  // namespace sluice::projectors
