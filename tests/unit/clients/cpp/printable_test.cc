#include "clients/cpp/printable.h"

#include <gtest/gtest.h>

namespace sluice::client {
namespace {

TEST(PrintableTest, TextStaysAsItIs) {
  for (const char* text : {"", "abc", "Zürich", "日本語 🎉", "\"a\\b\""}) {
    EXPECT_EQ(Printable(text), text);
  }
}

TEST(PrintableTest, WhatATerminalActsOnIsSpelledOut) {
  EXPECT_EQ(Printable("\x1b]0;x\a"), "\\x1b]0;x\\x07");
  EXPECT_EQ(Printable(std::string_view("a\0b\r\n\t\x7f", 7)), "a\\x00b\\x0d\\x0a\\x09\\x7f");
  EXPECT_EQ(Printable("\xc2\x9b"
                      "2J"),
            "\\u009b2J");  // C1: another way to write ESC [
  EXPECT_EQ(Printable("a\xe2\x80\xae"
                      "b\xe2\x81\xa6"),
            "a\\u202eb\\u2066");  // right to left
  EXPECT_EQ(Printable("\xe2\x80\xa8\xef\xbb\xbf"), "\\u2028\\ufeff");
}

TEST(PrintableTest, WhatIsNoUtf8IsSpelledOut) {
  EXPECT_EQ(Printable("\x9b"), "\\x9b");
  EXPECT_EQ(Printable("\xc0\x9b"), "\\xc0\\x9b");  // not the shortest form
  EXPECT_EQ(Printable("\xe0\x82\x9b"), "\\xe0\\x82\\x9b");
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  EXPECT_EQ(Printable("\xe2\x80"), "\\xe2\\x80");
  EXPECT_EQ(Printable("\xff"), "\\xff");
}

TEST(PrintableTest, LongTextIsCut) {
  EXPECT_EQ(Printable("aaaaaa", 3), "aaa…");
  EXPECT_EQ(Printable("aaa", 3), "aaa");
}

}  // namespace
}  // namespace sluice::client
