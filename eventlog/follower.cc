#include "eventlog/follower.h"

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

using std::chrono::milliseconds;

// A log that may have lost its end is asked again so often, or sooner.
constexpr milliseconds kDoubtWaitMax{1'000};

}  // namespace

Follower::Follower(Log& log, const Clock& clock, Callbacks& callbacks, Options options)
    : log_(log),
      clock_(clock),
      callbacks_(callbacks),
      topic_(options.topic),
      partition_(options.partition),
      compare_(std::move(options.compare)),
      retry_(options.retry),
      health_(std::move(options.health)) {}

Follower::~Follower() { Stop(); }

void Follower::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Follower::RequestStop() {
  // All under the lock: whoever is ended by this looks next whether it stops, and whether it was
  // cut off, and must find both.
  const absl::MutexLock lock(&mutex_);
  stopping_ = true;
  cut_off_ = cancellation_.Cancel() || cut_off_;
  if (reader_ != nullptr) {
    reader_->Cancel();
  }
}

void Follower::Stop() {
  RequestStop();
  if (thread_.joinable()) {
    thread_.join();
  }
}

bool Follower::stopping() const {
  const absl::MutexLock lock(&mutex_);
  return stopping_;
}

bool Follower::cut_off() const {
  const absl::MutexLock lock(&mutex_);
  return cut_off_;
}

bool Follower::Pause(milliseconds delay) {
  const absl::MutexLock lock(&mutex_);
  return !mutex_.AwaitWithTimeout(absl::Condition(&stopping_), absl::FromChrono(delay));
}

absl::Status Follower::Health() const {
  const absl::MutexLock lock(&mutex_);
  return health_;
}

void Follower::SetHealth(absl::Status health) {
  const absl::MutexLock lock(&mutex_);
  health_ = std::move(health);
}

ComparedReader* Follower::reader() const {
  const absl::MutexLock lock(&mutex_);
  return reader_.get();
}

void Follower::Run() {
  while (!stopping()) {
    absl::Status status = opened_ ? absl::OkStatus() : Open();
    if (status.ok() && !stopping()) {  // what was opened meanwhile is not to be looked at any more
      status = callbacks_.Step();
    }
    if (status.ok()) {
      retry_.Reset();
    } else if (!AwaitRetry(status)) {
      break;
    }
  }
  callbacks_.Ended();
}

bool Follower::AwaitRetry(const absl::Status& status) {
  if (stopping()) {
    return false;
  }
  if (ComparedReader* const opened = reader(); opened != nullptr) {
    opened->Doubt();
    // The log may end before offsets that were passed over, and events may come there now: whoever
    // asks what is folded must not be told that these are.
    next_ = std::min(next(), opened->next()).value();
  }
  SetHealth(status);
  // Where no event is lost, the log ends before offsets without events that were passed over.
  opened_ = opened_ && ErrorCode(status) != "offset_beyond_end";
  const milliseconds wait = retry_.Next(IsDoubtedEnd(status) ? kDoubtWaitMax : milliseconds::max());
  return callbacks_.Failed(status, wait) && Pause(wait);
}

absl::Status Follower::Open() {
  ASSIGN_OR_RETURN(const Offset from, callbacks_.Open());
  opened_ = true;
  // Destroyed without the lock, which requests take: what reads of it are under way take to end.
  std::unique_ptr<ComparedReader> closed;
  const absl::MutexLock lock(&mutex_);
  if (reader_ == nullptr || reader_->last() == kNoOffset) {
    closed = std::move(reader_);
    reader_ = std::make_unique<ComparedReader>(log_, clock_, topic_, partition_, from, compare_);
  }
  if (stopping_) {
    reader_->Cancel();
  }
  next_ = reader_->next().value();
  return absl::OkStatus();
}

void Follower::Close() {
  opened_ = false;
  events_.clear();
  std::unique_ptr<ComparedReader> closed;  // as in Open()
  const absl::MutexLock lock(&mutex_);
  closed = std::move(reader_);
}

absl::Status Follower::ReadOn(const ReadLimits& limits) {
  RETURN_IF_ERROR(Read(limits));
  return Fold();
}

absl::Status Follower::Read(const ReadLimits& limits) {
  if (events_.empty()) {
    ASSIGN_OR_RETURN(events_, reader()->Read(limits));
  }
  return absl::OkStatus();
}

absl::Status Follower::Fold() {
  RETURN_IF_ERROR(callbacks_.Fold(events_));
  events_.clear();
  next_ = reader()->next().value();
  return absl::OkStatus();
}

Offset Follower::last() const {
  const ComparedReader* const opened = reader();
  return opened == nullptr ? kNoOffset : opened->last();
}

}  // namespace sluice::eventlog
