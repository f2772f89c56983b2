#include "eventlog/kafka/record_consumer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "eventlog/kafka/admin.h"
#include "eventlog/kafka/conf.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

using std::chrono::milliseconds;
using TopicMetadata =
    std::unique_ptr<const rd_kafka_metadata_t, decltype(&rd_kafka_metadata_destroy)>;

constexpr milliseconds kAskTimeout{10'000};
// Whether brokers that were told to be down answer again.
constexpr milliseconds kProbeTimeout{1'000};
constexpr milliseconds kRecordWaitPiece{500};
// An empty queue is waited for so long before librdkafka is woken.
constexpr milliseconds kRecordStalled{2};
constexpr size_t kRecordFetchMessages = 512;
// A fetch that waits holds up what is asked over the same connection.
constexpr milliseconds kFetchWait{100};

// Called by rd_kafka_poll().
void NoteError(rd_kafka_t* /*handle*/, int error, const char* /*reason*/, void* down) {
  if (error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
    static_cast<std::atomic<bool>*>(down)->store(true);
  }
}

std::optional<std::string> BytesOf(const void* data, size_t size) {
  return data == nullptr ? std::nullopt
                         : std::optional(std::string(static_cast<const char*>(data), size));
}

Record RecordOf(const rd_kafka_message_t& message, const std::string& topic) {
  Record record;
  record.topic = topic;
  record.partition = PartitionId(message.partition);
  record.offset = Offset(message.offset);
  rd_kafka_timestamp_type_t type{};
  record.time = SystemTime(milliseconds(rd_kafka_message_timestamp(&message, &type)));
  record.key = BytesOf(message.key, message.key_len);
  record.value = BytesOf(message.payload, message.len);
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return record;
  }
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  for (size_t i = 0;
       rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
       ++i) {
    record.headers.emplace_back(name, BytesOf(value, size).value_or(""));
  }
  return record;
}

size_t SizeOf(const Record& record) {
  size_t size = record.topic.size() + sizeof(Record) + (record.key ? record.key->size() : 0) +
                (record.value ? record.value->size() : 0);
  for (const auto& [name, value] : record.headers) {
    size += name.size() + value.size();
  }
  return size;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RecordSource>> RecordConsumer::Open(
    const RecordSourceOptions& options) {
  KafkaLogOptions shared;
  shared.brokers = options.brokers;
  shared.properties = options.properties;
  shared.reader_queue_bytes_max = options.queue_bytes_max;
  ASSIGN_OR_RETURN(KafkaConf conf,
                   MakeConsumerConf(shared, {.fetch_bytes_max =
                                                 std::min(kFetchBytesMax, options.queue_bytes_max),
                                             .fetch_wait = kFetchWait}));
  std::unique_ptr<RecordConsumer> consumer(new RecordConsumer());
  rd_kafka_conf_set_opaque(conf.get(), &consumer->down_);
  rd_kafka_conf_set_error_cb(conf.get(), NoteError);
  ASSIGN_OR_RETURN(consumer->handle_, MakeHandle(RD_KAFKA_CONSUMER, std::move(conf)));
  consumer->queue_.reset(rd_kafka_queue_new(consumer->handle_.get()));
  return consumer;
}

RecordConsumer::~RecordConsumer() {
  fetched_.clear();
  for (auto& [key, place] : places_) {
    Stop(key, place);
  }
}

void RecordConsumer::Cancel() {
  const absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  rd_kafka_queue_yield(queue_.get());
}

absl::Status RecordConsumer::CheckCancelled() const {
  const absl::MutexLock lock(&mutex_);
  return cancelled_ ? absl::CancelledError("the reader has been cancelled") : absl::OkStatus();
}

absl::StatusOr<rd_kafka_topic_t*> RecordConsumer::TopicOf(const std::string& name) {
  KafkaTopic& topic = topics_[name];
  if (topic == nullptr) {
    topic.reset(rd_kafka_topic_new(handle_.get(), name.c_str(), nullptr));
    if (topic == nullptr) {
      return KafkaError(rd_kafka_last_error(), fmt::format("cannot read topic {}", name));
    }
  }
  return topic.get();
}

absl::StatusOr<std::vector<PartitionId>> RecordConsumer::Partitions(const std::string& name) {
  RETURN_IF_ERROR(CheckCancelled());
  ASSIGN_OR_RETURN(rd_kafka_topic_t * topic, TopicOf(name));
  const rd_kafka_metadata_t* answer = nullptr;
  const rd_kafka_resp_err_t error =
      rd_kafka_metadata(handle_.get(), 0, topic, &answer, static_cast<int>(kAskTimeout.count()));
  const TopicMetadata metadata(answer, rd_kafka_metadata_destroy);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return KafkaError(error, fmt::format("cannot ask for topic {}", name));
  }
  std::vector<PartitionId> partitions;
  for (int i = 0; i < metadata->topic_cnt; ++i) {
    const rd_kafka_metadata_topic_t& told = metadata->topics[i];
    if (told.err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
      continue;
    }
    if (told.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return KafkaError(told.err, fmt::format("cannot ask for topic {}", name));
    }
    for (int p = 0; p < told.partition_cnt; ++p) {
      partitions.emplace_back(told.partitions[p].id);
    }
  }
  std::ranges::sort(partitions);
  return partitions;
}

absl::Status RecordConsumer::Assign(std::vector<RecordPlace> places) {
  std::map<Key, Place> wanted;
  for (RecordPlace& place : places) {
    wanted[{std::move(place.topic), place.partition}].next = place.next;
  }
  for (auto& [key, place] : places_) {
    const auto found = wanted.find(key);
    if (found != wanted.end() && found->second.next == place.next) {
      found->second = place;  // goes on as it is
    } else {
      Stop(key, place);
    }
  }
  places_ = std::move(wanted);
  return absl::OkStatus();
}

Offset RecordConsumer::next(const std::string& topic, PartitionId partition) const {
  const auto found = places_.find({topic, partition});
  return found == places_.end() ? kNoOffset : found->second.next;
}

absl::Status RecordConsumer::Pause(const std::string& topic, PartitionId partition, bool paused) {
  const auto found = places_.find({topic, partition});
  if (found == places_.end()) {
    return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                 fmt::format("{}-{} is not assigned", topic, partition.value()));
  }
  found->second.paused = paused;
  if (paused) {
    Stop(found->first, found->second);
  }
  return absl::OkStatus();
}

absl::StatusOr<Offset> RecordConsumer::Begin(const std::string& topic, PartitionId partition) {
  RETURN_IF_ERROR(CheckCancelled());
  return LookUpOffset(handle_.get(), topic, partition, OffsetKind::kBegin, kAskTimeout);
}

absl::StatusOr<Offset> RecordConsumer::End(const std::string& topic, PartitionId partition) {
  RETURN_IF_ERROR(CheckCancelled());
  return LookUpOffset(handle_.get(), topic, partition, OffsetKind::kEnd, kAskTimeout);
}

absl::Status RecordConsumer::StartPlaces() {
  for (auto& [key, place] : places_) {
    if (place.paused || place.consuming) {
      continue;
    }
    ASSIGN_OR_RETURN(rd_kafka_topic_t * topic, TopicOf(key.first));
    const int64_t from =
        place.next == kNoOffset ? int64_t{RD_KAFKA_OFFSET_BEGINNING} : place.next.value();
    if (rd_kafka_consume_start_queue(topic, key.second.value(), from, queue_.get()) != 0) {
      return KafkaError(rd_kafka_last_error(),
                        fmt::format("cannot start to read {}-{}", key.first, key.second.value()));
    }
    place.consuming = true;
  }
  return absl::OkStatus();
}

// What librdkafka's queue still holds of the place is of a former start, and it drops that itself.
void RecordConsumer::Stop(const Key& key, Place& place) {
  if (!std::exchange(place.consuming, false)) {
    return;
  }
  rd_kafka_topic_t* const topic = topics_.at(key.first).get();
  rd_kafka_consume_stop(topic, key.second.value());
  std::erase_if(fetched_, [&](const KafkaMessage& message) {
    return message->rkt != nullptr && message->partition == key.second.value() &&
           key.first == rd_kafka_topic_name(message->rkt);
  });
}

void RecordConsumer::WakeOne() {
  for (const auto& [key, place] : places_) {
    if (place.consuming && place.next != kNoOffset &&
        WakeFetcher(handle_.get(), key.first, key.second, place.next)) {
      return;
    }
  }
}

// Brokers that are away are told once, and that they are back not at all.
absl::Status RecordConsumer::CheckBrokers() {
  rd_kafka_poll(handle_.get(), 0);
  if (!down_ || places_.empty()) {
    return absl::OkStatus();
  }
  const Key& key = places_.begin()->first;
  RETURN_IF_ERROR(
      LookUpOffset(handle_.get(), key.first, key.second, OffsetKind::kEnd, kProbeTimeout).status());
  down_ = false;
  return absl::OkStatus();
}

absl::Status RecordConsumer::Fetch(SteadyTime deadline) {
  bool woken = false;
  while (fetched_.empty()) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - SteadyTime::clock::now());
    const milliseconds piece =
        std::clamp(left, milliseconds(0), woken ? kRecordWaitPiece : kRecordStalled);
    KafkaMessage first(rd_kafka_consume_queue(queue_.get(), static_cast<int>(piece.count())));
    if (first != nullptr) {
      fetched_.push_back(std::move(first));
      break;
    }
    RETURN_IF_ERROR(CheckCancelled());
    if (left <= milliseconds(0)) {
      return CheckBrokers();
    }
    if (!std::exchange(woken, true)) {
      WakeOne();
    }
  }
  // The rest that is there, without waiting.
  std::array<rd_kafka_message_t*, kRecordFetchMessages> more{};
  const ssize_t count = rd_kafka_consume_batch_queue(queue_.get(), 0, more.data(), more.size());
  for (ssize_t i = 0; i < count; ++i) {
    fetched_.emplace_back(more[static_cast<size_t>(i)]);
  }
  return absl::OkStatus();
}

absl::Status RecordConsumer::ErrorOf(const rd_kafka_message_t& message, const Key& key,
                                     const Place& place) {
  const std::string where =
      fmt::format("{}-{} at offset {}", key.first, key.second.value(), place.next.value());
  if (message.err != RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
    return KafkaError(message.err, fmt::format("reading {}", where));
  }
  ASSIGN_OR_RETURN(const Offset begin, LookUpOffset(handle_.get(), key.first, key.second,
                                                    OffsetKind::kBegin, kAskTimeout));
  ASSIGN_OR_RETURN(const Offset end, LookUpOffset(handle_.get(), key.first, key.second,
                                                  OffsetKind::kEnd, kAskTimeout));
  if (place.next < begin) {
    return Error(absl::StatusCode::kOutOfRange, "offset_below_begin",
                 fmt::format("{} can't be read: the topic begins at {}", where, begin.value()));
  }
  if (place.next > end) {
    return Error(absl::StatusCode::kOutOfRange, "offset_beyond_end",
                 fmt::format("{} can't be read: the topic ends at {}", where, end.value()));
  }
  return Error(absl::StatusCode::kUnavailable, "log_unavailable",
               fmt::format("{} can't be read yet", where));
}

absl::StatusOr<std::vector<Record>> RecordConsumer::Read(const ReadLimits& limits) {
  const SteadyTime deadline = SteadyTime::clock::now() + limits.wait_max;
  RETURN_IF_ERROR(CheckCancelled());
  RETURN_IF_ERROR(StartPlaces());
  std::vector<Record> records;
  size_t bytes = 0;
  auto at = places_.end();  // of the last message: they come in runs
  while (records.empty() || (bytes < limits.bytes_max && records.size() < limits.events_max)) {
    if (fetched_.empty()) {
      const absl::Status fetched = Fetch(records.empty() ? deadline : SteadyTime());
      if (!fetched.ok() && records.empty()) {
        return fetched;
      }
      if (fetched_.empty()) {
        break;  // with records at hand, an error is left to the next Read(): it must not lose them
      }
    }
    const rd_kafka_message_t& message = *fetched_.front();
    if (message.rkt == nullptr) {
      if (!records.empty()) {
        break;
      }
      const absl::Status error = KafkaError(message.err, "cannot read");
      fetched_.pop_front();
      return error;
    }
    const char* const topic = rd_kafka_topic_name(message.rkt);
    if (at == places_.end() || at->first.second.value() != message.partition ||
        at->first.first != topic) {
      at = places_.find({topic, PartitionId(message.partition)});
    }
    if (at == places_.end() || !at->second.consuming) {
      fetched_.pop_front();  // of a place that is read no more
      continue;
    }
    Place& place = at->second;
    if (message.err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      place.next = std::max(place.next, Offset(message.offset));
      fetched_.pop_front();
      continue;
    }
    if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      if (!records.empty()) {
        break;  // the next Read() returns it
      }
      absl::Status error = ErrorOf(message, at->first, place);
      Stop(at->first, place);  // the next Read() starts it again
      return error;
    }
    if (message.offset >= place.next.value()) {
      records.push_back(RecordOf(message, at->first.first));
      bytes += SizeOf(records.back());
      place.next = Offset(message.offset + 1);
    }
    fetched_.pop_front();
  }
  return records;
}

}  // namespace sluice::eventlog
