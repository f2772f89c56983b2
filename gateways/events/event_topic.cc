#include "gateways/events/event_topic.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/time/time.h"
#include "eventlog/cancellation.h"
#include "gateways/events/business_event.h"
#include "gateways/events/cloud_event.h"
#include "gateways/sources/row_letters.h"
#include "schemas/base/backoff.h"
#include "schemas/base/printable.h"
#include "schemas/base/sha256.h"
#include "schemas/base/status.h"
#include "schemas/base/uuid.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::gateways {
namespace {

using eventlog::Record;
using eventlog::Topic;
using std::chrono::milliseconds;

constexpr std::string_view kWriter = "sluice/events";
constexpr PartitionId kPositions(0);  // of `provisioning`
constexpr milliseconds kRetryFirst{200};
constexpr milliseconds kReadWait{200};
constexpr milliseconds kFullWait{100};
constexpr size_t kReasonBytesMax = 1'000;

// A record whose event has no end yet, or whose dead letter is to be written.
struct Entry {
  OrgId org;  // as far as it is known
  std::string source;
  std::string id;
  std::string type;
  std::string value;  // for the letter; empty: not to be kept
  size_t steps = 1;
  size_t bytes = 0;
  bool done = false;
  absl::Status refusal{};  // OK: it is carried out
};

// What was read and is not settled. The intake's threads note ends in it, after its reader has gone
// too.
struct Window {
  absl::Mutex mutex;
  std::map<std::pair<PartitionId, Offset>, Entry> entries ABSL_GUARDED_BY(mutex);
  bool news ABSL_GUARDED_BY(mutex) = false;  // something ended
};

// Of a source's definition nothing is kept: it may hold secrets, and so may what is no event at
// all, or one that was not understood.
bool MayBeKept(const BusinessEvent& event) {
  return std::ranges::all_of(event.steps, [](const BusinessStep& step) {
    return std::holds_alternative<v1::ProvisioningRequest>(step);
  });
}

eventlog::Event LetterOf(const std::string& topic, PartitionId partition, Offset offset,
                         const Entry& entry, const Clock& clock) {
  v1::DeadLetter letter;
  letter.set_topic("events:" + topic);
  letter.set_partition(partition.value());
  letter.set_offset(offset.value());
  letter.set_code(ErrorCode(entry.refusal));
  letter.set_reason(PrintableMessage(
      fmt::format("event '{}' of '{}': {}", entry.id, entry.source, Message(entry.refusal)),
      kReasonBytesMax));
  letter.set_type(entry.type);
  letter.set_value(entry.value);
  // One letter, however often the record is read.
  const Sha256Digest digest =
      Sha256(fmt::format("event:{}:{}:{}", topic, partition.value(), offset.value()));
  letter.set_id(absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size() / 2)));
  eventlog::Event event = eventlog::EventOf(kWriter, entry.org.value(), letter);
  event.id = letter.id();
  event.time = clock.Now();
  return event;
}

}  // namespace

absl::StatusOr<std::map<PartitionId, Offset>> ReadEventPositions(
    eventlog::Log& log, const std::string& topic, eventlog::Cancellation* cancellation) {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log.Range(Topic::kProvisioning, kPositions));
  std::map<PartitionId, Offset> positions;
  RETURN_IF_ERROR(eventlog::ReadUntil(
      log, Topic::kProvisioning, kPositions, range.begin, range.end,
      [&](const eventlog::StoredEvent& event) {
        v1::EventPosition position;
        if (eventlog::ReadMessage(event.event, &position) && position.topic() == topic) {
          for (const auto& [partition, next] : position.next()) {
            Offset& known = positions.try_emplace(PartitionId(partition), kNoOffset).first->second;
            known = std::max(known, Offset(next));
          }
        }
        return absl::OkStatus();
      },
      eventlog::kReadPatience, cancellation));
  return positions;
}

EventTopic::Metrics::Metrics(std::shared_ptr<prometheus::Registry> the_registry)
    : registry(RegistryOrNew(std::move(the_registry))),
      records(AddCounter(*registry, "sluice_event_topic_records_total",
                         "Records read of the topic of business events")),
      letters(AddCounter(*registry, "sluice_event_topic_letters_total",
                         "Business events of the topic that went to deadletter")),
      failures(AddCounter(*registry, "sluice_event_topic_failures_total",
                          "Times that the topic of business events could not be read on")),
      lost(AddCounter(*registry, "sluice_event_topic_lost_total",
                      "Records of the topic that were removed before they were read")),
      in_flight(AddGauge(*registry, "sluice_event_topic_in_flight",
                         "Records read of the topic that are not settled")),
      reading(AddGauge(*registry, "sluice_event_topic_reading",
                       "1 where this process reads the topic of business events")) {}

// One ownership, with a thread of its own.
class EventTopic::Reading {
 public:
  explicit Reading(const EventTopic& owner)
      : options_(owner.options_),
        deps_(owner.deps_),
        metrics_(owner.metrics_),
        thread_([this] { Run(); }) {}

  ~Reading() {
    *cancelled_ = true;
    cancellation_.Cancel();
    {
      const absl::MutexLock lock(&source_mutex_);
      if (source_ != nullptr) {
        source_->Cancel();
      }
    }
    {
      const absl::MutexLock lock(&window_->mutex);
      window_->news = true;
    }
    thread_.join();
    metrics_.in_flight.Set(0);
  }

 private:
  void Run();
  absl::Status ReadOn();
  // Reads each of these partitions where it was left.
  absl::Status Resume(const std::vector<PartitionId>& partitions);
  absl::StatusOr<Offset> PlaceOf(PartitionId partition);
  absl::Status Take(const Record& record);
  absl::Status Submit(const Record& record, BusinessEvent event);
  // Waits until something has ended or the time is up.
  void AwaitNews(milliseconds wait);
  bool Full();
  // Writes the letters of what was refused, and tells how far everything is settled.
  absl::Status Settle(bool at_end);
  absl::Status WriteLetters();
  absl::Status Mark(bool at_end);
  [[nodiscard]] std::map<PartitionId, Offset> Settled();
  [[nodiscard]] bool stopping() const { return *cancelled_; }

  const EventTopicOptions& options_;
  const EventTopicDeps& deps_;
  const Metrics& metrics_;
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  const std::shared_ptr<Window> window_ = std::make_shared<Window>();
  eventlog::Cancellation cancellation_;
  absl::Mutex source_mutex_;
  std::unique_ptr<eventlog::RecordSource> source_ ABSL_GUARDED_BY(source_mutex_);

  // Of the thread alone:
  eventlog::RecordSource* reader_ = nullptr;
  bool knows_positions_ = false;
  std::map<PartitionId, Offset> next_;  // behind what was read; kNoOffset: nothing was
  std::map<PartitionId, Offset> told_;
  size_t steps_since_mark_ = 0;
  SteadyTime marked_at_{};

  std::thread thread_;  // last: it uses the others
};

void EventTopic::Reading::Run() {
  marked_at_ = deps_.clock.SteadyNow();
  Backoff retry(kRetryFirst, options_.retry_max);
  while (!stopping()) {
    const absl::Status status = ReadOn();
    if (stopping()) {
      break;
    }
    metrics_.failures.Increment();
    const milliseconds wait = retry.Next();
    spdlog::warn("event_topic_failed topic={} code={} error=\"{}\" retry_ms={}", options_.topic,
                 ErrorCode(status), Message(status), wait.count());
    for (SteadyTime until = deps_.clock.SteadyNow() + wait;
         !stopping() && deps_.clock.SteadyNow() < until;) {
      AwaitNews(kReadWait);
    }
  }
  // So that the next one need not do again what is done.
  if (knows_positions_ && deps_.log.Health().ok()) {
    (void)Mark(/*at_end=*/true);
  }
}

absl::Status EventTopic::Reading::ReadOn() {
  if (!knows_positions_) {
    ASSIGN_OR_RETURN(next_, ReadEventPositions(deps_.log, options_.topic, &cancellation_));
    told_ = next_;
    knows_positions_ = true;
  }
  {
    ASSIGN_OR_RETURN(std::unique_ptr<eventlog::RecordSource> source, deps_.open(options_.records));
    const absl::MutexLock lock(&source_mutex_);
    source_ = std::move(source);
    reader_ = source_.get();
  }
  std::vector<PartitionId> partitions;
  SteadyTime look_at{};
  while (!stopping()) {
    if (deps_.clock.SteadyNow() >= look_at) {
      look_at = deps_.clock.SteadyNow() + options_.look_for_partitions;
      ASSIGN_OR_RETURN(std::vector<PartitionId> there, reader_->Partitions(options_.topic));
      if (there.empty()) {
        return Error(absl::StatusCode::kUnavailable, "topic_missing",
                     "there is no topic '{}', of which events.topic says that it holds events",
                     options_.topic);
      }
      if (there != partitions) {
        RETURN_IF_ERROR(Resume(there));
        partitions = std::move(there);
      }
    }
    if (Full()) {
      AwaitNews(kReadWait);
    } else {
      ASSIGN_OR_RETURN(const std::vector<Record> records,
                       reader_->Read({.bytes_max = size_t{1} << 20,
                                      .events_max = options_.steps_max,
                                      .wait_max = kReadWait}));
      for (const Record& record : records) {
        RETURN_IF_ERROR(Take(record));
      }
    }
    RETURN_IF_ERROR(Settle(/*at_end=*/false));
  }
  return absl::OkStatus();
}

absl::Status EventTopic::Reading::Resume(const std::vector<PartitionId>& partitions) {
  std::vector<eventlog::RecordPlace> places;
  for (const PartitionId partition : partitions) {
    ASSIGN_OR_RETURN(const Offset next, PlaceOf(partition));
    next_[partition] = next;
    places.push_back({.topic = options_.topic, .partition = partition, .next = next});
  }
  return reader_->Assign(std::move(places));
}

absl::StatusOr<Offset> EventTopic::Reading::PlaceOf(PartitionId partition) {
  ASSIGN_OR_RETURN(const Offset begin, reader_->Begin(options_.topic, partition));
  const auto found = next_.find(partition);
  const Offset next = found == next_.end() ? kNoOffset : found->second;
  if (next == kNoOffset) {
    return begin;
  }
  if (next < begin) {
    // What is gone can't be had by waiting, and what is there must not wait for ever.
    spdlog::error(
        "events_lost topic={} partition={} from={} to={} reason=\"the topic's retention "
        "removed them before they were read\"",
        options_.topic, partition.value(), next.value(), begin.value());
    metrics_.lost.Increment(static_cast<double>(begin.value() - next.value()));
    return begin;
  }
  ASSIGN_OR_RETURN(const Offset end, reader_->End(options_.topic, partition));
  if (next > end) {
    // Of another topic of that name, or one that has lost its end: offsets say nothing of what was
    // carried out, and events of long ago, done again, would open and close organisations.
    return Error(absl::StatusCode::kFailedPrecondition, "offset_beyond_end",
                 "{}-{} was read to offset {} and ends at {}: it is another topic; give what is "
                 "to be read now another name, and that to events.topic",
                 options_.topic, partition.value(), next.value(), end.value());
  }
  return next;
}

absl::Status EventTopic::Reading::Take(const Record& record) {
  metrics_.records.Increment();
  const std::pair<PartitionId, Offset> place{record.partition, record.offset};
  Entry entry;
  entry.bytes = record.value.has_value() ? record.value->size() : 0;
  const absl::StatusOr<CloudEvent> event = ReadKafkaEvent(record);
  absl::StatusOr<BusinessEvent> parsed =
      event.ok() ? ParseBusinessEvent(*event) : absl::StatusOr<BusinessEvent>(event.status());
  if (event.ok()) {
    entry.source = event->source;
    entry.id = event->id;
    entry.type = event->type;
  }
  if (parsed.ok()) {
    entry.org = parsed->org;
    entry.steps = parsed->steps.size();
    entry.value = MayBeKept(*parsed) ? record.value.value_or("") : "";
  } else {
    entry.done = true;
    entry.refusal = parsed.status();
  }
  {
    const absl::MutexLock lock(&window_->mutex);
    window_->entries.insert_or_assign(place, std::move(entry));
  }
  if (parsed.ok()) {
    RETURN_IF_ERROR(Submit(record, *std::move(parsed)));
  }
  next_[record.partition] = Offset(record.offset.value() + 1);
  return absl::OkStatus();
}

absl::Status EventTopic::Reading::Submit(const Record& record, BusinessEvent event) {
  const eventlog::Cause cause{
      .subject = event.source,
      .issuer = "",
      .request_id =
          fmt::format("{}-{}-{}", record.topic, record.partition.value(), record.offset.value())};
  while (!stopping()) {
    const absl::Status taken = deps_.intake.Submit(
        {.event = event,
         .cause = cause,
         .cancelled = cancelled_,
         .done = [window = window_, partition = record.partition,
                  offset = record.offset](absl::StatusOr<Offset> outcome) {
           const absl::MutexLock lock(&window->mutex);
           window->news = true;
           const auto found = window->entries.find({partition, offset});
           // What was cancelled has no end: it comes again with whoever reads it next.
           if (found != window->entries.end() && !absl::IsCancelled(outcome.status())) {
             found->second.done = true;
             found->second.refusal = outcome.status();
           }
         }});
    if (!absl::IsUnavailable(taken)) {
      return taken;
    }
    AwaitNews(kFullWait);
  }
  return Error(absl::StatusCode::kCancelled, "cancelled", "told to stop");
}

void EventTopic::Reading::AwaitNews(milliseconds wait) {
  const absl::MutexLock lock(&window_->mutex);
  window_->mutex.AwaitWithTimeout(absl::Condition(&window_->news), absl::FromChrono(wait));
  window_->news = false;
}

bool EventTopic::Reading::Full() {
  size_t steps = 0;
  size_t bytes = 0;
  const absl::MutexLock lock(&window_->mutex);
  for (const auto& [place, entry] : window_->entries) {
    steps += entry.steps;
    bytes += entry.bytes;
  }
  metrics_.in_flight.Set(static_cast<double>(window_->entries.size()));
  return steps >= options_.steps_max || bytes >= options_.bytes_max;
}

absl::Status EventTopic::Reading::WriteLetters() {
  std::map<std::pair<PartitionId, Offset>, Entry> refused;
  {
    const absl::MutexLock lock(&window_->mutex);
    for (const auto& [place, entry] : window_->entries) {
      if (entry.done && !entry.refusal.ok()) {
        refused.emplace(place, entry);
      }
    }
  }
  for (const auto& [place, entry] : refused) {
    const eventlog::Event letter =
        LetterOf(options_.topic, place.first, place.second, entry, deps_.clock);
    RETURN_IF_ERROR(AppendSurely(deps_.log, Topic::kDeadletter,
                                 deps_.log.PartitionFor(Topic::kDeadletter, letter.key), {letter},
                                 options_.append_timeout, [this] { return stopping(); })
                        .status());
    metrics_.letters.Increment();
    spdlog::warn("event_refused topic={} partition={} offset={} code={} letter={}", options_.topic,
                 place.first.value(), place.second.value(), ErrorCode(entry.refusal), letter.id);
    const absl::MutexLock lock(&window_->mutex);
    window_->entries[place].refusal = absl::OkStatus();
  }
  return absl::OkStatus();
}

// What is behind the first of a partition that has no end stays in the window, however it ended:
// the position can't pass it.
std::map<PartitionId, Offset> EventTopic::Reading::Settled() {
  std::map<PartitionId, Offset> settled = next_;
  const absl::MutexLock lock(&window_->mutex);
  for (auto entry = window_->entries.begin(); entry != window_->entries.end();) {
    const auto& [partition, offset] = entry->first;
    Offset& until = settled[partition];
    if (entry->second.done && entry->second.refusal.ok() && until >= offset) {
      steps_since_mark_ += entry->second.steps;
      entry = window_->entries.erase(entry);
      continue;
    }
    until = std::min(until, offset);
    ++entry;
  }
  return settled;
}

absl::Status EventTopic::Reading::Settle(bool at_end) {
  RETURN_IF_ERROR(WriteLetters());
  return Mark(at_end);
}

absl::Status EventTopic::Reading::Mark(bool at_end) {
  const std::map<PartitionId, Offset> settled = Settled();
  const SteadyTime now = deps_.clock.SteadyNow();
  const bool due = at_end || steps_since_mark_ >= options_.steps_max ||
                   now - marked_at_ >= options_.mark_interval;
  if (!due || settled == told_) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(deps_.may_append(kPositions));
  v1::EventPosition position;
  position.set_topic(options_.topic);
  for (const auto& [partition, next] : settled) {
    if (next != kNoOffset) {
      (*position.mutable_next())[partition.value()] = next.value();
    }
  }
  eventlog::Event event = eventlog::EventOf(kWriter, "", position);
  event.subject = options_.topic;
  event.id = NewUuid7(deps_.clock);
  event.time = deps_.clock.Now();
  RETURN_IF_ERROR(deps_.log.Append(Topic::kProvisioning, kPositions, {event}).status());
  told_ = settled;
  steps_since_mark_ = 0;
  marked_at_ = now;
  return absl::OkStatus();
}

EventTopic::EventTopic(EventTopicOptions options, EventTopicDeps deps)
    : options_(std::move(options)), deps_(std::move(deps)), metrics_(deps_.registry) {}

EventTopic::~EventTopic() { Own(false); }

void EventTopic::Own(bool owner) {
  const absl::MutexLock lock(&mutex_);
  metrics_.reading.Set(owner ? 1 : 0);
  if (!owner) {
    reading_.reset();
  } else if (reading_ == nullptr) {
    reading_ = std::make_unique<Reading>(*this);
  }
}

}  // namespace sluice::gateways
