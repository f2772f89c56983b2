#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/registry.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/base/uuid.h"
#include "projectors/provisioning/provisioning.h"
#include "schemas/status.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;

constexpr std::chrono::milliseconds kBackoffMin{50};
constexpr std::chrono::milliseconds kBackoffMax{2'000};
constexpr std::chrono::milliseconds kReadWait{1'000};

bool MayBeRetried(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kDeadlineExceeded ||
         ErrorCode(status) == "append_queue_full";
}

}  // namespace

struct DirectoryFollower::Impl {
  struct Partition {
    std::unique_ptr<eventlog::Reader> reader;
    bool caught_up = false;  // with the end at start
    absl::Status error;      // of the last read
  };

  Impl(eventlog::Log& the_log, const Clock& the_clock,
       const std::shared_ptr<prometheus::Registry>& registry)
      : log(the_log), clock(the_clock) {
    if (registry != nullptr) {
      events = &prometheus::BuildCounter()
                    .Name("sluice_directory_events_total")
                    .Help("Events of the provisioning topic folded into the directory")
                    .Register(*registry)
                    .Add({});
      malformed = &prometheus::BuildCounter()
                       .Name("sluice_directory_malformed_events_total")
                       .Help("Events of the provisioning topic that could not be read")
                       .Register(*registry)
                       .Add({});
    }
  }

  // Waits `delay` or until the follower stops; false when it stops.
  bool Pause(std::chrono::milliseconds delay) ABSL_LOCKS_EXCLUDED(mutex) {
    absl::MutexLock lock(&mutex);
    mutex.AwaitWithTimeout(absl::Condition(&stopping), absl::FromChrono(delay));
    return !stopping;
  }

  void Follow(PartitionId partition);
  // Opens the reader and finds the end at start.
  absl::Status Open(PartitionId partition, Offset& end);
  absl::Status ReadOnce(PartitionId partition, Offset end);
  void Fold(const eventlog::StoredEvent& event);

  eventlog::Log& log;
  const Clock& clock;
  Directory directory;
  prometheus::Counter* events = nullptr;
  prometheus::Counter* malformed = nullptr;

  mutable absl::Mutex mutex;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  std::vector<Partition> partitions ABSL_GUARDED_BY(mutex);
  // Requests that somebody waits for: as many as there are callers.
  std::map<std::string, std::optional<Directory::Outcome>> waiting ABSL_GUARDED_BY(mutex);
  std::vector<std::thread> threads;
};

absl::Status DirectoryFollower::Impl::Open(PartitionId partition, Offset& end) {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log.Range(Topic::kProvisioning, partition));
  end = range.end;
  ASSIGN_OR_RETURN(auto reader, log.OpenReader(Topic::kProvisioning, partition, range.begin));
  absl::MutexLock lock(&mutex);
  Partition& state = partitions[static_cast<size_t>(partition.value())];
  state.reader = std::move(reader);
  state.caught_up = range.begin >= range.end;
  if (stopping) {
    state.reader->Cancel();
  }
  return absl::OkStatus();
}

void DirectoryFollower::Impl::Fold(const eventlog::StoredEvent& event) {
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
    absl::MutexLock lock(&mutex);
    const auto found = waiting.find((*outcome)->request_id);
    if (found != waiting.end() && !found->second.has_value()) {
      found->second = **std::move(outcome);
    }
  }
}

absl::Status DirectoryFollower::Impl::ReadOnce(PartitionId partition, Offset end) {
  eventlog::Reader* reader = nullptr;
  {
    absl::MutexLock lock(&mutex);
    reader = partitions[static_cast<size_t>(partition.value())].reader.get();
  }
  ASSIGN_OR_RETURN(const auto batch, reader->Read({.wait_max = kReadWait}));
  for (const eventlog::StoredEvent& event : batch) {
    Fold(event);
  }
  absl::MutexLock lock(&mutex);
  Partition& state = partitions[static_cast<size_t>(partition.value())];
  state.caught_up = state.caught_up || batch.empty() || reader->next() >= end;
  state.error = absl::OkStatus();
  return absl::OkStatus();
}

void DirectoryFollower::Impl::Follow(PartitionId partition) {
  std::chrono::milliseconds backoff = kBackoffMin;
  bool open = false;
  Offset end;
  while (true) {
    const absl::Status status = open ? ReadOnce(partition, end) : Open(partition, end);
    if (status.ok()) {
      open = true;
      backoff = kBackoffMin;
      continue;
    }
    if (status.code() == absl::StatusCode::kCancelled) {
      return;
    }
    {
      absl::MutexLock lock(&mutex);
      partitions[static_cast<size_t>(partition.value())].error = status;
    }
    spdlog::warn("directory_read_failed partition={} error=\"{}\" retry_ms={}", partition.value(),
                 Message(status), backoff.count());
    if (!Pause(backoff)) {
      return;
    }
    backoff = std::min(backoff * 2, kBackoffMax);
  }
}

DirectoryFollower::DirectoryFollower(eventlog::Log& log, const Clock& clock,
                                     std::shared_ptr<prometheus::Registry> registry)
    : impl_(std::make_unique<Impl>(log, clock, registry)) {}

DirectoryFollower::~DirectoryFollower() { Stop(); }

absl::Status DirectoryFollower::Start() {
  const int32_t count = impl_->log.PartitionCount(Topic::kProvisioning);
  {
    absl::MutexLock lock(&impl_->mutex);
    if (!impl_->partitions.empty()) {
      return absl::InternalError("a DirectoryFollower starts once");
    }
    impl_->partitions.resize(static_cast<size_t>(count));
  }
  for (int32_t partition = 0; partition < count; ++partition) {
    impl_->threads.emplace_back([this, partition] { impl_->Follow(PartitionId(partition)); });
  }
  return absl::OkStatus();
}

void DirectoryFollower::Stop() {
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
}

const Directory& DirectoryFollower::directory() const { return impl_->directory; }

absl::Status DirectoryFollower::Health() const {
  absl::MutexLock lock(&impl_->mutex);
  if (impl_->partitions.empty()) {
    return Error(absl::StatusCode::kUnavailable, "unavailable", "the directory has not started");
  }
  for (size_t i = 0; i < impl_->partitions.size(); ++i) {
    const Impl::Partition& partition = impl_->partitions[i];
    RETURN_IF_ERROR_CTX(partition.error, fmt::format("directory, partition {}", i));
    if (!partition.caught_up) {
      return Error(absl::StatusCode::kUnavailable, "unavailable",
                   fmt::format("the directory is still reading partition {} of provisioning", i));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Directory::Outcome> DirectoryFollower::Request(const OrgId& org,
                                                              v1::ProvisioningRequest request,
                                                              std::chrono::milliseconds timeout,
                                                              eventlog::Cause cause) {
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
  const PartitionId partition = impl_->log.PartitionFor(Topic::kProvisioning, org.value());
  absl::Status appended;
  do {  // the id stays the same: where the first try did reach the log, the second is known
    appended = impl_->log.Append(Topic::kProvisioning, partition, {event}).status();
  } while (!appended.ok() && MayBeRetried(appended) && impl_->clock.SteadyNow() < deadline &&
           impl_->Pause(kBackoffMin));

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
