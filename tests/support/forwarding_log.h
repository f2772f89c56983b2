#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "eventlog/log.h"

namespace sluice::testing {

// A log that hands everything on to another one, which must outlive it: a double overrides what it
// does otherwise. Thread-safe as that one is.
class ForwardingLog : public eventlog::Log {
 public:
  explicit ForwardingLog(eventlog::Log& log) : log_(log) {}

  const std::string& id() const override { return log_.id(); }
  std::vector<std::string> FormerIds() const override { return log_.FormerIds(); }
  eventlog::AgreedEnds Agreed(PartitionId partition) const override {
    return log_.Agreed(partition);
  }
  int32_t PartitionCount(eventlog::Topic topic) const override {
    return log_.PartitionCount(topic);
  }
  void AppendAsync(eventlog::Topic topic, PartitionId partition, std::vector<eventlog::Event> batch,
                   AppendCallback done) override {
    log_.AppendAsync(topic, partition, std::move(batch), std::move(done));
  }
  absl::StatusOr<std::unique_ptr<eventlog::Reader>> OpenReader(eventlog::Topic topic,
                                                               PartitionId partition,
                                                               Offset from) override {
    return log_.OpenReader(topic, partition, from);
  }
  absl::StatusOr<eventlog::OffsetRange> Range(eventlog::Topic topic,
                                              PartitionId partition) override {
    return log_.Range(topic, partition);
  }
  absl::Status TruncateBefore(eventlog::Topic topic, PartitionId partition, Offset begin) override {
    return log_.TruncateBefore(topic, partition, begin);
  }
  absl::Status Health() override { return log_.Health(); }

 protected:
  eventlog::Log& log_;
};

// Its readers read through ReadFrom(), by which a double holds back, changes or refuses what comes.
class FilteringLog : public ForwardingLog {
 public:
  using ForwardingLog::ForwardingLog;
  absl::StatusOr<std::unique_ptr<eventlog::Reader>> OpenReader(eventlog::Topic topic,
                                                               PartitionId partition,
                                                               Offset from) override {
    auto reader = log_.OpenReader(topic, partition, from);
    if (!reader.ok()) {
      return reader;
    }
    return std::make_unique<FilteredReader>(*this, topic, partition, from, *std::move(reader));
  }

 protected:
  using Events = absl::StatusOr<std::vector<eventlog::StoredEvent>>;
  class FilteredReader final : public eventlog::Reader {
   public:
    FilteredReader(FilteringLog& log, eventlog::Topic topic_in, PartitionId partition_in,
                   Offset from_in, std::unique_ptr<eventlog::Reader> reader)
        : topic(topic_in),
          partition(partition_in),
          from(from_in),
          log_(log),
          reader_(std::move(reader)) {}
    Events Read(const eventlog::ReadLimits& limits) override {
      return cancelled_ ? absl::CancelledError("cancelled") : log_.ReadFrom(*this, limits);
    }
    // What the other log has.
    Events ReadOn(const eventlog::ReadLimits& limits) { return reader_->Read(limits); }
    Offset next() const override { return reader_->next(); }
    uint64_t session() const override { return session_; }
    void SetSession(uint64_t session) { session_ = session; }
    void Cancel() override {
      cancelled_ = true;
      reader_->Cancel();
    }

    const eventlog::Topic topic;
    const PartitionId partition;
    const Offset from;  // where it was opened

   private:
    FilteringLog& log_;
    const std::unique_ptr<eventlog::Reader> reader_;
    uint64_t session_ = 0;
    std::atomic<bool> cancelled_ = false;
  };
  // As where another history has come: the first event is another one.
  static Events ReadAnother(FilteredReader& reader, const eventlog::ReadLimits& limits) {
    Events events = reader.ReadOn(limits);
    if (events.ok() && !events->empty()) {
      events->front().event.value += "another";
    }
    return events;
  }
  // Not called for a reader that was cancelled.
  virtual Events ReadFrom(FilteredReader& reader, const eventlog::ReadLimits& limits) = 0;
};

}  // namespace sluice::testing
