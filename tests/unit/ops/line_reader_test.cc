#include "ops/program/line_reader.h"

#include <gtest/gtest.h>

#include <sstream>
#include <vector>

namespace sluice::ops {
namespace {

std::vector<std::pair<uint64_t, std::string>> Read(const std::string& text,
                                                   size_t bytes_max = 100) {
  std::istringstream in(text);
  LineReader reader(in, bytes_max);
  std::vector<std::pair<uint64_t, std::string>> lines;
  while (const auto line = reader.Next()) {
    lines.emplace_back(line->number, line->too_long ? "(too long)" : line->text);
  }
  EXPECT_EQ(reader.bytes_read(), text.size());
  EXPECT_FALSE(reader.failed());
  return lines;
}

using Lines = std::vector<std::pair<uint64_t, std::string>>;

TEST(LineReaderTest, CountsEveryLineAndGivesThoseWithSomethingInThem) {
  EXPECT_EQ(Read(""), Lines{});
  EXPECT_EQ(Read("\n\n"), Lines{});
  EXPECT_EQ(Read("a\n\n \t\nb\r\n\r\nc"), (Lines{{1, "a"}, {4, "b"}, {6, "c"}}));
  EXPECT_EQ(Read("a\n"), (Lines{{1, "a"}}));
}

TEST(LineReaderTest, AByteOrderMarkIsNoPartOfTheFirstLine) {
  EXPECT_EQ(Read("\xEF\xBB\xBF{}\n{}\n"), (Lines{{1, "{}"}, {2, "{}"}}));
}

TEST(LineReaderTest, ALineThatIsTooLongIsToldAndNotHeld) {
  EXPECT_EQ(Read(std::string(101, 'x') + "\nb\n" + std::string(100, 'y')),
            (Lines{{1, "(too long)"}, {2, "b"}, {3, std::string(100, 'y')}}));
}

TEST(LineReaderTest, LinesMayEndAnywhereInWhatIsReadAtATime) {
  Lines expected;
  std::string text;
  for (uint64_t i = 1; i <= 3'000; ++i) {
    expected.emplace_back(i, std::string(i % 997 + 1, 'z'));
    text += expected.back().second + "\n";
  }
  EXPECT_EQ(Read(text, 1'000), expected);
}

}  // namespace
}  // namespace sluice::ops
