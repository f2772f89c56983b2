#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "eventlog/kafka/options.h"
#include "eventlog/log.h"
#include "schemas/base/clock.h"
#include "schemas/base/uuid.h"
#include "tests/support/broker/test_broker.h"

namespace sluice::eventlog {

// Longer than anything takes that succeeds; no test waits for it to pass.
inline constexpr std::chrono::seconds kKafkaPatience{60};

inline KafkaLogOptions TestOptions(const std::string& brokers, int32_t partitions = 2) {
  KafkaLogOptions options;
  options.brokers = brokers;
  options.topic_prefix = testing::RandomPrefix();
  options.partitions = partitions;
  options.connect_timeout = kKafkaPatience;
  options.operation_timeout = kKafkaPatience;
  options.append_timeout = 2 * kKafkaPatience;
  return options;
}

inline Event MakeKafkaEvent(const std::string& key, const std::string& value) {
  const RealClock clock;
  return {.id = NewUuid7(clock),
          .source = "sluice/test",
          .type = "sluice.v1.ChangeSet",
          .subject = key,
          .time = clock.Now(),
          .traceparent = "",
          .key = key,
          .value = value,
          .cause = {},
          .answers = kNoOffset};
}

// Reads on until `count` events are there; fewer where they don't come in time.
inline std::vector<StoredEvent> ReadAll(Log& log, Topic topic, PartitionId partition,
                                        size_t count) {
  std::vector<StoredEvent> events;
  auto reader = log.OpenReader(topic, partition, Offset(0));
  while (reader.ok() && events.size() < count) {
    auto more = (*reader)->Read({.wait_max = kKafkaPatience});
    if (!more.ok() || more->empty()) {
      break;
    }
    events.insert(events.end(), more->begin(), more->end());
  }
  return events;
}

}  // namespace sluice::eventlog
