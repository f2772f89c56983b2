#include "eventlog/embedded/event_codec.h"

#include <chrono>
#include <cstddef>

#include "schemas/base/byte_codec.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

constexpr char kEventFormat = 2;
constexpr char kEventFormat1 = 1;  // without cause and answers
constexpr size_t kPrefixSize = 5;
constexpr size_t kKeySize = kPrefixSize + 8;

}  // namespace

uint8_t TopicCode(Topic topic) { return static_cast<uint8_t>(static_cast<int>(topic) + 1); }

std::string PartitionPrefix(Topic topic, PartitionId partition) {
  std::string prefix;
  prefix.push_back(static_cast<char>(TopicCode(topic)));
  PutFixed32(static_cast<uint32_t>(partition.value()), &prefix);
  return prefix;
}

std::string EventKey(Topic topic, PartitionId partition, Offset offset) {
  std::string key = PartitionPrefix(topic, partition);
  PutFixed64(static_cast<uint64_t>(offset.value()), &key);
  return key;
}

Offset OffsetOfKey(std::string_view key) {
  if (key.size() != kKeySize) {
    return kNoOffset;
  }
  return Offset(static_cast<int64_t>(ByteReader(key.substr(kPrefixSize)).Fixed64()));
}

void EncodeEvent(const Event& event, std::string& out) {
  out.push_back(kEventFormat);
  PutSigned(event.time.time_since_epoch().count(), &out);
  for (const std::string* text :
       {&event.id, &event.source, &event.type, &event.subject, &event.traceparent, &event.key,
        &event.cause.subject, &event.cause.issuer, &event.cause.request_id}) {
    PutText(*text, &out);
  }
  PutVarint(static_cast<uint64_t>(event.answers.value()) + 1, &out);
  out.append(event.value);
}

absl::StatusOr<Event> DecodeEvent(std::string_view bytes) {
  Event event;
  ByteReader reader(bytes);
  const uint8_t format = reader.Byte();
  event.time = SystemTime(std::chrono::microseconds(reader.Signed()));
  for (std::string* text :
       {&event.id, &event.source, &event.type, &event.subject, &event.traceparent, &event.key}) {
    text->assign(reader.Text());
  }
  if (format == kEventFormat) {
    for (std::string* text : {&event.cause.subject, &event.cause.issuer, &event.cause.request_id}) {
      text->assign(reader.Text());
    }
    event.answers = Offset(static_cast<int64_t>(reader.Varint() - 1));
  }
  if (!reader.ok() || (format != kEventFormat && format != kEventFormat1)) {
    return Error(StatusCode::kDataLoss, "log_corrupt",
                 "a stored event cannot be decoded: it is damaged or of a newer format");
  }
  event.value.assign(reader.rest());
  return event;
}

}  // namespace sluice::eventlog
