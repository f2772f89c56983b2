#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/cancellation.h"
#include "eventlog/epoch.h"
#include "eventlog/kafka/control.h"
#include "eventlog/kafka/metrics.h"
#include "eventlog/kafka/options.h"
#include "eventlog/kafka/topic_check.h"
#include "eventlog/log.h"

namespace sluice::eventlog {

// Whether the log in Kafka is still the one that was opened: its epoch, its partitions, and the
// settings of its topics. Looked at before anything is appended, then by a thread. What is found is
// kept in memory, so that a health probe and an append never wait for the cluster. Thread-safe.
class KafkaWatch {
 public:
  // All arguments must outlive it. `log` reads and appends for it.
  KafkaWatch(const KafkaLogOptions& options, Log& log, KafkaControl& control,
             KafkaMetrics& metrics);
  ~KafkaWatch();

  // Learns the epoch, which a log without one is given, refuses topics that do not fit, and starts
  // the thread. kFailedPrecondition, codes "topic_compacted", "topic_retention",
  // "topic_partitions_changed", "log_begins_late". To inspect, it only reads the epoch.
  absl::Status Start() ABSL_LOCKS_EXCLUDED(mutex_);

  // Set by Start(); empty where a log without one is inspected.
  const std::string& epoch() const { return epoch_; }
  // Those that `epoch()` came in place of, oldest first, as of Start().
  const std::vector<std::string>& former_epochs() const { return former_; }
  // EpochFold::agreed() as of Start().
  const std::vector<AgreedEnds>& agreed() const { return agreed_; }

  // Whether a new epoch may be declared: kFailedPrecondition, with the fault's code, where the
  // stores that would be built anew could not be ("log_begins_late" of `changes`), or the topics
  // are not those of one log. For a log that is inspected.
  absl::Status CheckForNewEpoch();

  // Declares an epoch that replaces the one in force; returns it. For a log that is inspected.
  absl::StatusOr<std::string> ReplaceEpoch(const std::vector<AgreedEnds>& agreed);

  // kFailedPrecondition or kDataLoss where the log does not fit any more: the codes of Start(), and
  // "log_epoch_changed", "log_truncated". Memory only.
  absl::Status Health() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The same where an event would go to a place in which it is lost.
  absl::Status MayAppend(Topic topic) const ABSL_LOCKS_EXCLUDED(mutex_);
  // kInvalidArgument, code "too_large", for what the topics' settings do not take: a broker's
  // refusal would end the producer, and with it what others append.
  absl::Status CheckSize(Topic topic, const std::vector<Event>& batch) const;

 private:
  // Reads on to the known end of the epoch's partition.
  absl::Status ReadEpoch(Offset end, std::chrono::milliseconds patience);
  // Appends a LogStarted and reads on until it is seen.
  absl::Status AppendEpoch(const std::string& epoch, const std::vector<AgreedEnds>& agreed);
  // Where the log has no epoch: kDataLoss "log_truncated" if it had one.
  absl::Status CheckThatNothingWasLost();
  absl::Status CheckEpoch() ABSL_LOCKS_EXCLUDED(mutex_);
  // The epoch's partition ends at `end`, and does not go on from what was read; `code` says how.
  absl::Status CheckOtherHistory(Offset end, std::string_view code) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetEpochChanged(const std::string& epoch) ABSL_LOCKS_EXCLUDED(mutex_);
  // Everything that is wrong with the topics now.
  absl::StatusOr<std::vector<TopicFault>> CheckTopics();
  // The same, asked until the cluster answers or options.connect_timeout has passed.
  absl::StatusOr<std::vector<TopicFault>> AwaitTopics();
  absl::Status CheckPartitions(Topic topic, std::vector<TopicFault>& faults);
  absl::Status CheckBegins(std::vector<TopicFault>& faults);
  absl::Status CheckSettings(std::vector<TopicFault>& faults);
  void SetFaults(std::vector<TopicFault> faults) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetHistory(absl::Status history) ABSL_LOCKS_EXCLUDED(mutex_);
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);

  const KafkaLogOptions options_;
  const std::shared_ptr<const Clock> clock_;
  Log& log_;
  KafkaControl& control_;
  KafkaMetrics& metrics_;
  EpochFold fold_;                                  // used by Start(), then by the thread alone
  Offset read_to_{0};                               // likewise
  std::pair<Offset, uint64_t> last_{kNoOffset, 0};  // likewise: the last event below, its hash
  std::string epoch_;
  std::vector<std::string> former_;  // that this process opened
  std::vector<AgreedEnds> agreed_;
  SteadyTime compared_{};         // what was read with what is there
  int short_ends_ = 0;            // in a row, an end before what was read, or of something else
  Offset other_end_ = kNoOffset;  // to where another history was read
  bool settings_told_ = false;    // that they can't be looked at
  std::atomic<size_t> event_bytes_max_ = SIZE_MAX;  // by the topics' settings
  std::atomic<bool> bad_ = false;  // some fault or history_: the only look of an append
  mutable absl::Mutex mutex_;
  absl::CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<TopicFault> faults_ ABSL_GUARDED_BY(mutex_);
  absl::Status history_ ABSL_GUARDED_BY(mutex_);  // never OK again
  Cancellation reading_;
  std::thread thread_;
};

}  // namespace sluice::eventlog
