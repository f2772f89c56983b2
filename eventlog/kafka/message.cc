#include "eventlog/kafka/message.h"

#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>

#include "schemas/base/datetime.h"

namespace sluice::eventlog {
namespace {

constexpr std::string_view kContentType = "application/protobuf";

void AddHeader(rd_kafka_headers_t* headers, std::string_view name, std::string_view value) {
  if (!value.empty()) {
    rd_kafka_header_add(headers, name.data(), static_cast<ssize_t>(name.size()), value.data(),
                        static_cast<ssize_t>(value.size()));
  }
}

// The position in a header's text; kNoOffset where it is none.
Offset OffsetOf(std::string_view text) {
  int64_t offset = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), offset);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && offset >= 0 ? Offset(offset) : kNoOffset;
}

// RFC 3339 in UTC with microseconds, "2026-01-31T09:05:00.000250Z". Years that it cannot write,
// which no clock shows, are told as the nearest one.
std::string TextOf(SystemTime time) {
  return FormatDatetime(std::clamp(time.time_since_epoch().count(), kDatetimeMin, kDatetimeMax));
}

// The epoch where `text` is no time.
SystemTime TimeOf(std::string_view text) {
  return SystemTime(
      std::chrono::microseconds(ParseDatetime(text, DatetimeForm::kNoted).value_or(0)));
}

}  // namespace

rd_kafka_headers_t* MakeHeaders(const Event& event) {
  rd_kafka_headers_t* headers = rd_kafka_headers_new(12);
  AddHeader(headers, "ce_specversion", "1.0");
  AddHeader(headers, "ce_id", event.id);
  AddHeader(headers, "ce_source", event.source);
  AddHeader(headers, "ce_type", event.type);
  AddHeader(headers, "ce_subject", event.subject);
  AddHeader(headers, "ce_time", TextOf(event.time));
  AddHeader(headers, "content-type", kContentType);
  AddHeader(headers, "traceparent", event.traceparent);
  AddHeader(headers, "ce_causesubject", event.cause.subject);
  AddHeader(headers, "ce_causeissuer", event.cause.issuer);
  AddHeader(headers, "ce_causerequest", event.cause.request_id);
  if (event.answers != kNoOffset) {
    AddHeader(headers, "ce_answers", std::to_string(event.answers.value()));
  }
  return headers;
}

Event EventOf(const rd_kafka_message_t& message) {
  Event event;
  event.key.assign(static_cast<const char*>(message.key), message.key_len);
  event.value.assign(static_cast<const char*>(message.payload), message.len);
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return event;
  }
  const char* name_data = nullptr;
  const void* value_data = nullptr;
  size_t value_size = 0;
  for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name_data, &value_data, &value_size) ==
                     RD_KAFKA_RESP_ERR_NO_ERROR;
       ++i) {
    const std::string_view name(name_data);
    const std::string_view value(static_cast<const char*>(value_data), value_size);
    if (name == "ce_id") {
      event.id = value;
    } else if (name == "ce_source") {
      event.source = value;
    } else if (name == "ce_type") {
      event.type = value;
    } else if (name == "ce_subject") {
      event.subject = value;
    } else if (name == "ce_time") {
      event.time = TimeOf(value);
    } else if (name == "traceparent") {
      event.traceparent = value;
    } else if (name == "ce_causesubject") {
      event.cause.subject = value;
    } else if (name == "ce_causeissuer") {
      event.cause.issuer = value;
    } else if (name == "ce_causerequest") {
      event.cause.request_id = value;
    } else if (name == "ce_answers") {
      event.answers = OffsetOf(value);
    }
  }
  return event;
}

}  // namespace sluice::eventlog
