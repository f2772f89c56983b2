#include "projectors/model/sync_rules.h"

#include <gtest/gtest.h>

#include <chrono>
#include <utility>

#include "tests/support/change_events.h"
#include "tests/unit/projectors/model/model_testing.h"

namespace sluice::projectors {
namespace {

constexpr NamesRoom kWide{.buckets = 10'000, .bytes = uint64_t{1} << 30};

// The rule's terms, each an attribute and the claim that it is compared with.
ClaimedBuckets FilterBuckets(const std::vector<std::pair<uint32_t, Claim>>& terms,
                             const CallerClaims& caller, const NamesRoom& room = kWide) {
  const v1::EntityDefined entity =
      testing::DefineEntity(1, "account", {{1, "id"}, {2, "a"}, {3, "b"}, {4, "c"}, {5, "d"}});
  SyncRule rule;
  rule.id = "e1|filter:x";
  rule.kind = v1::RULE_KIND_FILTER;
  for (const auto& [attribute, claim] : terms) {
    rule.filter.terms.push_back({claim, AttributeId(attribute), ""});
  }
  ClaimTexts claims(caller);
  return BucketsOfCaller(rule, *EntitySchema::FromProto(entity.schema()).value(), claims, room);
}

CallerClaims WithTeams(int count) {
  CallerClaims caller;
  for (int i = 0; i < count; ++i) {
    caller.teams.push_back("t" + std::to_string(i));
  }
  return caller;
}

TEST(SyncRules, OfALongNameTheBeginningIsKept) {
  const std::string longest(kKeptNameBytesMax, 'x');
  const BucketKey key = BucketKey::OfName(longest);
  EXPECT_EQ(KeptName(key, longest), longest);
  EXPECT_TRUE(IsKeptName(key, longest));
  std::string name(255, 'x');
  for (int i = 0; i < 500; ++i) {
    name += "\xc3\xa4";
  }
  const BucketKey other = BucketKey::OfName(name);
  const std::string kept = KeptName(other, name);
  EXPECT_EQ(kept, std::string(255, 'x') + "...#" + other.ToHex()) << "no part of a character";
  EXPECT_EQ(KeptName(other, kept), kept);
  EXPECT_TRUE(IsKeptName(other, kept));
  EXPECT_TRUE(IsKeptName(other, name)) << "an earlier program kept all of it";
  EXPECT_FALSE(IsKeptName(key, kept));
  EXPECT_FALSE(IsKeptName(other, longest));
}

TEST(SyncRules, CombinationsAreCountedBeforeOneIsNamed) {
  const CallerClaims caller = WithTeams(100);
  const NamesRoom room{.buckets = 1'000, .bytes = 1 << 20};
  const auto many = FilterBuckets({{2, Claim::kTeams}, {3, Claim::kTeams}}, caller, room);
  EXPECT_EQ(many.count, 10'000U);
  EXPECT_EQ(many.names.capacity(), 0U);
  std::vector<std::pair<uint32_t, Claim>> terms;
  for (uint32_t i = 0; i < 4; ++i) {
    terms.emplace_back(2 + i, Claim::kTeams);
  }
  EXPECT_EQ(FilterBuckets(terms, caller, room).count, 100'000'000U);
  EXPECT_EQ(FilterBuckets(terms, WithTeams(70'000), room).count, UINT64_MAX);
}

TEST(SyncRules, NamesAreCountedInBytesBeforeOneIsMade) {
  CallerClaims caller = WithTeams(11);  // t0 to t9, and t10 is longer
  caller.user = std::string(kClaimBytesMax, 'u');
  const std::vector<std::pair<uint32_t, Claim>> terms{
      {2, Claim::kTeams}, {3, Claim::kTeams}, {4, Claim::kUser}, {3, Claim::kTeams}};
  const auto all = FilterBuckets(terms, caller);
  EXPECT_EQ(all.count, 121U);
  ASSERT_EQ(all.names.size(), 121U);
  uint64_t bytes = 0;
  for (const BucketName& name : all.names) {
    bytes += name.name.size();
  }
  EXPECT_EQ(all.bytes, bytes);
  EXPECT_EQ(FilterBuckets(terms, caller, {.buckets = 121, .bytes = bytes}).names, all.names);
  const auto none = FilterBuckets(terms, caller, {.buckets = 121, .bytes = bytes - 1});
  EXPECT_EQ(none.count, 121U);
  EXPECT_EQ(none.names.capacity(), 0U);
  EXPECT_TRUE(FilterBuckets(terms, caller, {.buckets = 120, .bytes = bytes}).names.empty());
}

TEST(SyncRules, AClaimThatIsTooLongMatchesNothing) {
  const std::string longest(kClaimBytesMax, 'x');
  const CallerClaims fits{
      .user = longest, .roles = {longest}, .teams = {longest}, .business_unit = longest};
  const std::string longer = longest + "x";
  const CallerClaims too_long{
      .user = longer, .roles = {longer}, .teams = {longer}, .business_unit = longer};
  for (const Claim claim : {Claim::kUser, Claim::kTeams, Claim::kBusinessUnit, Claim::kRoles}) {
    EXPECT_EQ(FilterBuckets({{2, claim}}, fits).names.size(), 1U);
    EXPECT_EQ(FilterBuckets({{2, claim}}, too_long).count, 0U);
  }
  SyncRule rule;
  rule.kind = v1::RULE_KIND_FILTER;
  const auto schema = EntitySchema::FromProto(Account().schema()).value();
  for (const auto& [constant, caller] : {std::pair(longest, fits), std::pair(longer, too_long)}) {
    rule.filter.terms = {{Claim::kRoles, AttributeId(), constant}};
    ClaimTexts claims(caller);
    EXPECT_EQ(BucketsOfCaller(rule, *schema, claims, kWide).count,
              caller.user == longest ? 1U : 0U);
  }
  SyncRule ownership;
  ownership.attribute = AttributeId(2);
  ClaimTexts of_fits(fits);
  ClaimTexts of_too_long(too_long);
  for (const auto kind : {kUser, kTeam, kUnit}) {
    ownership.kind = kind;
    EXPECT_EQ(BucketsOfCaller(ownership, *schema, of_fits, kWide).count, 1U);
    EXPECT_EQ(BucketsOfCaller(ownership, *schema, of_too_long, kWide).count, 0U);
  }
}

// However often they are compared with: here half a million times.
TEST(SyncRules, ClaimsAreLookedAtOnce) {
  CallerClaims caller = WithTeams(1'000);
  ClaimTexts claims(caller);
  std::vector<testing::TestAttribute> attributes{{1, "id"}};
  SyncRule rule;
  rule.kind = v1::RULE_KIND_FILTER;
  for (uint32_t id = 2; id <= 500; ++id) {
    attributes.push_back({id, "a" + std::to_string(id)});
    rule.filter.terms.push_back({Claim::kTeams, AttributeId(id), ""});
  }
  rule.filter.terms.push_back({Claim::kRoles, AttributeId(500), ""});  // which is absent
  const auto schema =
      EntitySchema::FromProto(testing::DefineEntity(1, "e", attributes).schema()).value();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 1'000; ++i) {
    EXPECT_EQ(BucketsOfCaller(rule, *schema, claims, kWide).count, 0U);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

// Eight thousand million combinations of the others would be walked before it.
TEST(SyncRules, AnAbsentClaimEndsAFilterAtOnce) {
  CallerClaims caller = WithTeams(2'000);
  EXPECT_EQ(
      FilterBuckets(
          {{2, Claim::kTeams}, {3, Claim::kTeams}, {4, Claim::kTeams}, {5, Claim::kBusinessUnit}},
          caller)
          .count,
      0U);
  caller.user = "ann";
  EXPECT_EQ(
      FilterBuckets({{2, Claim::kTeams}, {3, Claim::kTeams}, {4, Claim::kTeams}, {2, Claim::kUser}},
                    caller)
          .count,
      0U);
}

TEST(SyncRules, TermsOfOneAttributeTakeOneValueTogether) {
  CallerClaims caller;
  caller.user = "ann";
  caller.teams = {"ann", "red"};
  const auto names =
      FilterBuckets({{2, Claim::kTeams}, {3, Claim::kTeams}, {2, Claim::kUser}}, caller).names;
  ASSERT_EQ(names.size(), 2u);
  EXPECT_EQ(names[0].name, "e1|filter:x=3:ann3:ann3:ann");
  EXPECT_EQ(names[1].name, "e1|filter:x=3:ann3:red3:ann");
}

}  // namespace
}  // namespace sluice::projectors
