#pragma once

#include <librdkafka/rdkafka.h>

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

// A producer or consumer; takes `conf`. kInvalidArgument where librdkafka refuses.
absl::StatusOr<KafkaHandle> MakeHandle(rd_kafka_type_t type, KafkaConf conf);

// librdkafka's error as a status. Whatever may pass with time is kUnavailable, code
// "log_unavailable". `what` says what was being done.
absl::Status KafkaError(rd_kafka_resp_err_t error, std::string_view what);

}  // namespace sluice::eventlog
