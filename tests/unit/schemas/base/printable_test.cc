#include "schemas/base/printable.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sluice {
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

TEST(PrintableMessageTest, TextStaysAsItIs) {
  for (const char* text : {"", "abc", "Zürich", "日本語 🎉", "\"a\\b\""}) {
    EXPECT_EQ(PrintableMessage(text), text);
  }
}

TEST(PrintableMessageTest, WhatATerminalActsOnIsSpelledOut) {
  EXPECT_EQ(PrintableMessage("\x1b]0;x\a"), "\\x1b]0;x\\x07");
  EXPECT_EQ(PrintableMessage(std::string_view("a\0b\r\n\t\x7f", 7)), "a\\x00b\\x0d\\x0a\\x09\\x7f");
  EXPECT_EQ(PrintableMessage("\xc2\x9b"
                             "2J"),
            "\\u009b2J");  // C1: another way to write ESC [
  EXPECT_EQ(PrintableMessage("a\xe2\x80\xae"
                             "b\xe2\x81\xa6"),
            "a\\u202eb\\u2066");  // right to left
  EXPECT_EQ(PrintableMessage("\xe2\x80\xa8\xef\xbb\xbf"), "\\u2028\\ufeff");
}

TEST(PrintableMessageTest, WhatIsNoUtf8IsSpelledOut) {
  EXPECT_EQ(PrintableMessage("\x9b"), "\\x9b");
  EXPECT_EQ(PrintableMessage("\xc0\x9b"), "\\xc0\\x9b");  // not the shortest form
  EXPECT_EQ(PrintableMessage("\xe0\x82\x9b"), "\\xe0\\x82\\x9b");
  EXPECT_EQ(PrintableMessage("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(PrintableMessage("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  EXPECT_EQ(PrintableMessage("\xe2\x80"), "\\xe2\\x80");
  EXPECT_EQ(PrintableMessage("\xff"), "\\xff");
}

TEST(CutTextTest, NoCharacterIsCutInTwo) {
  EXPECT_EQ(CutText("abc", 3), "abc");
  EXPECT_EQ(CutText("abc", 2), "ab");
  EXPECT_EQ(CutText("abc", 0), "");
  const std::string text = "a\xc3\xb6\xe2\x82\xac\xf0\x9f\x98\x80z";  // 1, 2, 3, 4 bytes and 1
  const size_t ends[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};
  for (size_t max = 0; max < std::size(ends); ++max) {
    EXPECT_EQ(CutText(text, max).size(), ends[max]) << max;
  }
  // What is no text is cut where it is.
  EXPECT_EQ(CutText(std::string(9, '\x80'), 7).size(), 7U);
}

TEST(PrintableMessageTest, LongTextIsCut) {
  EXPECT_EQ(PrintableMessage("aaaaaa", 3), "aaa…");
  EXPECT_EQ(PrintableMessage("aaa", 3), "aaa");
}

}  // namespace
}  // namespace sluice
