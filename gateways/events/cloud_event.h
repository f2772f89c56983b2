#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/record_source.h"
#include "gateways/http/http_types.h"
#include "schemas/base/clock.h"

// CloudEvents 1.0 as others send them: the JSON event format, and the bindings to HTTP and Kafka.
// All functions are pure.
namespace sluice::gateways {

inline constexpr size_t kEventBytesMax = size_t{1} << 20;       // of one event in JSON, or its data
inline constexpr size_t kEventsPerBatchMax = 1'000;             // in one request
inline constexpr size_t kEventAttributeBytesMax = 1'024;        // of an attribute's value
inline constexpr size_t kEventAttributesMax = 64;               // of one event, extensions too
inline constexpr size_t kEventsBodyBytesMax = size_t{4} << 20;  // of a request

struct CloudEvent {
  std::string id;      // with `source` it names the event for ever
  std::string source;  // a URI reference
  std::string type;
  std::string subject;             // empty: none
  std::optional<SystemTime> time;  // nullopt: not said
  std::string data;                // JSON; empty: none
};

struct CloudEvents {
  bool batch = false;
  // In their order; of a batch each by itself may be none.
  std::vector<absl::StatusOr<CloudEvent>> events;
};

// The events of a request: its Content-Type says whether it is one in the structured mode
// (application/cloudevents+json), a batch (application/cloudevents-batch+json), or, with ce-
// headers, one in the binary mode. kInvalidArgument, codes "invalid_event", "invalid_json" and
// "too_large": the request as a whole.
[[nodiscard]] absl::StatusOr<CloudEvents> ReadHttpEvents(const HttpHead& head,
                                                         std::string_view body);

// The event of a record, in the structured or, with ce_ headers, the binary mode. Errors as above.
[[nodiscard]] absl::StatusOr<CloudEvent> ReadKafkaEvent(const eventlog::Record& record);

// An event in the JSON format. Errors as above.
[[nodiscard]] absl::StatusOr<CloudEvent> ReadJsonEvent(std::string_view json);

}  // namespace sluice::gateways
