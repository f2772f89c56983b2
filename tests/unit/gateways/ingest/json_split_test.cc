#include "gateways/ingest/json_split.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

namespace sluice::gateways {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Lines(const std::vector<std::string>& pieces, size_t limit = 100) {
  std::vector<std::string> lines;
  const auto sink = [&](std::string_view line, bool too_long) {
    lines.push_back(too_long ? "<too long>" : std::string(line));
  };
  LineSplitter splitter(limit);
  for (const std::string& piece : pieces) {
    splitter.Feed(piece, sink);
  }
  splitter.Finish(sink);
  return lines;
}

TEST(LineSplitterTest, CutsAtEveryPlace) {
  const std::string text = "one\r\n\n  two \nthree";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_THAT(Lines({text.substr(0, cut), text.substr(cut)}), ElementsAre("one", "two", "three"));
  }
}

TEST(LineSplitterTest, LongLinesAreToldAndTheNextGoesOn) {
  const std::string text = "12345\n123456\n1\n1234567";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_THAT(Lines({text.substr(0, cut), text.substr(cut)}, 5),
                ElementsAre("12345", "<too long>", "1", "<too long>"));
  }
}

std::vector<std::string> Elements(std::string_view json) {
  std::vector<std::string> elements;
  ForEachArrayElement(json, [&](std::string_view text) {
    elements.emplace_back(text);
    return true;
  });
  return elements;
}

TEST(ForEachArrayElementTest, StringsAndNesting) {
  EXPECT_THAT(Elements(" [ ] "), ElementsAre());
  EXPECT_THAT(Elements(R"([{"a":[1,2]}, "x,]\"" ,3])"),
              ElementsAre(R"({"a":[1,2]})", R"("x,]\"")", "3"));
}

}  // namespace
}  // namespace sluice::gateways
