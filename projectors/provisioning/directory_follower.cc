#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/registry.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/cancellation.h"
#include "eventlog/compared_reader.h"
#include "projectors/provisioning/agreement.h"
#include "projectors/provisioning/end_question.h"
#include "projectors/provisioning/provisioning.h"
#include "schemas/base/metrics.h"
#include "schemas/base/status.h"
#include "schemas/base/uuid.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;

constexpr std::chrono::milliseconds kFollowBackoffMin{50};
constexpr std::chrono::milliseconds kFollowBackoffMax{2'000};
// Also how long a partition that this process has taken over may be folded before it is looked at.
constexpr std::chrono::milliseconds kFollowReadWait{200};
constexpr std::chrono::milliseconds kLookInterval{1'000};
// After so long a look is due whatever has come: nothing else tells a process that folds nothing
// that `changes` has lost its end.
constexpr std::chrono::seconds kLookAgain{30};
// Of a look in which nothing comes.
constexpr std::chrono::seconds kLookPatience{30};
// At the start, when what is known of `changes` comes in bit by bit.
constexpr std::chrono::milliseconds kEarlyLookInterval{200};
// How long the first look waits for what the others have told. Where that cannot be read it is made
// without: definitions do not hang on the topic `nodes`.
constexpr std::chrono::seconds kOthersPatience{5};
// Instead of kFollowReadWait while the fold nears its end: whoever asks for rows waits for the next
// look.
constexpr std::chrono::milliseconds kSettlingReadWait{50};

bool MayBeRetried(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kDeadlineExceeded ||
         ErrorCode(status) == "append_queue_full";
}

}  // namespace

struct DirectoryFollower::Impl {
  struct Partition {
    std::unique_ptr<eventlog::ComparedReader> reader;
    bool caught_up = false;   // with the end at start
    Offset next = kNoOffset;  // below it everything is folded
    absl::Status error;       // of the last read
    std::unique_ptr<EndQuestion> end;
    absl::Status agreement =
        Error(absl::StatusCode::kUnavailable, "not_caught_up",
              "this server has yet to read the organisations of this partition: try again");
    // Hooks::taken_over at the last look since the fold reached the end.
    std::optional<uint64_t> settled;
  };
  // What the thread of a partition keeps.
  struct Following {
    SteadyTime begun;
    Offset end;                            // at start
    OutcomeMark outcomes;                  // of all that was read
    ControlMark control;                   // that Agree() saw last
    bool look_due = true;                  // whatever Agree() saw before
    Offset outcome_looked_at = kNoOffset;  // and none is due for the fold's sake any more
    uint64_t taken_over = 0;
    bool settled = false;   // Agree() looked since the fold reached the end
    bool settling = false;  // it will reach the end, and has not
    SteadyTime next_look;
    SteadyTime look_again;
  };

  Impl(eventlog::Log& the_log, const Clock& the_clock,
       const std::shared_ptr<prometheus::Registry>& registry, Hooks the_hooks)
      : log(the_log), clock(the_clock), hooks(std::move(the_hooks)) {
    if (registry != nullptr) {
      events = &AddCounter(*registry, "sluice_directory_events_total",
                           "Events of the provisioning topic folded into the directory");
      malformed = &AddCounter(*registry, "sluice_directory_malformed_events_total",
                              "Events of the provisioning topic that could not be read");
    }
  }

  // Waits `delay` or until the follower stops; false when it stops.
  bool Pause(std::chrono::milliseconds delay) ABSL_LOCKS_EXCLUDED(mutex) {
    absl::MutexLock lock(&mutex);
    mutex.AwaitWithTimeout(absl::Condition(&stopping), absl::FromChrono(delay));
    return !stopping;
  }

  // nullptr before the start.
  const Partition* Of(const OrgId& org) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const PartitionId partition = log.PartitionFor(Topic::kProvisioning, org.value());
    return partitions.empty() ? nullptr : &partitions[static_cast<size_t>(partition.value())];
  }
  std::vector<EndQuestion*> Ends() ABSL_LOCKS_EXCLUDED(mutex) {
    absl::MutexLock lock(&mutex);
    std::vector<EndQuestion*> ends;
    for (const Partition& partition : partitions) {
      ends.push_back(partition.end.get());
    }
    return ends;
  }

  // Calls `read` after each read that went well.
  void Follow(PartitionId partition, absl::FunctionRef<void()> read);
  // Opens the reader, at the first time where the partition begins, and finds the end.
  absl::Status Open(PartitionId partition, Following& following);
  absl::Status ReadOnce(PartitionId partition, Following& following);
  // What was read is compared before it is read on.
  void Doubt(PartitionId partition) ABSL_LOCKS_EXCLUDED(mutex);
  void NoteFailure(PartitionId partition, const absl::Status& error) ABSL_LOCKS_EXCLUDED(mutex);
  // Finds out what Agreement() tells, where that is due.
  absl::Status Agree(PartitionId partition, Following& following);
  // `settled`: it was looked at with all that was folded to the end, when this was
  // Hooks::taken_over.
  void SetAgreement(PartitionId partition, absl::Status agreement,
                    std::optional<uint64_t> settled = std::nullopt) ABSL_LOCKS_EXCLUDED(mutex);
  void Fold(PartitionId partition, const eventlog::StoredEvent& event, OutcomeMark& outcomes);

  eventlog::Log& log;
  const Clock& clock;
  const Hooks hooks;
  Directory directory;
  eventlog::Cancellation comparing;  // what Agree() reads
  eventlog::PartitionHealth health;
  prometheus::Counter* events = nullptr;
  prometheus::Counter* malformed = nullptr;

  mutable absl::Mutex mutex;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  std::vector<Partition> partitions ABSL_GUARDED_BY(mutex);
  // Requests that somebody waits for: as many as there are callers.
  std::map<std::string, std::optional<Directory::Outcome>> waiting ABSL_GUARDED_BY(mutex);
  std::vector<std::thread> threads;
};

absl::Status DirectoryFollower::Impl::Open(PartitionId partition, Following& following) {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log.Range(Topic::kProvisioning, partition));
  following.end = range.end;
  // Destroyed without the lock, which requests take: what reads of it are under way take to end.
  std::unique_ptr<eventlog::ComparedReader> closed;
  absl::MutexLock lock(&mutex);
  Partition& state = partitions[static_cast<size_t>(partition.value())];
  if (state.reader == nullptr || state.reader->last() == kNoOffset) {
    closed = std::move(state.reader);
    state.reader = std::make_unique<eventlog::ComparedReader>(log, clock, Topic::kProvisioning,
                                                              partition, range.begin);
  }
  const Offset from = state.reader->next();
  state.caught_up = state.caught_up || from >= range.end;
  state.next = from;
  if (stopping) {
    state.reader->Cancel();
  }
  return absl::OkStatus();
}

void DirectoryFollower::Impl::Fold(PartitionId partition, const eventlog::StoredEvent& event,
                                   OutcomeMark& outcomes) {
  if (events != nullptr) {
    events->Increment();
  }
  auto outcome = directory.Apply(event);
  if (!outcome.ok()) {
    if (malformed != nullptr) {
      malformed->Increment();
    }
    spdlog::warn("provisioning_event_malformed offset={} reason=\"{}\"", event.offset.value(),
                 Message(outcome.status()));
    return;
  }
  if (outcome->has_value()) {
    if (event.offset >= log.Agreed(partition).provisioning) {
      outcomes.Add(**outcome, event.offset);
    }
    absl::MutexLock lock(&mutex);
    const auto found = waiting.find((*outcome)->request_id);
    if (found != waiting.end() && !found->second.has_value()) {
      found->second = **std::move(outcome);
    }
  }
}

absl::Status DirectoryFollower::Impl::ReadOnce(PartitionId partition, Following& following) {
  eventlog::ComparedReader* reader = nullptr;
  {
    absl::MutexLock lock(&mutex);
    reader = partitions[static_cast<size_t>(partition.value())].reader.get();
  }
  ASSIGN_OR_RETURN(
      const auto batch,
      reader->Read({.wait_max = following.settling ? kSettlingReadWait : kFollowReadWait}));
  for (const eventlog::StoredEvent& event : batch) {
    Fold(partition, event, following.outcomes);
  }
  absl::MutexLock lock(&mutex);
  Partition& state = partitions[static_cast<size_t>(partition.value())];
  state.caught_up = state.caught_up || reader->next() >= following.end;
  state.next = reader->next();
  state.error = absl::OkStatus();
  return absl::OkStatus();
}

void DirectoryFollower::Impl::Doubt(PartitionId partition) {
  absl::MutexLock lock(&mutex);
  Partition& state = partitions[static_cast<size_t>(partition.value())];
  if (state.reader != nullptr) {
    state.reader->Doubt();  // on the thread that reads
  }
}

void DirectoryFollower::Impl::NoteFailure(PartitionId partition, const absl::Status& error) {
  absl::MutexLock lock(&mutex);
  Partition& state = partitions[static_cast<size_t>(partition.value())];
  state.error = error;
  if (state.reader != nullptr) {
    // The log may end before offsets that were passed over, and events may come there now: whoever
    // asks what is folded must not be told that these are.
    state.next = std::min(state.next, state.reader->next());
  }
}

void DirectoryFollower::Impl::SetAgreement(PartitionId partition, absl::Status agreement,
                                           std::optional<uint64_t> settled) {
  bool changed = false;
  {
    absl::MutexLock lock(&mutex);
    Partition& state = partitions[static_cast<size_t>(partition.value())];
    if (agreement.code() == absl::StatusCode::kDataLoss && agreement != state.agreement) {
      spdlog::error("provisioning_disagrees partition={} code={} reason=\"{}\"", partition.value(),
                    ErrorCode(agreement), Message(agreement));
    }
    changed =
        agreement.ok() != state.agreement.ok() || (settled.has_value() && settled != state.settled);
    state.agreement = std::move(agreement);
    state.settled = settled.has_value() ? settled : state.settled;
  }
  if (changed && hooks.agreement_changed) {
    hooks.agreement_changed();
  }
}

absl::Status DirectoryFollower::Impl::Agree(PartitionId partition, Following& following) {
  const SteadyTime now = clock.SteadyNow();
  const bool waits =
      hooks.others_known && !hooks.others_known() && now - following.begun < kOthersPatience;
  // In this order: the mark is then of all that was folded to the end, and that the others told,
  // and the partition has not been elsewhere since.
  const uint64_t taken_over = hooks.taken_over ? hooks.taken_over(partition) : 0;
  following.settled = following.settled && taken_over == following.taken_over;
  following.taken_over = taken_over;
  const absl::Status may_serve = hooks.may_serve ? hooks.may_serve(partition) : absl::OkStatus();
  const ControlMark control = hooks.last_control ? hooks.last_control(partition) : ControlMark();
  // Until the fold has passed over the place of the newest outcome's control event, `changes` can
  // lose it without the fold ever telling.
  const bool passed = !hooks.folded_until || ErrorCode(may_serve) == "not_served_here" ||
                      hooks.folded_until(partition) > following.outcomes.control;
  const bool settles = may_serve.ok() && !following.settled;
  following.settling = waits || (!following.settled && ErrorCode(may_serve) == "not_caught_up");
  {
    absl::MutexLock lock(&mutex);
    const Partition& state = partitions[static_cast<size_t>(partition.value())];
    const bool changed = following.look_due || control != following.control ||
                         following.outcomes.at != following.outcome_looked_at ||
                         now >= following.look_again;
    if (waits || !state.caught_up || (!settles && (!changed || now < following.next_look))) {
      return absl::OkStatus();
    }
  }
  const bool early = settles || !following.settled;
  following.next_look = now + (early ? kEarlyLookInterval : kLookInterval);
  following.look_again = now + kLookAgain;
  absl::Status agreement = CheckAgreedEnds(log, partition, &comparing);
  if (agreement.ok()) {
    agreement = CheckControl(log, partition, following.outcomes, kLookPatience, &comparing);
  }
  if (agreement.ok()) {
    agreement = CheckRequest(log, partition, control, &comparing);
  }
  if (agreement.ok() && hooks.folded) {
    agreement = CheckFolded(log, partition, hooks.folded(partition), &comparing);
  }
  if (!agreement.ok() && agreement.code() != absl::StatusCode::kDataLoss) {
    return agreement;  // the log can't tell now: what is known stands
  }
  following.control = control;
  following.outcome_looked_at = passed ? following.outcomes.at : kNoOffset;
  following.look_due = !agreement.ok();  // until a person has mended it
  following.settled = following.settled || settles;
  SetAgreement(partition, std::move(agreement), settles ? std::optional(taken_over) : std::nullopt);
  return absl::OkStatus();
}

void DirectoryFollower::Impl::Follow(PartitionId partition, absl::FunctionRef<void()> read) {
  std::chrono::milliseconds backoff = kFollowBackoffMin;
  bool open = false;
  Following following;
  following.begun = clock.SteadyNow();
  while (true) {
    absl::Status status = open ? ReadOnce(partition, following) : Open(partition, following);
    open = open || status.ok();
    if (status.ok()) {
      status = Agree(partition, following);
    }
    if (status.ok()) {
      backoff = kFollowBackoffMin;
      read();
      continue;
    }
    if (status.code() == absl::StatusCode::kCancelled) {
      return;
    }
    Doubt(partition);
    following.look_due = true;
    // Where no event is lost, the log ends before offsets without events that were passed over.
    open = open && ErrorCode(status) != "offset_beyond_end";
    if (status.code() == absl::StatusCode::kDataLoss) {
      SetAgreement(partition, status);
    }
    NoteFailure(partition, status);
    spdlog::warn("directory_read_failed partition={} error=\"{}\" retry_ms={}", partition.value(),
                 Message(status), backoff.count());
    if (!Pause(backoff)) {
      return;
    }
    backoff = std::min(backoff * 2, kFollowBackoffMax);
  }
}

DirectoryFollower::DirectoryFollower(eventlog::Log& log, const Clock& clock,
                                     std::shared_ptr<prometheus::Registry> registry, Hooks hooks)
    : impl_(std::make_unique<Impl>(log, clock, registry, std::move(hooks))) {}

DirectoryFollower::~DirectoryFollower() { Stop(); }

absl::Status DirectoryFollower::Start() {
  const int32_t count = impl_->log.PartitionCount(Topic::kProvisioning);
  {
    absl::MutexLock lock(&impl_->mutex);
    if (!impl_->partitions.empty()) {
      return absl::InternalError("a DirectoryFollower starts once");
    }
    impl_->partitions.resize(static_cast<size_t>(count));
    for (int32_t partition = 0; partition < count; ++partition) {
      impl_->partitions[static_cast<size_t>(partition)].end = std::make_unique<EndQuestion>(
          impl_->log, impl_->clock, Topic::kProvisioning, PartitionId(partition));
    }
  }
  for (int32_t partition = 0; partition < count; ++partition) {
    impl_->threads.emplace_back([this, partition] {
      impl_->Follow(PartitionId(partition), [this, partition] {
        // By one of the threads: each look is at all partitions.
        if (partition == 0 && !impl_->health.was_ready()) {
          (void)Health();
        }
      });
    });
  }
  return absl::OkStatus();
}

void DirectoryFollower::Stop() {
  impl_->comparing.Cancel();
  {
    absl::MutexLock lock(&impl_->mutex);
    impl_->stopping = true;
    for (Impl::Partition& partition : impl_->partitions) {
      if (partition.reader != nullptr) {
        partition.reader->Cancel();
      }
    }
  }
  for (std::thread& thread : impl_->threads) {
    thread.join();
  }
  impl_->threads.clear();
  for (EndQuestion* const end : impl_->Ends()) {
    end->Stop();
  }
}

const Directory& DirectoryFollower::directory() const { return impl_->directory; }

absl::Status DirectoryFollower::CaughtUp() const {
  RETURN_IF_ERROR(CaughtUp(PartitionId(0)));  // also before the start, when it has none
  for (int32_t p = 1; p < impl_->log.PartitionCount(Topic::kProvisioning); ++p) {
    RETURN_IF_ERROR(CaughtUp(PartitionId(p)));
  }
  return absl::OkStatus();
}

absl::Status DirectoryFollower::CaughtUp(PartitionId partition) const {
  absl::MutexLock lock(&impl_->mutex);
  const auto index = static_cast<size_t>(partition.value());
  if (index >= impl_->partitions.size()) {
    return Error(absl::StatusCode::kUnavailable, "unavailable", "the directory has not started");
  }
  const Impl::Partition& state = impl_->partitions[index];
  RETURN_IF_ERROR_CTX(state.error, fmt::format("directory, partition {}", index));
  return state.caught_up
             ? absl::OkStatus()
             : Error(absl::StatusCode::kUnavailable, "unavailable",
                     fmt::format("the directory is still reading partition {} of provisioning",
                                 index));
}

std::optional<absl::StatusOr<Offset>> DirectoryFollower::EndSince(const OrgId& org,
                                                                  SteadyTime::duration ago) const {
  EndQuestion* end = nullptr;
  {
    absl::MutexLock lock(&impl_->mutex);
    if (const Impl::Partition* const state = impl_->Of(org); state != nullptr) {
      end = state->end.get();  // as long as the follower is
    }
  }
  if (end == nullptr) {
    return Error(absl::StatusCode::kUnavailable, "unavailable", "the directory has not started");
  }
  return end->Since(ago);
}

Offset DirectoryFollower::ReadUntil(const OrgId& org) const {
  absl::MutexLock lock(&impl_->mutex);
  const Impl::Partition* const state = impl_->Of(org);
  return state == nullptr ? kNoOffset : state->next;
}

eventlog::TroubledPartitions DirectoryFollower::NotWell() const {
  eventlog::TroubledPartitions troubled;
  for (int32_t p = 0; p < impl_->log.PartitionCount(Topic::kProvisioning); ++p) {
    const PartitionId partition(p);
    absl::Status status = CaughtUp(partition);
    if (status.ok()) {
      const bool folded = impl_->hooks.may_serve && impl_->hooks.may_serve(partition).ok();
      status = folded ? MayServe(partition) : Agreement(partition);
    }
    if (!status.ok()) {
      troubled.emplace_back(partition,
                            Error(status.code(), ErrorCode(status),
                                  fmt::format("directory, partition {}: {}", p, Message(status))));
    }
  }
  return troubled;
}

absl::Status DirectoryFollower::Health() const {
  return impl_->health.Of(NotWell(),
                          static_cast<size_t>(impl_->log.PartitionCount(Topic::kProvisioning)));
}

absl::Status DirectoryFollower::Agreement(PartitionId partition) const {
  absl::MutexLock lock(&impl_->mutex);
  const auto index = static_cast<size_t>(partition.value());
  return index < impl_->partitions.size() ? impl_->partitions[index].agreement
                                          : Error(absl::StatusCode::kUnavailable, "not_caught_up",
                                                  "the directory has not started");
}

absl::Status DirectoryFollower::MayServe(PartitionId partition) const {
  RETURN_IF_ERROR(Agreement(partition));
  const uint64_t taken_over = impl_->hooks.taken_over ? impl_->hooks.taken_over(partition) : 0;
  absl::MutexLock lock(&impl_->mutex);
  return impl_->partitions[static_cast<size_t>(partition.value())].settled == taken_over
             ? absl::OkStatus()
             : Error(absl::StatusCode::kUnavailable, "not_caught_up",
                     "what was folded last has not been compared with provisioning yet");
}

absl::StatusOr<Directory::Outcome> DirectoryFollower::Request(const OrgId& org,
                                                              v1::ProvisioningRequest request,
                                                              std::chrono::milliseconds timeout,
                                                              eventlog::Cause cause) {
  const PartitionId partition = impl_->log.PartitionFor(Topic::kProvisioning, org.value());
  if (impl_->hooks.may_append) {
    RETURN_IF_ERROR(impl_->hooks.may_append(partition));
  }
  const SteadyTime deadline = impl_->clock.SteadyNow() + timeout;
  if (request.request_id().empty()) {
    request.set_request_id(NewUuid7(impl_->clock));
  }
  const std::string id = request.request_id();
  eventlog::Event event;
  event.id = id;
  event.source = "sluice/admin";
  event.type = v1::ProvisioningRequest::descriptor()->full_name();
  event.subject = org.value();
  event.time = impl_->clock.Now();
  event.key = org.value();
  event.value = request.SerializeAsString();
  event.cause = std::move(cause);
  {
    absl::MutexLock lock(&impl_->mutex);
    impl_->waiting.emplace(id, std::nullopt);
  }
  absl::Status appended;
  do {  // the id stays the same: where the first try did reach the log, the second is known
    appended = impl_->log.Append(Topic::kProvisioning, partition, {event}).status();
  } while (!appended.ok() && MayBeRetried(appended) && impl_->clock.SteadyNow() < deadline &&
           impl_->Pause(kFollowBackoffMin));

  absl::MutexLock lock(&impl_->mutex);
  std::optional<Directory::Outcome>& outcome = impl_->waiting[id];
  struct Wake {
    const std::optional<Directory::Outcome>& outcome;
    const bool& stopping;
  } wake{outcome, impl_->stopping};
  if (appended.ok()) {
    const auto left = std::max<SteadyTime::duration>(deadline - impl_->clock.SteadyNow(),
                                                     SteadyTime::duration::zero());
    impl_->mutex.AwaitWithTimeout(
        absl::Condition(
            +[](Wake* w) { return w->outcome.has_value() || w->stopping; }, &wake),
        absl::FromChrono(left));
  }
  std::optional<Directory::Outcome> result = std::move(outcome);
  impl_->waiting.erase(id);
  if (result.has_value()) {
    return *std::move(result);
  }
  if (!appended.ok() && !MayBeRetried(appended)) {
    return appended;
  }
  return Error(absl::StatusCode::kUnavailable, "provisioning_unavailable",
               "the request was not decided in time; it may still be carried out, and repeating "
               "it is safe");
}

}  // namespace sluice::projectors
