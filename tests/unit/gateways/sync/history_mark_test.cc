#include "gateways/sync/history_mark.h"

#include <gtest/gtest.h>

namespace sluice::gateways {
namespace {

TEST(HistoryMarkTest, TextsStayAsTheyAre) {
  const HistoryMark mark{Offset(1043), 0x9f2c};
  EXPECT_EQ(mark.Text(), "1.1043.0000000000009f2c");
  EXPECT_EQ(HistoryMark::Parse(mark.Text()), mark);
  const HistoryMark longest{Offset(INT64_MAX), ~uint64_t{0}};
  EXPECT_LE(longest.Text().size(), 64u);
  EXPECT_EQ(HistoryMark::Parse(longest.Text()), longest);
}

TEST(HistoryMarkTest, WhatIsNoneOfOursIsNone) {
  for (const char* text :
       {"", "1", "1.", "1.1043", "1..0000000000009f2c", "2.1043.0000000000009f2c", "1.1043.9f2c",
        "1.01043.0000000000009f2c", "1.-1.0000000000009f2c", "1.1043.0000000000009F2C",
        "1.1043.0000000000009f2c.", "1.99999999999999999999.0000000000009f2c",
        "1.1043.x000000000009f2c"}) {
    EXPECT_EQ(HistoryMark::Parse(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace sluice::gateways
