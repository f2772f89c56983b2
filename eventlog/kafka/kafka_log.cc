#include "eventlog/kafka/kafka_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "eventlog/kafka/consumer_pool.h"
#include "eventlog/kafka/control.h"
#include "eventlog/kafka/known_brokers.h"
#include "eventlog/kafka/metrics.h"
#include "eventlog/kafka/producer.h"
#include "eventlog/kafka/reader.h"
#include "eventlog/kafka/watch.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

// What is told in the other topics is told again, or nobody misses it.
constexpr std::chrono::milliseconds kSideCloseTimeout{1'000};

absl::Status CheckOptions(const KafkaLogOptions& options) {
  // librdkafka's limit of message.max.bytes, less the overhead of a record.
  constexpr size_t kEventBytesLimit = 900'000'000;
  std::string wrong;
  if (options.brokers.empty()) {
    wrong = "no brokers are named: write host:port,...";
  } else if (options.partitions < 1 || options.replication_factor < 1) {
    wrong = fmt::format("partitions {} and replication factor {} must be at least 1",
                        options.partitions, options.replication_factor);
  } else if (options.limits.event_bytes_max > kEventBytesLimit) {
    wrong = fmt::format("events of {} bytes are over Kafka's limit of {}",
                        options.limits.event_bytes_max, kEventBytesLimit);
  }
  return wrong.empty() ? absl::OkStatus() : Invalid("invalid_argument", "Kafka log: {}", wrong);
}

// Where the partition ends, and the hash of the event before that.
absl::Status LearnEnd(Log& log, Topic topic, PartitionId partition, Offset* end, uint64_t* hash) {
  ASSIGN_OR_RETURN(const OffsetRange range, log.Range(topic, partition));
  *end = range.end;
  if (range.begin >= range.end) {
    return absl::OkStatus();
  }
  return ReadUntil(log, topic, partition, Offset(range.end.value() - 1), range.end,
                   [hash](const StoredEvent& event) {
                     *hash = EventHash(event.event);
                     return absl::OkStatus();
                   });
}

}  // namespace

KafkaLog::KafkaLog(const KafkaLogOptions& options)
    : metrics_(std::make_unique<KafkaMetrics>(options.metrics, options.limits)),
      brokers_(std::make_unique<KnownBrokers>()) {}

KafkaLog::~KafkaLog() = default;

absl::StatusOr<std::unique_ptr<KafkaLog>> KafkaLog::Open(const KafkaLogOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  std::unique_ptr<KafkaLog> log(new KafkaLog(options));
  ASSIGN_OR_RETURN(log->control_, KafkaControl::Connect(options, *log->metrics_, *log->brokers_));
  log->consumers_ =
      std::make_unique<ConsumerPool>(options, ConsumerPool::Use::kStreams, *log->brokers_);
  log->point_consumers_ =
      std::make_unique<ConsumerPool>(options, ConsumerPool::Use::kPoints, *log->brokers_);
  ASSIGN_OR_RETURN(log->producer_, KafkaProducer::Create(options, *log->metrics_, *log->brokers_));
  // The topics beside the history have a producer of their own: what a broker refuses for good is a
  // fatal error of the producer, and fails whatever else it has in flight.
  KafkaLogOptions beside = options;
  beside.close_timeout = std::min(options.close_timeout, kSideCloseTimeout);
  ASSIGN_OR_RETURN(log->side_producer_,
                   KafkaProducer::Create(beside, *log->metrics_, *log->brokers_));
  log->watch_ = std::make_unique<KafkaWatch>(options, *log, *log->control_, *log->metrics_);
  // Before the watch looks for the first time: without it each end that is too early is believed at
  // once, as a tool that only looks may do.
  if (!options.inspect) {
    log->doubt_ = std::make_unique<LossDoubt>(options.clock);
  }
  RETURN_IF_ERROR_CTX(log->watch_->Start(), "cannot use the Kafka log at {}", options.brokers);
  log->id_ = LogIdOf(log->control_->log_name(), log->watch_->epoch());
  return log;
}

absl::StatusOr<EpochChange> KafkaLog::StartEpoch(KafkaLogOptions options, Agree agree) {
  options.inspect = true;
  ASSIGN_OR_RETURN(const auto log, Open(options));
  RETURN_IF_ERROR(log->watch_->CheckForNewEpoch());
  RETURN_IF_ERROR(agree(*log));
  // Only now that the topics agree, as that has appended to them; and before the epoch is written,
  // which names these ends as those below which the topics are not compared any more.
  std::vector<AgreedEnds> ends;
  for (int32_t p = 0; p < log->PartitionCount(Topic::kChanges); ++p) {
    AgreedEnds& agreed = ends.emplace_back();
    RETURN_IF_ERROR(LearnEnd(*log, Topic::kProvisioning, PartitionId(p), &agreed.provisioning,
                             &agreed.provisioning_hash));
    RETURN_IF_ERROR(
        LearnEnd(*log, Topic::kChanges, PartitionId(p), &agreed.changes, &agreed.changes_hash));
  }
  ASSIGN_OR_RETURN(const std::string epoch, log->watch_->ReplaceEpoch(ends));
  return EpochChange{.id_before = log->id_, .id = LogIdOf(log->control_->log_name(), epoch)};
}

const std::string& KafkaLog::id() const { return id_; }

std::vector<std::string> KafkaLog::FormerIds() const {
  return FormerIdsOf(control_->log_name(), watch_->former_epochs());
}

AgreedEnds KafkaLog::Agreed(PartitionId partition) const {
  const std::vector<AgreedEnds>& agreed = watch_->agreed();
  const auto index = static_cast<size_t>(partition.value());
  return index < agreed.size() ? agreed[index] : AgreedEnds{};
}

int32_t KafkaLog::PartitionCount(Topic topic) const { return control_->PartitionCount(topic); }

absl::Status KafkaLog::CheckPartition(Topic topic, PartitionId partition) const {
  const int32_t count = PartitionCount(topic);
  if (partition.value() >= 0 && partition.value() < count) {
    return absl::OkStatus();
  }
  return Invalid("invalid_argument", "topic {} has no partition {}: it has {} of them, from 0",
                 TopicName(topic), partition.value(), count);
}

void KafkaLog::AppendAsync(Topic topic, PartitionId partition, std::vector<Event> batch,
                           AppendCallback done) {
  if (absl::Status status = CheckPartition(topic, partition); !status.ok()) {
    done(std::move(status));
    return;
  }
  absl::Status taken = watch_->MayAppend(topic);
  if (taken.ok()) {
    // Before the producer has it: an event that the broker refuses would end the producer.
    taken = watch_->CheckSize(topic, batch);
  }
  if (!taken.ok()) {
    metrics_->AppendFailed(ErrorCode(taken));
    done(std::move(taken));
    return;
  }
  KafkaProducer& producer =
      topic == Topic::kProvisioning || topic == Topic::kChanges ? *producer_ : *side_producer_;
  producer.Append(topic, partition, std::move(batch), std::move(done));
}

absl::StatusOr<std::unique_ptr<Reader>> KafkaLog::OpenReader(Topic topic, PartitionId partition,
                                                             Offset from) {
  return OpenReaderIn(*consumers_, topic, partition, from);
}

absl::StatusOr<std::unique_ptr<Reader>> KafkaLog::OpenPointReader(Topic topic,
                                                                  PartitionId partition,
                                                                  Offset from) {
  return OpenReaderIn(*point_consumers_, topic, partition, from);
}

absl::StatusOr<std::unique_ptr<Reader>> KafkaLog::OpenReaderIn(ConsumerPool& pool, Topic topic,
                                                               PartitionId partition, Offset from) {
  RETURN_IF_ERROR(CheckPartition(topic, partition));
  if (from.value() < 0) {
    return Invalid("invalid_argument", "offset {} is negative: offsets begin at 0", from.value());
  }
  ASSIGN_OR_RETURN(auto lease, pool.Acquire(control_->FullName(topic), partition));
  return std::make_unique<KafkaReader>(std::move(lease), *control_, *metrics_, topic, partition,
                                       from);
}

absl::StatusOr<OffsetRange> KafkaLog::Range(Topic topic, PartitionId partition) {
  RETURN_IF_ERROR(CheckPartition(topic, partition));
  ASSIGN_OR_RETURN(const OffsetRange range, control_->Range(topic, partition));
  if (doubt_ != nullptr) {
    doubt_->NoteEnd(topic, partition, range.end);
  }
  return range;
}

absl::Status KafkaLog::ConfirmLoss(Topic topic, PartitionId partition, Offset lost) {
  return doubt_ == nullptr ? absl::OkStatus() : doubt_->Confirm(topic, partition, lost);
}

bool KafkaLog::IsEndDoubted(Topic topic, PartitionId partition) {
  return doubt_ != nullptr && doubt_->IsDoubted(topic, partition);
}

absl::Status KafkaLog::TruncateBefore(Topic topic, PartitionId partition, Offset begin) {
  RETURN_IF_ERROR(CheckPartition(topic, partition));
  return control_->TruncateBefore(topic, partition, begin);
}

absl::Status KafkaLog::Health() {
  RETURN_IF_ERROR(control_->Health());
  return watch_->Health();
}

}  // namespace sluice::eventlog
