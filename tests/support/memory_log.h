#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/log.h"
#include "schemas/base/status.h"

namespace sluice::testing {

// A log of one partition a topic in memory, whose end can be cut off and whose appends can be made
// to fail: for histories by the thousand. Thread-safe.
class MemoryLog final : public eventlog::Log {
 public:
  const std::string& id() const override { return id_; }
  eventlog::AgreedEnds Agreed(PartitionId) const override { return agreed_; }
  int32_t PartitionCount(eventlog::Topic) const override { return 1; }

  void AppendAsync(eventlog::Topic topic, PartitionId, std::vector<eventlog::Event> batch,
                   AppendCallback done) override {
    std::vector<Offset> offsets;
    const size_t wanted = batch.size();
    {
      absl::MutexLock lock(&mutex_);
      std::vector<eventlog::StoredEvent>& events = topics_[topic];
      for (eventlog::Event& event : batch) {
        if (appends_left_.has_value() && (*appends_left_)-- <= 0) {
          break;  // a batch is not atomic
        }
        offsets.emplace_back(static_cast<int64_t>(events.size()));
        events.push_back({offsets.back(), std::move(event)});
      }
    }
    if (offsets.size() < wanted) {
      done(absl::UnavailableError("the process ends here"));
    } else {
      done(std::move(offsets));
    }
  }

  absl::StatusOr<std::unique_ptr<eventlog::Reader>> OpenReader(eventlog::Topic topic, PartitionId,
                                                               Offset from) override {
    return std::make_unique<MemoryReader>(*this, topic, from);
  }
  absl::StatusOr<eventlog::OffsetRange> Range(eventlog::Topic topic, PartitionId) override {
    absl::MutexLock lock(&mutex_);
    return eventlog::OffsetRange{Offset(0), Offset(static_cast<int64_t>(topics_[topic].size()))};
  }
  absl::Status TruncateBefore(eventlog::Topic, PartitionId, Offset) override {
    return absl::UnimplementedError("");
  }
  absl::Status Health() override { return absl::OkStatus(); }

  // The end of `topic` is lost.
  void Cut(eventlog::Topic topic, size_t events_left) {
    absl::MutexLock lock(&mutex_);
    std::vector<eventlog::StoredEvent>& events = topics_[topic];
    events.resize(std::min(events.size(), events_left));
  }
  // The end of `topic` is lost, and it has grown again before anybody can look.
  // `connections_end`: those of its readers, at the same moment.
  void Replace(eventlog::Topic topic, size_t events_left, std::vector<eventlog::Event> by,
               bool connections_end = false) {
    absl::MutexLock lock(&mutex_);
    session_ += connections_end ? 1 : 0;
    std::vector<eventlog::StoredEvent>& events = topics_[topic];
    events.resize(std::min(events.size(), events_left));
    for (eventlog::Event& event : by) {
      events.push_back({Offset(static_cast<int64_t>(events.size())), std::move(event)});
    }
  }
  // The connections of its readers end, as they tell with the next read.
  void EndConnections() {
    absl::MutexLock lock(&mutex_);
    ++session_;
  }
  // After so many events every append fails; nullopt: none does.
  void FailAfter(std::optional<int64_t> events) {
    absl::MutexLock lock(&mutex_);
    appends_left_ = events;
  }
  // As a new epoch declares it.
  void Agree() {
    absl::MutexLock lock(&mutex_);
    const auto end = [this](eventlog::Topic topic) ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return Offset(static_cast<int64_t>(topics_[topic].size()));
    };
    const auto hash = [this](eventlog::Topic topic) ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return topics_[topic].empty() ? 0 : eventlog::EventHash(topics_[topic].back().event);
    };
    agreed_ = {end(eventlog::Topic::kProvisioning), end(eventlog::Topic::kChanges),
               hash(eventlog::Topic::kProvisioning), hash(eventlog::Topic::kChanges)};
  }
  std::vector<eventlog::StoredEvent> All(eventlog::Topic topic) const {
    absl::MutexLock lock(&mutex_);
    const auto found = topics_.find(topic);
    return found == topics_.end() ? std::vector<eventlog::StoredEvent>() : found->second;
  }

 private:
  class MemoryReader final : public eventlog::Reader {
   public:
    MemoryReader(MemoryLog& log, eventlog::Topic topic, Offset from)
        : log_(log), topic_(topic), next_(from) {}
    absl::StatusOr<std::vector<eventlog::StoredEvent>> Read(
        const eventlog::ReadLimits& limits) override {
      if (cancelled_) {
        return absl::CancelledError("");
      }
      const auto [all, session] = log_.Await(topic_, next_, limits.wait_max);
      session_ = session;
      if (static_cast<size_t>(next_.value()) > all.size()) {
        return eventlog::BeyondEndError(topic_, PartitionId(0), next_,
                                        Offset(static_cast<int64_t>(all.size())));
      }
      std::vector<eventlog::StoredEvent> read;
      for (auto at = static_cast<size_t>(next_.value());
           at < all.size() && read.size() < limits.events_max; ++at) {
        read.push_back(all[at]);
      }
      next_ = Offset(next_.value() + static_cast<int64_t>(read.size()));
      return read;
    }
    Offset next() const override { return next_; }
    uint64_t session() const override { return session_; }
    void Cancel() override { cancelled_ = true; }

   private:
    MemoryLog& log_;
    const eventlog::Topic topic_;
    Offset next_;
    uint64_t session_ = 0;
    std::atomic<bool> cancelled_ = false;
  };

  // All of it, once `next` is there or beyond the end, or a part of `wait_max` has passed; and the
  // session.
  std::pair<std::vector<eventlog::StoredEvent>, uint64_t> Await(
      eventlog::Topic topic, Offset next, std::chrono::milliseconds wait_max) {
    constexpr std::chrono::milliseconds kSlice{5};  // for who cancels, too
    absl::MutexLock lock(&mutex_);
    const std::vector<eventlog::StoredEvent>& events = topics_[topic];
    const auto at = static_cast<size_t>(next.value());
    const auto there = [&events, at] { return events.size() != at; };
    mutex_.AwaitWithTimeout(absl::Condition(&there), absl::FromChrono(std::min(kSlice, wait_max)));
    return {events, session_};
  }

  const std::string id_ = "memory#1";
  mutable absl::Mutex mutex_;
  std::map<eventlog::Topic, std::vector<eventlog::StoredEvent>> topics_ ABSL_GUARDED_BY(mutex_);
  std::optional<int64_t> appends_left_ ABSL_GUARDED_BY(mutex_);
  uint64_t session_ ABSL_GUARDED_BY(mutex_) = 0;
  eventlog::AgreedEnds agreed_;
};

}  // namespace sluice::testing
