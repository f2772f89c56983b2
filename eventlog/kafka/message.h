#pragma once

#include <string>
#include <string_view>

#include "eventlog/event.h"
#include "schemas/base/clock.h"

typedef struct rd_kafka_headers_s rd_kafka_headers_t;
typedef struct rd_kafka_message_s rd_kafka_message_t;

// Events as Kafka records: CloudEvents 1.0 in binary content mode (docs/event-format.md).
namespace sluice::eventlog {

// The record headers of an event, owned by the caller. Empty attributes have no header.
rd_kafka_headers_t* MakeHeaders(const Event& event);

// The event in a record as consumed: what its headers, key and value hold. A record of another
// producer lacks attributes: they are empty, and the folds decide. Copies everything.
Event EventOf(const rd_kafka_message_t& message);

// RFC 3339 in UTC with microseconds, "2026-01-31T09:05:00.000250Z": the form of ce_time.
[[nodiscard]] std::string FormatTime(SystemTime time);

// Reads RFC 3339 with any fraction (cut to microseconds) and any offset from UTC. False, and the
// epoch, where `text` is none.
[[nodiscard]] bool ParseTime(std::string_view text, SystemTime* time);

}  // namespace sluice::eventlog
