#include <gmock/gmock.h>

#include <iostream>

#include "tests/property/projectors/rules/filter_model.h"
#include "tests/support/random_history.h"
#include "tests/unit/projectors/rules/filter_testing.h"

// Random filters and rows against the plain model. SLUICE_SEED=<printed seed> replays a run.
namespace sluice::projectors {
namespace {

using namespace testing;  // NOLINT: the model is written for this file

constexpr int kFilters = 4'000;
constexpr int kRows = 12;

std::string_view ParameterOf(Claim claim) {
  switch (claim) {
    case Claim::kUser:
      return "@user";
    case Claim::kTeams:
      return "@teams";
    case Claim::kBusinessUnit:
      return "@businessunit";
    case Claim::kRoles:
      return "@roles";
  }
  return "";
}

bool AnyMatches(const Filter& filter, const Row& row, const std::string& bytes,
                const Claims& claims) {
  bool any = false;
  for (const FilterAlternative& alternative : filter.alternatives()) {
    bool all = true;
    for (const ClaimTerm& term : alternative.terms) {
      all = all && ClaimHolds(ParameterOf(term.claim), static_cast<int>(term.attribute.value()),
                              term.constant, row, claims);
    }
    if (all && alternative.condition != nullptr) {
      const auto matches = alternative.condition->Matches(bytes);
      EXPECT_TRUE(matches.ok()) << matches.status();
      all = matches.ok() && *matches;
    }
    any = any || all;
  }
  return any;
}

std::vector<std::string> TextsOf(const Filter& filter) {
  std::vector<std::string> texts;
  for (const FilterAlternative& alternative : filter.alternatives()) {
    texts.push_back(alternative.canonical);
  }
  return texts;
}

// Filters that the limits refuse are counted, and are few.
void CompareWithModel(bool claims) {
  Random random(sluice::testing::TestSeed());
  int refused = 0;
  int matched = 0;
  for (int i = 0; i < kFilters && !::testing::Test::HasFailure(); ++i) {
    const TreePtr tree = RandomTree(random, static_cast<int>(random.Below(5)), claims);
    const std::string text = Render(tree, random);
    const auto filter = Filter::Parse(text, FilterSchema());
    if (!filter.ok() && claims && Message(filter.status()).find(" ways, ") != std::string::npos) {
      ++refused;
      continue;
    }
    ASSERT_TRUE(filter.ok()) << filter.status() << "\n" << text;
    EXPECT_TRUE(claims || (*filter)->alternatives().size() == 1) << text;
    for (int j = 0; j < kRows; ++j) {
      const Row row = RandomRow(random);
      const Claims who = RandomClaims(random);
      const bool expected = Evaluate(*tree, row, who).value_or(false);
      EXPECT_EQ(AnyMatches(**filter, row, RowOf(JsonOf(row)), who), expected) << text << "\n"
                                                                              << JsonOf(row);
      matched += expected ? 1 : 0;
    }
  }
  std::cout << matched << " of " << kFilters * kRows << " match, " << refused << " refused\n";
  EXPECT_LT(refused, kFilters / 20);
  EXPECT_GT(matched, kFilters * kRows / 10);
}

TEST(FilterProperty, WithoutParametersEqualsTheModel) { CompareWithModel(false); }

TEST(FilterProperty, WithParametersEqualsTheModel) { CompareWithModel(true); }

TEST(FilterProperty, CanonicalTextIsOneForEveryDress) {
  Random random(sluice::testing::TestSeed());
  for (int i = 0; i < kFilters && !HasFailure(); ++i) {
    const TreePtr tree = RandomTree(random, static_cast<int>(random.Below(5)), i % 2 == 0);
    const std::string one = Render(tree, random);
    const std::string other = Render(tree, random);
    const auto filter = Filter::Parse(one, FilterSchema());
    const auto again = Filter::Parse(other, FilterSchema());
    ASSERT_EQ(filter.ok(), again.ok()) << one << "\n" << other;
    if (!filter.ok()) {
      continue;
    }
    EXPECT_EQ(TextsOf(**filter), TextsOf(**again)) << one << "\n" << other;
    for (const FilterAlternative& alternative : (*filter)->alternatives()) {
      const auto parsed = MustParse(alternative.canonical);
      ASSERT_EQ(parsed->alternatives().size(), 1U) << alternative.canonical;
      EXPECT_EQ(parsed->alternatives()[0].canonical, alternative.canonical);
      EXPECT_EQ(parsed->alternatives()[0].terms, alternative.terms);
    }
  }
}

}  // namespace
}  // namespace sluice::projectors
