#pragma once

#include <cstddef>
#include <string>

#include "eventlog/base/clock.h"
#include "eventlog/base/ids.h"

namespace sluice::eventlog {

// One event: CloudEvents 1.0 in Kafka's binary content mode. The attributes are message headers
// (ce_specversion, ce_id, ce_source, ce_type, ce_subject, ce_time, content-type, traceparent), the
// value is the protobuf payload. Both logs store the same headers and bytes (docs/event-format.md).
struct Event {
  std::string id;       // ce_id: UUIDv7
  std::string source;   // ce_source: what wrote it, such as "sluice/admin"
  std::string type;     // ce_type: the payload's full message name, such as "sluice.v1.ChangeSet"
  std::string subject;  // ce_subject: "org" or "org/entity"
  SystemTime time{};    // ce_time
  std::string traceparent;  // W3C trace context, or empty
  std::string key;          // the record key: the organisation (or node)
  std::string value;

  // Bytes that the event counts for in every limit: its strings and a fixed overhead.
  [[nodiscard]] size_t ByteSize() const {
    return 64 + id.size() + source.size() + type.size() + subject.size() + traceparent.size() +
           key.size() + value.size();
  }
  friend bool operator==(const Event&, const Event&) = default;
};

// An event as read, with its place in the partition.
struct StoredEvent {
  Offset offset;
  Event event;
};

// XXH64 (seed 0) over id, type, key and value, each preceded by its length as 32 bits
// little-endian: what a store keeps of the last event it applied, so that another log at the same
// offset is noticed.
[[nodiscard]] uint64_t EventHash(const Event& event);

}  // namespace sluice::eventlog
