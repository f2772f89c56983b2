#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/log.h"
#include "eventlog/record_source.h"
#include "gateways/events/event_intake.h"
#include "schemas/base/clock.h"
#include "schemas/base/metrics.h"

namespace sluice::gateways {

struct EventTopicOptions {
  std::string topic;
  eventlog::RecordSourceOptions records;
  // Read and not settled; past either nothing more is read.
  size_t steps_max = 1'000;
  size_t bytes_max = size_t{16} << 20;
  std::chrono::milliseconds mark_interval{10'000};
  std::chrono::milliseconds append_timeout{30'000};
  std::chrono::milliseconds retry_max{30'000};
  std::chrono::seconds look_for_partitions{60};
};

// All must outlive it.
struct EventTopicDeps {
  eventlog::Log& log;
  const Clock& clock;
  EventIntake& intake;
  eventlog::RecordSourceFactory open;
  // Why nothing may be appended to a partition of `provisioning` now.
  std::function<absl::Status(PartitionId)> may_append;
  std::shared_ptr<prometheus::Registry> registry;
};

// Where the topic is to be read on, by its partitions, as `provisioning` has it. Positions only
// grow, so the greatest counts, whoever told it.
[[nodiscard]] absl::StatusOr<std::map<PartitionId, Offset>> ReadEventPositions(
    eventlog::Log& log, const std::string& topic, eventlog::Cancellation* cancellation);

// Reads business events from a topic and has the intake carry them out, while this process is the
// one to do so. A position is told only when everything before it has its outcome, or a dead letter
// with the reason, so that a crash repeats what comes behind, and skips nothing; what is repeated
// is recognised by its id. Thread-safe.
class EventTopic {
 public:
  EventTopic(EventTopicOptions options, EventTopicDeps deps);
  ~EventTopic();

  // From now on this process reads, or does no longer: then nothing of it is under way any more,
  // but for requests that the log may have. std::system_error where a thread can't be made.
  void Own(bool owner) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Reading;
  struct Metrics {
    explicit Metrics(std::shared_ptr<prometheus::Registry> the_registry);
    const std::shared_ptr<prometheus::Registry> registry;
    prometheus::Counter& records;
    prometheus::Counter& letters;
    prometheus::Counter& failures;
    prometheus::Counter& lost;
    prometheus::Gauge& in_flight;
    prometheus::Gauge& reading;
  };

  const EventTopicOptions options_;
  const EventTopicDeps deps_;
  const Metrics metrics_;
  absl::Mutex mutex_;
  std::unique_ptr<Reading> reading_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::gateways
