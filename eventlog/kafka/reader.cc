#include "eventlog/kafka/reader.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>

#include <algorithm>
#include <array>
#include <utility>

#include "eventlog/kafka/admin.h"
#include "eventlog/kafka/conf.h"
#include "eventlog/kafka/message.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

using std::chrono::milliseconds;

// A wait is cut into such pieces, between which the connection's health is looked at.
constexpr milliseconds kWaitPiece{500};
// An empty queue is waited for so long before librdkafka is woken.
constexpr milliseconds kStalled{2};
// Messages taken from librdkafka's queue in one go.
constexpr size_t kFetchMessages = 512;

}  // namespace

KafkaReader::KafkaReader(std::unique_ptr<ConsumerPool::Lease> lease, KafkaControl& control,
                         KafkaMetrics& metrics, Topic topic, PartitionId partition, Offset from)
    : lease_(std::move(lease)),
      control_(control),
      metrics_(metrics),
      topic_(topic),
      partition_(partition),
      next_(from) {
  metrics_.open_readers.Increment();
}

KafkaReader::~KafkaReader() {
  StopConsuming();
  metrics_.open_readers.Decrement();
}

void KafkaReader::Cancel() {
  const absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  if (queue_ != nullptr) {
    rd_kafka_queue_yield(queue_.get());
  }
}

absl::Status KafkaReader::CheckCancelled() {
  const absl::MutexLock lock(&mutex_);
  return cancelled_ ? absl::CancelledError("the reader has been cancelled") : absl::OkStatus();
}

absl::Status KafkaReader::StartConsuming() {
  const absl::MutexLock lock(&mutex_);
  if (cancelled_) {
    return absl::CancelledError("the reader has been cancelled");
  }
  if (queue_ != nullptr) {
    return absl::OkStatus();
  }
  KafkaQueue queue(rd_kafka_queue_new(lease_->handle()));
  // Before anything can come: the first message may come over a connection that is made now.
  connections_lost_ = lease_->connections_lost();
  if (rd_kafka_consume_start_queue(lease_->topic(), partition_.value(), next_.value(),
                                   queue.get()) != 0) {
    return KafkaError(rd_kafka_last_error(), "cannot start to read");
  }
  queue_ = std::move(queue);
  lease_->Watch(queue_.get());
  return absl::OkStatus();
}

void KafkaReader::StopConsuming() {
  ++session_;
  broker_.reset();
  fetched_.clear();
  KafkaQueue queue;
  {
    const absl::MutexLock lock(&mutex_);
    queue = std::move(queue_);
  }
  if (queue != nullptr) {
    lease_->Unwatch(queue.get());
    rd_kafka_consume_stop(lease_->topic(), partition_.value());
  }
}

absl::Status KafkaReader::ErrorOf(const rd_kafka_message_t& message) {
  if (message.err != RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
    return KafkaError(message.err, fmt::format("reading {}-{} at offset {}", TopicName(topic_),
                                               partition_.value(), next_.value()));
  }
  ASSIGN_OR_RETURN(const OffsetRange range, control_.Range(topic_, partition_));
  if (next_ < range.begin) {
    return BelowBeginError(topic_, partition_, next_, range.begin);
  }
  if (next_ > range.end) {
    return BeyondEndError(topic_, partition_, next_, range.end);
  }
  // The range has moved meanwhile, or the replica that answered lags: the next read sees.
  return Error(StatusCode::kUnavailable, "log_unavailable", "offset {} of {}-{} can't be read yet",
               next_.value(), TopicName(topic_), partition_.value());
}

// The queue is empty, and nothing has been taken from it by this Read(). In this order: what an
// ended connection brought was queued before the count went up, both by the same thread, so that
// nothing of it is left in a queue that is empty afterwards. What comes then is the new session's,
// and need not be fetched again. (Under a quota the broker mutes the connection over which much has
// come until it times out: who then fetches all of it again never gets on.)
void KafkaReader::BeginSessionWhereEmpty(rd_kafka_queue_t* queue) {
  const uint64_t lost = lease_->connections_lost();
  if (lost == connections_lost_) {
    return;
  }
  if (KafkaMessage next(rd_kafka_consume_queue(queue, 0)); next != nullptr) {
    fetched_.push_back(std::move(next));  // of either: Read() sees the count, and drops it
    return;
  }
  connections_lost_ = lost;
  ++session_;
  broker_.reset();
}

absl::Status KafkaReader::Fetch(milliseconds wait) {
  rd_kafka_queue_t* queue = nullptr;
  {
    const absl::MutexLock lock(&mutex_);
    queue = queue_.get();  // only this thread changes it
  }
  const auto deadline = std::chrono::steady_clock::now() + wait;
  bool woken = false;
  while (fetched_.empty()) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    const milliseconds piece = std::clamp(left, milliseconds(0), woken ? kWaitPiece : kStalled);
    KafkaMessage first(rd_kafka_consume_queue(queue, static_cast<int>(piece.count())));
    if (first != nullptr) {
      fetched_.push_back(std::move(first));
      break;
    }
    RETURN_IF_ERROR(CheckCancelled());
    RETURN_IF_ERROR(control_.Health());
    if (wait <= milliseconds(0)) {
      return absl::OkStatus();  // there may be events at hand, of the session of before
    }
    BeginSessionWhereEmpty(queue);
    if (fetched_.empty() && std::chrono::steady_clock::now() >= deadline) {
      return absl::OkStatus();
    }
    if (!std::exchange(woken, true)) {
      WakeFetcher(lease_->handle(), rd_kafka_topic_name(lease_->topic()), partition_, next_);
    }
  }
  // The rest that is there, without waiting: with a wait, librdkafka would wait for all of it.
  std::array<rd_kafka_message_t*, kFetchMessages> more{};
  const ssize_t count = rd_kafka_consume_batch_queue(queue, 0, more.data(), more.size());
  for (ssize_t i = 0; i < count; ++i) {
    fetched_.emplace_back(more[static_cast<size_t>(i)]);
  }
  return absl::OkStatus();
}

bool KafkaReader::PassTo(Offset end) {
  const bool moved = end > next_;
  next_ = std::max(next_, end);
  return moved;
}

absl::StatusOr<std::vector<StoredEvent>> KafkaReader::Take(const ReadLimits& limits,
                                                           SteadyTime deadline) {
  std::vector<StoredEvent> events;
  size_t bytes = 0;
  while (events.empty() || (bytes < limits.bytes_max && events.size() < limits.events_max)) {
    if (fetched_.empty()) {
      const auto left = std::chrono::ceil<milliseconds>(deadline - SteadyTime::clock::now());
      absl::Status fetched =
          Fetch(events.empty() ? std::max(left, milliseconds(0)) : milliseconds(0));
      if (!fetched.ok() && events.empty()) {
        return fetched;
      }
      if (fetched_.empty()) {
        break;  // with events at hand, an error is left to the next Read(): it must not lose them
      }
    }
    const rd_kafka_message_t& message = *fetched_.front();
    if (message.err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      const bool moved = PassTo(Offset(message.offset));
      fetched_.pop_front();
      if (moved && events.empty()) {
        break;
      }
      continue;
    }
    if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      if (!events.empty()) {
        break;  // the next Read() returns it
      }
      absl::Status error = ErrorOf(message);
      StopConsuming();
      return error;
    }
    const int32_t broker = rd_kafka_message_broker_id(&message);
    if (broker_.value_or(broker) != broker) {
      if (!events.empty()) {
        break;  // the next Read() begins with it, and a session
      }
      ++session_;
    }
    broker_ = broker;
    if (message.offset >= next_.value()) {
      events.push_back({Offset(message.offset), EventOf(message)});
      bytes += events.back().event.ByteSize();
      next_ = Offset(message.offset + 1);
    }
    fetched_.pop_front();
  }
  return events;
}

void KafkaReader::CountRead(const absl::StatusOr<std::vector<StoredEvent>>& events) {
  if (events.ok()) {
    metrics_.read_events.Increment(static_cast<double>(events->size()));
    for (const StoredEvent& event : *events) {
      metrics_.read_bytes.Increment(static_cast<double>(event.event.ByteSize()));
    }
  }
}

absl::StatusOr<std::vector<StoredEvent>> KafkaReader::Read(const ReadLimits& limits) {
  const SteadyTime deadline = SteadyTime::clock::now() + limits.wait_max;
  while (true) {
    RETURN_IF_ERROR(StartConsuming());
    const Offset from = next_;
    auto events = Take(limits, deadline);
    // In this order: whatever came over a later connection than the session's was taken after the
    // count had gone up.
    if (lease_->connections_lost() == connections_lost_) {
      CountRead(events);
      return events;
    }
    StopConsuming();
    next_ = from;
    if (!events.ok()) {
      return events;
    }
    if (SteadyTime::clock::now() >= deadline) {
      return std::vector<StoredEvent>();
    }
  }
}

}  // namespace sluice::eventlog
