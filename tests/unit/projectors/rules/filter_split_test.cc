#include <gmock/gmock.h>

#include "tests/unit/projectors/rules/filter_testing.h"

// How a filter becomes alternatives.
namespace sluice::projectors {
namespace {

using testing::CanonicalOf;
using ::testing::ElementsAre;
using testing::FilterSchema;
using ::testing::HasSubstr;
using testing::MustParse;

TEST(FilterSplit, WithoutParametersThereIsOneAlternative) {
  for (const char* where : {"a6", "a2 eq 1 or a6", "true", "false", "null", "a2 in (1,2)"}) {
    const auto filter = MustParse(where);
    ASSERT_EQ(filter->alternatives().size(), 1U) << where;
    EXPECT_THAT(filter->alternatives()[0].terms, ElementsAre());
    EXPECT_EQ(filter->alternatives()[0].canonical, where);
  }
  EXPECT_EQ(MustParse("true")->alternatives()[0].condition, nullptr);
  EXPECT_NE(MustParse("false")->alternatives()[0].condition, nullptr);
}

TEST(FilterSplit, TheRestOfAConjunctionIsTheCondition) {
  const auto filter = MustParse("a1 eq 'open' and a2 in @teams");
  ASSERT_EQ(filter->alternatives().size(), 1U);
  const FilterAlternative& alternative = filter->alternatives()[0];
  EXPECT_THAT(alternative.terms, ElementsAre(ClaimTerm{Claim::kTeams, AttributeId(2), ""}));
  EXPECT_EQ(alternative.canonical, "a2 in @teams and (a1 eq 'open')");
  EXPECT_TRUE(*alternative.condition->Matches(testing::RowOf(R"({"a1":"open"})")));
  EXPECT_FALSE(*alternative.condition->Matches(testing::RowOf(R"({"a1":"shut"})")));
  EXPECT_EQ(MustParse("a2 in @teams")->alternatives()[0].condition, nullptr);
}

TEST(FilterSplit, EveryFormOfATerm) {
  EXPECT_THAT(CanonicalOf("@user eq a1"), ElementsAre("a1 eq @user"));
  EXPECT_THAT(CanonicalOf("a2 eq @businessunit"), ElementsAre("a2 eq @businessunit"));
  EXPECT_THAT(CanonicalOf("'it''s' in @roles"), ElementsAre("'it''s' in @roles"));
  EXPECT_THAT(CanonicalOf("@user eq 'u1'"), ElementsAre("'u1' eq @user"));
  EXPECT_THAT(CanonicalOf("5.0 in @teams"), ElementsAre("'5' in @teams"));
  EXPECT_THAT(CanonicalOf("ABCDEF01-2fa1-11d2-883f-0016d3cca427 in @teams"),
              ElementsAre("'abcdef01-2fa1-11d2-883f-0016d3cca427' in @teams"));
  EXPECT_THAT(CanonicalOf("a8 in @teams and a3 eq @user"),
              ElementsAre("a3 eq @user and a8 in @teams"));
  EXPECT_THAT(CanonicalOf("'u1' in (@user,'u2')"), ElementsAre("'u1' eq @user"));
}

TEST(FilterSplit, ParametersInAListAreAlternatives) {
  EXPECT_THAT(CanonicalOf("a1 in (@user,'x',@businessunit,'y') and a6"),
              ElementsAre("a1 eq @businessunit and (a6)", "a1 eq @user and (a6)",
                          "a1 in ('x','y') and a6"));
}

TEST(FilterSplit, AnAndOverAnOrIsTakenApart) {
  EXPECT_THAT(CanonicalOf("(a1 eq @user or a2 in @teams) and (a6 or a3 eq @user)"),
              ElementsAre("a1 eq @user and (a6)", "a1 eq @user and a3 eq @user",
                          "a2 in @teams and (a6)", "a3 eq @user and a2 in @teams"));
}

TEST(FilterSplit, AlternativesOfEqualTermsAreOne) {
  EXPECT_THAT(CanonicalOf("a1 eq @user and a6 or a2 eq 1 and @user eq a1"),
              ElementsAre("a1 eq @user and (a2 eq 1 or a6)"));
  EXPECT_THAT(CanonicalOf("a1 eq @user and a6 or a1 eq @user"), ElementsAre("a1 eq @user"));
  EXPECT_THAT(CanonicalOf("a1 eq @user and a1 eq @user"), ElementsAre("a1 eq @user"));
  EXPECT_THAT(CanonicalOf("a1 eq @user or a6 or a11"), ElementsAre("a1 eq @user", "a11 or a6"));
}

TEST(FilterSplit, CanonicalTextParsesToItself) {
  for (const char* where :
       {"a1 eq @user and (a6 or a11)", "(a1 eq @user or a2 in @teams) and (a6 or a3 eq @user)",
        "'x' in @roles and a10 ne null or a4 lt 0.1",
        "a7 ge 2026-01-31T10:00:00Z and a6 eq null"}) {
    for (const std::string& text : CanonicalOf(where)) {
      EXPECT_THAT(CanonicalOf(text), ElementsAre(text));
    }
  }
}

TEST(FilterSplit, TooManyAlternativesAreRefused) {
  // 2^5 combinations are 32; the sixth pair makes 64.
  std::string where = "(a1 eq @user or a1 in @teams)";
  for (const char* pair : {"(a2 eq @user or a2 in @teams)", "(a3 eq @user or a3 in @teams)",
                           "(a8 eq @user or a8 in @teams)", "(a10 eq @user or a10 in @teams)"}) {
    where += std::string(" and ") + pair;
  }
  EXPECT_EQ(MustParse(where)->alternatives().size(), kFilterAlternativesMax);
  const auto refused =
      Filter::Parse(where + " and (a14 eq @user or a14 in @teams)", FilterSchema());
  EXPECT_EQ(ErrorCode(refused.status()), "invalid_filter");
  EXPECT_EQ(ErrorColumn(refused.status()), 8U);
  EXPECT_THAT(std::string(Message(refused.status())), HasSubstr("64 ways, more than 32"));
}

TEST(FilterSplit, ConditionsThatMultiplyAreRefused) {
  // Each pair doubles the condition of the one set of terms.
  std::string where;
  for (int i = 0; i < 30; ++i) {
    where += (i == 0 ? "(" : " and (") + std::string("a1 eq @user and a2 eq ") + std::to_string(i) +
             " or a3 eq " + std::to_string(i) + ")";
  }
  const auto refused = Filter::Parse(where, FilterSchema());
  EXPECT_EQ(ErrorCode(refused.status()), "invalid_filter");
  EXPECT_TRUE(ErrorColumn(refused.status()).has_value());
  EXPECT_THAT(std::string(Message(refused.status())), HasSubstr("131072 bytes"));
}

}  // namespace
}  // namespace sluice::projectors
