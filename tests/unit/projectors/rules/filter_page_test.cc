#include <gmock/gmock.h>

#include <fstream>

#include "tests/unit/projectors/rules/filter_testing.h"

// The examples of projectors/docs/filters.md are true. SLUICE_FILTERS_PAGE is its path.
namespace sluice::projectors {
namespace {

std::vector<std::string> LinesOfPage() {
  std::ifstream page(SLUICE_FILTERS_PAGE);
  std::vector<std::string> lines;
  for (std::string line; std::getline(page, line);) {
    lines.push_back(line);
  }
  return lines;
}

// The cells of a row of a table, without the backticks around a whole cell.
std::vector<std::string> CellsOf(const std::string& line) {
  std::vector<std::string> cells;
  size_t at = 2;
  for (size_t bar = line.find(" |", at); bar != std::string::npos; bar = line.find(" |", at)) {
    std::string cell = line.substr(at, bar - at);
    if (cell.size() > 1 && cell.front() == '`' && cell.back() == '`') {
      cell = cell.substr(1, cell.size() - 2);
    }
    cells.push_back(cell);
    at = bar + 3;
  }
  return cells;
}

// Where the line `title` stands; the end of the page is a failure.
size_t Find(const std::vector<std::string>& lines, std::string_view title) {
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].starts_with(title)) {
      return i;
    }
  }
  ADD_FAILURE() << "the page has no line " << title;
  return lines.size();
}

TEST(FilterPage, ErrorsAreAsShown) {
  const auto schema = schemas::testing::MakeSchema("order", R"({"primary_key":"id","attributes":[
      {"name":"id","type":"string"},{"name":"status","type":"string"},
      {"name":"size","type":"int32"},{"name":"ownerid","type":"string"}]})");
  const std::vector<std::string> lines = LinesOfPage();
  int seen = 0;
  for (size_t i = Find(lines, "| where | column |") + 2; i < lines.size(); ++i, ++seen) {
    const std::vector<std::string> cells = CellsOf(lines[i]);
    ASSERT_EQ(cells.size(), 3U) << lines[i];
    const auto filter = Filter::Parse(cells[0], *schema);
    ASSERT_FALSE(filter.ok()) << cells[0];
    EXPECT_EQ(std::to_string(ErrorColumn(filter.status()).value_or(0)), cells[1]) << cells[0];
    EXPECT_EQ(Message(filter.status()), "at column " + cells[1] + ": " + cells[2]);
  }
  EXPECT_GT(seen, 5);
}

TEST(FilterPage, TheSplitIsAsShown) {
  const auto schema = schemas::testing::MakeSchema("order", R"({"primary_key":"id","attributes":[
      {"name":"id","type":"string"},{"name":"ownerid","type":"string"},
      {"name":"regionid","type":"string"},{"name":"status","type":"string"}]})");
  const std::vector<std::string> lines = LinesOfPage();
  const size_t at = Find(lines, "    (ownerid eq @user or");
  const auto filter = testing::ValueOrDie(Filter::Parse(lines.at(at), *schema));
  const size_t first = Find(lines, "    a2 eq @user and");
  ASSERT_EQ(filter->alternatives().size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ("    " + filter->alternatives()[i].canonical, lines.at(first + i));
  }
}

}  // namespace
}  // namespace sluice::projectors
