#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/log.h"
#include "schemas/base/ids.h"

typedef struct rd_kafka_s rd_kafka_t;

// Questions and orders to the cluster, waited for.
namespace sluice::eventlog {

// What a record may have besides what Event::ByteSize() counts: header names and framing.
inline constexpr size_t kRecordOverheadMax = 64 << 10;
// Of a record batch of several events. A fetch brings a batch whole, also one that asks for an
// event: under a quota of readers those of a megabyte, as many as librdkafka makes otherwise, do
// not come beside what else is read.
inline constexpr size_t kRecordBatchBytes = 128 << 10;

struct TopicToCreate {
  Topic topic;
  std::string name;
  int32_t partitions = 1;
  int16_t replication_factor = 1;
  size_t message_bytes_max = 0;
};

// Creates the topics, each with the retention that its kind has (schemas/docs/events.md). One that
// another process has created meanwhile is fine.
absl::Status CreateTopics(rd_kafka_t* handle, const std::vector<TopicToCreate>& topics,
                          std::chrono::milliseconds timeout);

// Removes what lies before `begin`, which is not past the end.
absl::Status DeleteRecords(rd_kafka_t* handle, const std::string& topic, PartitionId partition,
                           Offset begin, std::chrono::milliseconds timeout);

enum class OffsetKind { kBegin, kEnd };

// Where the partition begins or ends, asked of the leader that the metadata at hand names, and of
// no other: kUnavailable after `timeout` where that one is gone. The caller refreshes the metadata
// and asks again.
absl::StatusOr<Offset> LookUpOffset(rd_kafka_t* handle, const std::string& topic,
                                    PartitionId partition, OffsetKind kind,
                                    std::chrono::milliseconds timeout);

// A full queue stops librdkafka's fetching, and that it has room again is seen only when the
// broker's thread wakes for another reason, in a second at the latest (issue 2879 of librdkafka;
// from 2.2 on the time can be set). A request of the same handle to the same broker is one: asks
// for the partition's begin where the last fetch told of more than what lies below `next`. Whether
// it did.
bool WakeFetcher(rd_kafka_t* handle, const std::string& topic, PartitionId partition, Offset next);

}  // namespace sluice::eventlog
