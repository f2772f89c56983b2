#pragma once

#include <fmt/format.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/record_source.h"
#include "schemas/base/status.h"

namespace sluice::testing {

// Topics of others in memory, for any number of MemoryRecords. Thread-safe.
class MemoryTopics {
 public:
  struct Partition {
    std::map<Offset, eventlog::Record> records;
    Offset begin{0};
    Offset end{0};
  };

  // A topic that was there is made anew: empty, from offset 0.
  void Create(const std::string& topic, int partitions) {
    const absl::MutexLock lock(&mutex);
    topics[topic] = std::vector<Partition>(static_cast<size_t>(partitions));
  }
  Offset Append(const std::string& topic, int partition, eventlog::Record record) {
    const absl::MutexLock lock(&mutex);
    Partition& place = topics.at(topic).at(static_cast<size_t>(partition));
    record.topic = topic;
    record.partition = PartitionId(partition);
    record.offset = place.end;
    place.end = Offset(place.end.value() + 1);
    place.records.emplace_hint(place.records.end(), record.offset, record);
    return record.offset;
  }
  // An offset that holds no record, as the end of a transaction is.
  void AppendGap(const std::string& topic, int partition) {
    const absl::MutexLock lock(&mutex);
    Partition& place = topics.at(topic).at(static_cast<size_t>(partition));
    place.end = Offset(place.end.value() + 1);
  }
  void TruncateBefore(const std::string& topic, int partition, Offset begin) {
    const absl::MutexLock lock(&mutex);
    Partition& place = topics.at(topic).at(static_cast<size_t>(partition));
    place.begin = begin;
    place.records.erase(place.records.begin(), place.records.lower_bound(begin));
  }

  absl::Mutex mutex;
  std::map<std::string, std::vector<Partition>> topics;
};

// Reads them, in turns a place at a time. `on_empty`, where it is given, is called in place of
// waiting, and may append.
class MemoryRecords final : public eventlog::RecordSource {
 public:
  explicit MemoryRecords(MemoryTopics& topics, std::function<void()> on_empty = {})
      : topics_(topics), on_empty_(std::move(on_empty)) {}

  // For connectors that make their sources themselves.
  static eventlog::RecordSourceFactory Factory(MemoryTopics& topics,
                                               std::function<void()> on_empty = {}) {
    return [&topics, on_empty = std::move(on_empty)](const eventlog::RecordSourceOptions&) {
      return std::make_unique<MemoryRecords>(topics, on_empty);
    };
  }

  absl::StatusOr<std::vector<PartitionId>> Partitions(const std::string& topic) override {
    const absl::MutexLock lock(&topics_.mutex);
    std::vector<PartitionId> partitions;
    const auto found = topics_.topics.find(topic);
    for (size_t i = 0; found != topics_.topics.end() && i < found->second.size(); ++i) {
      partitions.emplace_back(static_cast<int32_t>(i));
    }
    return partitions;
  }

  absl::Status Assign(std::vector<eventlog::RecordPlace> places) override {
    std::map<Key, Place> wanted;
    for (eventlog::RecordPlace& place : places) {
      wanted[{std::move(place.topic), place.partition}].next = place.next;
    }
    for (const auto& [key, place] : places_) {
      if (const auto found = wanted.find(key);
          found != wanted.end() && found->second.next == place.next) {
        found->second = place;
      }
    }
    places_ = std::move(wanted);
    turn_ = Key();
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<eventlog::Record>> Read(const eventlog::ReadLimits& limits) override {
    auto records = Take(limits);
    if (!records.ok() || !records->empty() || limits.wait_max.count() == 0) {
      return records;
    }
    if (on_empty_) {
      on_empty_();
      return Take(limits);
    }
    const absl::MutexLock lock(&topics_.mutex);
    topics_.mutex.AwaitWithTimeout(absl::Condition(this, &MemoryRecords::HasMore),
                                   absl::FromChrono(limits.wait_max));
    return TakeLocked(limits);
  }

  [[nodiscard]] Offset next(const std::string& topic, PartitionId partition) const override {
    const auto found = places_.find({topic, partition});
    return found == places_.end() ? kNoOffset : found->second.next;
  }

  absl::Status Pause(const std::string& topic, PartitionId partition, bool paused) override {
    const auto found = places_.find({topic, partition});
    if (found == places_.end()) {
      return Error(absl::StatusCode::kInvalidArgument, "invalid_argument", "it is not assigned");
    }
    found->second.paused = paused;
    return absl::OkStatus();
  }

  absl::StatusOr<Offset> Begin(const std::string& topic, PartitionId partition) override {
    const absl::MutexLock lock(&topics_.mutex);
    if (cancelled_) return absl::CancelledError("cancelled");
    return topics_.topics.at(topic).at(static_cast<size_t>(partition.value())).begin;
  }

  absl::StatusOr<Offset> End(const std::string& topic, PartitionId partition) override {
    const absl::MutexLock lock(&topics_.mutex);
    if (cancelled_) return absl::CancelledError("cancelled");
    return topics_.topics.at(topic).at(static_cast<size_t>(partition.value())).end;
  }

  void Cancel() override {
    const absl::MutexLock lock(&topics_.mutex);
    cancelled_ = true;
  }

 private:
  using Key = std::pair<std::string, PartitionId>;
  struct Place {
    Offset next = kNoOffset;
    bool paused = false;
  };

  const MemoryTopics::Partition& Of(const Key& key) const {
    return topics_.topics.at(key.first).at(static_cast<size_t>(key.second.value()));
  }
  bool HasMore() const {
    if (cancelled_) return true;
    for (const auto& [key, place] : places_) {
      if (!place.paused && std::max(place.next, Of(key).begin) < Of(key).end) return true;
    }
    return false;
  }

  absl::StatusOr<std::vector<eventlog::Record>> Take(const eventlog::ReadLimits& limits) {
    const absl::MutexLock lock(&topics_.mutex);
    return TakeLocked(limits);
  }

  absl::StatusOr<std::vector<eventlog::Record>> TakeLocked(const eventlog::ReadLimits& limits) {
    std::vector<eventlog::Record> records;
    if (cancelled_) return absl::CancelledError("cancelled");
    size_t bytes = 0;
    auto at = places_.upper_bound(turn_);
    for (size_t i = 0; i < places_.size(); ++i, ++at) {
      if (at == places_.end()) at = places_.begin();
      auto& [key, place] = *at;
      const MemoryTopics::Partition& partition = Of(key);
      if (place.paused) continue;
      if (place.next == kNoOffset) place.next = partition.begin;
      if (place.next < partition.begin || place.next > partition.end) {
        if (!records.empty()) break;
        return Error(
            absl::StatusCode::kOutOfRange,
            place.next < partition.begin ? "offset_below_begin" : "offset_beyond_end",
            fmt::format("{}-{} at offset {}", key.first, key.second.value(), place.next.value()));
      }
      auto record = partition.records.lower_bound(place.next);
      for (; record != partition.records.end(); ++record) {
        if (!records.empty() &&
            (bytes >= limits.bytes_max || records.size() >= limits.events_max)) {
          turn_ = key;
          return records;
        }
        records.push_back(record->second);
        bytes += record->second.value.value_or("").size() + record->second.key.value_or("").size();
        place.next = Offset(record->first.value() + 1);
      }
      place.next = partition.end;
    }
    return records;
  }

  MemoryTopics& topics_;
  const std::function<void()> on_empty_;
  std::map<Key, Place> places_;
  Key turn_;  // the place that was read last
  bool cancelled_ = false;
};

}  // namespace sluice::testing
