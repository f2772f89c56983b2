#pragma once

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

}  // namespace sluice::testing
