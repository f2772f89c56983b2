#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "schemas/base/clock.h"
#include "schemas/base/ids.h"

namespace sluice::eventlog {

// Who made an event happen: the caller of a request, or, where no caller is behind it, the source
// that was read and its run. It is kept with the event because history cannot be asked later.
struct Cause {
  std::string subject;     // ce_causesubject: the token's `sub`, or the source's name
  std::string issuer;      // ce_causeissuer: the token's `iss`; empty for a source
  std::string request_id;  // ce_causerequest: the request's id, or the source's run

  friend bool operator==(const Cause&, const Cause&) = default;
};

// One event: CloudEvents 1.0 in Kafka's binary content mode. The attributes are message headers
// (ce_specversion, ce_id, ce_source, ce_type, ce_subject, ce_time, content-type, traceparent,
// ce_cause*, ce_answers), the value is the protobuf payload. Both logs store the same headers and
// bytes (docs/event-format.md).
struct Event {
  std::string id;       // ce_id: UUIDv7
  std::string source;   // ce_source: what wrote it, such as "sluice/admin"
  std::string type;     // ce_type: the payload's full message name, such as "sluice.v1.ChangeSet"
  std::string subject;  // ce_subject: "org" or "org/entity"
  SystemTime time{};    // ce_time
  std::string traceparent;  // W3C trace context, or empty
  std::string key;          // the record key: the organisation (or node)
  std::string value;
  Cause cause = {};
  // ce_answers, of control events: the position in `provisioning` of the request that they answer.
  Offset answers = kNoOffset;

  // Bytes that the event counts for in every limit: its strings and a fixed overhead.
  [[nodiscard]] size_t ByteSize() const {
    return 64 + id.size() + source.size() + type.size() + subject.size() + traceparent.size() +
           key.size() + value.size() + cause.subject.size() + cause.issuer.size() +
           cause.request_id.size();
  }
  friend bool operator==(const Event&, const Event&) = default;
};

// An event of `message`, without id, time and cause, of an organisation (or node) that is its
// subject, too.
template <typename Message>
[[nodiscard]] Event EventOf(std::string_view source, const std::string& key,
                            const Message& message) {
  Event event;
  event.source = source;
  event.type = Message::descriptor()->full_name();
  event.subject = key;
  event.key = key;
  event.value = message.SerializeAsString();
  return event;
}

// Is `event` one of a `Message`? ReadMessage() says also whether it can be read, as `message`.
template <typename Message>
[[nodiscard]] bool IsA(const Event& event) {
  return event.type == Message::descriptor()->full_name();
}
template <typename Message>
[[nodiscard]] bool ReadMessage(const Event& event, Message* message) {
  return IsA<Message>(event) && message->ParseFromString(event.value);
}

// An event as read, with its place in the partition.
struct StoredEvent {
  Offset offset;
  Event event;
};

// The first 8 bytes, big-endian, of SHA-256 over every attribute of the event: what a store keeps
// of the events that it applied, so that another log at the same offset is noticed. A
// cryptographic hash, because callers choose parts of events. In this order: id, source, type,
// subject, traceparent, key, the cause's subject, issuer and request id, each preceded by its
// length as 32 bits little-endian; time (microseconds since 1970) and answers as 64 bits
// little-endian; value with its length. Thread-safe.
[[nodiscard]] uint64_t EventHash(const Event& event);

}  // namespace sluice::eventlog
