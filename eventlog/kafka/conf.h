#pragma once

#include <librdkafka/rdkafka.h>

#include <chrono>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/kafka/handles.h"
#include "eventlog/kafka/options.h"

// Included by the .cc files of this folder only: it brings librdkafka's header.
namespace sluice::eventlog {

using KafkaProperty = std::pair<std::string_view, std::string>;

// A configuration with the brokers, what every handle has in common, then `properties`, then the
// options' own properties, and the log going to spdlog. kInvalidArgument for a property that does
// not exist, whose value is wrong, or that the contract of Log depends on.
absl::StatusOr<KafkaConf> MakeConf(const KafkaLogOptions& options,
                                   std::initializer_list<KafkaProperty> properties);

// What one fetch asks for; one larger event still comes whole. Under a client quota a broker
// answers a fetch with nothing as long as its bytes and those of the last ten seconds are more than
// the quota, and then reads nothing from the connection until they are not: of 250 kB a second, a
// fetch of 4 MiB came through in 40 s or never, beside a process that read as well. A reader
// without a quota is as fast with this as with 4 MiB.
inline constexpr size_t kFetchBytesMax = 1 << 20;

struct ConsumerLimits {
  size_t fetch_bytes_max = kFetchBytesMax;  // of one partition
  size_t queue_messages_min = 10'000'000;   // fewer are read ahead beyond; the bytes are the limit
  std::chrono::milliseconds fetch_wait{15};
};

// MakeConf() of a consumer: committed records alone, no offset kept, told where an end is, at most
// options.reader_queue_bytes_max read ahead.
absl::StatusOr<KafkaConf> MakeConsumerConf(const KafkaLogOptions& options,
                                           const ConsumerLimits& limits);

// A producer or consumer; takes `conf`. kInvalidArgument where librdkafka refuses.
absl::StatusOr<KafkaHandle> MakeHandle(rd_kafka_type_t type, KafkaConf conf);

// librdkafka's error as a status. Whatever may pass with time is kUnavailable, code
// "log_unavailable". `what` says what was being done.
absl::Status KafkaError(rd_kafka_resp_err_t error, std::string_view what);

}  // namespace sluice::eventlog
