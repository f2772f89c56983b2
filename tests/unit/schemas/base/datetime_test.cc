#include "schemas/base/datetime.h"

#include <gtest/gtest.h>

#include <string>

#include "schemas/base/status.h"

namespace sluice {
namespace {

constexpr int64_t kTime = 1'769'850'300'000'000;  // 2026-01-31T09:05:00Z

TEST(DatetimeTest, TimesAreWrittenInUtcWithMicroseconds) {
  EXPECT_EQ(FormatDatetime(0), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(FormatDatetime(kTime + 250), "2026-01-31T09:05:00.000250Z");
  EXPECT_EQ(FormatDatetime(1'709'251'199'999'999), "2024-02-29T23:59:59.999999Z");
  EXPECT_EQ(FormatDatetime(-1), "1969-12-31T23:59:59.999999Z");
}

TEST(DatetimeTest, WhatIsWrittenIsReadBack) {
  for (const int64_t micros : {int64_t{0}, int64_t{-1}, kTime + 250, kDatetimeMin, kDatetimeMax}) {
    for (const DatetimeForm form : {DatetimeForm::kStrict, DatetimeForm::kNoted}) {
      const auto read = ParseDatetime(FormatDatetime(micros), form);
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_EQ(*read, micros);
    }
  }
}

TEST(DatetimeTest, EveryOffsetAndFractionIsRead) {
  for (const char* text : {"2026-01-31T09:05:00Z", "2026-01-31t09:05:00z", "2026-01-31T09:05:00.0Z",
                           "2026-01-31T10:05:00+01:00", "2026-01-31T03:35:00.000000-05:30",
                           "2026-01-31T09:05:00.0000000Z", "2026-01-30T23:05:00-10:00"}) {
    EXPECT_EQ(ParseDatetime(text).value_or(0), kTime) << text;
    EXPECT_EQ(ParseDatetime(text, DatetimeForm::kNoted).value_or(0), kTime) << text;
  }
}

// .NET writes seven digits, Java nine.
TEST(DatetimeTest, WhatIsFinerThanAMicrosecondIsCut) {
  const std::pair<const char*, const char*> times[] = {
      {"2026-01-31T09:05:00.1234567Z", "2026-01-31T09:05:00.123456Z"},
      {"2026-01-31T09:05:00.123456789Z", "2026-01-31T09:05:00.123456Z"},
      {"2026-12-31T23:59:59.9999999+00:00", "2026-12-31T23:59:59.999999Z"},
      {"1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"},
      {"1969-12-31T23:59:58.0000009-00:00", "1969-12-31T23:59:58.000000Z"},
      {"9999-12-31T23:59:59.99999999999999999999999999999999Z", "9999-12-31T23:59:59.999999Z"},
      {"0001-01-01T01:00:00.0000001+01:00", "0001-01-01T00:00:00.000000Z"}};
  for (const auto& [text, cut] : times) {
    for (const DatetimeForm form : {DatetimeForm::kStrict, DatetimeForm::kNoted}) {
      const auto read = ParseDatetime(text, form);
      ASSERT_TRUE(read.ok()) << text << ": " << read.status();
      EXPECT_EQ(FormatDatetime(*read), cut);
    }
  }
}

TEST(DatetimeTest, ANotedTimeMayHaveABlankAndALeapSecond) {
  for (const char* text : {"2026-01-31 09:05:00.0Z", "2026-01-31T09:04:60Z"}) {
    EXPECT_EQ(ParseDatetime(text, DatetimeForm::kNoted).value_or(0), kTime) << text;
    EXPECT_EQ(ErrorCode(ParseDatetime(text).status()), "type_mismatch") << text;
  }
}

TEST(DatetimeTest, WhatIsNoTimeIsRefused) {
  for (const char* text :
       {"", "now", "2026-01-31", "2026-01-31T09:05:00", "2026-02-30T09:05:00Z",
        "2026-01-31T24:05:00Z", "2026-01-31T09:60:00Z", "2026-01-31T09:05:61Z",
        "2026-01-31T09:05:00.Z", "2026-01-31T09:05:00+0100", "2026-01-31T09:05:00+24:00",
        "2026-1-31T09:05:00Z", "-026-01-31T09:05:00Z", "2026-01-31T09:05:00Z ", "2026-01-31T",
        "2026-01-31T09:05Z", "2026-01-31Q09:05:00Z", "2026-01-31T09:05:00.5",
        "2026-01-31T09:-5:00Z"}) {
    for (const DatetimeForm form : {DatetimeForm::kStrict, DatetimeForm::kNoted}) {
      EXPECT_EQ(ErrorCode(ParseDatetime(text, form).status()), "type_mismatch") << text;
    }
  }
}

// An event's time is part of what the event is compared by.
TEST(DatetimeTest, AYearThatNoDatetimeHasIsReadWhereItWasNoted) {
  for (const char* text : {"0000-12-31T00:00:00Z", "9999-12-31T23:59:59-00:01"}) {
    EXPECT_EQ(ErrorCode(ParseDatetime(text).status()), "type_mismatch") << text;
  }
  EXPECT_EQ(ParseDatetime("9999-12-31T23:59:59-00:01", DatetimeForm::kNoted).value(),
            253'402'300'859'000'000);
  EXPECT_EQ(ParseDatetime("0000-12-31T00:00:00Z", DatetimeForm::kNoted).value(),
            kDatetimeMin - 86'400'000'000);
}

}  // namespace
}  // namespace sluice
