#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/event.h"
#include "gateways/events/business_event.h"
#include "projectors/provisioning/directory.h"
#include "schemas/base/backoff.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"
#include "schemas/base/metrics.h"

namespace sluice::gateways {

struct EventIntakeOptions {
  size_t orgs_at_once = 64;  // each takes a thread, made when it is needed first
  size_t events_max = 10'000;
  size_t bytes_max = size_t{64} << 20;  // of BusinessEvent::bytes
  // How long one request is waited for, and so at most the intake's end.
  std::chrono::milliseconds attempt_timeout{5'000};
  std::chrono::milliseconds retry_first{100};
  std::chrono::milliseconds retry_max{10'000};
};

// All functions are thread-safe, and what they use must outlive the intake.
struct EventIntakeDeps {
  const Clock& clock;
  // DirectoryFollower::Request().
  std::function<absl::StatusOr<projectors::Directory::Outcome>(
      const OrgId&, v1::ProvisioningRequest, std::chrono::milliseconds, eventlog::Cause)>
      request;
  // Directory::Find().
  std::function<std::shared_ptr<const projectors::OrgEntry>(const OrgId&)> find;
  // Returns when find() knows all that the log has of the organisation now.
  std::function<absl::Status(const OrgId&)> reach;
  // Why nothing may be decided of an organisation now; DirectoryFollower::MayTell().
  std::function<absl::Status(const OrgId&)> may_decide;
  std::function<absl::StatusOr<v1::ProvisioningRequest>(const OrgId&, const SourceDefinition&)>
      put_source;
  // kNotFound, code "source_not_found".
  std::function<absl::StatusOr<v1::ProvisioningRequest>(const projectors::OrgEntry&,
                                                        const SourceEntityChange&)>
      change_entity;
  std::shared_ptr<prometheus::Registry> registry;
};

// Carries business events out: those of one organisation in the order in which they were taken,
// each when the one before has its outcome, and of many organisations at once. What fails for a
// reason that passes is tried again until it is cancelled, and meanwhile the thread is another
// organisation's. An event that comes again has requests with the ids of the first time, so each
// is carried out once whoever else has the event too. Thread-safe, but for Stop().
class EventIntake {
 public:
  // Where in `changes` of its organisation the event is in effect, kNoOffset where nothing was
  // there to be changed; why it was refused; or kCancelled.
  using Done = absl::AnyInvocable<void(absl::StatusOr<Offset>)>;
  struct Job {
    BusinessEvent event;
    eventlog::Cause cause;
    std::shared_ptr<const std::atomic<bool>> cancelled;
    Done done;  // called once, by a thread of the intake; only enqueues
  };

  EventIntake(EventIntakeOptions options, EventIntakeDeps deps);
  ~EventIntake() { Stop(); }

  // Takes an event behind those that were taken before. Nothing was taken, and `done` is not
  // called, where kUnavailable, code "too_busy", says that as many wait as may, or that no thread
  // can be made, or kCancelled that the intake has ended.
  [[nodiscard]] absl::Status Submit(Job job) ABSL_LOCKS_EXCLUDED(mutex_);
  // Cancels what is left; waits for the requests under way.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Waiting {
    explicit Waiting(Job the_job, const EventIntakeOptions& options)
        : job(std::move(the_job)), retry(options.retry_first, options.retry_max) {}
    Job job;
    size_t step = 0;  // those before are done
    Offset position = kNoOffset;
    Backoff retry;
  };

  void Work() ABSL_LOCKS_EXCLUDED(mutex_);
  // The organisation whose first event is to be tried next; nullopt: the intake ends.
  std::optional<OrgId> AwaitTurn() ABSL_LOCKS_EXCLUDED(mutex_);
  Waiting& First(const OrgId& org) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<Offset> Try(Waiting& waiting);
  absl::StatusOr<Offset> CarryOut(const BusinessEvent& event, size_t step,
                                  const eventlog::Cause& cause);
  // nullopt: what is to be removed is not there.
  absl::StatusOr<std::optional<v1::ProvisioningRequest>> RequestOf(const OrgId& org,
                                                                   const BusinessStep& step);
  void TryLater(const OrgId& org, std::chrono::milliseconds wait) ABSL_LOCKS_EXCLUDED(mutex_);
  void Finish(const OrgId& org, absl::StatusOr<Offset> outcome) ABSL_LOCKS_EXCLUDED(mutex_);
  bool MakeThread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const EventIntakeOptions options_;
  const EventIntakeDeps deps_;
  const std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Counter& done_;
  prometheus::Counter& refused_;
  prometheus::Counter& cancelled_;
  prometheus::Counter& retries_;
  prometheus::Gauge& waiting_;

  absl::Mutex mutex_;
  absl::CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // An organisation is in `ready_`, in `delayed_` or with a thread, as long as it has a queue. A
  // queue's first event is that thread's alone.
  std::map<OrgId, std::deque<Waiting>> queues_ ABSL_GUARDED_BY(mutex_);
  std::deque<OrgId> ready_ ABSL_GUARDED_BY(mutex_);
  std::multimap<SteadyTime, OrgId> delayed_ ABSL_GUARDED_BY(mutex_);
  size_t events_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t idle_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::gateways
