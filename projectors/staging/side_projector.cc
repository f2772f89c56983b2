#include "projectors/staging/side_projector.h"

#include <algorithm>
#include <span>
#include <unordered_map>
#include <utility>

#include "absl/time/time.h"
#include "projectors/staging/history_check.h"
#include "projectors/store/org_db.h"
#include "schemas/base/status.h"
#include "spdlog/spdlog.h"

namespace sluice::projectors {
namespace {

using std::chrono::milliseconds;

// How long a read waits at the end of the log, and the thread when it has nothing to do.
constexpr milliseconds kIdle{50};
// A store that is being read, or was opened anew, is ready again soon.
constexpr milliseconds kBackoffSoonMax{1'000};
// Events that wait for their turn, of all organisations together, in batches of the main thread's
// limit.
constexpr size_t kBatchesHeld = 4;

}  // namespace

void SideProjector::Work::PassTo(Offset next, std::pair<Offset, uint64_t> last) {
  through = next;
  passed = last;
}

void SideProjector::Work::PassThrough(const eventlog::StoredEvent& last) {
  PassTo(Offset(last.offset.value() + 1), {last.offset, eventlog::EventHash(last.event)});
}

void SideProjector::Work::DropEvents() {
  if (done < events.size() && done > 0) {
    PassThrough(events[done - 1]);
  } else if (done < events.size()) {
    PassTo(through_before, passed_before);
  }
  events.clear();
  events.shrink_to_fit();
  done = bytes = 0;
}

SideProjector::SideProjector(PartitionId partition, eventlog::Log& log, ApartWriter& stores,
                             const Clock& clock, const StagingOptions& options,
                             StagingMetrics& metrics)
    : partition_(partition),
      log_(log),
      stores_(stores),
      clock_(clock),
      options_(options),
      metrics_(metrics),
      thread_([this] { Run(); }) {}

SideProjector::~SideProjector() { Stop(); }

void SideProjector::Wake() {
  if (!stores_.ApartOf(partition_).empty()) {
    absl::MutexLock lock(&mutex_);
    woken_ = true;
  }
}

void SideProjector::RequestStop() {
  comparing_.Cancel();
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  for (const Place& place : places_) {
    if (place.reader != nullptr) {
      place.reader->Cancel();
    }
  }
}

void SideProjector::Stop() {
  RequestStop();
  if (thread_.joinable()) {
    thread_.join();
  }
}

bool SideProjector::stopping() const {
  absl::MutexLock lock(&mutex_);
  return stopping_;
}

bool SideProjector::HasLostEvents(const OrgId& org) const {
  absl::MutexLock lock(&mutex_);
  return lost_events_.contains(org.value());
}

absl::Status SideProjector::History() const {
  absl::MutexLock lock(&mutex_);
  return history_;
}

bool SideProjector::AwaitWake() {
  const auto called = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stopping_ || woken_; };
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&called));
  woken_ = false;  // before it is looked who is apart: nobody is overlooked who comes later
  return !stopping_;
}

void SideProjector::Run() {
  while (AwaitWake()) {
    FoldApart();
    CloseReaders();
  }
}

void SideProjector::FoldApart() {
  while (!stopping()) {
    const std::vector<ApartOrg> apart = stores_.ApartOf(partition_);
    Match(apart);
    if (apart.empty()) {
      letters_held_ = 0;
      metrics_.ApartBytes(partition_, 0);
      return;
    }
    const milliseconds wait = Turn(apart);
    metrics_.ApartBytes(partition_, Held());
    absl::MutexLock lock(&mutex_);
    if (wait > milliseconds(0)) {
      mutex_.AwaitWithTimeout(absl::Condition(&stopping_), absl::FromChrono(wait));
    }
  }
}

// Destroyed without the lock, which requests take: what reads of them are under way take to end.
void SideProjector::CloseReaders() {
  std::array<Place, 2> closed;
  absl::MutexLock lock(&mutex_);
  closed = std::exchange(places_, {});
}

size_t SideProjector::Held() const {
  size_t held = 0;
  for (const auto& [org, work] : work_) {
    held += work.bytes;
  }
  return held;
}

void SideProjector::Match(const std::vector<ApartOrg>& apart) {
  std::set<std::string_view> orgs;
  for (const ApartOrg& a : apart) {
    orgs.insert(a.org.value());
  }
  std::erase_if(work_, [&](const auto& entry) { return !orgs.contains(entry.first); });
  {
    absl::MutexLock lock(&mutex_);
    std::erase_if(lost_events_, [&](const std::string& org) { return !orgs.contains(org); });
  }
  for (const ApartOrg& a : apart) {
    const auto [found, added] =
        work_.try_emplace(a.org.value(), LetterBox(log_, clock_, partition_, options_, metrics_));
    Work& work = found->second;
    if (added || work.generation != a.generation) {
      // New, or its store has gone back, or is to be built anew.
      work.generation = a.generation;
      work.DropEvents();
      work.compared = work.looked = 0;
      // Not from behind what the main thread has applied: what was passed over there, by a
      // projector that is no more, nobody could compare. What the main thread has passed over for
      // it since its store's last event lies below what that thread applied last: to compare that,
      // before anything is read on, covers all of it.
      const AppliedState main = stores_.LastApplied(partition_);
      const Offset from = stores_.ApartFrom(partition_, a, kNoOffset);
      work.PassTo(
          main.position == kNoOffset ? from : std::min(from, Offset(main.position.value() + 1)),
          {main.position, main.event_hash});
    }
  }
}

milliseconds SideProjector::Turn(const std::vector<ApartOrg>& apart) {
  bool worked = false;
  size_t letters = 0;
  milliseconds wait = kIdle;
  for (const ApartOrg& a : apart) {
    Work& work = work_.at(a.org.value());
    if (stopping()) {
      return milliseconds(0);
    }
    const bool has_work = !work.events.empty() || !work.letters.empty() || work.reading;
    if (has_work && work.retry_at <= clock_.SteadyNow()) {
      // To look whether letters are written is no work: who awaits that has the thread wait.
      worked = worked || !work.events.empty() || work.reading;
      Step(a, work);
    }
    letters += work.letters.size();
    wait = work.letters.empty() || work.letters.slow() ? wait : kLettersLook;
  }
  letters_held_ = letters;
  const bool came = ReadMore(apart, worked ? milliseconds(0) : wait);
  return came || worked ? milliseconds(0) : wait;
}

void SideProjector::Step(const ApartOrg& apart, Work& work) {
  if (const absl::Status status = TryStep(apart, work); !status.ok()) {
    Fail(apart.org.value(), work, status);
  }
}

absl::Status SideProjector::TryStep(const ApartOrg& apart, Work& work) {
  if (work.done < work.events.size()) {
    ApplyResult result;
    const SteadyTime start = clock_.SteadyNow();
    ASSIGN_OR_RETURN(
        const size_t taken,
        stores_.ApplyApart(partition_, apart, std::span(work.events).subspan(work.done), &result));
    work.letters.Add(work.events, result.rejected);
    work.done += taken;
    metrics_.StepApart(result.counters, result.rejected.size(), clock_.SteadyNow() - start);
  }
  if (work.done < work.events.size()) {
    return absl::OkStatus();
  }
  work.DropEvents();
  // Beside the steps of the others, who must not wait where the letters have nowhere to go. What is
  // not durable is not passed: it is told of again after a crash.
  RETURN_IF_ERROR(work.letters.Look());
  return work.letters.empty() ? Advance(apart, work) : absl::OkStatus();
}

absl::Status SideProjector::Advance(const ApartOrg& apart, Work& work) {
  const absl::Status advanced = stores_.AdvanceApart(partition_, apart, work.through).status();
  if (const bool read = std::exchange(work.reading, ErrorCode(advanced) == kStoreReading);
      work.reading) {
    // What gets on has not failed, and has not succeeded either, for whoever fails next.
    if (!read) {
      spdlog::info("staging_apart_reading partition={} org={} state=\"{}\"", partition_.value(),
                   apart.org.value(), Message(advanced));
    }
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(advanced);
  work.backoff.Reset();
  work.retry_at = {};
  work.failure.clear();
  return absl::OkStatus();
}

// What it holds is read again: those who wait for long would leave no room for others' events.
void SideProjector::Fail(std::string_view org, Work& work, const absl::Status& status) {
  const std::string code = ErrorCode(status);
  if (absl::IsCancelled(status) || code == "apart_changed") {
    return;
  }
  work.DropEvents();
  const bool soon = IsSoonOver(code);
  const milliseconds wait = work.backoff.Next(soon ? kBackoffSoonMax : milliseconds::max());
  work.retry_at = clock_.SteadyNow() + wait;
  metrics_.Retried();
  if (!soon || work.failure != code) {
    spdlog::warn("staging_apart_failed partition={} org={} code={} error=\"{}\" retry_ms={}",
                 partition_.value(), org, code, Message(status), wait.count());
  }
  work.failure = code;
}

std::vector<SideProjector::Waiting> SideProjector::WaitingOf(const std::vector<ApartOrg>& apart) {
  const SteadyTime now = clock_.SteadyNow();
  std::vector<Waiting> waiting;
  for (const ApartOrg& a : apart) {
    Work& work = work_.at(a.org.value());
    if (work.events.empty() && work.letters.empty() && !work.reading && work.retry_at <= now) {
      waiting.push_back({&a, &work});
    }
  }
  return waiting;
}

bool SideProjector::ReadMore(const std::vector<ApartOrg>& apart, milliseconds wait) {
  std::vector<Waiting> waiting = WaitingOf(apart);
  if (waiting.empty() || read_at_ > clock_.SteadyNow()) {
    return false;
  }
  const auto through = [](const Waiting& w) { return w.work->through; };
  const auto [lowest, highest] = std::ranges::minmax_element(waiting, {}, through);
  std::vector<Offset> places = {lowest->work->through};
  if (highest->work->through > places.front()) {
    places.push_back(highest->work->through);
    highest_first_ = !highest_first_;
    if (highest_first_) {
      std::swap(places.front(), places.back());
    }
  }
  bool came = false;
  for (const Offset from : places) {
    if (Held() >= kBatchesHeld * options_.batch_bytes_max || stopping()) {
      break;
    }
    const Offset other = from == places.front() ? places.back() : places.front();
    const auto read = ReadAt(from, other, wait, WaitingOf(apart));
    if (!read.ok()) {
      NoteReadFailure(read.status(), waiting);
      break;
    }
    read_backoff_.Reset();
    came = came || *read;
  }
  return came;
}

absl::StatusOr<eventlog::Reader*> SideProjector::ReaderAt(Offset from, Offset other) {
  {
    absl::MutexLock lock(&mutex_);
    const auto stands_at = [](Offset offset) {
      return [offset](const Place& place) {
        return place.reader != nullptr && place.reader->next() == offset;
      };
    };
    if (const auto found = std::ranges::find_if(places_, stands_at(from)); found != places_.end()) {
      std::swap(*found, places_.front());
      return places_.front().reader.get();
    }
    // The one that was not used last goes, unless the other one's place is where it stands.
    if (from == other || !stands_at(other)(places_.back())) {
      std::swap(places_.front(), places_.back());
    }
  }
  ASSIGN_OR_RETURN(auto opened, log_.OpenReader(eventlog::Topic::kChanges, partition_, from));
  Place closed;  // destroyed without the lock
  absl::MutexLock lock(&mutex_);
  closed = std::exchange(places_.front(), Place{std::move(opened), 0, ++sessions_});
  if (stopping_) {
    places_.front().reader->Cancel();
  }
  return places_.front().reader.get();
}

absl::StatusOr<bool> SideProjector::ReadAt(Offset from, Offset other, milliseconds wait,
                                           std::vector<Waiting> waiting) {
  ASSIGN_OR_RETURN(eventlog::Reader* const reader, ReaderAt(from, other));
  ASSIGN_OR_RETURN(auto batch, reader->Read({.bytes_max = options_.batch_bytes_max,
                                             .events_max = options_.batch_events_max,
                                             .wait_max = wait}));
  const bool came = !batch.empty();
  // Whoever waits below `from` has events that were not read; whoever waits above what was read has
  // none in this batch.
  std::erase_if(waiting, [&](const Waiting& w) {
    return w.work->through < from || w.work->through > reader->next();
  });
  RETURN_IF_ERROR(Compare(NumberOfRead(), came, waiting));
  HandOut(std::move(batch), reader->next(), waiting);
  return came;
}

uint64_t SideProjector::NumberOfRead() {
  absl::MutexLock lock(&mutex_);
  Place& place = places_.front();
  if (const uint64_t session = place.reader->session();
      std::exchange(place.session, session) != session) {
    place.number = ++sessions_;
  }
  return place.number;
}

// What is read by another reader, after an error of the log, or in another session may be of a
// history that parted from the store's below what the store has applied, and its next checkpoint
// would hide that; or below what had none of its events then, and may have some now.
absl::Status SideProjector::Compare(uint64_t number, bool came,
                                    const std::vector<Waiting>& waiting) {
  // Many have passed over the same; not who did so before the log lost that, and who did since.
  std::set<std::pair<Offset, uint64_t>> same;
  for (const Waiting& w : waiting) {
    if (w.work->compared == number || (!came && w.work->looked == number)) {
      continue;
    }
    RETURN_IF_ERROR(stores_.CheckApart(partition_, *w.apart, [this] { return stopping(); }));
    if (const auto& [offset, hash] = w.work->passed; same.emplace(offset, hash).second) {
      absl::Status held = CheckHistory(log_, partition_, offset, hash, &comparing_);
      if (eventlog::IsOtherHistory(held)) {
        absl::MutexLock lock(&mutex_);
        history_ = held;
      }
      RETURN_IF_ERROR(held);
    }
    w.work->looked = number;
    w.work->compared = came ? number : w.work->compared;
  }
  return absl::OkStatus();
}

void SideProjector::HandOut(std::vector<eventlog::StoredEvent> batch, Offset next,
                            std::vector<Waiting>& waiting) {
  // One organisation's share, so that a few do not take all the room.
  const size_t share =
      std::max(kBatchesHeld * options_.batch_bytes_max / std::max<size_t>(work_.size(), 1),
               options_.batch_bytes_max / kBatchesHeld);
  std::unordered_map<std::string_view, Waiting*> by_org;
  for (Waiting& w : waiting) {
    by_org.emplace(w.apart->org.value(), &w);
    w.work->through_before = w.work->through;
    w.work->passed_before = w.work->passed;
  }
  std::pair<Offset, uint64_t> last{kNoOffset, 0};
  if (!batch.empty()) {
    last = {batch.back().offset, eventlog::EventHash(batch.back().event)};
  }
  for (eventlog::StoredEvent& event : batch) {
    const auto found = by_org.find(event.event.key);
    if (found == by_org.end() || found->second->full ||
        event.offset < found->second->work->through) {
      continue;
    }
    Work& work = *found->second->work;
    const size_t bytes = event.event.ByteSize();
    if (!work.events.empty() && work.bytes + bytes > share) {
      found->second->full = true;
      // The rest is read for it again, from behind the last that it has.
      work.PassThrough(work.events.back());
      continue;
    }
    work.bytes += bytes;
    work.events.push_back(std::move(event));
  }
  for (const auto& [org, w] : by_org) {
    {
      absl::MutexLock lock(&mutex_);
      lost_events_.erase(std::string(org));
    }
    if (!w->full) {
      w->work->PassTo(next, last.first == kNoOffset ? w->work->passed : last);
    }
    if (w->work->events.empty()) {
      if (const absl::Status status = Advance(*w->apart, *w->work); !status.ok()) {
        Fail(org, *w->work, status);
      }
    }
  }
}

// That events have gone from the log is the trouble of those who need them. Anything else is the
// log's, and everybody's.
void SideProjector::NoteReadFailure(const absl::Status& status, std::vector<Waiting>& waiting) {
  CloseReaders();
  if (absl::IsCancelled(status)) {
    return;
  }
  bool own = false;
  if (ErrorCode(status) == "offset_below_begin") {
    const Offset begin = eventlog::BeginOfError(status);
    for (const Waiting& w : waiting) {
      if (w.work->through < begin) {
        own = true;
        // Its folder may have come back from a backup, with what has gone from the log.
        w.work->through = std::max(w.work->through, stores_.ApartFrom(partition_, *w.apart, begin));
      }
      if (w.work->through < begin) {
        Fail(w.apart->org.value(), *w.work, status);
        absl::MutexLock lock(&mutex_);
        lost_events_.insert(w.apart->org.value());
      }
    }
  }
  if (ErrorCode(status) == "offset_beyond_end") {
    // Where events are lost, the comparison of what was passed over tells, which comes before
    // anything is taken from what is read next. Otherwise only offsets without events are, and they
    // are read again: events may come there.
    const Offset applied = stores_.LastApplied(partition_).position;
    for (const Waiting& w : waiting) {
      w.work->through = std::min(w.work->through, Offset(applied.value() + 1));
    }
  }
  if (!own) {
    const milliseconds wait = read_backoff_.Next();
    read_at_ = clock_.SteadyNow() + wait;
    metrics_.Retried();
    spdlog::warn("staging_apart_read_failed partition={} code={} error=\"{}\" retry_ms={}",
                 partition_.value(), ErrorCode(status), Message(status), wait.count());
  }
}

}  // namespace sluice::projectors
