#include <gmock/gmock.h>

#include "tests/unit/projectors/rules/filter_testing.h"

// What the grammar takes, in which order it reads it, and what it says of the rest.
namespace sluice::projectors {
namespace {

using testing::CanonicalOf;
using ::testing::ElementsAre;
using testing::FilterSchema;
using ::testing::HasSubstr;
using testing::MustParse;

struct Refusal {
  std::string code;
  uint32_t column = 0;
  std::string message;
};

Refusal RefusalOf(std::string_view where) {
  const auto filter = Filter::Parse(where, FilterSchema());
  if (filter.ok()) {
    return {"accepted", 0, ""};
  }
  EXPECT_EQ(filter.status().code(), absl::StatusCode::kInvalidArgument);
  const Refusal refusal{ErrorCode(filter.status()), ErrorColumn(filter.status()).value_or(0),
                        std::string(Message(filter.status()))};
  EXPECT_THAT(refusal.message, HasSubstr("at column " + std::to_string(refusal.column) + ": "));
  return refusal;
}

void ExpectRefused(std::string_view where, uint32_t column, const std::string& reason) {
  const Refusal refusal = RefusalOf(where);
  EXPECT_EQ(refusal.code, "invalid_filter") << where;
  EXPECT_EQ(refusal.column, column) << where << "\n" << refusal.message;
  EXPECT_THAT(refusal.message, HasSubstr(reason)) << where;
}

std::string Canonical(std::string_view where) {
  const auto texts = CanonicalOf(where);
  EXPECT_EQ(texts.size(), 1U) << where;
  return texts.front();
}

TEST(FilterParse, ReadsByODatasPrecedence) {
  EXPECT_EQ(Canonical("a2 eq 1 or a2 eq 2 and a3 eq 3"), "a2 eq 1 or a2 eq 2 and a3 eq 3");
  EXPECT_EQ(Canonical("(a2 eq 1 or a2 eq 2) and a3 eq 3"), "(a2 eq 1 or a2 eq 2) and a3 eq 3");
  // not binds tighter than a comparison, in tighter than not.
  EXPECT_EQ(Canonical("not a6 eq a11"), "a11 eq not a6");
  EXPECT_EQ(Canonical("not (a6 eq a11)"), "not (a6 eq a11)");
  EXPECT_EQ(Canonical("not a2 in (1,2)"), "not a2 in (1,2)");
  // gt ge lt le bind tighter than eq ne.
  EXPECT_EQ(Canonical("a6 eq a2 gt 1"), "a6 eq a2 gt 1");
  EXPECT_EQ(Canonical("a2 lt 1 ne a3 ge 2"), "a2 lt 1 ne a3 ge 2");
  // Each level is read from the left.
  EXPECT_EQ(Canonical("a2 eq 1 eq a6"), "a6 eq (a2 eq 1)");
  EXPECT_EQ(Canonical("a2 eq 1 eq (a3 eq 1)"), "a2 eq 1 eq (a3 eq 1)");
  EXPECT_EQ(Canonical("a2 in (1,2) in (true,null)"), "a2 in (1,2) in (null,true)");
}

TEST(FilterParse, TakesBlanksAndParenthesesAnywhere) {
  EXPECT_EQ(Canonical("  ( ( a2 )eq(1) )\t\n"), "a2 eq 1");
  EXPECT_EQ(Canonical("a2 in(1 ,2)and not(a6)"), "a2 in (1,2) and not a6");
  EXPECT_EQ(Canonical("contains( a1 , 'x' )"), "contains(a1,'x')");
}

TEST(FilterParse, CanonicalTextIsIndependentOfOrderAndForm) {
  EXPECT_EQ(Canonical("a2 eq 1 and a1 eq 'x'"), Canonical("'x' eq a1 and (1 eq a2 and 1 eq a2)"));
  EXPECT_EQ(Canonical("5 lt a2"), "a2 gt 5");
  EXPECT_EQ(Canonical("5 le a2"), "a2 ge 5");
  EXPECT_EQ(Canonical("a10 gt a1"), "a1 lt a10");
  EXPECT_EQ(Canonical("a1 in ('b','a','b')"), "a1 in ('a','b')");
  EXPECT_EQ(Canonical("a1 in ('b')"), "a1 eq 'b'");
  EXPECT_EQ(Canonical("not not a6"), "a6");
  EXPECT_EQ(Canonical("a6 or (a6 or (a11 or a6))"), "a11 or a6");
  EXPECT_EQ(Canonical("a6 and true"), "a6");
  EXPECT_EQ(Canonical("a6 or true"), "true");
  EXPECT_EQ(Canonical("a6 and false"), "false");
  EXPECT_EQ(Canonical("1 eq 1.0"), "true");
  EXPECT_EQ(Canonical("a2 gt null"), "false");
  EXPECT_EQ(Canonical("contains(a1,null)"), "null");
}

TEST(FilterParse, CanonicalLiterals) {
  EXPECT_EQ(Canonical("a1 eq 'it''s'"), "a1 eq 'it''s'");
  EXPECT_EQ(Canonical("a2 eq 5.0"), "a2 eq 5");
  EXPECT_EQ(Canonical("a2 lt 1.50"), "a2 lt 1.5");
  EXPECT_EQ(Canonical("a3 lt 1e30"), "a3 lt 1000000000000000000000000000000");
  EXPECT_EQ(Canonical("a4 lt 2.50e0"), "a4 lt 2.5");
  EXPECT_EQ(Canonical("a4 in (INF,-INF,NaN)"), "a4 in (-INF,INF,NaN)");
  EXPECT_EQ(Canonical("a5 eq '-1.50'"), "a5 eq -1.5");
  EXPECT_EQ(Canonical("a7 eq 2026-01-31T12:00:00+02:00"), "a7 eq 2026-01-31T10:00:00.000000Z");
  EXPECT_EQ(Canonical("a7 eq '2026-01-31T10:00:00Z'"), "a7 eq 2026-01-31T10:00:00.000000Z");
  EXPECT_EQ(Canonical("a7 eq 2026-01-31T10:00:00.1234567Z"), "a7 eq 2026-01-31T10:00:00.123456Z");
  EXPECT_EQ(Canonical("a17 eq 2026-01-31"), "a17 eq 2026-01-31");
  EXPECT_EQ(Canonical("'0001-01-01' lt a17"), "a17 gt 0001-01-01");
  EXPECT_EQ(Canonical("a17 in ('2026-01-31',1969-12-31,null)"),
            "a17 in (1969-12-31,2026-01-31,null)");
  EXPECT_EQ(Canonical("a18 ge 10:00:00"), "a18 ge 10:00:00.000000");
  EXPECT_EQ(Canonical("a18 lt '10:00:00.5'"), "a18 lt 10:00:00.500000");
  EXPECT_EQ(Canonical("a18 ne 23:59:59.999999999"), "a18 ne 23:59:59.999999");
  EXPECT_EQ(Canonical("2026-01-31 lt 2026-02-01 and 10:00:00 ge 10:00:00.000"), "true");
  const std::string uuid = "a8 eq abcdef01-2fa1-11d2-883f-0016d3cca427";
  EXPECT_EQ(Canonical("a8 eq ABCDEF01-2fa1-11d2-883f-0016d3cca427"), uuid);
  EXPECT_EQ(Canonical("a8 eq 'abcdef01-2fa1-11d2-883f-0016d3cca427'"), uuid);
  EXPECT_EQ(Canonical("a8 eq 1b4e28ba-2fa1-11d2-883f-0016d3cca427"),
            "a8 eq 1b4e28ba-2fa1-11d2-883f-0016d3cca427");
  EXPECT_EQ(Canonical("a9 eq binary'AAE='"), "a9 eq binary'AAE='");
  EXPECT_EQ(Canonical("a6 eq true"), "a6 eq true");
  EXPECT_EQ(Canonical("a6 ne null"), "a6 ne null");
}

TEST(FilterParse, SyntaxErrorsSayWhatWasExpectedAndWhere) {
  ExpectRefused("", 1, "expected an attribute");
  ExpectRefused("   ", 4, "and the filter ends");
  ExpectRefused("a2 eq", 6, "expected an attribute");
  ExpectRefused("a2 eq 1 a3", 9, "expected an operator");
  ExpectRefused("a2 EQ 1", 4, "lower case");
  ExpectRefused("a2 eq 1 AND a6", 9, "lower case");
  ExpectRefused("(a2 eq 1", 9, "closing parenthesis");
  ExpectRefused("a2 eq 1)", 8, "found \")\"");
  ExpectRefused("a2 in ()", 8, "expected a literal");
  ExpectRefused("a2 in (1,)", 10, "expected a literal");
  ExpectRefused("a2 in (1 2)", 10, "expected a comma");
  ExpectRefused("a2 in (a3)", 8, "expected a literal");
  ExpectRefused("a2 in 5", 7, "expected a list");
  ExpectRefused("a1 eq 'x", 7, "no closing '");
  ExpectRefused("a9 eq binary'AAE=", 7, "no closing '");
  ExpectRefused("a9 eq binary'AAE'", 7, "no base64");
  ExpectRefused("a8 eq guid'x'", 7, "only binary");
  ExpectRefused("a2 eq 007", 7, "is no number");
  ExpectRefused("a7 eq 2026-02-30T00:00:00Z", 7, "does not exist");
  ExpectRefused("a7 eq 2026-01-31T00:00:00", 7, "RFC 3339");
  ExpectRefused("a17 eq 2026-02-30", 8, "\"2026-02-30\" names a day that does not exist");
  ExpectRefused("a17 eq 2026-1-31", 8, "not a date");
  ExpectRefused("a17 eq 0000-01-01", 8, "years 0001 to 9999");
  ExpectRefused("a18 eq 24:00:00", 8, "not a time");
  ExpectRefused("a18 eq 10:00", 8, "not a time");
  ExpectRefused("a18 eq 10:00:00Z", 8, "\"10:00:00Z\" is not a time");
  ExpectRefused("a18 eq 1:00:00", 8, "is no number");
  ExpectRefused("a2 = 1", 4, "begins nothing");
  ExpectRefused("contains(a1)", 12, "second argument");
  ExpectRefused("length(a1) eq 3", 1, "no function");
  ExpectRefused("eq eq 1", 1, "found the operator eq");
  ExpectRefused("a1 eq @me", 7, "no parameter");
}

TEST(FilterParse, ColumnsCountCharacters) {
  ExpectRefused("a1 eq 'h\xc3\xa9 \xf0\x9f\x98\x80' and a2 eq 'x'", 24, "cannot be compared");
  ExpectRefused("a1 eq '\xc3\xa9\xff'", 9, "not UTF-8");
  ExpectRefused("a1 \xe2\x82\xac 'x'", 4, "begins nothing");
}

TEST(FilterParse, UnknownAttributesHaveTheirColumn) {
  const Refusal refusal = RefusalOf("a2 eq 1 and Owner eq 'x'");
  EXPECT_EQ(refusal.code, "unknown_attribute");
  EXPECT_EQ(refusal.column, 13U);
  EXPECT_THAT(refusal.message, HasSubstr("entity 'thing' has no attribute \"Owner\""));
}

TEST(FilterParse, TypesThatDoNotFitAreRefusedAtTheLiteral) {
  ExpectRefused("a2 eq 'x'", 7, "string \"'x'\" cannot be compared with attribute a2");
  ExpectRefused("'x' eq a2", 1, "cannot be compared with attribute a2 of type int32");
  ExpectRefused("a1 eq 5", 7, "number \"5\"");
  ExpectRefused("a1 gt true", 7, "bool");
  ExpectRefused("a2 eq NaN", 7, "double");
  ExpectRefused("a5 eq INF", 7, "double");
  ExpectRefused("a5 eq 'abc'", 7, "not a decimal");
  ExpectRefused("a5 eq 1e99", 7, "more than the 38 digits");
  ExpectRefused("a4 eq 1e999", 7, "beyond the range");
  ExpectRefused("a4 eq '1.5'", 7, "string");
  ExpectRefused("a7 eq '2026-01-31'", 7, "RFC 3339");
  ExpectRefused("a7 eq 2026-01-31", 7,
                "the date \"2026-01-31\" cannot be compared with attribute a7 of type datetime");
  ExpectRefused("a7 eq a17", 7, "attribute a17 of type date");
  ExpectRefused("a17 eq 2026-01-31T00:00:00Z", 8, "datetime \"2026-01-31T00:00:00Z\" cannot");
  ExpectRefused("a17 eq '2026-01-31T00:00:00Z'", 8, "not a date");
  ExpectRefused("a17 eq 10:00:00", 8, "the time \"10:00:00\" cannot");
  ExpectRefused("a18 eq a17", 8, "attribute a17 of type date");
  ExpectRefused("a18 eq '10:00'", 8, "not a time");
  ExpectRefused("a18 in (10:00:00,5)", 18, "number");
  ExpectRefused("a1 eq 2026-01-31", 7, "date");
  ExpectRefused("startswith(a17,'2026')", 12, "takes strings");
  ExpectRefused("a8 eq 'x'", 7, "not a uuid");
  ExpectRefused("a9 eq 'AAE='", 7, "string");
  ExpectRefused("a1 in ('x',5)", 12, "number");
  ExpectRefused("a2 eq a1", 7, "attribute a1 of type string");
  ExpectRefused("a4 eq a5", 7, "attribute a5 of type decimal");
  ExpectRefused("a1 eq (a2 gt 1)", 8, "true or false");
  ExpectRefused("contains(a2,'x')", 10, "takes strings");
  ExpectRefused("startswith(a1,5)", 15, "takes strings");
  ExpectRefused("endswith(a1,a6 and a6)", 13, "takes strings");
  ExpectRefused("a1", 1, "neither true nor false");
  ExpectRefused("a2 eq 1 and a1", 13, "neither true nor false");
  ExpectRefused("not a2 eq 1", 5, "write not (a eq b)");
}

TEST(FilterParse, SomeTypesHaveNoOrder) {
  ExpectRefused("a6 gt true", 4, "no order");
  ExpectRefused("a8 le a14", 4, "no order");
  ExpectRefused("a9 lt binary'AAE='", 4, "no order");
  ExpectRefused("1 lt 2 lt true", 8, "no order");
}

TEST(FilterParse, ParametersStandInEqualitiesAndInOnly) {
  ExpectRefused("a1 ne @user", 7, "eq or in");
  ExpectRefused("a1 gt @user", 7, "eq or in");
  ExpectRefused("a1 in @user", 7, "write `attribute eq @user`");
  ExpectRefused("a1 in @businessunit", 7, "write `attribute eq @businessunit`");
  ExpectRefused("a1 eq @teams", 7, "write `attribute in @teams`");
  ExpectRefused("@roles eq a1", 1, "write `attribute in @roles`");
  ExpectRefused("a1 in ('x',@teams)", 12, "write `attribute in @teams`");
  ExpectRefused("@user in ('x','y')", 1, "left of a list");
  ExpectRefused("@user in @teams", 1, "beside another");
  ExpectRefused("@user eq @businessunit", 10, "beside another");
  ExpectRefused("@user", 1, "write `attribute eq @user`");
  ExpectRefused("a6 and @teams", 8, "write `attribute in @teams`");
  ExpectRefused("not (a6 or a1 eq @user)", 18, "under not");
  ExpectRefused("not a1 in @teams", 11, "under not");
  ExpectRefused("(a1 eq @user) eq true", 8, "comparison of comparisons");
  ExpectRefused("a6 eq (a1 in @teams)", 14, "comparison of comparisons");
  ExpectRefused("(a1 eq @user) in (true)", 8, "left of a list");
  ExpectRefused("contains(a1,@user)", 13, "in a function");
  ExpectRefused("a5 eq @user", 7, "attribute a5 of type decimal cannot be compared with a claim");
  ExpectRefused("a17 eq @user", 8, "attribute a17 of type date cannot be compared with a claim");
  ExpectRefused("2026-01-31 eq @user", 1, "cannot be compared with the claim @user");
  ExpectRefused("null eq @user", 1, "null cannot be compared with the claim @user");
  ExpectRefused("1.5 eq @user", 1, "cannot be compared with the claim @user");
  ExpectRefused("true in @roles", 1, "cannot be compared with the claim @roles");
}

TEST(FilterParse, LimitsAreRefusedBeyond) {
  const auto repeat = [](int count, const std::string& text) {
    std::string all;
    for (int i = 0; i < count; ++i) {
      all += text;
    }
    return all;
  };
  const std::string longest = "a1 eq '" + std::string(kFilterBytesMax - 8, 'x') + "'";
  MustParse(longest);
  ExpectRefused(longest + " ", 8193, "8193 bytes");
  MustParse(repeat(64, "(") + "a6" + repeat(64, ")"));
  ExpectRefused(repeat(65, "(") + "a6" + repeat(65, ")"), 65, "nested more than 64");
  MustParse(repeat(64, "not ") + "a6");
  ExpectRefused(repeat(65, "not ") + "a6", 257, "nested more than 64");
  MustParse("a6" + repeat(64, " eq a11"));
  ExpectRefused("a6" + repeat(65, " eq a11"), 1, "nested more than 64");
  MustParse("a2 in (0" + repeat(255, ",1") + ")");
  ExpectRefused("a2 in (0" + repeat(256, ",1") + ")", 520, "more than 256 items");
}

TEST(FilterParse, NamesItsAttributes) {
  EXPECT_THAT(MustParse("a10 eq @user or a2 eq 1 or true or contains(a1,a10)")->attributes(),
              ElementsAre(AttributeId(1), AttributeId(2), AttributeId(10)));
  EXPECT_THAT(MustParse("true")->attributes(), ElementsAre());
}

}  // namespace
}  // namespace sluice::projectors
