#include <prometheus/counter.h>
#include <prometheus/registry.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/end_question.h"
#include "eventlog/follower.h"
#include "projectors/provisioning/agreement.h"
#include "projectors/provisioning/answered_requests.h"
#include "projectors/provisioning/provisioning.h"
#include "schemas/base/backoff.h"
#include "schemas/base/collect.h"
#include "schemas/base/metrics.h"
#include "schemas/base/status.h"
#include "schemas/base/uuid.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;

constexpr std::chrono::milliseconds kAppendRetryFirst{50};
constexpr std::chrono::milliseconds kAppendRetryMax{500};
// Also how long a partition that this process has taken over may be folded before it is looked at.
constexpr std::chrono::milliseconds kFollowReadWait{200};
constexpr std::chrono::milliseconds kLookInterval{1'000};
// After so long a look is due whatever has come: nothing else tells a process that folds nothing
// that `changes` has lost its end.
constexpr std::chrono::seconds kLookAgain{30};
// At the start, when what is known of `changes` comes in bit by bit.
constexpr std::chrono::milliseconds kEarlyLookInterval{200};
// How long the first look waits for what the others have told. Where that cannot be read it is made
// without: definitions do not hang on the topic `nodes`.
constexpr std::chrono::seconds kOthersPatience{5};
// Instead of kFollowReadWait while the fold nears its end: whoever asks for rows waits for the next
// look.
constexpr std::chrono::milliseconds kSettlingReadWait{50};

bool MayBeRetried(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         ErrorCode(status) == "append_queue_full";
}

}  // namespace

struct DirectoryFollower::Impl {
  class Following;
  struct Partition {
    std::unique_ptr<Following> following;
    bool caught_up = false;  // with the end at start
    absl::Status agreement =
        Error(StatusCode::kUnavailable, "not_caught_up",
              "this server has yet to read the organisations of this partition: try again");
    // Hooks::taken_over at the last look since the fold reached the end.
    std::optional<uint64_t> settled;
    AnsweredRequests answered;
  };

  Impl(eventlog::Log& the_log, const Clock& the_clock, std::shared_ptr<prometheus::Registry> shared,
       Hooks the_hooks)
      : log(the_log),
        clock(the_clock),
        hooks(std::move(the_hooks)),
        registry(RegistryOrNew(std::move(shared))) {}

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
  // Those that are returned live as long as this.
  std::vector<Following*> All() ABSL_LOCKS_EXCLUDED(mutex) {
    absl::MutexLock lock(&mutex);
    return Collect(partitions,
                   [](const Partition& partition) { return partition.following.get(); });
  }

  // `settled`: it was looked at with all that was folded to the end, when this was
  // Hooks::taken_over.
  void SetAgreement(PartitionId partition, absl::Status agreement,
                    std::optional<uint64_t> settled = std::nullopt) ABSL_LOCKS_EXCLUDED(mutex);

  eventlog::Log& log;
  const Clock& clock;
  const Hooks hooks;
  Directory directory;
  eventlog::PartitionHealth health;
  const std::shared_ptr<prometheus::Registry> registry;
  prometheus::Counter& events =
      AddCounter(*registry, "sluice_directory_events_total",
                 "Events of the provisioning topic folded into the directory");
  prometheus::Counter& malformed =
      AddCounter(*registry, "sluice_directory_malformed_events_total",
                 "Events of the provisioning topic that could not be read");

  mutable absl::Mutex mutex;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  std::vector<Partition> partitions ABSL_GUARDED_BY(mutex);
  // Requests that somebody waits for: as many as there are callers.
  std::map<std::string, std::optional<Directory::Outcome>> waiting ABSL_GUARDED_BY(mutex);
};

// What the thread of a partition does.
class DirectoryFollower::Impl::Following final : eventlog::Follower::Callbacks {
 public:
  Following(const DirectoryFollower& owner, PartitionId partition)
      : owner_(owner),
        impl_(*owner.impl_),
        hooks_(impl_.hooks),
        partition_(partition),
        begun_(impl_.clock.SteadyNow()),
        end_question_(
            impl_.clock, [this](SteadyTime) { return AskEnd(); },
            Error(StatusCode::kUnavailable, "unavailable", "this process is stopping")),
        follower_(impl_.log, impl_.clock, *this,
                  {.topic = Topic::kProvisioning, .partition = partition}) {}
  ~Following() override { follower_.Stop(); }

  eventlog::Follower& follower() { return follower_; }
  eventlog::EndQuestion& end_question() { return end_question_; }

 private:
  absl::StatusOr<Offset> Open() override;
  absl::Status Step() override;
  absl::Status Fold(const std::vector<eventlog::StoredEvent>& batch) override;
  bool Failed(const absl::Status& status, std::chrono::milliseconds wait) override;
  absl::StatusOr<Offset> AskEnd();
  // Finds out what Agreement() tells, where that is due.
  absl::Status Agree() ABSL_LOCKS_EXCLUDED(impl_.mutex);

  const DirectoryFollower& owner_;
  Impl& impl_;
  const Hooks& hooks_;
  const PartitionId partition_;
  const SteadyTime begun_;
  Offset end_;  // when it was opened
  bool just_opened_ = false;
  OutcomeMark outcomes_;                  // of all that was read
  ControlMark control_;                   // that Agree() saw last
  bool look_due_ = true;                  // whatever Agree() saw before
  Offset outcome_looked_at_ = kNoOffset;  // and none is due for the fold's sake any more
  uint64_t taken_over_ = 0;
  bool settled_ = false;   // Agree() looked since the fold reached the end
  bool settling_ = false;  // it will reach the end, and has not
  SteadyTime next_look_;
  SteadyTime look_again_;
  eventlog::EndQuestion end_question_;
  eventlog::Follower follower_;
};

absl::StatusOr<Offset> DirectoryFollower::Impl::Following::Open() {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range,
                   impl_.log.Range(Topic::kProvisioning, partition_));
  end_ = range.end;
  just_opened_ = true;
  return range.begin;
}

absl::StatusOr<Offset> DirectoryFollower::Impl::Following::AskEnd() {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range,
                   impl_.log.Range(Topic::kProvisioning, partition_));
  return range.end;
}

absl::Status DirectoryFollower::Impl::Following::Step() {
  // Of a partition that has nothing the agreement is to be known at once.
  const std::chrono::milliseconds wait = std::exchange(just_opened_, false)
                                             ? std::chrono::milliseconds(0)
                                         : settling_ ? kSettlingReadWait
                                                     : kFollowReadWait;
  RETURN_IF_ERROR(follower_.ReadOn({.wait_max = wait}));
  {
    absl::MutexLock lock(&impl_.mutex);
    Partition& state = impl_.partitions[static_cast<size_t>(partition_.value())];
    state.caught_up = state.caught_up || follower_.next() >= end_;
    follower_.SetHealth(absl::OkStatus());
  }
  RETURN_IF_ERROR(Agree());
  // By one of the threads: each look is at all partitions.
  if (partition_ == PartitionId(0) && !impl_.health.was_ready()) {
    (void)owner_.Health();
  }
  return absl::OkStatus();
}

absl::Status DirectoryFollower::Impl::Following::Fold(
    const std::vector<eventlog::StoredEvent>& batch) {
  for (const eventlog::StoredEvent& event : batch) {
    impl_.events.Increment();
    auto outcome = impl_.directory.Apply(event);
    if (!outcome.ok()) {
      impl_.malformed.Increment();
      spdlog::warn("provisioning_event_malformed offset={} reason=\"{}\"", event.offset.value(),
                   Message(outcome.status()));
      continue;
    }
    if (!outcome->has_value()) {
      continue;
    }
    if (event.offset >= impl_.log.Agreed(partition_).provisioning) {
      outcomes_.Add(**outcome, event.offset);
    }
    absl::MutexLock lock(&impl_.mutex);
    impl_.partitions[static_cast<size_t>(partition_.value())].answered.Add(**outcome);
    const auto found = impl_.waiting.find((*outcome)->request_id);
    if (found != impl_.waiting.end() && !found->second.has_value()) {
      found->second = **std::move(outcome);
    }
  }
  return absl::OkStatus();
}

bool DirectoryFollower::Impl::Following::Failed(const absl::Status& status,
                                                std::chrono::milliseconds wait) {
  look_due_ = true;
  if (status.code() == absl::StatusCode::kDataLoss) {
    impl_.SetAgreement(partition_, status);
  }
  spdlog::warn("directory_read_failed partition={} error=\"{}\" retry_ms={}", partition_.value(),
               Message(status), wait.count());
  return true;
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

absl::Status DirectoryFollower::Impl::Following::Agree() {
  const SteadyTime now = impl_.clock.SteadyNow();
  const bool waits =
      hooks_.others_known && !hooks_.others_known() && now - begun_ < kOthersPatience;
  // In this order: the mark is then of all that was folded to the end, and that the others told,
  // and the partition has not been elsewhere since.
  const uint64_t taken_over = hooks_.taken_over ? hooks_.taken_over(partition_) : 0;
  settled_ = settled_ && taken_over == taken_over_;
  taken_over_ = taken_over;
  const absl::Status may_serve = hooks_.may_serve ? hooks_.may_serve(partition_) : absl::OkStatus();
  const ControlMark control = hooks_.last_control ? hooks_.last_control(partition_) : ControlMark();
  // Until the fold has passed over the place of the newest outcome's control event, `changes` can
  // lose it without the fold ever telling.
  const bool passed = !hooks_.folded_until || ErrorCode(may_serve) == "not_served_here" ||
                      hooks_.folded_until(partition_) > outcomes_.control;
  const bool settles = may_serve.ok() && !settled_;
  settling_ = waits || (!settled_ && ErrorCode(may_serve) == "not_caught_up");
  {
    absl::MutexLock lock(&impl_.mutex);
    const Partition& state = impl_.partitions[static_cast<size_t>(partition_.value())];
    const bool changed = look_due_ || control != control_ || outcomes_.at != outcome_looked_at_ ||
                         now >= look_again_;
    if (waits || !state.caught_up || (!settles && (!changed || now < next_look_))) {
      return absl::OkStatus();
    }
  }
  const bool early = settles || !settled_;
  next_look_ = now + (early ? kEarlyLookInterval : kLookInterval);
  look_again_ = now + kLookAgain;
  absl::Status agreement = CheckAgreedEnds(impl_.log, partition_, &follower_.cancellation());
  if (agreement.ok()) {
    agreement = CheckControl(impl_.log, partition_, outcomes_, eventlog::kReadPatience,
                             &follower_.cancellation());
  }
  if (agreement.ok()) {
    agreement = CheckRequest(impl_.log, partition_, control, &follower_.cancellation());
  }
  if (agreement.ok() && hooks_.folded) {
    agreement =
        CheckFolded(impl_.log, partition_, hooks_.folded(partition_), &follower_.cancellation());
  }
  if (!agreement.ok() && agreement.code() != absl::StatusCode::kDataLoss) {
    return agreement;  // the log can't tell now: what is known stands
  }
  control_ = control;
  outcome_looked_at_ = passed ? outcomes_.at : kNoOffset;
  look_due_ = !agreement.ok();  // until a person has mended it
  settled_ = settled_ || settles;
  impl_.SetAgreement(partition_, std::move(agreement),
                     settles ? std::optional(taken_over) : std::nullopt);
  return absl::OkStatus();
}

DirectoryFollower::DirectoryFollower(eventlog::Log& log, const Clock& clock,
                                     std::shared_ptr<prometheus::Registry> registry, Hooks hooks)
    : impl_(std::make_unique<Impl>(log, clock, std::move(registry), std::move(hooks))) {}

DirectoryFollower::~DirectoryFollower() { Stop(); }

absl::Status DirectoryFollower::Start() {
  const int32_t count = impl_->log.PartitionCount(Topic::kProvisioning);
  {
    absl::MutexLock lock(&impl_->mutex);
    if (!impl_->partitions.empty()) {
      return absl::InternalError("a DirectoryFollower starts once");
    }
    impl_->partitions.resize(static_cast<size_t>(count));
    for (int32_t p = 0; p < count; ++p) {
      impl_->partitions[static_cast<size_t>(p)].following =
          std::make_unique<Impl::Following>(*this, PartitionId(p));
    }
  }
  for (Impl::Following* const following : impl_->All()) {
    following->follower().Start();
  }
  return absl::OkStatus();
}

void DirectoryFollower::Stop() {
  {
    absl::MutexLock lock(&impl_->mutex);
    impl_->stopping = true;
  }
  // All are told before the first is waited for.
  for (Impl::Following* const following : impl_->All()) {
    following->follower().RequestStop();
  }
  for (Impl::Following* const following : impl_->All()) {
    following->follower().Stop();
    following->end_question().Stop();
  }
}

const Directory& DirectoryFollower::directory() const { return impl_->directory; }

absl::Status DirectoryFollower::CaughtUp(PartitionId partition) const {
  absl::MutexLock lock(&impl_->mutex);
  const auto index = static_cast<size_t>(partition.value());
  if (index >= impl_->partitions.size()) {
    return Error(StatusCode::kUnavailable, "unavailable", "the directory has not started");
  }
  const Impl::Partition& state = impl_->partitions[index];
  RETURN_IF_ERROR_CTX(state.following->follower().Health(), "directory, partition {}", index);
  return state.caught_up
             ? absl::OkStatus()
             : Error(StatusCode::kUnavailable, "unavailable",
                     "the directory is still reading partition {} of provisioning", index);
}

std::optional<absl::StatusOr<Offset>> DirectoryFollower::EndSince(const OrgId& org,
                                                                  SteadyTime::duration ago) const {
  eventlog::EndQuestion* end = nullptr;
  {
    absl::MutexLock lock(&impl_->mutex);
    if (const Impl::Partition* const state = impl_->Of(org); state != nullptr) {
      end = &state->following->end_question();  // as long as the follower is
    }
  }
  if (end == nullptr) {
    return Error(StatusCode::kUnavailable, "unavailable", "the directory has not started");
  }
  // This clock is read after the caller's: whatever lies between the two only asks for a newer end.
  return end->Since(impl_->clock.SteadyNow() - ago);
}

Offset DirectoryFollower::ReadUntil(const OrgId& org) const {
  absl::MutexLock lock(&impl_->mutex);
  const Impl::Partition* const state = impl_->Of(org);
  return state == nullptr ? kNoOffset : state->following->follower().next();
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
      troubled.emplace_back(partition, Annotate(status, "directory, partition {}", p));
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
  return index < impl_->partitions.size()
             ? impl_->partitions[index].agreement
             : Error(StatusCode::kUnavailable, "not_caught_up", "the directory has not started");
}

absl::Status DirectoryFollower::MayAppend(PartitionId partition) const {
  return impl_->hooks.may_append ? impl_->hooks.may_append(partition) : absl::OkStatus();
}

absl::Status DirectoryFollower::MayTell(PartitionId partition) const {
  RETURN_IF_ERROR(MayAppend(partition));
  const absl::Status agreement = Agreement(partition);
  return absl::IsDataLoss(agreement) ? eventlog::OtherHistory(partition, ErrorCode(agreement))
                                     : agreement;
}

absl::Status DirectoryFollower::MayServe(PartitionId partition) const {
  RETURN_IF_ERROR(Agreement(partition));
  const uint64_t taken_over = impl_->hooks.taken_over ? impl_->hooks.taken_over(partition) : 0;
  absl::MutexLock lock(&impl_->mutex);
  return impl_->partitions[static_cast<size_t>(partition.value())].settled == taken_over
             ? absl::OkStatus()
             : Error(StatusCode::kUnavailable, "not_caught_up",
                     "what was folded last has not been compared with provisioning yet");
}

absl::StatusOr<Directory::Outcome> DirectoryFollower::Request(const OrgId& org,
                                                              v1::ProvisioningRequest request,
                                                              std::chrono::milliseconds timeout,
                                                              eventlog::Cause cause) {
  const PartitionId partition = impl_->log.PartitionFor(Topic::kProvisioning, org.value());
  RETURN_IF_ERROR(MayAppend(partition));
  const SteadyTime deadline = impl_->clock.SteadyNow() + timeout;
  if (request.request_id().empty()) {
    request.set_request_id(NewUuid7(impl_->clock));
  }
  const std::string id = request.request_id();
  eventlog::Event event = eventlog::EventOf("sluice/admin", org.value(), request);
  event.id = id;
  event.time = impl_->clock.Now();
  event.cause = std::move(cause);
  {
    absl::MutexLock lock(&impl_->mutex);
    // In one step: what is not answered yet is heard of from here on. The sequencer passes over a
    // request that has its outcome, so nobody would answer it again.
    const auto index = static_cast<size_t>(partition.value());
    if (index < impl_->partitions.size()) {
      if (auto answered = impl_->partitions[index].answered.Find(id); answered.has_value()) {
        return *std::move(answered);
      }
    }
    impl_->waiting.emplace(id, std::nullopt);
  }
  const auto left = [this, deadline] {
    return std::max<SteadyTime::duration>(deadline - impl_->clock.SteadyNow(),
                                          SteadyTime::duration::zero());
  };
  absl::Status appended;
  Backoff retry(kAppendRetryFirst, kAppendRetryMax);
  do {  // the id stays the same: where the first try did reach the log, the second is known
    appended = impl_->log.Append(Topic::kProvisioning, partition, {event}).status();
  } while (!appended.ok() && MayBeRetried(appended) && left() > SteadyTime::duration::zero() &&
           impl_->Pause(retry.Next(std::chrono::ceil<std::chrono::milliseconds>(left()))));

  absl::MutexLock lock(&impl_->mutex);
  std::optional<Directory::Outcome>& outcome = impl_->waiting[id];
  struct Wake {
    const std::optional<Directory::Outcome>& outcome;
    const bool& stopping;
  } wake{outcome, impl_->stopping};
  if (appended.ok()) {
    impl_->mutex.AwaitWithTimeout(
        absl::Condition(
            +[](Wake* w) { return w->outcome.has_value() || w->stopping; }, &wake),
        absl::FromChrono(left()));
  }
  std::optional<Directory::Outcome> result = std::move(outcome);
  impl_->waiting.erase(id);
  if (result.has_value()) {
    return *std::move(result);
  }
  if (!appended.ok() && !MayBeRetried(appended)) {
    return appended;
  }
  return Error(
      StatusCode::kUnavailable, "provisioning_unavailable",
      "the request was not decided in time; it may still be carried out, and repeating it is safe");
}

}  // namespace sluice::projectors
