#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "eventlog/log.h"
#include "schemas/base/clock.h"
#include "schemas/base/metrics.h"

namespace sluice::eventlog {

// How to reach and use the log in Kafka. Nothing here changes what is stored; everything but
// `topic_prefix` may change between two starts.
struct KafkaLogOptions {
  std::string brokers;                   // host:port,...
  std::string topic_prefix = "sluice.";  // another prefix is another log
  // Used only for topics that don't exist yet: those that do keep what they have.
  int32_t partitions = 4;
  int16_t replication_factor = 1;  // from 3 on, min.insync.replicas is 2
  AppendLimits limits;
  // A partition that confirms nothing for so long gives up all that is in flight to it, with
  // kUnavailable.
  std::chrono::milliseconds append_timeout{30'000};
  // How long Open() may take until the brokers answer and the topics are there.
  std::chrono::milliseconds connect_timeout{10'000};
  // Range(), TruncateBefore() and the look-ups behind an error.
  std::chrono::milliseconds operation_timeout{10'000};
  // How long the destructor waits for appends in flight before it fails them.
  std::chrono::milliseconds close_timeout{5'000};
  // How often the connection is checked for Health().
  std::chrono::milliseconds health_interval{2'000};
  // How often the topics' partitions, settings and begins are looked at.
  std::chrono::milliseconds topic_check_interval{60'000};
  // Whether the topics' settings are asked for; false for a cluster that never answers that.
  bool check_settings = true;
  // What is read ahead for each open reader that is behind. librdkafka looks at a full queue again
  // only after up to a second, so a small one limits how fast a reader catches up.
  size_t reader_queue_bytes_max = 32 << 20;
  // Readers of one partition at the same time: each takes another consumer handle of its threads.
  int readers_per_partition_max = 16;
  // librdkafka's own properties, such as security.protocol. What guarantees the contract of Log
  // (idempotence, acks, ...) is refused here.
  std::map<std::string, std::string> properties;
  // For tools that only look: no topic and no epoch is made, and topics that do not fit are opened.
  bool inspect = false;
  std::shared_ptr<prometheus::Registry> metrics;  // null: none
  std::shared_ptr<const Clock> clock;             // null: the machine's
};

}  // namespace sluice::eventlog
