#include "schemas/base/time_of_day.h"

#include <gtest/gtest.h>

#include "schemas/base/status.h"

namespace sluice {
namespace {

TEST(TimeOfDayTest, ATimeIsCountedFromMidnight) {
  const std::pair<const char*, int64_t> times[] = {{"00:00:00.000000", 0},
                                                   {"00:00:00.000001", 1},
                                                   {"00:00:59.999999", 59'999'999},
                                                   {"00:01:00.000000", 60'000'000},
                                                   {"10:00:00.500000", 36'000'500'000},
                                                   {"23:59:59.999999", kTimeOfDayMax}};
  for (const auto& [text, micros] : times) {
    const auto read = ParseTimeOfDay(text);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, micros) << text;
    EXPECT_EQ(FormatTimeOfDay(micros), text);
  }
}

TEST(TimeOfDayTest, AFractionMayBeShorterAndIsCutToMicroseconds) {
  const std::pair<const char*, const char*> times[] = {
      {"10:00:00", "10:00:00.000000"},
      {"10:00:00.5", "10:00:00.500000"},
      {"10:00:00.1234567", "10:00:00.123456"},
      {"10:00:00.0000009", "10:00:00.000000"},
      {"23:59:59.999999999", "23:59:59.999999"},
      {"23:59:59.99999999999999999999999999999999", "23:59:59.999999"}};
  for (const auto& [text, cut] : times) {
    EXPECT_EQ(FormatTimeOfDay(ParseTimeOfDay(text).value_or(0)), cut) << text;
  }
}

TEST(TimeOfDayTest, WhatIsNoTimeIsRefused) {
  for (const char* text : {"",
                           "noon",
                           "10",
                           "10:00",
                           "10:00:",
                           "10:00:0",
                           "1:00:00",
                           "10:00:00.",
                           "10:00:00.x",
                           "10:00:00.5x",
                           "10:00:00,5",
                           "10:00:00Z",
                           "10:00:00+01:00",
                           "10:00:00 ",
                           " 10:00:00",
                           "T10:00:00",
                           "24:00:00",
                           "23:59:60",
                           "10:60:00",
                           "-1:00:00",
                           "10:-1:00",
                           "10.00.00",
                           "2026-01-31T10:00:00Z"}) {
    EXPECT_EQ(ErrorCode(ParseTimeOfDay(text).status()), "type_mismatch") << text;
  }
}

}  // namespace
}  // namespace sluice
