#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/epoch.h"
#include "eventlog/kafka/loss_doubt.h"
#include "eventlog/kafka/options.h"
#include "eventlog/log.h"

namespace sluice::eventlog {

class ConsumerPool;
class KafkaControl;
class KafkaMetrics;
class KafkaProducer;
class KafkaWatch;
class KnownBrokers;

// The log in Kafka, through librdkafka: one topic `<prefix><name>` for each Topic, events as
// CloudEvents in binary mode (docs/event-format.md). Appends are idempotent within one process's
// life and acknowledged by all in-sync replicas. Thread-safe.
//
// While brokers are away, appends wait in the queue. A partition that has confirmed nothing for
// options.append_timeout gives all of it up with kUnavailable; then one batch at a time is tried
// and the others are refused at once, until one is confirmed. Reads return kUnavailable and go on
// later, Health() says why; the connection is tried again with back-off for ever. Where one broker
// of several dies, appends and reads of the partitions that it led go on within 10 seconds of the
// election of a new leader (which takes the cluster broker.session.timeout.ms, 9 seconds by
// default), and within 30 where it does not die but hangs; Range() asks the new leader at its next
// try. A batch is not atomic: readers may see its first events before the last, and after
// kUnavailable its first events, or all, may be in the log, or come into it yet, where a broker
// that hung has them. No event is durable behind one that was appended to its partition before it,
// by this process, and whose failure was told later.
class KafkaLog final : public Log {
 public:
  // Connects, and creates the topics that are missing. The partition counts and the epoch have to
  // be known before anything can be appended or read, so this waits for the brokers and for the
  // leader of partition 0 of `provisioning`, at most for options.connect_timeout: then
  // kUnavailable, and the caller (not ready meanwhile) calls again. Other partitions without a
  // leader are kUnavailable one by one, as later. kInvalidArgument for wrong options;
  // kFailedPrecondition for topics that would lose or hide events: code "partition_count_mismatch"
  // where they can't be used together, "topic_partitions_changed" where partitions were added,
  // "topic_compacted", "topic_retention", "log_begins_late"; the message has the command that mends
  // it. kPermissionDenied. kNotFound, code "no_log", where there is none to inspect.
  static absl::StatusOr<std::unique_ptr<KafkaLog>> Open(const KafkaLogOptions& options);

  // Makes the topics agree, for each can have lost its end without the others.
  using Agree = absl::FunctionRef<absl::Status(Log&)>;

  // Declares a new epoch, which makes the log another one to stores and clients; processes that use
  // it stop appending and have to be started again. `agree` comes before: where it fails, nothing
  // is declared. Errors as Open() of a log to inspect; kFailedPrecondition, with the codes of
  // Open(), where the topics do not fit or stores could not be built anew from `changes`; kAborted
  // where another epoch was declared at the same time.
  static absl::StatusOr<EpochChange> StartEpoch(KafkaLogOptions options, Agree agree);

  // Answers every append: waits up to options.close_timeout, then fails the rest.
  ~KafkaLog() override;

  // "kafka:<cluster id>/<topic prefix>#<epoch>". Topics that are deleted and made again are another
  // epoch's.
  const std::string& id() const override;
  std::vector<std::string> FormerIds() const override;
  AgreedEnds Agreed(PartitionId partition) const override;
  int32_t PartitionCount(Topic topic) const override;
  void AppendAsync(Topic topic, PartitionId partition, std::vector<Event> batch,
                   AppendCallback done) override;
  // kResourceExhausted, code "too_many_readers": see options.readers_per_partition_max.
  absl::StatusOr<std::unique_ptr<Reader>> OpenReader(Topic topic, PartitionId partition,
                                                     Offset from) override;
  // Through handles of its own, which fetch a record batch at a time. Errors likewise.
  absl::StatusOr<std::unique_ptr<Reader>> OpenPointReader(Topic topic, PartitionId partition,
                                                          Offset from) override;
  absl::StatusOr<OffsetRange> Range(Topic topic, PartitionId partition) override;
  // As LossDoubt says; at once where the log is inspected, by a person.
  absl::Status ConfirmLoss(Topic topic, PartitionId partition, Offset lost) override;
  bool IsEndDoubted(Topic topic, PartitionId partition) override;
  // kFailedPrecondition for `nodes`, which Kafka compacts instead.
  absl::Status TruncateBefore(Topic topic, PartitionId partition, Offset begin) override;
  // Memory only: whether the brokers answered last, then the codes of Open() that were found since,
  // and "log_epoch_changed" and "log_truncated". Appends that would be lost get the same.
  absl::Status Health() override;

 private:
  explicit KafkaLog(const KafkaLogOptions& options);

  absl::Status CheckPartition(Topic topic, PartitionId partition) const;
  absl::StatusOr<std::unique_ptr<Reader>> OpenReaderIn(ConsumerPool& pool, Topic topic,
                                                       PartitionId partition, Offset from);

  // In the order of their making: each is used by those after it.
  std::unique_ptr<KafkaMetrics> metrics_;
  std::unique_ptr<KnownBrokers> brokers_;
  std::unique_ptr<KafkaControl> control_;
  std::unique_ptr<ConsumerPool> consumers_;
  std::unique_ptr<ConsumerPool> point_consumers_;
  std::unique_ptr<KafkaProducer> producer_;
  // Of the topics that are not the history: who may not write one of them, or whose partition is
  // away, must not hold up the others, and one event that is refused for good ends a producer.
  std::unique_ptr<KafkaProducer> side_producer_;
  std::unique_ptr<KafkaWatch> watch_;
  std::unique_ptr<LossDoubt> doubt_;  // nullptr where the log is inspected
  std::string id_;
};

}  // namespace sluice::eventlog
