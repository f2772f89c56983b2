#include "ops/program/printable.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sluice::ops {
namespace {

TEST(PrintableTest, TextOfAnyScriptStaysAsItIs) {
  for (const char* text :
       {"", "acme", "back\\slash \"quoted\"", "Žluťoučký kůň", "株式会社", "🙂"}) {
    EXPECT_EQ(Printable(text), text);
    EXPECT_EQ(PrintableLines(text), text);
  }
}

TEST(PrintableTest, ControlsOfATerminalAreShown) {
  EXPECT_EQ(Printable("\033[2J\r\nx\t\b\x7f"), "\\u001b[2J\\u000d\\u000ax\\u0009\\u0008\\u007f");
  EXPECT_EQ(Printable(std::string_view("a\0b", 3)), "a\\u0000b");
  EXPECT_EQ(Printable("\u009b31m"), "\\u009b31m");  // the C1 form of ESC [
}

TEST(PrintableTest, WhatTurnsTheReadingDirectionIsShown) {
  EXPECT_EQ(Printable("\u202Egpj.exe"), "\\u202egpj.exe");
  EXPECT_EQ(Printable("\u2066a\u2069\u200F\u061C\u2028"), "\\u2066a\\u2069\\u200f\\u061c\\u2028");
  EXPECT_EQ(Printable("שלום"), "שלום");  // letters that go that way are no control
}

TEST(PrintableTest, BytesThatAreNoUtf8AreShown) {
  EXPECT_EQ(Printable("a\xff\xc3"), "a\\xff\\xc3");
  EXPECT_EQ(Printable("\xc0\x9b"), "\\xc0\\x9b");  // overlong
  EXPECT_EQ(Printable("\x9b"
                      "31m"),
            "\\x9b31m");  // what an 8-bit terminal takes for ESC [
}

TEST(PrintableTest, LinesKeepTheirEndsAndNothingElse) {
  EXPECT_EQ(PrintableLines("a\n\tb\r\n\033c"), "a\n\tb\\u000d\n\\u001bc");
}

TEST(PrintableTest, JsonMeansTheSame) {
  const std::string text =
      "{\r\n\t\"name\": \"x\u202Ey\u009b\x7f\", \"escaped\": \"\\u001b\\n\", \"n\": 1}";
  const std::string shown = PrintableJson(text);
  EXPECT_EQ(nlohmann::json::parse(shown), nlohmann::json::parse(text));
  EXPECT_EQ(shown,
            "{ \n\t\"name\": \"x\\u202ey\\u009b\\u007f\", \"escaped\": \"\\u001b\\n\", \"n\": 1}");
  EXPECT_EQ(PrintableJson("\"\xff\""), "\"\\ufffd\"");
}

TEST(PrintableTest, WidthIsInColumns) {
  EXPECT_EQ(DisplayWidth("acme"), 4);
  EXPECT_EQ(DisplayWidth("kůň"), 3);
  EXPECT_EQ(DisplayWidth("株式"), 4);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1);
  EXPECT_EQ(PadRight("株", 4), "株  ");
  EXPECT_EQ(PadRight("longer", 3), "longer");
}

}  // namespace
}  // namespace sluice::ops
