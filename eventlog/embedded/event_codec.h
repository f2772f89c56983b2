#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "eventlog/event.h"
#include "eventlog/log.h"
#include "schemas/base/ids.h"

// The bytes of the embedded log's keys and values (docs/embedded-log-format.md).
namespace sluice::eventlog {

// The number that stands for `topic` in a key. Persisted: numbers are never given again.
[[nodiscard]] uint8_t TopicCode(Topic topic);

// topic u8 | partition u32 | offset u64, big-endian, so that keys sort as offsets do.
[[nodiscard]] std::string EventKey(Topic topic, PartitionId partition, Offset offset);
// The part of an event's key before the offset.
[[nodiscard]] std::string PartitionPrefix(Topic topic, PartitionId partition);
// The offset in an event's key; kNoOffset where `key` has another length.
[[nodiscard]] Offset OffsetOfKey(std::string_view key);

// Appends the event's bytes to `out`.
void EncodeEvent(const Event& event, std::string& out);
// kDataLoss, code "log_corrupt", where `bytes` are not an event's.
[[nodiscard]] absl::StatusOr<Event> DecodeEvent(std::string_view bytes);

}  // namespace sluice::eventlog
