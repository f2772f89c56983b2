#include "eventlog/kafka/message.h"

#include <fmt/format.h>
#include <librdkafka/rdkafka.h>

#include <charconv>
#include <chrono>
#include <cstdint>

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

// Takes exactly `digits` digits and, unless it is 0, the separator `after` from the front of
// `text`.
bool TakeNumber(std::string_view& text, size_t digits, char after, int* number) {
  const size_t size = digits + (after == 0 ? 0 : 1);
  if (text.size() < size || (after != 0 && text[digits] != after)) {
    return false;
  }
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, *number);
  if (error != std::errc() || end != text.data() + digits || *number < 0) {
    return false;
  }
  text.remove_prefix(size);
  return true;
}

bool TakeFraction(std::string_view& text, std::chrono::microseconds* fraction) {
  if (text.empty() || text.front() != '.') {
    return true;
  }
  text.remove_prefix(1);
  int64_t micros = 0;
  int64_t scale = 100'000;
  bool any = false;
  for (; !text.empty() && text.front() >= '0' && text.front() <= '9'; text.remove_prefix(1)) {
    micros += scale * (text.front() - '0');
    scale /= 10;
    any = true;
  }
  *fraction = std::chrono::microseconds(micros);
  return any;
}

// "Z" or "+hh:mm", to the end of `text`.
bool TakeZone(std::string_view text, std::chrono::minutes* east) {
  if (text == "Z" || text == "z") {
    return true;
  }
  if (text.size() != 6 || (text.front() != '+' && text.front() != '-')) {
    return false;
  }
  const int sign = text.front() == '-' ? -1 : 1;
  text.remove_prefix(1);
  int hours = 0;
  int minutes = 0;
  if (!TakeNumber(text, 2, ':', &hours) || !TakeNumber(text, 2, 0, &minutes) || hours > 23 ||
      minutes > 59) {
    return false;
  }
  *east = sign * std::chrono::minutes(60 * hours + minutes);
  return true;
}

}  // namespace

std::string FormatTime(SystemTime time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(time - day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                     clock.subseconds().count());
}

bool ParseTime(std::string_view text, SystemTime* time) {
  *time = SystemTime{};
  int year = 0;
  int month = 0;
  int day = 0;
  if (!TakeNumber(text, 4, '-', &year) || !TakeNumber(text, 2, '-', &month) ||
      !TakeNumber(text, 2, 0, &day) || text.empty() ||
      (text.front() != 'T' && text.front() != 't' && text.front() != ' ')) {
    return false;
  }
  text.remove_prefix(1);
  int hour = 0;
  int minute = 0;
  int second = 0;
  std::chrono::microseconds fraction{0};
  std::chrono::minutes east{0};
  const std::chrono::year_month_day date(std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day)));
  if (!TakeNumber(text, 2, ':', &hour) || !TakeNumber(text, 2, ':', &minute) ||
      !TakeNumber(text, 2, 0, &second) || !TakeFraction(text, &fraction) ||
      !TakeZone(text, &east) || !date.ok() || hour > 23 || minute > 59 || second > 60) {
    return false;
  }
  *time = SystemTime(std::chrono::sys_days(date).time_since_epoch() + std::chrono::hours(hour) +
                     std::chrono::minutes(minute) + std::chrono::seconds(second) + fraction - east);
  return true;
}

rd_kafka_headers_t* MakeHeaders(const Event& event) {
  rd_kafka_headers_t* headers = rd_kafka_headers_new(12);
  AddHeader(headers, "ce_specversion", "1.0");
  AddHeader(headers, "ce_id", event.id);
  AddHeader(headers, "ce_source", event.source);
  AddHeader(headers, "ce_type", event.type);
  AddHeader(headers, "ce_subject", event.subject);
  AddHeader(headers, "ce_time", FormatTime(event.time));
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
      (void)ParseTime(value, &event.time);
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
