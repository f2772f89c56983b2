#include "eventlog/kafka/message.h"

#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>

#include <chrono>
#include <string>

namespace sluice::eventlog {
namespace {

SystemTime Micros(int64_t micros) { return SystemTime(std::chrono::microseconds(micros)); }

TEST(KafkaMessageTest, TimesAreWrittenInUtcWithMicroseconds) {
  EXPECT_EQ(FormatTime(Micros(0)), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(FormatTime(Micros(1'769'850'300'000'250)), "2026-01-31T09:05:00.000250Z");
  EXPECT_EQ(FormatTime(Micros(1'709'251'199'999'999)), "2024-02-29T23:59:59.999999Z");
  EXPECT_EQ(FormatTime(Micros(-1)), "1969-12-31T23:59:59.999999Z");
}

TEST(KafkaMessageTest, WhatIsWrittenIsReadBack) {
  for (const int64_t micros : {int64_t{0}, int64_t{-1}, int64_t{1'769'850'300'000'250},
                               int64_t{253'402'300'799'999'999}}) {
    SystemTime time;
    EXPECT_TRUE(ParseTime(FormatTime(Micros(micros)), &time));
    EXPECT_EQ(time, Micros(micros));
  }
}

TEST(KafkaMessageTest, TimesOfOtherProducersAreRead) {
  const SystemTime expected = Micros(1'769'850'300'000'000);
  for (const std::string text :
       {"2026-01-31T09:05:00Z", "2026-01-31t09:05:00z", "2026-01-31 09:05:00.0Z",
        "2026-01-31T10:05:00+01:00", "2026-01-31T03:35:00.000000-05:30",
        "2026-01-31T09:05:00.0000009Z", "2026-01-30T23:05:00-10:00"}) {
    SystemTime time;
    EXPECT_TRUE(ParseTime(text, &time)) << text;
    EXPECT_EQ(time, expected) << text;
  }
}

TEST(KafkaMessageTest, WhatIsNoTimeIsRefused) {
  for (const std::string text :
       {"", "now", "2026-01-31", "2026-01-31T09:05:00", "2026-02-30T09:05:00Z",
        "2026-01-31T24:05:00Z", "2026-01-31T09:60:00Z", "2026-01-31T09:05:00.Z",
        "2026-01-31T09:05:00+0100", "2026-01-31T09:05:00+24:00", "2026-1-31T09:05:00Z",
        "-026-01-31T09:05:00Z", "2026-01-31T09:05:00Z ", "2026-01-31T09:-5:00Z"}) {
    SystemTime time = Micros(1);
    EXPECT_FALSE(ParseTime(text, &time)) << text;
    EXPECT_EQ(time, SystemTime{}) << text;
  }
}

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

}  // namespace
}  // namespace sluice::eventlog
