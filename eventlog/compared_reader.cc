#include "eventlog/compared_reader.h"

#include <chrono>
#include <utility>

#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

constexpr std::chrono::seconds kQuiet{1};
// How long what was compared is taken to be there still.
constexpr std::chrono::seconds kHolds{30};

}  // namespace

ComparedReader::ComparedReader(Log& log, const Clock& clock, Topic topic, PartitionId partition,
                               Offset from, Compare compare)
    : log_(log),
      clock_(clock),
      topic_(topic),
      partition_(partition),
      compare_(std::move(compare)),
      next_(from),
      heard_(clock.SteadyNow()) {}

void ComparedReader::Cancel() {
  comparing_.Cancel();
  const absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  if (reader_ != nullptr) {
    reader_->Cancel();
  }
}

absl::StatusOr<Reader*> ComparedReader::Open() {
  {
    const absl::MutexLock lock(&mutex_);
    if (reader_ != nullptr) {
      return reader_.get();
    }
  }
  ASSIGN_OR_RETURN(auto opened, log_.OpenReader(topic_, partition_, next_));
  compared_.reset();
  const absl::MutexLock lock(&mutex_);
  reader_ = std::move(opened);
  if (cancelled_) {
    reader_->Cancel();
  }
  return reader_.get();
}

// What reads of a reader under way may take to end, so not under the lock, which Cancel() takes.
void ComparedReader::Close() {
  std::unique_ptr<Reader> closed;
  const absl::MutexLock lock(&mutex_);
  closed = std::move(reader_);
}

absl::Status ComparedReader::CompareApplied() {
  return compare_ ? compare_()
                  : VerifyContinuity(log_, topic_, partition_, last_, last_hash_, kReadPatience,
                                     &comparing_);
}

bool ComparedReader::IsDoubtful(uint64_t session, bool has_events) {
  const SteadyTime now = clock_.SteadyNow();
  const bool other =
      !compared_.has_value() || compared_->session != session || now - compared_at_ > kHolds;
  if (!has_events) {
    return other;  // so that a silence is watched, too
  }
  const bool quiet = now - std::exchange(heard_, now) > kQuiet;
  return quiet || other || !compared_->with_events;
}

absl::StatusOr<std::vector<StoredEvent>> ComparedReader::Read(const ReadLimits& limits) {
  if (doubted_) {
    RETURN_IF_ERROR(CompareApplied());
    doubted_ = false;
  }
  ASSIGN_OR_RETURN(Reader* const reader, Open());
  auto events = reader->Read(limits);
  if (!events.ok()) {
    doubted_ = true;
    if (ErrorCode(events.status()) == "offset_beyond_end" && last_ != kNoOffset) {
      Close();
      next_ = Offset(last_.value() + 1);
    }
    return events;
  }
  if (IsDoubtful(reader->session(), !events->empty())) {
    if (absl::Status same = CompareApplied(); !same.ok()) {
      doubted_ = true;
      Close();
      return same;
    }
    compared_ = Compared{reader->session(), !events->empty()};
    compared_at_ = clock_.SteadyNow();
  }
  next_ = reader->next();
  if (!events->empty()) {
    last_ = events->back().offset;
    last_hash_ = EventHash(events->back().event);
  }
  return events;
}

}  // namespace sluice::eventlog
