#include "schemas/base/date.h"

#include <gtest/gtest.h>

#include "schemas/base/status.h"

namespace sluice {
namespace {

TEST(DateTest, ADayIsCountedFrom1970) {
  const std::pair<const char*, int64_t> dates[] = {
      {"0001-01-01", kDateMin}, {"1969-12-31", -1},     {"1970-01-01", 0},       {"1970-03-01", 59},
      {"2000-02-29", 11'016},   {"2026-01-31", 20'484}, {"9999-12-31", kDateMax}};
  for (const auto& [text, days] : dates) {
    const auto read = ParseDate(text);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, days) << text;
    EXPECT_EQ(FormatDate(days), text);
  }
}

TEST(DateTest, EveryDayIsAboveTheOneBefore) {
  std::string before = FormatDate(kDateMin);
  for (int64_t days = kDateMin + 1; days <= kDateMax; ++days) {
    const std::string text = FormatDate(days);
    ASSERT_LT(before, text);
    ASSERT_EQ(ParseDate(text).value_or(0), days) << text;
    before = text;
  }
}

TEST(DateTest, WhatIsNoDateIsRefused) {
  for (const char* text : {"",
                           "today",
                           "2026-01-31T00:00:00Z",
                           "2026-01-31Z",
                           "2026-01-31 ",
                           " 2026-01-31",
                           "2026-1-31",
                           "2026-01-3",
                           "26-01-31",
                           "02026-01-31",
                           "-026-01-31",
                           "+2026-01-31",
                           "2026/01/31",
                           "2026-0131",
                           "20260131",
                           "2026-W05-6",
                           "2026-02-30",
                           "2025-02-29",
                           "1900-02-29",
                           "2026-00-10",
                           "2026-13-10",
                           "2026-01-00",
                           "0000-12-31"}) {
    EXPECT_EQ(ErrorCode(ParseDate(text).status()), "type_mismatch") << text;
  }
  EXPECT_EQ(Message(ParseDate("2025-02-29").status()), "names a day that does not exist");
  EXPECT_EQ(Message(ParseDate("0000-01-01").status()), "lies outside the years 0001 to 9999");
}

}  // namespace
}  // namespace sluice
