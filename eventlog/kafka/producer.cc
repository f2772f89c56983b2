#include "eventlog/kafka/producer.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <spdlog/spdlog.h>

#include <array>
#include <utility>

#include "eventlog/kafka/admin.h"
#include "eventlog/kafka/conf.h"
#include "eventlog/kafka/message.h"
#include "schemas/status.h"

namespace sluice::eventlog {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPollInterval{100};
// Between two tries to replace a producer.
constexpr milliseconds kReplaceBackoff{500};

std::string Text(milliseconds duration) { return std::to_string(duration.count()); }

}  // namespace

// A batch in flight. librdkafka borrows the events' bytes until each delivery report.
struct KafkaProducer::Batch {
  struct Slot {
    Batch* batch;
    size_t index;
  };

  KafkaProducer* producer;
  std::vector<Event> events;
  std::vector<Slot> slots;      // each message's opaque pointer
  std::vector<Offset> offsets;  // written by delivery reports, one index each
  size_t bytes;
  SteadyTime taken_at;
  Log::AppendCallback done;
  std::atomic<size_t> unanswered;
  absl::Mutex mutex;
  absl::Status error ABSL_GUARDED_BY(mutex);  // the first

  void Fail(const absl::Status& status) {
    const absl::MutexLock lock(&mutex);
    error.Update(status);
  }
};

KafkaProducer::KafkaProducer(const KafkaLogOptions& options, KafkaMetrics& metrics)
    : options_(options),
      clock_(options.clock != nullptr ? options.clock : std::make_shared<RealClock>()),
      metrics_(metrics) {}

absl::StatusOr<std::unique_ptr<KafkaProducer>> KafkaProducer::Create(const KafkaLogOptions& options,
                                                                     KafkaMetrics& metrics) {
  std::unique_ptr<KafkaProducer> producer(new KafkaProducer(options, metrics));
  ASSIGN_OR_RETURN(auto client, producer->MakeClient());
  {
    const absl::MutexLock lock(&producer->mutex_);
    producer->client_ = std::move(client);
  }
  producer->poller_ = std::thread([p = producer.get()] { p->Poll(); });
  return producer;
}

absl::StatusOr<std::unique_ptr<KafkaProducer::Client>> KafkaProducer::MakeClient() {
  ASSIGN_OR_RETURN(
      KafkaConf conf,
      MakeConf(options_, {{"enable.idempotence", "true"},
                          {"acks", "all"},
                          // A topic that is gone must not come back empty.
                          {"allow.auto.create.topics", "false"},
                          {"message.timeout.ms", Text(options_.append_timeout)},
                          {"message.max.bytes",
                           std::to_string(options_.limits.event_bytes_max + kRecordOverheadMax)},
                          // The queue is bounded by AppendLimits, batch by batch; librdkafka would
                          // bound it event by event and take half a batch.
                          {"queue.buffering.max.messages", "10000000"},
                          {"queue.buffering.max.kbytes", "2097151"},
                          {"linger.ms", "1"},
                          {"compression.codec", "lz4"}}));
  auto client = std::make_unique<Client>();
  rd_kafka_conf_set_opaque(conf.get(), client.get());
  rd_kafka_conf_set_dr_msg_cb(conf.get(), &KafkaProducer::OnDelivery);
  rd_kafka_conf_set_error_cb(conf.get(), [](rd_kafka_t*, int error, const char*, void* opaque) {
    if (error == RD_KAFKA_RESP_ERR__FATAL) {
      static_cast<Client*>(opaque)->fatal = true;
    }
  });
  ASSIGN_OR_RETURN(client->handle, MakeHandle(RD_KAFKA_PRODUCER, std::move(conf)));
  for (const Topic topic : kAllTopics) {
    const std::string name = options_.topic_prefix + std::string(TopicName(topic));
    client->topics[topic].reset(rd_kafka_topic_new(client->handle.get(), name.c_str(), nullptr));
    if (client->topics[topic] == nullptr) {
      return KafkaError(rd_kafka_last_error(), fmt::format("cannot use topic {}", name));
    }
  }
  return client;
}

KafkaProducer::~KafkaProducer() {
  stopping_ = true;
  if (poller_.joinable()) {
    poller_.join();
  }
  std::unique_ptr<Client> client;
  {
    const absl::MutexLock lock(&mutex_);
    client = std::move(client_);
  }
  if (client == nullptr) {
    return;
  }
  rd_kafka_t* handle = client->handle.get();
  if (rd_kafka_flush(handle, static_cast<int>(options_.close_timeout.count())) !=
      RD_KAFKA_RESP_ERR_NO_ERROR) {
    rd_kafka_purge(handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_flush(handle, -1);  // serves the reports of what was purged
  }
}

absl::Status KafkaProducer::Admit(const std::vector<Event>& batch, size_t* bytes) {
  const AppendLimits& limits = options_.limits;
  for (const Event& event : batch) {
    const size_t size = event.ByteSize();
    if (size > limits.event_bytes_max) {
      return Error(absl::StatusCode::kInvalidArgument, "too_large",
                   fmt::format("an event of {} bytes is over the limit of {}: split it", size,
                               limits.event_bytes_max));
    }
    *bytes += size;
  }
  if (*bytes > limits.queue_bytes_max || batch.size() > limits.queue_events_max) {
    return Error(
        absl::StatusCode::kInvalidArgument, "too_large",
        fmt::format("a batch of {} events and {} bytes is over the queue's limits of {} "
                    "and {}: split it",
                    batch.size(), *bytes, limits.queue_events_max, limits.queue_bytes_max));
  }
  const size_t bytes_before = queue_bytes_.fetch_add(*bytes);
  const size_t events_before = queue_events_.fetch_add(batch.size());
  if (bytes_before + *bytes > limits.queue_bytes_max ||
      events_before + batch.size() > limits.queue_events_max) {
    queue_bytes_ -= *bytes;
    queue_events_ -= batch.size();
    return Error(absl::StatusCode::kResourceExhausted, "append_queue_full",
                 fmt::format("{} events and {} bytes wait to be appended: try again later",
                             events_before, bytes_before));
  }
  return absl::OkStatus();
}

void KafkaProducer::Append(Topic topic, PartitionId partition, std::vector<Event> events,
                           Log::AppendCallback done) {
  if (events.empty()) {
    done(std::vector<Offset>());
    return;
  }
  size_t bytes = 0;
  if (absl::Status admitted = Admit(events, &bytes); !admitted.ok()) {
    metrics_.AppendFailed(ErrorCode(admitted));
    done(std::move(admitted));
    return;
  }
  const size_t count = events.size();
  metrics_.queue_bytes.Increment(static_cast<double>(bytes));
  metrics_.queue_events.Increment(static_cast<double>(count));
  auto* batch = new Batch{.producer = this,
                          .events = std::move(events),
                          .slots = {},
                          .offsets = std::vector<Offset>(count, kNoOffset),
                          .bytes = bytes,
                          .taken_at = clock_->SteadyNow(),
                          .done = std::move(done),
                          .unanswered = count,
                          .mutex = {},
                          .error = {}};
  for (size_t i = 0; i < count; ++i) {
    batch->slots.push_back({batch, i});
  }
  {
    const absl::ReaderMutexLock lock(&mutex_);
    if (client_ != nullptr) {
      Produce(*client_, topic, partition, *batch);
      return;
    }
  }
  batch->Fail(absl::UnavailableError("the log is being closed"));
  Answer(batch, count);
}

void KafkaProducer::Produce(Client& client, Topic topic, PartitionId partition, Batch& batch) {
  // The last report may come, and the batch be gone, as soon as the last event is handed over.
  const size_t count = batch.events.size();
  for (size_t i = 0; i < count; ++i) {
    Event& event = batch.events[i];
    rd_kafka_headers_t* headers = MakeHeaders(event);
    std::array<rd_kafka_vu_t, 6> fields{};
    fields[0].vtype = RD_KAFKA_VTYPE_RKT;
    fields[0].u.rkt = client.topics.at(topic).get();
    fields[1].vtype = RD_KAFKA_VTYPE_PARTITION;
    fields[1].u.i32 = partition.value();
    fields[2].vtype = RD_KAFKA_VTYPE_KEY;
    fields[2].u.mem = {event.key.data(), event.key.size()};
    fields[3].vtype = RD_KAFKA_VTYPE_VALUE;
    fields[3].u.mem = {event.value.data(), event.value.size()};
    fields[4].vtype = RD_KAFKA_VTYPE_HEADERS;
    fields[4].u.headers = headers;
    fields[5].vtype = RD_KAFKA_VTYPE_OPAQUE;
    fields[5].u.ptr = &batch.slots[i];
    rd_kafka_error_t* error = rd_kafka_produceva(client.handle.get(), fields.data(), fields.size());
    if (error != nullptr) {
      rd_kafka_headers_destroy(headers);
      // A producer with a fatal error is being replaced, whatever that error was.
      batch.Fail(KafkaError(
          client.fatal || rd_kafka_error_is_fatal(error) != 0 ? RD_KAFKA_RESP_ERR__FATAL
                                                              : rd_kafka_error_code(error),
          fmt::format("the append was not taken: {}", rd_kafka_error_string(error))));
      rd_kafka_error_destroy(error);
      // Later events of the batch must not overtake this one.
      Answer(&batch, count - i);
      return;
    }
  }
}

void KafkaProducer::OnDelivery(rd_kafka_t* /*handle*/, const rd_kafka_message_t* message,
                               void* /*opaque*/) {
  const auto* slot = static_cast<const Batch::Slot*>(message->_private);
  Batch* batch = slot->batch;
  if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
    batch->offsets[slot->index] = Offset(message->offset);
  } else {
    batch->Fail(KafkaError(message->err, "the append was not acknowledged"));
  }
  batch->producer->Answer(batch, 1);
}

void KafkaProducer::Answer(Batch* batch, size_t count) {
  if (batch->unanswered.fetch_sub(count, std::memory_order_acq_rel) != count) {
    return;
  }
  const std::unique_ptr<Batch> owned(batch);
  const size_t events = owned->events.size();
  absl::Status error;
  {
    const absl::MutexLock lock(&owned->mutex);
    error = owned->error;
  }
  metrics_.append_seconds.Observe(
      std::chrono::duration<double>(clock_->SteadyNow() - owned->taken_at).count());
  if (error.ok()) {
    metrics_.appended_events.Increment(static_cast<double>(events));
    metrics_.appended_bytes.Increment(static_cast<double>(owned->bytes));
    owned->done(std::move(owned->offsets));
  } else {
    metrics_.AppendFailed(ErrorCode(error));
    owned->done(std::move(error));
  }
  queue_bytes_ -= owned->bytes;
  queue_events_ -= events;
  metrics_.queue_bytes.Decrement(static_cast<double>(owned->bytes));
  metrics_.queue_events.Decrement(static_cast<double>(events));
}

void KafkaProducer::Poll() {
  SteadyTime retry_at{};
  while (!stopping_) {
    Client* client = nullptr;
    {
      const absl::ReaderMutexLock lock(&mutex_);
      client = client_.get();  // only this thread replaces it
    }
    rd_kafka_poll(client->handle.get(), static_cast<int>(kPollInterval.count()));
    if (client->fatal && clock_->SteadyNow() >= retry_at) {
      ReplaceClient();
      retry_at = clock_->SteadyNow() + kReplaceBackoff;
    }
  }
}

void KafkaProducer::ReplaceClient() {
  auto client = MakeClient();
  if (!client.ok()) {
    spdlog::error("kafka_producer_replace_failed error=\"{}\"", Message(client.status()));
    return;
  }
  std::unique_ptr<Client> old;
  {
    const absl::MutexLock lock(&mutex_);
    old = std::exchange(client_, std::move(*client));
  }
  // Not under the lock: the callbacks served here may append.
  std::array<char, 512> reason{};
  rd_kafka_fatal_error(old->handle.get(), reason.data(), reason.size());
  spdlog::error("kafka_producer_replaced reason=\"{}\"", reason.data());
  metrics_.producer_restarts.Increment();
  rd_kafka_purge(old->handle.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  rd_kafka_flush(old->handle.get(), -1);
}

}  // namespace sluice::eventlog
