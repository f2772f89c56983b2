#pragma once

#include <gtest/gtest.h>

#include <iterator>
#include <utility>
#include <vector>

#include "eventlog/log.h"

namespace sluice::testing {

// All events of a partition that are in the log now; a failure where they cannot be read.
inline std::vector<eventlog::StoredEvent> ReadWholePartition(eventlog::Log& log,
                                                             eventlog::Topic topic,
                                                             PartitionId partition) {
  std::vector<eventlog::StoredEvent> events;
  const auto range = log.Range(topic, partition);
  EXPECT_TRUE(range.ok()) << range.status();
  if (!range.ok()) {
    return events;
  }
  auto reader = log.OpenReader(topic, partition, range->begin);
  EXPECT_TRUE(reader.ok()) << reader.status();
  while (reader.ok() && (*reader)->next() < range->end) {
    auto more = (*reader)->Read({.wait_max = std::chrono::seconds(60)});
    EXPECT_TRUE(more.ok() && !more->empty()) << more.status();
    if (!more.ok() || more->empty()) {
      break;
    }
    std::move(more->begin(), more->end(), std::back_inserter(events));
  }
  return events;
}

}  // namespace sluice::testing
