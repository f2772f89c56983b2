#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/log.h"

typedef struct rd_kafka_s rd_kafka_t;

// Whether the cluster keeps the topics as the log needs them: those that are kept for ever without
// compaction and without a retention. A setting that does not fit loses events long after they were
// acknowledged, so it is looked for instead of waited for.
namespace sluice::eventlog {

// What a fault forbids; each forbids what the ones before it do.
enum class FaultEffect { kReport, kNotReady, kNoAppendToTopic, kNoAppend };

struct TopicFault {
  Topic topic;
  FaultEffect effect;
  absl::Status status;  // kFailedPrecondition, with the fault's code
};

using TopicSettings = std::map<std::string, std::string>;

// The faults among one topic's settings: codes "topic_compacted", "topic_retention" and, where it
// takes no records of `record_bytes`, "topic_message_bytes". `name` is the topic's full name;
// `brokers` goes into the command that mends it.
[[nodiscard]] std::vector<TopicFault> FaultsOfSettings(Topic topic, const std::string& name,
                                                       const std::string& brokers,
                                                       size_t record_bytes,
                                                       const TopicSettings& settings);

// How large a record the topic takes; SIZE_MAX where its settings do not tell.
[[nodiscard]] size_t RecordBytesMax(const TopicSettings& settings);

// The settings of the topics, by their full names. kUnavailable where the cluster does not answer;
// kPermissionDenied where it does not tell this client; kUnimplemented where it can't.
[[nodiscard]] absl::StatusOr<std::map<std::string, TopicSettings>> DescribeTopics(
    rd_kafka_t* handle, const std::vector<std::string>& names, std::chrono::milliseconds timeout);

}  // namespace sluice::eventlog
