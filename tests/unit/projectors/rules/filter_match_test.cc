#include <gmock/gmock.h>

#include "projectors/rules/filter_value.h"
#include "tests/unit/projectors/rules/filter_testing.h"

// What a condition says of a row.
namespace sluice::projectors {
namespace {

using testing::MustParse;
using testing::RowOf;

bool Matches(std::string_view where, std::string_view row) {
  const auto filter = MustParse(where);
  const auto& condition = filter->alternatives()[0].condition;
  if (condition == nullptr) {
    return true;
  }
  const auto matches = condition->Matches(RowOf(row));
  EXPECT_TRUE(matches.ok()) << matches.status();
  return matches.ok() && *matches;
}

// What `where` is: true where it matches, false where its negation does, null where neither does.
std::string TruthOf(const std::string& where, std::string_view row) {
  const bool yes = Matches(where, row);
  const bool no = Matches("not (" + where + ")", row);
  EXPECT_FALSE(yes && no) << where;
  return yes ? "true" : no ? "false" : "null";
}

TEST(FilterMatch, Strings) {
  constexpr std::string_view kRow = R"({"a1":"Contoso","a10":"Zoë"})";
  EXPECT_TRUE(Matches("a1 eq 'Contoso'", kRow));
  EXPECT_FALSE(Matches("a1 eq 'contoso'", kRow));
  EXPECT_TRUE(Matches("a1 ne 'contoso'", kRow));
  EXPECT_TRUE(Matches("a1 lt 'a'", kRow));  // by bytes: capitals come first
  EXPECT_TRUE(Matches("a10 gt 'Zoz'", kRow));
  EXPECT_TRUE(Matches("a1 lt a10", kRow));
  EXPECT_TRUE(Matches("contains(a1,'tos') and startswith(a1,'Con') and endswith(a1,'so')", kRow));
  EXPECT_FALSE(Matches("contains(a1,'TOS')", kRow));
  EXPECT_FALSE(Matches("startswith(a1,'on')", kRow));
  EXPECT_FALSE(Matches("endswith(a1,'os')", kRow));
  EXPECT_TRUE(Matches("contains(a1,'') and startswith(a1,a1)", kRow));
  EXPECT_TRUE(Matches("startswith('Contoso Ltd',a1)", kRow));
  EXPECT_TRUE(Matches("a1 in ('x','Contoso')", kRow));
  EXPECT_FALSE(Matches("a1 in ('x','y')", kRow));
}

TEST(FilterMatch, ExactNumbersCompareByValueAcrossTypes) {
  constexpr std::string_view kRow =
      R"({"a2":-7,"a3":"9007199254740993","a5":"9007199254740993.5","a16":"-7"})";
  EXPECT_TRUE(Matches("a3 lt a5 and a5 gt a3 and a2 eq a16 and a2 lt a3", kRow));
  EXPECT_TRUE(Matches("a3 eq 9007199254740993 and a3 ne 9007199254740992", kRow));
  EXPECT_TRUE(Matches("a3 gt 9007199254740992.999999 and a3 lt 9007199254740993.000001", kRow));
  EXPECT_TRUE(Matches("a2 eq -7.0 and a2 gt -7.5 and a2 lt -6.5", kRow));
  EXPECT_TRUE(Matches("a3 lt 1e37 and a3 gt -1e37 and a2 ne 3000000000", kRow));
  EXPECT_TRUE(Matches("a2 in (1,-7.00)", kRow));
  EXPECT_TRUE(Matches("a5 le 9007199254740993.50 and a5 ge '9007199254740993.5'", kRow));
}

TEST(FilterMatch, DecimalsCompareByValue) {
  const std::vector<std::string> ascending = {"-12.5", "-12", "-2", "-0.5", "-0.05", "0",
                                              "0.05",  "0.5", "2",  "2.25", "12",    "12.5"};
  for (size_t i = 0; i < ascending.size(); ++i) {
    for (size_t j = 0; j < ascending.size(); ++j) {
      const int expected = i < j ? -1 : i > j ? 1 : 0;
      EXPECT_EQ(CompareDecimals(ascending[i], ascending[j]), expected)
          << ascending[i] << " " << ascending[j];
    }
  }
}

TEST(FilterMatch, Doubles) {
  constexpr std::string_view kRow = R"({"a4":0.1,"a12":1e300})";
  EXPECT_TRUE(Matches("a4 eq 0.1 and a4 lt a12 and a12 lt INF and a4 gt -INF", kRow));
  EXPECT_FALSE(Matches("a4 eq NaN or a4 lt NaN or a4 ge NaN or a4 in (NaN)", kRow));
  EXPECT_TRUE(Matches("a4 ne NaN", kRow));
  EXPECT_TRUE(Matches("NaN ne NaN and INF eq INF", kRow));
}

TEST(FilterMatch, OtherTypes) {
  constexpr std::string_view kRow =
      R"({"a6":true,"a7":"2026-01-31T10:00:00Z","a8":"1b4e28ba-2fa1-11d2-883f-0016d3cca427",
          "a9":"AAE=","a13":"1969-12-31T23:59:59Z","a17":"2026-01-31","a18":"10:00:00.5",
          "a19":"0001-01-01","a20":"23:59:59.999999"})";
  EXPECT_TRUE(Matches("a6", kRow));
  EXPECT_TRUE(Matches("a6 eq true and a6 ne false", kRow));
  EXPECT_TRUE(Matches("a7 eq 2026-01-31T11:00:00+01:00 and a7 gt a13", kRow));
  EXPECT_TRUE(Matches("a13 lt 1970-01-01T00:00:00Z", kRow));
  EXPECT_TRUE(Matches("a17 eq 2026-01-31 and a17 gt a19 and a17 le '2026-01-31'", kRow));
  EXPECT_TRUE(Matches("a19 lt 1969-12-31 and a19 ne 9999-12-31 and a19 in (0001-01-01)", kRow));
  EXPECT_FALSE(Matches("a17 gt 2026-01-31 or a17 lt 2026-01-31 or a17 eq null", kRow));
  EXPECT_TRUE(Matches("a18 eq 10:00:00.500 and a18 lt a20 and a18 gt '10:00:00'", kRow));
  EXPECT_TRUE(Matches("a20 le 23:59:59.9999999 and a20 ge 00:00:00", kRow));
  EXPECT_FALSE(Matches("a18 ge 10:00:00.500001 or a18 in (10:00:00,null)", kRow));
  EXPECT_TRUE(Matches("a8 eq 1B4E28BA-2fa1-11d2-883f-0016d3cca427", kRow));
  EXPECT_TRUE(Matches("a9 eq binary'AAE=' and a9 ne binary'AAI='", kRow));
}

TEST(FilterMatch, NullEqualsNullAndIsInNoOrder) {
  constexpr std::string_view kRow = R"({"a2":1})";  // all others are null
  EXPECT_EQ(TruthOf("a1 eq null", kRow), "true");
  EXPECT_EQ(TruthOf("a1 ne null", kRow), "false");
  EXPECT_EQ(TruthOf("a1 eq 'x'", kRow), "false");
  EXPECT_EQ(TruthOf("a1 ne 'x'", kRow), "true");
  EXPECT_EQ(TruthOf("a1 eq a10", kRow), "true");
  EXPECT_EQ(TruthOf("a2 eq a3", kRow), "false");
  EXPECT_EQ(TruthOf("a2 ne a3", kRow), "true");
  EXPECT_EQ(TruthOf("null eq null", kRow), "true");
  EXPECT_EQ(TruthOf("null ne 'x'", kRow), "true");
  for (const char* comparison : {"gt", "ge", "lt", "le"}) {
    EXPECT_EQ(TruthOf(std::string("a1 ") + comparison + " 'x'", kRow), "false");
    EXPECT_EQ(TruthOf(std::string("a1 ") + comparison + " a10", kRow), "false");
    EXPECT_EQ(TruthOf(std::string("a2 ") + comparison + " null", kRow), "false");
  }
  EXPECT_EQ(TruthOf("a1 in ('x',null)", kRow), "true");
  EXPECT_EQ(TruthOf("a1 in ('x','y')", kRow), "false");
  EXPECT_EQ(TruthOf("contains(a1,'x')", kRow), "null");
  EXPECT_EQ(TruthOf("startswith('x',a1)", kRow), "null");
  EXPECT_EQ(TruthOf("a6", kRow), "null");
  EXPECT_EQ(TruthOf("a6 eq null", kRow), "true");
  EXPECT_EQ(TruthOf("contains(a1,'x') eq null", kRow), "true");
  EXPECT_EQ(TruthOf("(a6 and a11) eq contains(a1,'x')", kRow), "true");
}

TEST(FilterMatch, LogicIsThreeValued) {
  // a6: the left operand, a11: the right one.
  const std::vector<std::string> values = {"true", "false", "null"};
  const std::vector<std::vector<std::string>> conjunction = {
      {"true", "false", "null"}, {"false", "false", "false"}, {"null", "false", "null"}};
  const std::vector<std::vector<std::string>> disjunction = {
      {"true", "true", "true"}, {"true", "false", "null"}, {"true", "null", "null"}};
  const std::vector<std::string> negation = {"false", "true", "null"};
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      const std::string row = R"({"a6":)" + values[i] + R"(,"a11":)" + values[j] + "}";
      EXPECT_EQ(TruthOf("a6 and a11", row), conjunction[i][j]) << row;
      EXPECT_EQ(TruthOf("a6 or a11", row), disjunction[i][j]) << row;
      EXPECT_EQ(TruthOf("not a6", row), negation[i]) << row;
      // The same of literals, which are folded while parsing.
      EXPECT_EQ(TruthOf("a6 and " + values[j], row), conjunction[i][j]) << row;
      EXPECT_EQ(TruthOf(values[i] + " or a11", row), disjunction[i][j]) << row;
      EXPECT_EQ(TruthOf(values[i] + " and " + values[j], row), conjunction[i][j]) << row;
      EXPECT_EQ(TruthOf(values[i] + " or " + values[j], row), disjunction[i][j]) << row;
    }
  }
}

TEST(FilterMatch, BytesThatAreNoRowAreDataLoss) {
  const auto filter = MustParse("a5 gt 1");
  const auto matches = [&filter](std::string_view row) {
    return filter->alternatives()[0].condition->Matches(row);
  };
  for (const std::string& row : {std::string("\xff"), std::string("\x0a\x05x"),
                                 std::string("\x28\x01"),  // a5 as a varint
                                 std::string("\x2a\x03"
                                             "1.0")}) {  // not a canonical decimal
    EXPECT_EQ(ErrorCode(matches(row).status()), "malformed_row");
    EXPECT_EQ(matches(row).status().code(), absl::StatusCode::kDataLoss);
  }
  const auto date = MustParse("a17 gt 1970-01-01 or a18 gt 00:00:00");
  for (const std::string row : {"\x88\x01\xf5\xe4\x57",                 // the year 0000
                                "\x90\x01\x80\xc0\xdd\xee\xc1\x02"}) {  // the next day's 00:00:00
    EXPECT_EQ(ErrorCode(date->alternatives()[0].condition->Matches(row).status()), "malformed_row");
  }
  EXPECT_TRUE(*matches(RowOf(R"({"a1":"x","a5":"2","a6":true,"a16":"9"})")));
  EXPECT_FALSE(*matches(""));
}

}  // namespace
}  // namespace sluice::projectors
