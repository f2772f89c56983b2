#include "gateways/admin/dead_letters.h"

#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <system_error>
#include <thread>
#include <utility>

#include "eventlog/follower.h"
#include "fmt/format.h"
#include "gateways/ingest/look_interval.h"
#include "schemas/base/metrics.h"
#include "schemas/base/status.h"
#include "schemas/base/uuid.h"

namespace sluice::gateways {
namespace {

using eventlog::Topic;
using std::chrono::milliseconds;

constexpr milliseconds kLetterWait{200};
constexpr milliseconds kLetterCatchUp{5'000};
constexpr milliseconds kLetterPatience{10'000};
constexpr size_t kLetterPageBytesMax = size_t{32} << 20;  // of events that are read for a page
// Letters that lie so close together are read in one go, with what is between them.
constexpr int64_t kGapMax = 8;
constexpr size_t kTogetherMax = 25;

absl::Status NoLetter(std::string_view id) {
  return Error(absl::StatusCode::kNotFound, "deadletter_not_found",
               fmt::format("there is no open dead letter '{}'", id));
}

StoredLetter StoredOf(const eventlog::StoredEvent& event, v1::DeadLetter letter) {
  StoredLetter stored{.id = LetterIdOf(letter),
                      .place = event.offset,
                      .at = event.event.time,
                      .value_bytes = letter.value().size(),
                      .letter = {}};
  stored.letter = std::move(letter);
  return stored;
}

}  // namespace

// Reads one partition for the index. What the topic has lost is lost: then it is read anew.
class DeadLetters::Reader : eventlog::Follower::Callbacks {
 public:
  Reader(eventlog::Log& log, const Clock& clock, PartitionId partition, LetterIndex& index)
      : log_(log),
        partition_(partition),
        index_(index),
        follower_(log, clock, *this, {.topic = Topic::kDeadletter, .partition = partition}) {}
  ~Reader() override { follower_.Stop(); }

  eventlog::Follower& follower() { return follower_; }

 private:
  absl::StatusOr<Offset> Open() override {
    ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log_.Range(Topic::kDeadletter, partition_));
    if (!begun_) {
      index_.Begin(partition_);
      begun_ = true;
    }
    return range.begin;
  }
  absl::Status Step() override {
    RETURN_IF_ERROR(follower_.ReadOn({.wait_max = kLetterWait}));
    follower_.SetHealth(absl::OkStatus());
    return absl::OkStatus();
  }
  absl::Status Fold(const std::vector<eventlog::StoredEvent>& events) override {
    index_.Apply(partition_, events);
    return absl::OkStatus();
  }
  bool Failed(const absl::Status& status, milliseconds wait) override {
    spdlog::warn("deadletter_not_read partition={} retry_ms={} reason=\"{}\"", partition_.value(),
                 wait.count(), Message(status));
    if (eventlog::IsOtherHistory(status) || ErrorCode(status) == "offset_below_begin") {
      follower_.Close();
      begun_ = false;
    }
    return true;
  }

  eventlog::Log& log_;
  const PartitionId partition_;
  LetterIndex& index_;
  bool begun_ = false;
  eventlog::Follower follower_;
};

DeadLetters::DeadLetters(eventlog::Log& log, const Clock& clock, LetterIndex::Limits limits,
                         std::shared_ptr<prometheus::Registry> registry)
    : log_(log),
      clock_(clock),
      index_(limits),
      registry_(RegistryOrNew(std::move(registry))),
      open_(AddGauge(*registry_, "sluice_deadletters_open",
                     "Dead letters that nobody has handled, as far as they are kept in memory")),
      forgotten_(AddGauge(*registry_, "sluice_deadletters_forgotten",
                          "Dead letters that are listed no more, for want of room")) {
  AddGauge(*registry_, "sluice_deadletters_open_limit", "The most that sluice_deadletters_open is")
      .Set(static_cast<double>(limits.letters_max));
  for (int32_t p = 0; p < log_.PartitionCount(Topic::kDeadletter); ++p) {
    readers_.push_back(std::make_unique<Reader>(log_, clock_, PartitionId(p), index_));
  }
}

DeadLetters::~DeadLetters() { Stop(); }

absl::Status DeadLetters::Start() {
  try {
    for (const auto& reader : readers_) {
      reader->follower().Start();
    }
  } catch (const std::system_error& error) {
    return Error(absl::StatusCode::kResourceExhausted, "no_threads",
                 fmt::format("no thread can be made to read dead letters: {}", error.what()));
  }
  return absl::OkStatus();
}

void DeadLetters::Stop() {
  for (const auto& reader : readers_) {
    reader->follower().RequestStop();
  }
  for (const auto& reader : readers_) {
    reader->follower().Stop();
  }
}

void DeadLetters::RefreshMetrics() const {
  open_.Set(static_cast<double>(index_.size()));
  forgotten_.Set(static_cast<double>(index_.forgotten()));
}

PartitionId DeadLetters::PartitionOf(const OrgId& org) const {
  return log_.PartitionFor(Topic::kDeadletter, org.value());
}

absl::Status DeadLetters::CatchUp(PartitionId partition) const {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log_.Range(Topic::kDeadletter, partition));
  eventlog::Follower& follower = readers_[static_cast<size_t>(partition.value())]->follower();
  const auto until = std::chrono::steady_clock::now() + kLetterCatchUp;
  Backoff look = LookInterval();
  while (follower.next() < range.end) {
    if (std::chrono::steady_clock::now() >= until || follower.stopping()) {
      return Error(absl::StatusCode::kUnavailable, "not_caught_up",
                   fmt::format("deadletter is being read, up to {} of {} by now: try again later",
                               std::max<int64_t>(follower.next().value(), 0), range.end.value()));
    }
    std::this_thread::sleep_for(look.Next());
  }
  return absl::OkStatus();
}

absl::StatusOr<DeadLetters::Page> DeadLetters::List(const OrgId& org, Offset before,
                                                    size_t count) const {
  const PartitionId partition = PartitionOf(org);
  RETURN_IF_ERROR(CatchUp(partition));
  const LetterIndex::Page places = index_.List(org, before, count);
  Page page{.letters = {}, .more = places.more, .forgot = places.forgot};
  size_t bytes = 0;
  for (size_t i = 0; i < places.places.size();) {
    size_t end = i + 1;
    while (end < places.places.size() && end - i < kTogetherMax &&
           places.places[end - 1].value() - places.places[end].value() <= kGapMax) {
      ++end;
    }
    std::map<Offset, StoredLetter> found;
    const auto visit = [&](const eventlog::StoredEvent& event) {
      v1::DeadLetter letter;
      bytes += event.event.ByteSize();
      // Also by its organisation: the log may be another one by now.
      if (event.event.key == org.value() && eventlog::ReadMessage(event.event, &letter)) {
        StoredLetter stored = StoredOf(event, std::move(letter));
        stored.letter.clear_value();
        found.emplace(event.offset, std::move(stored));
      }
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(eventlog::ReadUntil(log_, Topic::kDeadletter, partition, places.places[end - 1],
                                        Offset(places.places[i].value() + 1), visit,
                                        kLetterPatience));
    for (; i < end; ++i) {
      if (const auto letter = found.find(places.places[i]); letter != found.end()) {
        page.letters.push_back(std::move(letter->second));
      }
    }
    if (bytes >= kLetterPageBytesMax && i < places.places.size()) {
      page.more = true;
      break;
    }
  }
  return page;
}

absl::StatusOr<StoredLetter> DeadLetters::Find(const OrgId& org, std::string_view id) const {
  const PartitionId partition = PartitionOf(org);
  RETURN_IF_ERROR(CatchUp(partition));
  const std::optional<Offset> place = index_.Find(org, id);
  if (!place.has_value()) {
    return NoLetter(id);
  }
  std::optional<StoredLetter> found;
  const auto visit = [&](const eventlog::StoredEvent& event) {
    v1::DeadLetter letter;
    if (event.event.key == org.value() && eventlog::ReadMessage(event.event, &letter) &&
        LetterIdOf(letter) == id) {
      found = StoredOf(event, std::move(letter));
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(eventlog::ReadUntil(log_, Topic::kDeadletter, partition, *place,
                                      Offset(place->value() + 1), visit, kLetterPatience));
  return found.has_value() ? absl::StatusOr<StoredLetter>(*std::move(found)) : NoLetter(id);
}

absl::StatusOr<Offset> DeadLetters::Handle(const OrgId& org, const StoredLetter& letter,
                                           const eventlog::Cause& cause) {
  // What names the letter, and no more.
  v1::DeadLetter handled;
  handled.set_topic(letter.letter.topic());
  handled.set_partition(letter.letter.partition());
  handled.set_offset(letter.letter.offset());
  handled.set_op_index(letter.letter.op_index());
  handled.set_id(letter.letter.id());
  handled.set_source(letter.letter.source());
  handled.set_entity(letter.letter.entity());
  handled.set_handled(true);
  eventlog::Event event = eventlog::EventOf("sluice/admin", org.value(), handled);
  event.id = NewUuid7(clock_);
  event.time = clock_.Now();
  event.cause = cause;
  ASSIGN_OR_RETURN(const std::vector<Offset> at,
                   log_.Append(Topic::kDeadletter, PartitionOf(org), {std::move(event)}));
  return at.front();
}

}  // namespace sluice::gateways
