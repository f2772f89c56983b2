#include "eventlog/kafka/producer.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <utility>

#include "eventlog/kafka/conf.h"
#include "eventlog/kafka/message.h"
#include "eventlog/kafka/producer_client.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDeliveryPollInterval{100};
// Between two tries to replace a producer. Without chance, as making one asks no broker, and
// librdkafka leaves to chance by itself when it connects.
constexpr milliseconds kReplaceBackoff{500};
// For partitions that get on while the producer is replaced because of others.
constexpr milliseconds kOthersWait{1'000};
constexpr int kOthersPollMs = 10;
constexpr milliseconds kConnectWait{2'000};
constexpr int kConnectLookMs = 250;  // for the question and its answer
// A process that was stopped for longer has not waited for the broker meanwhile.
constexpr milliseconds kStepMax{1'000};

}  // namespace

// A batch in flight. librdkafka borrows the events' bytes until each delivery report.
struct KafkaProducer::Batch {
  struct Opaque {
    Batch* batch;
    size_t index;
  };

  KafkaProducer* producer;
  Topic topic;
  PartitionId partition;
  PartitionAppends& appends;
  bool taken;  // by `appends`
  std::vector<Event> events;
  std::vector<Opaque> opaques;  // one a message
  std::vector<Offset> offsets;  // written by delivery reports, one index each
  size_t bytes;
  SteadyTime taken_at;
  Log::AppendCallback done;
  std::atomic<size_t> unanswered;
  absl::Mutex mutex;
  absl::Status error ABSL_GUARDED_BY(mutex);  // the first

  void Fail(const absl::Status& status) {
    if (taken) {
      appends.Failed();
    }
    Note(status);
  }
  void Note(const absl::Status& status) {
    const absl::MutexLock lock(&mutex);
    error.Update(status);
  }
  // Of an event whose fate, or place, nobody has told.
  absl::Status NotKnown() const {
    return Error(StatusCode::kUnavailable, "log_unavailable",
                 "the append to {}-{} was not confirmed: its events may be in the log, or come "
                 "into it yet; send them again with the same ids",
                 TopicName(topic), partition.value());
  }
};

KafkaProducer::KafkaProducer(const KafkaLogOptions& options, KafkaMetrics& metrics,
                             const KnownBrokers& brokers)
    : options_(options),
      clock_(options.clock != nullptr ? options.clock : std::make_shared<RealClock>()),
      metrics_(metrics),
      brokers_(brokers),
      admission_(options.limits),
      progress_(options.append_timeout) {}

absl::StatusOr<std::unique_ptr<KafkaProducer>> KafkaProducer::Create(const KafkaLogOptions& options,
                                                                     KafkaMetrics& metrics,
                                                                     const KnownBrokers& brokers) {
  std::unique_ptr<KafkaProducer> producer(new KafkaProducer(options, metrics, brokers));
  ASSIGN_OR_RETURN(auto client, MakeProducerClient(options, brokers, &KafkaProducer::OnDelivery));
  {
    const absl::MutexLock lock(&producer->mutex_);
    producer->client_ = std::move(client);
  }
  producer->poller_ = std::thread([p = producer.get()] { p->Poll(); });
  return producer;
}

KafkaProducer::~KafkaProducer() {
  // The thread first, so that nobody replaces the client that is taken below; then the client, so
  // that nobody hands anything over to the one that is being emptied. Reports come on this thread
  // then.
  stopping_ = true;
  if (poller_.joinable()) {
    poller_.join();
  }
  std::unique_ptr<ProducerClient> client;
  {
    const absl::MutexLock lock(&mutex_);
    client = std::move(client_);
  }
  if (client == nullptr) {
    return;
  }
  const auto waited = std::chrono::floor<milliseconds>(clock_->SteadyNow() - last_append_.load());
  const milliseconds left = std::max(options_.close_timeout - waited, milliseconds(0));
  rd_kafka_flush(client->handle.get(), static_cast<int>(left.count()));
  FailWhatIsLeft(*client);
}

void KafkaProducer::Append(Topic topic, PartitionId partition, std::vector<Event> events,
                           Log::AppendCallback done) {
  if (events.empty()) {
    done(std::vector<Offset>());
    return;
  }
  const absl::StatusOr<size_t> bytes = admission_.Admit(events);
  if (!bytes.ok()) {
    metrics_.AppendFailed(ErrorCode(bytes.status()));
    done(bytes.status());
    return;
  }
  const size_t count = events.size();
  const SteadyTime now = clock_->SteadyNow();
  last_append_ = now;
  metrics_.queue_bytes.Increment(static_cast<double>(*bytes));
  metrics_.queue_events.Increment(static_cast<double>(count));
  auto* batch = new Batch{.producer = this,
                          .topic = topic,
                          .partition = partition,
                          .appends = progress_.Of(topic, partition),
                          .taken = false,
                          .events = std::move(events),
                          .opaques = {},
                          .offsets = std::vector<Offset>(count, kNoOffset),
                          .bytes = *bytes,
                          .taken_at = now,
                          .done = std::move(done),
                          .unanswered = count,
                          .mutex = {},
                          .error = {}};
  for (size_t i = 0; i < count; ++i) {
    batch->opaques.push_back({batch, i});
  }
  size_t left = 0;
  {
    const absl::ReaderMutexLock lock(&mutex_);
    left = TakeIn(batch);
  }
  if (left > 0) {
    Answer(batch, left);
  }
}

size_t KafkaProducer::TakeIn(Batch* batch) {
  if (client_ == nullptr) {
    batch->Fail(Error(StatusCode::kUnavailable, "log_unavailable",
                      "the log is being closed: the append was not taken"));
    return batch->events.size();
  }
  {
    // Held back before it counts as in flight: whoever replaces the client waits for what is, and
    // this batch is handed over only after that.
    const absl::MutexLock lock(&held_mutex_);
    if (held_.has_value()) {
      if (batch->appends.failing()) {
        return Refuse(batch);
      }
      held_->push_back(batch);
      return 0;
    }
  }
  if (!batch->appends.Take()) {
    return Refuse(batch);
  }
  batch->taken = true;
  return Produce(*client_, *batch);
}

size_t KafkaProducer::Refuse(Batch* batch) {
  batch->Fail(Error(StatusCode::kUnavailable, "log_unavailable",
                    "appends to {}-{} have failed: what was appended with them is answered first, "
                    "then one goes alone; try again",
                    TopicName(batch->topic), batch->partition.value()));
  return batch->events.size();
}

size_t KafkaProducer::Produce(ProducerClient& client, Batch& batch) {
  // The last report may come, and the batch be gone, as soon as the last event is handed over.
  const size_t count = batch.events.size();
  for (size_t i = 0; i < count; ++i) {
    Event& event = batch.events[i];
    rd_kafka_headers_t* headers = MakeHeaders(event);
    std::array<rd_kafka_vu_t, 6> fields{};
    fields[0].vtype = RD_KAFKA_VTYPE_RKT;
    fields[0].u.rkt = client.topics.at(batch.topic).get();
    fields[1].vtype = RD_KAFKA_VTYPE_PARTITION;
    fields[1].u.i32 = batch.partition.value();
    fields[2].vtype = RD_KAFKA_VTYPE_KEY;
    fields[2].u.mem = {event.key.data(), event.key.size()};
    fields[3].vtype = RD_KAFKA_VTYPE_VALUE;
    fields[3].u.mem = {event.value.data(), event.value.size()};
    fields[4].vtype = RD_KAFKA_VTYPE_HEADERS;
    fields[4].u.headers = headers;
    fields[5].vtype = RD_KAFKA_VTYPE_OPAQUE;
    fields[5].u.ptr = &batch.opaques[i];
    rd_kafka_error_t* error = rd_kafka_produceva(client.handle.get(), fields.data(), fields.size());
    if (error != nullptr) {
      rd_kafka_headers_destroy(headers);
      // A producer with a fatal error is being replaced, whatever that error was.
      batch.Fail(client.fatal || rd_kafka_error_is_fatal(error) != 0
                     ? Error(StatusCode::kUnavailable, "log_unavailable",
                             "the append was not taken: the producer is being replaced")
                     : KafkaError(rd_kafka_error_code(error), "the append was not taken"));
      rd_kafka_error_destroy(error);
      // Later events of the batch must not overtake this one.
      return count - i;
    }
  }
  return 0;
}

void KafkaProducer::OnDelivery(rd_kafka_t* /*handle*/, const rd_kafka_message_t* message,
                               void* /*opaque*/) {
  const auto* opaque = static_cast<const Batch::Opaque*>(message->_private);
  Batch* batch = opaque->batch;
  if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
    batch->appends.Confirmed();
    batch->offsets[opaque->index] = Offset(message->offset);
    if (message->offset < 0) {
      // Confirmed by way of a later event, or as a copy: it is durable, and nobody knows where.
      batch->Note(batch->NotKnown());
    }
  } else if (message->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE ||
             message->err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT) {
    batch->Fail(batch->NotKnown());
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
  // Only now: whoever appended it knows, and may have stopped appending.
  if (owned->taken) {
    owned->appends.Answered();
  }
  admission_.Release(events, owned->bytes);
  metrics_.queue_bytes.Decrement(static_cast<double>(owned->bytes));
  metrics_.queue_events.Decrement(static_cast<double>(events));
}

void KafkaProducer::Poll() {
  SteadyTime looked_at = clock_->SteadyNow();
  SteadyTime retry_at{};
  bool silent = false;
  while (!stopping_) {
    ProducerClient* client = nullptr;
    {
      const absl::ReaderMutexLock lock(&mutex_);
      client = client_.get();  // only this thread replaces it
    }
    rd_kafka_poll(client->handle.get(), static_cast<int>(kDeliveryPollInterval.count()));
    const SteadyTime now = clock_->SteadyNow();
    if (const auto passed = std::chrono::floor<milliseconds>(now - looked_at);
        passed >= kDeliveryPollInterval) {
      looked_at = now;
      silent = progress_.Pass(std::min(passed, kStepMax));
    }
    if ((client->fatal || silent) && now >= retry_at) {
      ReplaceClient();
      retry_at = clock_->SteadyNow() + kReplaceBackoff;
      silent = false;
    }
  }
}

// Before anything is held back for the new one. Who is answered by the old one goes on meanwhile.
void KafkaProducer::AwaitConnection(ProducerClient& client, ProducerClient& old) {
  const auto deadline = std::chrono::steady_clock::now() + kConnectWait;
  const rd_kafka_metadata_t* metadata = nullptr;
  while (rd_kafka_metadata(client.handle.get(), 0, client.topics.begin()->second.get(), &metadata,
                           kConnectLookMs) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    rd_kafka_poll(old.handle.get(), 0);
    if (stopping_ || std::chrono::steady_clock::now() >= deadline) {
      return;
    }
  }
  rd_kafka_metadata_destroy(metadata);
}

void KafkaProducer::ReplaceClient() {
  auto client = MakeProducerClient(options_, brokers_, &KafkaProducer::OnDelivery);
  if (!client.ok()) {
    spdlog::error("kafka_producer_replace_failed error=\"{}\"", Message(client.status()));
    return;
  }
  ProducerClient* old = nullptr;
  {
    const absl::ReaderMutexLock lock(&mutex_);
    old = client_.get();
  }
  AwaitConnection(**client, *old);
  {
    // Nobody hands anything over while this is held, nor after it.
    const absl::MutexLock lock(&mutex_);
    const absl::MutexLock held_lock(&held_mutex_);
    held_.emplace();
  }
  std::array<char, 512> reason{};
  if (rd_kafka_fatal_error(old->handle.get(), reason.data(), reason.size()) ==
      RD_KAFKA_RESP_ERR_NO_ERROR) {
    fmt::format_to_n(reason.data(), reason.size() - 1, "a partition confirmed nothing for {} ms",
                     options_.append_timeout.count());
  }
  spdlog::error("kafka_producer_replaced reason=\"{}\"", reason.data());
  metrics_.producer_restarts.Increment();
  // Under no lock, here and below: the callbacks that are served may append.
  const auto deadline = std::chrono::steady_clock::now() + kOthersWait;
  while (progress_.OthersInFlight() && std::chrono::steady_clock::now() < deadline) {
    rd_kafka_poll(old->handle.get(), kOthersPollMs);
  }
  FailWhatIsLeft(*old);
  UseClient(std::move(*client));
}

void KafkaProducer::UseClient(std::unique_ptr<ProducerClient> client) {
  std::vector<std::pair<Batch*, size_t>> refused;
  {
    const absl::MutexLock lock(&mutex_);
    std::vector<Batch*> held;
    {
      const absl::MutexLock held_lock(&held_mutex_);
      held = *std::exchange(held_, std::nullopt);
    }
    client_.swap(client);
    for (Batch* batch : held) {
      // What was held back comes behind what has failed, and was appended before that was known. It
      // is answered when this lock is free again: whoever comes between comes behind it, too.
      const bool handed = !batch->appends.failing() && batch->appends.Take();
      if (!handed) {
        batch->appends.TakeRefused();
      }
      batch->taken = true;
      const size_t left = handed ? Produce(*client_, *batch) : Refuse(batch);
      if (left > 0) {
        refused.emplace_back(batch, left);
      }
    }
  }
  for (const auto& [batch, left] : refused) {
    Answer(batch, left);
  }
}

}  // namespace sluice::eventlog
