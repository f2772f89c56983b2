#include "eventlog/kafka/watch.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "eventlog/kafka/admin.h"
#include "schemas/base/backoff.h"
#include "schemas/base/collect.h"
#include "schemas/base/status.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::eventlog {
namespace {

using std::chrono::milliseconds;

constexpr Topic kEpochTopic = Topic::kProvisioning;
constexpr PartitionId kEpochPartition{0};
constexpr PartitionId kNodesPartition{0};
// One look; the next comes soon, and the destructor waits for it.
constexpr milliseconds kLookTimeout{2'000};
constexpr milliseconds kLookRetryFirst{100};
constexpr milliseconds kLookRetryMax{500};
// Under a client quota nothing may come for long, and who gives up begins at the start again.
constexpr milliseconds kStartPatience{120'000};
// A broker keeps back who is over its quota for some 10 s at most.
constexpr milliseconds kRunningPatience{15'000};
// What took the place of the last events may be as many as they were.
constexpr milliseconds kCompareInterval{10'000};
// What `provisioning` tells of an event of `changes` is longer than that by so much at most, and
// must fit once that is there.
constexpr size_t kOutcomeRoom = 256;
// A leader that was just elected may tell an end that lags; one that does so twice has lost events.
constexpr int kShortEndsMax = 2;

TopicFault BeginsLate(Topic topic, const std::string& name, PartitionId partition, Offset begin) {
  const bool forgets = topic == Topic::kProvisioning;
  return {topic, forgets ? FaultEffect::kNotReady : FaultEffect::kReport,
          Error(StatusCode::kFailedPrecondition, "log_begins_late",
                "{}-{} begins at offset {}: events before it were removed, {}", name,
                partition.value(), begin.value(),
                forgets ? "and the organisations that they tell of would be unknown; restore the "
                          "topic, and set its retention.ms and retention.bytes to -1"
                        : "so that stores cannot be built anew; keep the stores, and set the "
                          "topic's retention.ms and retention.bytes to -1")};
}

TopicFault PartitionsChanged(Topic topic, const std::string& name, int32_t count, int32_t before) {
  return {
      topic, FaultEffect::kNoAppend,
      Error(StatusCode::kFailedPrecondition, "topic_partitions_changed",
            "topic {} has {} partitions, the log was started with {}: events of an organisation "
            "would go to another partition than its history; Kafka cannot take partitions away, so "
            "copy the topics to ones of {} partitions under another log.topic_prefix",
            name, count, before, before)};
}

}  // namespace

KafkaWatch::KafkaWatch(const KafkaLogOptions& options, Log& log, KafkaControl& control,
                       KafkaMetrics& metrics)
    : options_(options),
      clock_(options.clock != nullptr ? options.clock : std::make_shared<RealClock>()),
      log_(log),
      control_(control),
      metrics_(metrics) {}

KafkaWatch::~KafkaWatch() {
  {
    const absl::MutexLock lock(&mutex_);
    stopping_ = true;
    wake_.Signal();
  }
  reading_.Cancel();
  if (thread_.joinable()) {
    thread_.join();
  }
}

absl::Status KafkaWatch::Start() {
  ASSIGN_OR_RETURN(const OffsetRange range, control_.Range(kEpochTopic, kEpochPartition));
  read_to_ = range.begin;
  RETURN_IF_ERROR(ReadEpoch(range.end, kStartPatience));
  epoch_ = fold_.epoch();
  agreed_ = fold_.agreed();
  if (options_.inspect) {
    return absl::OkStatus();
  }
  // Before anything is written: what does not fit must not be made worse.
  ASSIGN_OR_RETURN(std::vector<TopicFault> faults, AwaitTopics());
  for (const TopicFault& fault : faults) {
    if (fault.effect != FaultEffect::kReport) {
      return fault.status;
    }
  }
  if (epoch_.empty()) {
    const absl::Status whole = CheckThatNothingWasLost();
    // Another process may have been first meanwhile: what is there then is its.
    ASSIGN_OR_RETURN(const OffsetRange now, control_.Range(kEpochTopic, kEpochPartition));
    RETURN_IF_ERROR(ReadEpoch(now.end, kStartPatience));
    if (fold_.epoch().empty()) {
      RETURN_IF_ERROR(whole);
      RETURN_IF_ERROR(AppendEpoch(NewEpoch(), {}));
    }
    epoch_ = fold_.epoch();
    agreed_ = fold_.agreed();
  }
  former_ = fold_.former();
  SetFaults(std::move(faults));
  compared_ = clock_->SteadyNow();
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

// An epoch that is written beside a history would say that nobody exists. It is the first event of
// a log: where its partition is empty and another is not, it was lost; and whoever opened a log
// with an epoch has announced it in `nodes`. A log of before there were epochs has something in
// that partition, or is begun anew as the error says.
absl::Status KafkaWatch::CheckThatNothingWasLost() {
  const auto lost = [this](Topic witness) {
    return Error(StatusCode::kDataLoss, "log_truncated",
                 "{}-{} holds no epoch, but what is in {} was written under one: it is lost; "
                 "restore it, or go on with what is there: `sluice log new-epoch`",
                 control_.FullName(kEpochTopic), kEpochPartition.value(),
                 control_.FullName(witness));
  };
  ASSIGN_OR_RETURN(const OffsetRange first, control_.Range(kEpochTopic, kEpochPartition));
  for (int32_t p = 0; p < control_.PartitionCount(Topic::kChanges); ++p) {
    for (const Topic topic : {Topic::kProvisioning, Topic::kChanges}) {
      ASSIGN_OR_RETURN(const OffsetRange range, control_.Range(topic, PartitionId(p)));
      if (first.end == Offset(0) && range.end > Offset(0)) {
        return lost(topic);
      }
    }
  }
  ASSIGN_OR_RETURN(const OffsetRange nodes, control_.Range(Topic::kNodes, kNodesPartition));
  const std::string with_epoch = control_.log_name() + "#";
  bool had_epoch = false;
  RETURN_IF_ERROR(ReadUntil(
      log_, Topic::kNodes, kNodesPartition, nodes.begin, nodes.end,
      [&](const StoredEvent& event) {
        v1::NodeAnnouncement told;
        had_epoch = had_epoch || (told.ParseFromString(event.event.value) &&
                                  told.log_id().starts_with(with_epoch));
        return absl::OkStatus();
      },
      kStartPatience, &reading_));
  return had_epoch ? lost(Topic::kNodes) : absl::OkStatus();
}

absl::StatusOr<std::vector<TopicFault>> KafkaWatch::AwaitTopics() {
  // Topics that are new take a moment until every broker knows them and their leaders.
  const SteadyTime deadline = clock_->SteadyNow() + options_.connect_timeout;
  Backoff retry(kLookRetryFirst, kLookRetryMax);
  while (true) {
    auto faults = CheckTopics();
    if (!absl::IsUnavailable(faults.status()) || clock_->SteadyNow() >= deadline) {
      return faults;
    }
    std::this_thread::sleep_for(retry.Next());
  }
}

absl::Status KafkaWatch::ReadEpoch(Offset end, milliseconds patience) {
  RETURN_IF_ERROR_CTX(ReadUntil(
                          log_, kEpochTopic, kEpochPartition, read_to_, end,
                          [this](const StoredEvent& event) {
                            fold_.Apply(event);
                            read_to_ = Offset(event.offset.value() + 1);
                            last_ = {event.offset, EventHash(event.event)};
                            return absl::OkStatus();
                          },
                          patience, &reading_),
                      "cannot read the log's epoch");
  read_to_ = std::max(read_to_, end);
  return absl::OkStatus();
}

absl::Status KafkaWatch::AppendEpoch(const std::string& epoch,
                                     const std::vector<AgreedEnds>& agreed) {
  const Event started = MakeLogStarted(*clock_, epoch, fold_.epoch(),
                                       control_.PartitionCount(Topic::kChanges), agreed);
  ASSIGN_OR_RETURN(const std::vector<Offset> offsets,
                   log_.Append(kEpochTopic, kEpochPartition, {started}));
  // Another process may have been first: the fold decides, here and there alike.
  return ReadEpoch(Offset(offsets.front().value() + 1), options_.connect_timeout);
}

absl::Status KafkaWatch::CheckForNewEpoch() {
  for (const Topic topic : {Topic::kProvisioning, Topic::kChanges}) {
    RETURN_IF_ERROR_CTX(control_.RequireLeaders(topic, kLookTimeout),
                        "all of the log has to be read, and no epoch is declared");
  }
  ASSIGN_OR_RETURN(const std::vector<TopicFault> faults, AwaitTopics());
  for (const TopicFault& fault : faults) {
    const std::string code = ErrorCode(fault.status);
    // What `provisioning` has lost at its beginning is told there again from `changes`.
    const bool passes = code == "topic_retention" || code == "topic_message_bytes" ||
                        (code == "log_begins_late" && fault.topic == Topic::kProvisioning);
    if (!passes) {
      return Error(StatusCode::kFailedPrecondition, code,
                   "{}; no epoch is declared, and nothing was written", Message(fault.status));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> KafkaWatch::ReplaceEpoch(const std::vector<AgreedEnds>& agreed) {
  const std::string epoch = NewEpoch();
  // What was appended is read back, and only that counts: two that are declared at once are both in
  // the log, and the fold takes the first.
  RETURN_IF_ERROR(AppendEpoch(epoch, agreed));
  epoch_ = fold_.epoch();
  if (epoch_ != epoch) {
    return Error(StatusCode::kAborted, "log_epoch_changed",
                 "another epoch, {}, was declared at the same time and counts; declare another one "
                 "only if that is wanted",
                 epoch_);
  }
  return epoch;
}

absl::Status KafkaWatch::CheckEpoch() {
  ASSIGN_OR_RETURN(const Offset end, control_.EndOf(kEpochTopic, kEpochPartition, kLookTimeout));
  if (end < read_to_) {
    return CheckOtherHistory(end, "log_truncated");
  }
  const SteadyTime now = clock_->SteadyNow();
  if (end > read_to_ || now - compared_ >= kCompareInterval) {
    const absl::Status goes_on = VerifyContinuity(log_, kEpochTopic, kEpochPartition, last_.first,
                                                  last_.second, kRunningPatience, &reading_);
    if (absl::IsDataLoss(goes_on)) {
      return CheckOtherHistory(end, "log_diverged");
    }
    RETURN_IF_ERROR(goes_on);
    compared_ = now;
  }
  short_ends_ = 0;
  RETURN_IF_ERROR(ReadEpoch(end, kRunningPatience));
  if (fold_.epoch() != epoch_) {
    SetEpochChanged(fold_.epoch());
  }
  return absl::OkStatus();
}

// What was read is not there any more. An epoch may have been declared below that since, as after a
// loss while this process was paused: then it has to end, whatever else is told of the history.
absl::Status KafkaWatch::CheckOtherHistory(Offset end, std::string_view code) {
  if (++short_ends_ < kShortEndsMax) {
    return absl::OkStatus();
  }
  if (code == "log_truncated") {
    compared_ = {};  // the next end that is long enough is compared, which ends the doubt
    RETURN_IF_ERROR(log_.ConfirmLoss(kEpochTopic, kEpochPartition, Offset(read_to_.value() - 1)));
  }
  // Before the read, which may take long or fail.
  SetHistory(Error(StatusCode::kDataLoss, code,
                   "{}-{} was read to offset {} and ends at {} now, and what was read is not in "
                   "it: its end is lost, or the topic was made anew; restore the log, or go on "
                   "with what it holds: `sluice log new-epoch`, then start again",
                   control_.FullName(kEpochTopic), kEpochPartition.value(), read_to_.value(),
                   end.value()));
  if (end == other_end_) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const OffsetRange range, control_.Range(kEpochTopic, kEpochPartition));
  EpochFold other;
  RETURN_IF_ERROR(ReadUntil(
      log_, kEpochTopic, kEpochPartition, range.begin, end,
      [&other](const StoredEvent& event) {
        other.Apply(event);
        return absl::OkStatus();
      },
      kRunningPatience, &reading_));
  other_end_ = end;
  if (!other.epoch().empty() && other.epoch() != epoch_) {
    SetEpochChanged(other.epoch());
  }
  return absl::OkStatus();
}

void KafkaWatch::SetEpochChanged(const std::string& epoch) {
  SetHistory(Error(StatusCode::kFailedPrecondition, "log_epoch_changed",
                   "the log's epoch is {} now, this process opened {}: start it again; its stores "
                   "are then built anew",
                   epoch, epoch_));
}

absl::StatusOr<std::vector<TopicFault>> KafkaWatch::CheckTopics() {
  std::vector<TopicFault> faults;
  for (const Topic topic : kAllTopics) {
    RETURN_IF_ERROR(CheckPartitions(topic, faults));
  }
  if (std::ranges::any_of(faults, [](const TopicFault& fault) {
        return ErrorCode(fault.status) == "topic_missing";
      })) {
    return faults;  // the rest cannot be asked for
  }
  RETURN_IF_ERROR(CheckSettings(faults));
  RETURN_IF_ERROR(CheckBegins(faults));
  return faults;
}

absl::Status KafkaWatch::CheckPartitions(Topic topic, std::vector<TopicFault>& faults) {
  const auto looked = control_.LookUpPartitions(topic, kLookTimeout);
  if (ErrorCode(looked.status()) == "topic_missing" && !epoch_.empty()) {
    faults.push_back({topic, FaultEffect::kNoAppend,
                      Error(StatusCode::kFailedPrecondition, "topic_missing",
                            "topic {} does not exist any more: stop the servers and restore it",
                            control_.FullName(topic))});
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const int32_t count, looked);
  // A log of before the count was kept has that of `changes`.
  const int32_t of_log =
      fold_.partitions() > 0 ? fold_.partitions() : control_.PartitionCount(Topic::kChanges);
  const int32_t expected = topic == Topic::kNodes ? 1 : of_log;
  if (count != expected) {
    faults.push_back(PartitionsChanged(topic, control_.FullName(topic), count, expected));
  }
  return absl::OkStatus();
}

absl::Status KafkaWatch::CheckSettings(std::vector<TopicFault>& faults) {
  if (!options_.check_settings) {
    return absl::OkStatus();
  }
  const auto names = Collect(kAllTopics, [&](Topic topic) { return control_.FullName(topic); });
  const auto described = DescribeTopics(control_.handle(), names, kLookTimeout);
  if (absl::IsPermissionDenied(described.status()) || absl::IsUnimplemented(described.status())) {
    if (!std::exchange(settings_told_, true)) {
      spdlog::warn(
          "kafka_settings_not_checked reason=\"{}\" wanted=\"the right to describe the "
          "topics' configuration\"",
          Message(described.status()));
    }
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(described.status());
  const size_t record_bytes = options_.limits.event_bytes_max + kRecordOverheadMax;
  size_t taken = SIZE_MAX;
  for (const Topic topic : kAllTopics) {
    const auto found = described->find(control_.FullName(topic));
    if (found == described->end()) {
      continue;
    }
    for (TopicFault& fault :
         FaultsOfSettings(topic, found->first, options_.brokers, record_bytes, found->second)) {
      faults.push_back(std::move(fault));
    }
    if (topic == Topic::kProvisioning || topic == Topic::kChanges) {
      taken = std::min(taken, RecordBytesMax(found->second));
    }
  }
  event_bytes_max_ = taken >= record_bytes ? SIZE_MAX : taken - std::min(taken, kRecordOverheadMax);
  return absl::OkStatus();
}

absl::Status KafkaWatch::CheckBegins(std::vector<TopicFault>& faults) {
  for (const Topic topic : {Topic::kProvisioning, Topic::kChanges}) {
    const std::string name = control_.FullName(topic);
    ASSIGN_OR_RETURN(const std::vector<bool> leaders, control_.LookUpLeaders(topic, kLookTimeout));
    for (int32_t p = 0; p < control_.PartitionCount(topic); ++p) {
      // Of one without a leader nobody reads, and its begin is looked at once it has one.
      if (static_cast<size_t>(p) >= leaders.size() || !leaders[static_cast<size_t>(p)]) {
        continue;
      }
      ASSIGN_OR_RETURN(const Offset begin, LookUpOffset(control_.handle(), name, PartitionId(p),
                                                        OffsetKind::kBegin, kLookTimeout));
      if (begin > Offset(0)) {
        faults.push_back(BeginsLate(topic, name, PartitionId(p), begin));
        break;  // one partition is reason enough
      }
    }
  }
  return absl::OkStatus();
}

void KafkaWatch::SetFaults(std::vector<TopicFault> faults) {
  const auto has = [](const std::vector<TopicFault>& all, const TopicFault& one) {
    return std::any_of(all.begin(), all.end(), [&one](const TopicFault& other) {
      return other.topic == one.topic && ErrorCode(other.status) == ErrorCode(one.status);
    });
  };
  const absl::MutexLock lock(&mutex_);
  for (const TopicFault& fault : faults) {
    if (!has(faults_, fault)) {
      const std::string code = ErrorCode(fault.status);
      spdlog::error("kafka_topic_fault code={} topic={} reason=\"{}\"", code,
                    control_.FullName(fault.topic), Message(fault.status));
      metrics_.SetTopicFault(fault.topic, code, true);
    }
  }
  for (const TopicFault& fault : faults_) {
    if (!has(faults, fault)) {
      const std::string code = ErrorCode(fault.status);
      spdlog::info("kafka_topic_mended code={} topic={}", code, control_.FullName(fault.topic));
      metrics_.SetTopicFault(fault.topic, code, false);
    }
  }
  faults_ = std::move(faults);
  bad_ = !faults_.empty() || !history_.ok();
}

void KafkaWatch::SetHistory(absl::Status history) {
  const absl::MutexLock lock(&mutex_);
  // A new epoch ends the process, which what was found before does not.
  const std::string code = ErrorCode(history);
  const std::string before = history_.ok() ? "" : ErrorCode(history_);
  if (before.empty() || (code == "log_epoch_changed" && before != code)) {
    spdlog::error("kafka_log_changed code={} reason=\"{}\"", code, Message(history));
    if (!before.empty()) {
      metrics_.SetTopicFault(kEpochTopic, before, false);
    }
    metrics_.SetTopicFault(kEpochTopic, code, true);
    history_ = std::move(history);
  }
  bad_ = true;
}

absl::Status KafkaWatch::Health() const {
  const absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(history_);
  const TopicFault* worst = nullptr;
  for (const TopicFault& fault : faults_) {
    if (fault.effect != FaultEffect::kReport &&
        (worst == nullptr || fault.effect > worst->effect)) {
      worst = &fault;
    }
  }
  return worst == nullptr ? absl::OkStatus() : worst->status;
}

absl::Status KafkaWatch::MayAppend(Topic topic) const {
  if (!bad_.load(std::memory_order_relaxed)) {
    return absl::OkStatus();
  }
  const absl::MutexLock lock(&mutex_);
  if (!history_.ok()) {
    // Nothing is wrong with what is to be appended: another process takes it.
    return Error(StatusCode::kUnavailable, ErrorCode(history_), Message(history_));
  }
  for (const TopicFault& fault : faults_) {
    if (fault.effect == FaultEffect::kNoAppend ||
        (fault.effect == FaultEffect::kNoAppendToTopic && fault.topic == topic)) {
      return fault.status;
    }
  }
  return absl::OkStatus();
}

absl::Status KafkaWatch::CheckSize(Topic topic, const std::vector<Event>& batch) const {
  size_t limit = event_bytes_max_.load(std::memory_order_relaxed);
  if (limit == SIZE_MAX) {
    return absl::OkStatus();
  }
  if (topic == Topic::kChanges) {
    limit -= std::min(limit, kOutcomeRoom);
  }
  for (const Event& event : batch) {
    if (const size_t size = event.ByteSize(); size > limit) {
      return Invalid("too_large",
                     "an event of {} bytes is over the limit of {} that the topics' "
                     "max.message.bytes leaves: split it",
                     size, limit);
    }
  }
  return absl::OkStatus();
}

void KafkaWatch::Run() {
  SteadyTime checked = clock_->SteadyNow();
  while (true) {
    {
      const absl::MutexLock lock(&mutex_);
      if (!stopping_) {
        wake_.WaitWithTimeout(&mutex_, absl::FromChrono(options_.health_interval));
      }
      if (stopping_) {
        return;
      }
    }
    if (!control_.Health().ok()) {
      continue;  // nobody answers; reading and appending say so themselves
    }
    // First, as what is read of a topic that is gone is waited for.
    if (clock_->SteadyNow() - checked >= options_.topic_check_interval) {
      auto faults = CheckTopics();
      checked = clock_->SteadyNow();
      if (faults.ok()) {
        SetFaults(*std::move(faults));
      } else {
        spdlog::warn("kafka_topics_not_checked reason=\"{}\"", Message(faults.status()));
      }
    }
    if (const absl::Status looked = CheckEpoch(); !looked.ok()) {
      spdlog::debug("kafka_epoch_not_checked reason=\"{}\"", Message(looked));
    }
  }
}

}  // namespace sluice::eventlog
