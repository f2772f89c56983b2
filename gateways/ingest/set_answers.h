#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/ingest/duplicate_filter.h"

namespace sluice::gateways {

// At which set an ingest request takes no more: those behind it are answered "not_tried", so that a
// sender who sends them again behind it keeps the order of the whole. To know it in time such a
// request gives the log one batch after the other.
enum class StopOn {
  kNothing,      // each set stands alone
  kUnavailable,  // one that can't be taken now
  kError,        // one that is refused, for whatever reason
};

// Whether one ingest request has come to a set at which it stops. Thread-safe: the log's callbacks
// say it too.
class StopMark {
 public:
  explicit StopMark(StopOn stop_on) : stop_on_(stop_on) {}

  [[nodiscard]] bool stops() const { return stop_on_ != StopOn::kNothing; }
  [[nodiscard]] bool StopsAt(const absl::Status& status) const;
  // Notes that a set was refused so, where the request is to stop at that. OK: it was not.
  void NoteRefused(const absl::Status& status);
  void Set() { is_set_ = true; }
  [[nodiscard]] bool is_set() const { return is_set_; }

 private:
  const StopOn stop_on_;
  std::atomic<bool> is_set_ = false;
};

// Of a set that was never given to the log, since its request ended before.
[[nodiscard]] absl::Status NotSent();

// The answers of one ingest request, JSON objects in the order of its sets, whichever of these are
// done first. Not thread-safe.
class SetAnswers {
 public:
  // `on_refused` is told the problem's code of each answer that is one.
  SetAnswers(std::shared_ptr<StopMark> stop, std::function<void(const std::string&)> on_refused)
      : stop_(std::move(stop)), on_refused_(std::move(on_refused)) {}

  // The next set's answer is an error.
  void Refuse(std::string id, const absl::Status& status);
  // The next set's answer is the ticket's.
  void Await(std::string id, std::shared_ptr<SetTicket> ticket);

  // Writes the answers of the first sets that are done.
  void Drain();
  // Writes all: `late` for those that are not done.
  void GiveUp(const absl::Status& late);

  // Those of the sets that are written, each after the separator, since the last call.
  std::string Take() { return std::move(text_); }
  [[nodiscard]] size_t size() const { return text_.size(); }  // of what Take() would give
  void set_separator(std::string_view separator) { separator_ = separator; }
  // The newest position among those that are written, kNoOffset for none.
  [[nodiscard]] Offset last() const { return last_; }

  // Of sets that are not written.
  [[nodiscard]] size_t waiting() const { return waiting_.size(); }
  // Drain() would write one.
  [[nodiscard]] bool due() const;
  // The ticket that is the last to have no result; nullptr for none.
  [[nodiscard]] std::shared_ptr<SetTicket> Unresolved() const;
  // How many of `tickets`, those of the newest sets that are awaited, in their order, come before
  // the set at which the request stops.
  [[nodiscard]] size_t BeforeStop(std::span<const std::shared_ptr<SetTicket>> tickets) const;

 private:
  struct Answer {
    std::string id;
    absl::Status error;                 // where the set was refused
    std::shared_ptr<SetTicket> ticket;  // otherwise
  };

  void Write(const Answer& answer, const absl::StatusOr<Offset>& result);

  const std::shared_ptr<StopMark> stop_;
  const std::function<void(const std::string&)> on_refused_;
  std::deque<Answer> waiting_;
  std::string text_;
  std::string separator_;
  size_t written_ = 0;
  bool stop_written_ = false;  // that of the set at which the request stops
  Offset last_ = kNoOffset;
};

}  // namespace sluice::gateways
