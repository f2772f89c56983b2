#include "schemas/base/ascii.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice {
namespace {

TEST(AsciiTest, ClassesAreThoseOfAscii) {
  std::string digits;
  std::string letters;
  for (int i = 0; i < 256; ++i) {
    const char c = static_cast<char>(i);
    EXPECT_EQ(IsLetterOrDigit(c), IsLetter(c) || IsDigit(c)) << i;
    digits += IsDigit(c) ? std::string(1, c) : "";
    letters += IsLetter(c) ? std::string(1, c) : "";
  }
  EXPECT_EQ(digits, "0123456789");
  EXPECT_EQ(letters, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
}

// In a locale of Turkish, "I" has another small letter; in one of Latin-1, 0xc4 has one.
TEST(AsciiTest, CaseIsThatOfAsciiLettersAlone) {
  EXPECT_EQ(ToLower("AZ@[`{az-\xc4\xe4"), "az@[`{az-\xc4\xe4");
  EXPECT_TRUE(EqualsIgnoringCase("Content-TYPE", "content-type"));
  EXPECT_TRUE(EqualsIgnoringCase("", ""));
  EXPECT_FALSE(EqualsIgnoringCase("a", "ab"));
  EXPECT_FALSE(EqualsIgnoringCase("@", "`"));
  EXPECT_FALSE(EqualsIgnoringCase("\xc4", "\xe4"));
}

TEST(AsciiTest, BlanksAreTakenOffBothEnds) {
  EXPECT_EQ(TrimBlanks(" \t a b\t "), "a b");
  EXPECT_EQ(TrimBlanks(" \t "), "");
  EXPECT_EQ(TrimBlanks(""), "");
  EXPECT_EQ(TrimBlanks(" a\r\n"), "a\r\n");
  EXPECT_EQ(TrimBlanks(" a\r\n", " \t\r\n"), "a");
}

}  // namespace
}  // namespace sluice
