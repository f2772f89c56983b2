#pragma once

#include "eventlog/event.h"

typedef struct rd_kafka_headers_s rd_kafka_headers_t;
typedef struct rd_kafka_message_s rd_kafka_message_t;

// Events as Kafka records: CloudEvents 1.0 in binary content mode (docs/event-format.md).
namespace sluice::eventlog {

// The record headers of an event, owned by the caller. Empty attributes have no header.
rd_kafka_headers_t* MakeHeaders(const Event& event);

// The event in a record as consumed: what its headers, key and value hold. A record of another
// producer lacks attributes: they are empty (a time that is none: the epoch), and the folds decide.
// Copies everything.
Event EventOf(const rd_kafka_message_t& message);

}  // namespace sluice::eventlog
