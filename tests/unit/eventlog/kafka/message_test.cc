#include "eventlog/kafka/message.h"

#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>

#include <chrono>
#include <limits>
#include <string>

namespace sluice::eventlog {
namespace {

std::string HeaderOf(const rd_kafka_headers_t* headers, const char* name) {
  const void* value = nullptr;
  size_t size = 0;
  if (rd_kafka_header_get_last(headers, name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return "(none)";
  }
  return {static_cast<const char*>(value), size};
}

TEST(KafkaMessageTest, CauseAndAnswersHaveHeadersOnlyWhereTheyAreKnown) {
  Event event;
  event.cause = {"alice", "", "req-7"};
  rd_kafka_headers_t* headers = MakeHeaders(event);
  EXPECT_EQ(HeaderOf(headers, "ce_causesubject"), "alice");
  EXPECT_EQ(HeaderOf(headers, "ce_causeissuer"), "(none)");
  EXPECT_EQ(HeaderOf(headers, "ce_causerequest"), "req-7");
  EXPECT_EQ(HeaderOf(headers, "ce_answers"), "(none)");
  rd_kafka_headers_destroy(headers);
  event.answers = Offset(0);
  headers = MakeHeaders(event);
  EXPECT_EQ(HeaderOf(headers, "ce_answers"), "0");
  rd_kafka_headers_destroy(headers);
}

TEST(KafkaMessageTest, TheTimeIsWrittenInUtcWithMicroseconds) {
  const std::pair<int64_t, const char*> times[] = {
      {1'769'850'300'000'250, "2026-01-31T09:05:00.000250Z"},
      {-1, "1969-12-31T23:59:59.999999Z"},
      {std::numeric_limits<int64_t>::max(), "9999-12-31T23:59:59.999999Z"},
      {std::numeric_limits<int64_t>::min(), "0001-01-01T00:00:00.000000Z"}};
  for (const auto& [micros, text] : times) {
    Event event;
    event.time = SystemTime(std::chrono::microseconds(micros));
    rd_kafka_headers_t* headers = MakeHeaders(event);
    EXPECT_EQ(HeaderOf(headers, "ce_time"), text);
    rd_kafka_headers_destroy(headers);
  }
}

}  // namespace
}  // namespace sluice::eventlog
