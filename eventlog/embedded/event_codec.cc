#include "eventlog/embedded/event_codec.h"

#include <chrono>
#include <cstddef>

#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

constexpr char kEventFormat = 2;
constexpr char kEventFormat1 = 1;  // without cause and answers
constexpr size_t kPrefixSize = 5;
constexpr size_t kKeySize = kPrefixSize + 8;

void PutBigEndian(uint64_t value, int bytes, std::string& out) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(value >> shift));
  }
}

void PutVarint(uint64_t value, std::string& out) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

bool GetVarint(std::string_view& in, uint64_t& value) {
  value = 0;
  for (int shift = 0; shift < 64 && !in.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(in.front());
    in.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) {
      return true;
    }
  }
  return false;
}

void PutString(std::string_view text, std::string& out) {
  PutVarint(text.size(), out);
  out.append(text);
}

bool GetString(std::string_view& in, std::string& text) {
  uint64_t size = 0;
  if (!GetVarint(in, size) || size > in.size()) {
    return false;
  }
  text.assign(in.substr(0, size));
  in.remove_prefix(size);
  return true;
}

// Small for times on both sides of 1970.
uint64_t ZigZag(int64_t value) {
  return static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63);
}

int64_t UnZigZag(uint64_t value) { return static_cast<int64_t>(value >> 1 ^ (~(value & 1) + 1)); }

}  // namespace

uint8_t TopicCode(Topic topic) {
  switch (topic) {
    case Topic::kProvisioning:
      return 1;
    case Topic::kChanges:
      return 2;
    case Topic::kWork:
      return 3;
    case Topic::kMutations:
      return 4;
    case Topic::kCheckpoints:
      return 5;
    case Topic::kDeadletter:
      return 6;
    case Topic::kNodes:
      return 7;
  }
  return 0xff;
}

std::string PartitionPrefix(Topic topic, PartitionId partition) {
  std::string prefix;
  prefix.push_back(static_cast<char>(TopicCode(topic)));
  PutBigEndian(static_cast<uint32_t>(partition.value()), 4, prefix);
  return prefix;
}

std::string EventKey(Topic topic, PartitionId partition, Offset offset) {
  std::string key = PartitionPrefix(topic, partition);
  PutBigEndian(static_cast<uint64_t>(offset.value()), 8, key);
  return key;
}

Offset OffsetOfKey(std::string_view key) {
  if (key.size() != kKeySize) {
    return kNoOffset;
  }
  uint64_t offset = 0;
  for (const char c : key.substr(kPrefixSize)) {
    offset = offset << 8 | static_cast<uint8_t>(c);
  }
  return Offset(static_cast<int64_t>(offset));
}

void EncodeEvent(const Event& event, std::string& out) {
  out.push_back(kEventFormat);
  PutVarint(ZigZag(event.time.time_since_epoch().count()), out);
  for (const std::string* text :
       {&event.id, &event.source, &event.type, &event.subject, &event.traceparent, &event.key,
        &event.cause.subject, &event.cause.issuer, &event.cause.request_id}) {
    PutString(*text, out);
  }
  PutVarint(static_cast<uint64_t>(event.answers.value()) + 1, out);
  out.append(event.value);
}

absl::StatusOr<Event> DecodeEvent(std::string_view bytes) {
  Event event;
  uint64_t time = 0;
  const char format = bytes.empty() ? '\0' : bytes.front();
  bool ok = format == kEventFormat || format == kEventFormat1;
  if (ok) {
    bytes.remove_prefix(1);
    ok = GetVarint(bytes, time);
  }
  for (std::string* text :
       {&event.id, &event.source, &event.type, &event.subject, &event.traceparent, &event.key}) {
    ok = ok && GetString(bytes, *text);
  }
  if (format == kEventFormat) {
    for (std::string* text : {&event.cause.subject, &event.cause.issuer, &event.cause.request_id}) {
      ok = ok && GetString(bytes, *text);
    }
    uint64_t after_answers = 0;
    ok = ok && GetVarint(bytes, after_answers);
    event.answers = Offset(static_cast<int64_t>(after_answers - 1));
  }
  if (!ok) {
    return Error(absl::StatusCode::kDataLoss, "log_corrupt",
                 "a stored event cannot be decoded: it is damaged or of a newer format");
  }
  event.time = SystemTime(std::chrono::microseconds(UnZigZag(time)));
  event.value.assign(bytes);
  return event;
}

}  // namespace sluice::eventlog
