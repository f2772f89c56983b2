#include "projectors/provisioning/rule_check.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "projectors/provisioning/rule_graph.h"
#include "schemas/base/status.h"
#include "tests/unit/projectors/provisioning/provisioning_testing.h"

// What profiles and roles may say of rules, and what a schema may no longer take from them.
namespace sluice::projectors {
namespace {

using ::testing::HasSubstr;
using testing::Org;
using testing::ProfileRequest;

constexpr char kFilterProfile[] =
    R"({"entities":{"order":[{"kind":"all"},{"kind":"filter","where":"status eq 'open' and region in @teams"}]}})";

// A profile of so many rules for one entity, with a filter each, from that number on.
std::string ManyRules(const std::string& entity, size_t rules, size_t first = 1'000'000) {
  std::string json = R"({"entities":{")" + entity + R"(":[)";
  for (size_t i = first; i < first + rules; ++i) {
    json += fmt::format(R"({}{{"kind":"filter","where":"id eq '{}'"}})", i == first ? "" : ",", i);
  }
  return json + "]}}";
}

class RuleCheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(sequencer_.Carry(org_, testing::OpenRequest("Contoso")).ok());
    // An order belongs to a contact, a contact to an account, an account to its parent.
    PutEntity("account", {{"name", ""}, {"parent", "account"}});
    PutEntity("contact", {{"name", ""}, {"account", "account"}});
    PutEntity("order", {{"status", ""}, {"region", ""}, {"contact", "contact"}});
  }

  // Strings: name and what it references; the key is "id".
  using Attributes = std::vector<std::pair<std::string, std::string>>;
  absl::Status TryEntity(const std::string& name, const Attributes& attributes) {
    v1::ProvisioningRequest request;
    auto& entity = *request.mutable_put_entity();
    entity.set_name(name);
    entity.set_primary_key("id");
    const auto add = [&entity](const std::string& attribute, const std::string& references) {
      auto& added = *entity.add_attributes();
      added.set_name(attribute);
      added.set_type(v1::ATTRIBUTE_TYPE_STRING);
      added.set_references(references);
    };
    add("id", "");
    for (const auto& [attribute, references] : attributes) {
      add(attribute, references);
    }
    return sequencer_.Carry(org_, request).status();
  }
  void PutEntity(const std::string& name, const Attributes& attributes) {
    const absl::Status put = TryEntity(name, attributes);
    ASSERT_TRUE(put.ok()) << put;
  }
  absl::Status PutProfile(const std::string& json) { return PutProfile("field", json); }
  absl::Status PutProfile(const std::string& name, const std::string& json) {
    return sequencer_.Carry(org_, ProfileRequest(name, json)).status();
  }
  void MustPutProfile(const std::string& name, const std::string& json) {
    const absl::Status put = PutProfile(name, json);
    ASSERT_TRUE(put.ok()) << name << ": " << put;
  }
  std::shared_ptr<const OrgEntry> Entry() { return sequencer_.directory().Find(org_); }
  // Gives `entry` a profile without a decision, as a log may have it that was written before there
  // was a limit.
  static void Have(const std::string& name, const std::string& json, OrgEntry* entry) {
    eventlog::Event event;
    v1::ProfileDefined defined;
    *defined.mutable_profile() = *ParseProfile(name, json);
    event.type = v1::ProfileDefined::descriptor()->full_name();
    event.value = defined.SerializeAsString();
    entry->model = entry->model->Apply(event).value();
  }
  absl::Status DecideProfile(const OrgEntry& entry, const std::string& name,
                             const std::string& json) const {
    return Decide(org_, &entry, ProfileRequest(name, json), Offset(0)).status();
  }
  void ExpectRefused(const absl::Status& status, const std::string& code,
                     const std::string& detail) {
    EXPECT_EQ(ErrorCode(status), code) << status;
    EXPECT_THAT(std::string(Message(status)), HasSubstr(detail));
  }
  // A profile with a related rule through `through` on `entity`.
  absl::Status PutRelated(const std::string& entity, const std::string& through) {
    return PutProfile(R"({"entities":{")" + entity + R"(":[{"kind":"related","through":")" +
                      through + R"("}]}})");
  }

  const OrgId org_ = Org("contoso");
  testing::Sequencer sequencer_;
};

TEST_F(RuleCheckTest, FiltersAreParsedAgainstTheSchema) {
  EXPECT_TRUE(PutProfile(kFilterProfile).ok());
  const absl::Status invalid = PutProfile(
      R"({"entities":{"order":[{"kind":"all"},{"kind":"filter","where":"status eq 5"}]}})");
  ExpectRefused(invalid, "invalid_filter",
                "profile 'field', entity 'order', rule 2 (filter): at column 11:");
  EXPECT_EQ(ErrorColumn(invalid), 11U);
  const absl::Status unknown =
      PutProfile(R"({"entities":{"order":[{"kind":"filter","where":"state eq 'x'"}]}})");
  ExpectRefused(unknown, "unknown_attribute", "entity 'order' has no attribute \"state\"");
  EXPECT_EQ(ErrorColumn(unknown), 1U);
  EXPECT_EQ(ErrorColumn(PutProfile(R"({"entities":{"order":[{"kind":"filter","where":""}]}})")),
            1U);
}

// Of all profiles; each row is held against all rules of its entity.
TEST_F(RuleCheckTest, RulesAreNumbered) {
  constexpr size_t kOfProfile = 100;  // which a profile may have for one entity
  const auto fill = [&](const std::string& entity) {
    for (size_t i = 0; i < kRulesOfEntityMax / kOfProfile; ++i) {
      MustPutProfile(fmt::format("{}{}", entity, i), ManyRules(entity, kOfProfile, i * kOfProfile));
    }
  };
  fill("order");
  ExpectRefused(
      PutProfile("b", ManyRules("order", 1)), "too_many_rules",
      "profile 'b': the profiles would have 2001 different rules for entity 'order', at most 2000");
  EXPECT_TRUE(PutProfile("b", ManyRules("order", kOfProfile, 0)).ok());  // which are there
  EXPECT_TRUE(PutProfile("order0", ManyRules("order", kOfProfile, 0)).ok());
  EXPECT_TRUE(PutProfile("b", R"({"entities":{}})").ok());
  EXPECT_TRUE(PutProfile("order0", ManyRules("order", kOfProfile - 1, 0)).ok());
  EXPECT_TRUE(PutProfile("b", ManyRules("order", 1)).ok());
  for (int i = 0; i < 4; ++i) {
    const std::string entity = fmt::format("e{}", i);
    PutEntity(entity, {});
    fill(entity);
  }
  PutEntity("last", {});
  EXPECT_TRUE(PutProfile("b", ManyRules("last", 1)).ok());  // in the place of its other one
  ExpectRefused(PutProfile("c", ManyRules("last", 1, 7)), "too_many_rules",
                "10001 different rules in all");
}

// So many different filters of 8,000 bytes each.
std::string LongFilters(size_t filters, size_t first = 0) {
  std::string json = R"({"entities":{"order":[)";
  for (size_t i = 0; i < filters; ++i) {
    const std::string where = fmt::format("status eq '{:07}", first + i);
    json += fmt::format(R"({}{{"kind":"filter","where":"{}{}'"}})", i == 0 ? "" : ",", where,
                        std::string(8'000 - where.size() - 1, 'x'));
  }
  return json + "]}}";
}

// All of them are compiled when their entity is defined.
TEST_F(RuleCheckTest, BytesOfFiltersAreAddedUp) {
  constexpr size_t kOfProfile = 100;
  for (size_t i = 0; i < 5; ++i) {
    MustPutProfile(fmt::format("p{}", i), LongFilters(kOfProfile, i * kOfProfile));
  }
  EXPECT_TRUE(PutProfile("q", LongFilters(24)).ok());
  ExpectRefused(PutProfile("q", LongFilters(25)), "too_many_rules",
                "the profiles would have filters of 4200000 bytes in all, at most 4194304");
  EXPECT_TRUE(PutProfile("q", LongFilters(24, 3)).ok());
  EXPECT_TRUE(PutProfile("r", R"({"entities":{"order":[{"kind":"all"}]}})").ok());
  // As it becomes: 4 x 4 alternatives, each with all that stands beside the parameters.
  std::string any = "region eq '0'";
  for (int i = 1; i < 100; ++i) {
    any += fmt::format(" or region eq '{}'", i);
  }
  std::string where;
  for (const char* claim : {"@user", "@businessunit"}) {
    where +=
        fmt::format("(id eq {0} or status eq {0} or region eq {0} or contact eq {0}) and ", claim);
  }
  where += "(" + any + ")";
  EXPECT_TRUE(PutProfile("q", LongFilters(20)).ok());
  EXPECT_TRUE(
      PutProfile("s", R"({"entities":{"order":[{"kind":"filter","where":")" + where + "\"}]}}")
          .ok());
  ExpectRefused(PutProfile("q", LongFilters(24)), "too_many_rules", "bytes in all");
}

// As a log may have it that was written before they counted.
TEST_F(RuleCheckTest, WhoHasMoreBytesOfFiltersMayMakeThemLess) {
  OrgEntry entry = *Entry();
  for (size_t i = 0; i < 6; ++i) {
    Have(fmt::format("p{}", i), LongFilters(100, 100 * i), &entry);
  }
  EXPECT_TRUE(DecideProfile(entry, "p0", LongFilters(99)).ok());
  EXPECT_TRUE(DecideProfile(entry, "p0", LongFilters(100, 1'000)).ok());
  EXPECT_TRUE(DecideProfile(entry, "q", R"({"entities":{"order":[{"kind":"all"}]}})").ok());
  ExpectRefused(DecideProfile(entry, "q", LongFilters(1)), "too_many_rules", "bytes in all");
}

// 960 once compiled: 96 filters of accounts, and what their nine references bring.
std::string FewRulesThatBecomeMany(size_t profile) {
  std::string json = R"({"entities":{"holder":[)";
  for (size_t filter = 0; filter < 3; ++filter) {
    json += fmt::format(R"({}{{"kind":"filter","where":")", filter == 0 ? "" : ",");
    for (size_t i = 0; i < kFilterAlternativesMax; ++i) {
      json += fmt::format("{}'{}_{}_{}' in @roles", i == 0 ? "" : " or ", profile, filter, i);
    }
    json += "\"}";
  }
  json += R"(],"account":[)";
  for (size_t i = 0; i < 9; ++i) {
    json += fmt::format(R"({}{{"kind":"related","through":"holder.x{}"}})", i == 0 ? "" : ",", i);
  }
  return json + "]}}";
}

class CompiledRulesTest : public RuleCheckTest {
 protected:
  void SetUp() override {
    RuleCheckTest::SetUp();
    for (int i = 0; i < 9; ++i) {
      holder_.emplace_back(fmt::format("x{}", i), "account");
    }
    PutEntity("holder", holder_);
  }
  absl::Status Put(size_t profile) {
    return PutProfile(fmt::format("p{}", profile), FewRulesThatBecomeMany(profile));
  }
  void Delete(const v1::ProvisioningRequest& request) {
    const absl::Status deleted = sequencer_.Carry(org_, request).status();
    ASSERT_TRUE(deleted.ok()) << deleted;
  }

  Attributes holder_ = {{"name", ""}, {"team", ""}};
};

// The work is that of the rules as they are compiled, so the limits are.
TEST_F(CompiledRulesTest, AlternativesAndWhatTheyBringCount) {
  ASSERT_TRUE(Put(0).ok());
  ASSERT_TRUE(Put(1).ok());
  ExpectRefused(
      Put(2), "too_many_rules",
      "profile 'p2': the profiles would have 2592 different rules for entity 'account', at most "
      "2000 are taken; a filter counts once for each of its alternatives");
}

// A row of many references has to do with as many rows, both ways.
TEST_F(RuleCheckTest, SoDoAttributesThatRulesGoThrough) {
  constexpr size_t kReferences = 100;
  Attributes attributes;
  for (size_t i = 0; i < kReferences; ++i) {
    attributes.emplace_back(fmt::format("x{}", i), i % 2 == 0 ? "account" : "contact");
  }
  PutEntity("kit", attributes);
  const auto through = [&](size_t first, size_t end) {
    std::string up;
    std::string down;
    for (size_t i = first; i < end; ++i) {
      const std::string rule = fmt::format(R"(,{{"kind":"related","through":"kit.x{}"}})", i);
      (i % 2 == 0 ? up : down) += rule;
    }
    return R"({"entities":{"kit":[{"kind":"all"})" + down + R"(],"account":[{"kind":"all"})" + up +
           R"(],"contact":[{"kind":"all"}]}})";
  };
  EXPECT_TRUE(PutProfile("a", through(0, 40)).ok());
  EXPECT_TRUE(PutProfile("b", through(20, kThroughOfEntityMax)).ok());
  ExpectRefused(PutProfile("c", through(kThroughOfEntityMax, kThroughOfEntityMax + 1)),
                "too_many_rules",
                "profile 'c': the related rules of all profiles would go through 65 attributes of "
                "entity 'kit', at most 64");
  EXPECT_TRUE(PutProfile("b", through(20, 40)).ok());
  EXPECT_TRUE(PutProfile("c", through(kThroughOfEntityMax, kThroughOfEntityMax + 1)).ok());
  // As a log may have it that was written before they counted.
  OrgEntry entry = *Entry();
  Have("b", through(20, 80), &entry);
  EXPECT_TRUE(DecideProfile(entry, "a", through(0, 50)).ok());
  EXPECT_TRUE(DecideProfile(entry, "b", through(20, 79)).ok());
  ExpectRefused(DecideProfile(entry, "c", through(80, 82)), "too_many_rules", "82 attributes");
  EXPECT_TRUE(Decide(org_, &entry, testing::EntityRequest("new"), Offset(0)).status().ok());
}

// One profile a role, all with the same rules: the fold has them once.
TEST_F(CompiledRulesTest, RulesThatSeveralProfilesHaveCountOnce) {
  for (size_t i = 0; i < 500; ++i) {
    MustPutProfile(fmt::format("p{}", i), ManyRules("account", 5));
  }
}

// As a log may have it that was written before they counted.
TEST_F(CompiledRulesTest, WhoHasMoreMayMakeItLess) {
  OrgEntry entry = *Entry();
  for (size_t i = 0; i < 15; ++i) {
    Have(fmt::format("p{}", i), FewRulesThatBecomeMany(i), &entry);
  }
  const auto decide = [&](const std::string& name, const std::string& json) {
    return DecideProfile(entry, name, json);
  };
  EXPECT_TRUE(decide("p0", FewRulesThatBecomeMany(100)).ok());  // no more than it had
  EXPECT_TRUE(decide("p0", R"({"entities":{"holder":[{"kind":"all"}]}})").ok());
  EXPECT_TRUE(decide("q", R"({"entities":{}})").ok());
  ExpectRefused(decide("q", R"({"entities":{"account":[{"kind":"all"}]}})"), "too_many_rules",
                "12961 different rules for entity 'account'");
  ExpectRefused(decide("q", R"({"entities":{"order":[{"kind":"all"}]}})"), "too_many_rules",
                "14401 different rules in all");
  EXPECT_TRUE(Decide(org_, &entry, testing::EntityRequest("new"), Offset(0)).status().ok());
}

// Rules of an entity that was deleted mean nothing until there is one of that name again.
TEST_F(CompiledRulesTest, RulesThatComeBackCount) {
  ASSERT_TRUE(Put(0).ok());
  ASSERT_TRUE(Put(1).ok());
  v1::ProvisioningRequest deletes;
  deletes.mutable_delete_entity()->set_name("holder");
  Delete(deletes);
  for (size_t i = 0; i < 10; ++i) {
    MustPutProfile(fmt::format("q{}", i), ManyRules("account", 100, 100 * i));
  }
  ExpectRefused(
      TryEntity("holder", holder_), "too_many_rules",
      "entity 'holder': the profiles would have 2728 different rules for entity 'account'");
  v1::ProvisioningRequest deletes_profile;
  deletes_profile.mutable_delete_profile()->set_name("p1");
  Delete(deletes_profile);
  PutEntity("holder", holder_);
}

TEST_F(CompiledRulesTest, ADecisionCompilesWhatItChangesAndAHistoryNothing) {
  for (int i = 0; i < 50; ++i) {
    MustPutProfile(fmt::format("q{}", i),
                   R"({"entities":{"holder":[{"kind":"filter","where":"name eq '1'"}]}})");
  }
  OrgEntry started = *Entry();
  EXPECT_TRUE(started.model->rules().rules().empty());
  started.rule_counts = std::make_shared<RuleCounts>();  // as at a start
  const auto decide = [&](const v1::ProvisioningRequest& request) {
    const size_t before = started.rule_counts->compiled();
    EXPECT_TRUE(Decide(org_, &started, request, Offset(0)).ok());
    return started.rule_counts->compiled() - before;
  };
  EXPECT_EQ(decide(testing::RoleRequest("r", "{}")), 0U);
  EXPECT_EQ(decide(ProfileRequest("last", R"({"entities":{"holder":[{"kind":"all"}]}})")), 51U);
  EXPECT_EQ(decide(ProfileRequest("last", R"({"entities":{"order":[{"kind":"all"}]}})")), 1U);
  EXPECT_EQ(decide(testing::EntityRequest("new")), 0U);
  holder_.emplace_back("more", "");
  PutEntity("holder", holder_);
  EXPECT_EQ(Entry()->rule_counts->compiled(), 50U);
}

TEST_F(RuleCheckTest, AProfilePutAgainChangesNothing) {
  ASSERT_TRUE(PutProfile(kFilterProfile).ok());
  const auto again = sequencer_.Carry(org_, ProfileRequest("field", kFilterProfile));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->changes_offset, kNoOffset);
}

TEST_F(RuleCheckTest, RelatedGoesThroughAnAttributeThatReferences) {
  EXPECT_TRUE(PutRelated("contact", "contact.account").ok());  // contacts of my accounts
  EXPECT_TRUE(PutRelated("account", "contact.account").ok());  // accounts of my contacts
  ExpectRefused(PutRelated("contact", "nope.account"), "unknown_entity", "rule 1 (related)");
  ExpectRefused(PutRelated("contact", "contact.nope"), "unknown_attribute", "'nope'");
  ExpectRefused(PutRelated("contact", "contact"), "invalid_argument", "Entity.attribute");
  ExpectRefused(PutRelated("contact", ""), "invalid_argument", "Entity.attribute");
  ExpectRefused(PutRelated("contact", ".account"), "invalid_argument", "Entity.attribute");
  ExpectRefused(PutRelated("contact", "contact.name"), "invalid_argument", "references no entity");
  ExpectRefused(PutRelated("contact", "account.parent"), "invalid_argument",
                "references entity 'account', not 'contact'");
}

TEST_F(RuleCheckTest, CirclesAreRefused) {
  ExpectRefused(PutRelated("account", "account.parent"), "circular_rules", "account -> account");
  ExpectRefused(PutProfile(R"({"entities":{
                    "account":[{"kind":"related","through":"contact.account"}],
                    "contact":[{"kind":"related","through":"order.contact"},{"kind":"all"}],
                    "order":[{"kind":"related","through":"order.contact"}]}})"),
                "circular_rules",
                "profile 'field': related rules form a circle: contact -> order "
                "-> contact");
  EXPECT_TRUE(PutProfile(R"({"entities":{
                    "account":[{"kind":"related","through":"contact.account"}],
                    "contact":[{"kind":"related","through":"order.contact"},{"kind":"all"}],
                    "order":[{"kind":"all"}]}})")
                  .ok());
}

TEST_F(RuleCheckTest, ChainsAreAtMostEightRules) {
  std::string rules = R"({"entities":{"e1":[{"kind":"all"}])";
  PutEntity("e1", {});
  for (int i = 2; i <= 9; ++i) {
    const std::string name = "e" + std::to_string(i);
    PutEntity(name, {{"up", "e" + std::to_string(i - 1)}});
    rules += ",\"" + name + R"(":[{"kind":"related","through":")" + name + R"(.up"}])";
    const absl::Status put = PutProfile(rules + "}}");
    if (i <= 8) {
      EXPECT_TRUE(put.ok()) << put;
    } else {
      ExpectRefused(put, "rules_too_deep", "9 rules follow one another, at most 8 may: e9 -> e8");
    }
  }
}

TEST_F(RuleCheckTest, ASourceWithoutRulesEndsTheChain) {
  RuleGraph graph;
  std::string last = "e0";
  for (int i = 1; i <= 8; ++i) {  // e0 has no rule, so e1's is the first
    graph.AddRelated("e" + std::to_string(i), last);
    last = "e" + std::to_string(i);
  }
  EXPECT_TRUE(graph.Check().ok());
  RuleGraph longer;
  longer.AddRule("e0", 1);
  for (int i = 1; i <= 8; ++i) {
    longer.AddRelated("e" + std::to_string(i), "e" + std::to_string(i - 1));
  }
  EXPECT_EQ(ErrorCode(longer.Check()), "rules_too_deep");
}

TEST_F(RuleCheckTest, CirclesAreFoundBeforeDepth) {
  RuleGraph graph;
  graph.AddRule("a0", 1);
  for (int i = 1; i <= 12; ++i) {
    graph.AddRelated("a" + std::to_string(i), "a" + std::to_string(i - 1));
  }
  graph.AddRelated("z", "z");
  EXPECT_EQ(ErrorCode(graph.Check()), "circular_rules");
}

TEST_F(RuleCheckTest, CompiledRulesAreCounted) {
  const auto check = [](uint64_t of_source, int related) {
    RuleGraph graph;
    graph.AddRule("source", of_source);
    for (int i = 0; i < related; ++i) {
      graph.AddRelated("target", "source");
    }
    return graph.Check();
  };
  EXPECT_TRUE(check(100, 9).ok());  // 100 and 9 times 100
  ExpectRefused(check(100, 10), "invalid_argument", "more than 1000");
  ExpectRefused(check(91, 10), "invalid_argument", "more than 1000");
  // Through the front door: 32 alternatives make 32 of the filter and 32 of each related rule.
  PutEntity("wide", {{"a", ""}, {"b", ""}, {"c", ""}, {"d", ""}, {"e", ""}});
  PutEntity("below", {{"up", "wide"}});
  std::string where;
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    where += std::string(where.empty() ? "" : " and ") + "(" + name + " eq @user or " + name +
             " in @teams)";
  }
  const auto profile = [&where](int related) {
    std::string json =
        R"({"entities":{"wide":[{"kind":"filter","where":")" + where + R"("}],"below":[)";
    for (int i = 0; i < related; ++i) {
      json += std::string(i == 0 ? "" : ",") + R"({"kind":"related","through":"below.up"})";
    }
    return json + "]}}";
  };
  EXPECT_TRUE(PutProfile(profile(30)).ok());  // 31 * 32 = 992
  ExpectRefused(PutProfile(profile(31)), "invalid_argument", "more than 1000");
}

TEST_F(RuleCheckTest, AttributesThatFiltersNameStay) {
  ASSERT_TRUE(PutProfile(kFilterProfile).ok());
  ExpectRefused(TryEntity("order", {{"status", ""}, {"contact", "contact"}}), "attribute_in_use",
                "entity 'order' cannot lose attribute 'region': profile 'field', entity 'order', "
                "rule 2 (filter) needs it");
  PutEntity("order", {{"status", ""}, {"region", ""}, {"added", ""}});  // contact is free to go
  ASSERT_TRUE(PutProfile(R"({"entities":{"order":[{"kind":"all"}]}})").ok());
  PutEntity("order", {{"added", ""}});
}

TEST_F(RuleCheckTest, AttributesThatRelatedRulesGoThroughStayAsTheyAre) {
  ASSERT_TRUE(PutRelated("account", "contact.account").ok());
  ExpectRefused(TryEntity("contact", {{"name", ""}}), "attribute_in_use",
                "entity 'contact' cannot lose contact.account with its reference to 'account': "
                "profile 'field', entity 'account', rule 1 (related)");
  ExpectRefused(TryEntity("contact", {{"name", ""}, {"account", "order"}}), "attribute_in_use",
                "its reference");
  ExpectRefused(TryEntity("contact", {{"name", ""}, {"account", ""}}), "attribute_in_use",
                "its reference");
  PutEntity("contact", {{"account", "account"}, {"added", "order"}});
  PutEntity("account", {{"name", ""}});  // account.parent is used by nobody
}

TEST_F(RuleCheckTest, OwnershipThatARuleComparesStays) {
  v1::ProvisioningRequest owned = testing::EntityRequest("asset");
  ASSERT_TRUE(sequencer_.Carry(org_, owned).ok());
  ASSERT_TRUE(PutProfile(R"({"entities":{"asset":[{"kind":"user"}]}})").ok());
  v1::ProvisioningRequest without = testing::EntityRequest("asset", /*owned=*/false);
  without.mutable_put_entity()->mutable_attributes()->RemoveLast();
  ExpectRefused(sequencer_.Carry(org_, without).status(), "attribute_in_use",
                "entity 'asset' cannot lose the user ownership: profile 'field', entity 'asset', "
                "rule 1 (user) needs it");
}

TEST_F(RuleCheckTest, DeniedColumnsExistAndAreNotTheKey) {
  const auto put = [this](const std::string& columns) {
    return sequencer_
        .Carry(org_, testing::RoleRequest("sales", R"({"entities":{"order":{"read":true,)"
                                                   R"("deny_columns":)" +
                                                       columns + "}}}"))
        .status();
  };
  EXPECT_TRUE(put(R"(["status","region"])").ok());
  ExpectRefused(put(R"(["status","nope"])"), "unknown_attribute",
                "role 'sales', deny_columns: entity 'order' has no attribute 'nope'");
  ExpectRefused(put(R"(["id"])"), "invalid_argument", "primary key");
}

// A rule that no longer fits depends on anything that the entity has.
TEST_F(CompiledRulesTest, ADecisionComparesAWholeSchemaOnce) {
  PutEntity("lost", {{"x", ""}});
  for (int i = 0; i < 50; ++i) {
    MustPutProfile(fmt::format("q{}", i),
                   R"({"entities":{"lost":[{"kind":"filter","where":"x eq '1'"}]}})");
  }
  v1::ProvisioningRequest deletes;
  deletes.mutable_delete_entity()->set_name("lost");
  Delete(deletes);
  PutEntity("lost", {{"y", ""}});
  const auto hashed = [&](const std::string& name, const Attributes& attributes) {
    const size_t before = Entry()->rule_counts->hashed();
    PutEntity(name, attributes);
    return Entry()->rule_counts->hashed() - before;
  };
  EXPECT_LE(hashed("other", {}), 1U);  // what was decided on is another object of the same
  EXPECT_EQ(hashed("another", {}), 0U);
  EXPECT_LE(hashed("lost", {{"y", ""}, {"z", ""}}), 3U);
}

}  // namespace
}  // namespace sluice::projectors
