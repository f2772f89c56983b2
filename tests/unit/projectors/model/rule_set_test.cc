#include "projectors/model/rule_set.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "projectors/model/org_model.h"
#include "tests/support/change_events.h"
#include "tests/unit/projectors/model/model_testing.h"

// What an event compiles, and that it makes no difference how a set of rules came to be.
namespace sluice::projectors {
namespace {

using testing::FilterRule;

// An account with attributes as many as that, which an order references.
v1::EntityDefined AccountOf(uint32_t attributes) {
  std::vector<testing::TestAttribute> list = {{1, "id"}, {2, "owner"}};
  for (uint32_t id = 3; id <= attributes; ++id) {
    list.push_back({id, fmt::format("x{}", id)});
  }
  return testing::DefineEntity(1, "account", list, 2);
}

v1::EntityDefined OrderOf(uint32_t attributes) {
  std::vector<testing::TestAttribute> list = {{1, "id"}, {2, "owner"}, {3, "account"}};
  for (uint32_t id = 4; id <= attributes; ++id) {
    list.push_back({id, fmt::format("x{}", id)});
  }
  list.at(2).references = "account";
  return testing::DefineEntity(2, "order", list, 2);
}

v1::EntityDeleted Deleted(uint32_t id) {
  v1::EntityDeleted deleted;
  deleted.set_entity_id(id);
  return deleted;
}

// The profile's own filter, orders of a user's, and those of accounts that it has by the filter.
v1::ProfileDefined Profile(const std::string& name, const std::string& value) {
  v1::ProfileDefined defined = testing::DefineProfile(name, {}, {"sales"});
  testing::AddRules(
      "account",
      {FilterRule(fmt::format("x3 eq '{}' and (owner eq @user or x4 in @teams)", value))},
      &defined);
  testing::AddRules("order", {testing::KindRule(kUser), testing::RelatedRule("order.account")},
                    &defined);
  return defined;
}

ModelPtr Organisation(int profiles) {
  ModelPtr model = After(OrgModel::Empty(), testing::OpenOrg(1));
  model = After(model, AccountOf(4));
  model = After(model, OrderOf(3));
  for (int i = 0; i < profiles; ++i) {
    model = After(model, Profile(fmt::format("p{}", i), fmt::format("v{}", i)));
  }
  return model;
}

TEST(RuleSet, AnEventCompilesWhatItChanges) {
  const ModelPtr model = Organisation(50);
  EXPECT_EQ(model->rules().profiles_compiled(), 1U);
  EXPECT_EQ(model->rules().rules().size(), 201U);  // the user's orders are one rule
  const auto compiled = [&](const google::protobuf::Message& control) {
    return After(model, control)->rules().profiles_compiled();
  };
  EXPECT_EQ(compiled(Profile("p7", "other")), 1U);
  v1::ProfileDeleted profile_deleted;
  profile_deleted.set_name("p7");
  EXPECT_EQ(compiled(profile_deleted), 0U);
  EXPECT_EQ(compiled(AccountOf(5)), 0U);  // an attribute that no rule names
  EXPECT_EQ(compiled(Deleted(2)), 50U);
  const ModelPtr other = After(model, testing::DefineRole("sales", true, {"account"}));
  EXPECT_EQ(&other->rules(), &model->rules());
  EXPECT_EQ(&After(model, Profile("p7", "v7"))->rules(), &model->rules());  // as it was
}

// So many filters of accounts, one of them twice, and one of orders.
v1::ProfileDefined Filters(int count, const std::string& more = "") {
  v1::ProfileDefined defined = testing::DefineProfile("p", {{"account", {}}, {"order", {}}}, {});
  v1::EntityRules& accounts = *defined.mutable_profile()->mutable_entities(0);
  for (int i = 0; i < count; ++i) {
    *accounts.add_rules() = FilterRule(fmt::format("x3 eq '{}' and x4 in @teams", i));
  }
  *accounts.add_rules() = accounts.rules(0);
  if (!more.empty()) {
    *accounts.add_rules() = FilterRule(more);
  }
  *defined.mutable_profile()->mutable_entities(1)->add_rules() = FilterRule("account eq '1'");
  return defined;
}

// A profile may have a megabyte of them, and its partition waits while they are compiled.
TEST(RuleSet, AFilterThatMeansTheSameIsNotParsedAgain) {
  ModelPtr model = After(OrgModel::Empty(), testing::OpenOrg(1));
  model = After(After(model, AccountOf(4)), OrderOf(3));
  model = After(model, Filters(100));
  EXPECT_EQ(model->rules().filters_parsed(), 101U);
  const auto parsed = [](const ModelPtr& after) {
    // What was not parsed is what it would have been.
    const auto anew = OrgModel::Parse(after->Serialize());
    EXPECT_EQ(anew->get()->rules().rules().size(), after->rules().rules().size());
    for (const auto& rule : after->rules().rules()) {
      const SyncRule* const other = (*anew)->rules().FindRule(rule->number);
      EXPECT_TRUE(other != nullptr && other->id == rule->id) << rule->id;
    }
    return after->rules().filters_parsed();
  };
  EXPECT_EQ(parsed(After(model, Filters(100, "x3 eq 'more'"))), 1U);
  EXPECT_EQ(parsed(After(model, Filters(99))), 0U);
  const ModelPtr without = After(model, Deleted(2));
  EXPECT_EQ(without->rules().profiles_compiled(), 1U);
  EXPECT_EQ(parsed(without), 0U);
  EXPECT_EQ(parsed(After(without, OrderOf(3))), 1U);
  // An attribute by which accounts would come that nobody has named before.
  v1::EntityDefined owned = AccountOf(4);
  owned.mutable_schema()->mutable_ownership()->set_team(3);
  EXPECT_EQ(parsed(After(model, owned)), 0U);
  v1::EntityDefined referring = AccountOf(4);
  referring.mutable_schema()->mutable_attributes(2)->set_references("order");
  EXPECT_EQ(parsed(After(model, referring)), 100U);  // x3 is another attribute now
  EXPECT_EQ(parsed(After(After(model, Deleted(1)), AccountOf(4))), 100U);
  v1::EntityDefined other = AccountOf(4);
  other.mutable_schema()->set_entity_id(7);
  EXPECT_EQ(parsed(After(After(model, Deleted(1)), other)), 100U);
}

// Those that the limit of a profile has cut off come once there is room for them.
TEST(RuleSet, AFilterThatWasCutOffIsParsedAgain) {
  std::string where = "owner eq @user";
  for (int i = 0; i < 9; ++i) {
    where += fmt::format(" or '{}' in @roles", i);
  }
  const auto profile = [&where](int first, int count) {
    v1::ProfileDefined defined = testing::DefineProfile("p", {{"account", {}}}, {});
    for (int i = first; i < first + count; ++i) {
      *defined.mutable_profile()->mutable_entities(0)->add_rules() =
          FilterRule(fmt::format("{} or x3 eq '{}'", where, i));
    }
    return defined;
  };
  ModelPtr model = After(After(OrgModel::Empty(), testing::OpenOrg(1)), AccountOf(4));
  const ModelPtr cut = After(model, profile(0, 91));  // eleven alternatives each
  const ModelPtr less = After(cut, profile(1, 90));
  const ModelPtr anew = After(model, profile(1, 90));
  EXPECT_EQ(less->rules().rules().size(), anew->rules().rules().size());
  EXPECT_EQ(less->rules().filters_parsed(), 1U);
}

// A rule that no longer fits may come to fit by anything that a schema gets, and schemas are large.
TEST(RuleSet, WhatDependsOnAWholeSchemaComparesItOnce) {
  ModelPtr model = Organisation(0);
  for (int i = 0; i < 20; ++i) {
    v1::ProfileDefined defined = testing::DefineProfile(fmt::format("p{}", i), {}, {});
    for (const char* entity : {"account", "order"}) {
      testing::AddRules(entity, {FilterRule("x9 eq 'gone'")}, &defined);
    }
    model = After(model, defined);
    EXPECT_EQ(model->rules().schemas_hashed(), 2U);
  }
  model = After(model, testing::DefineEntity(3, "new", {{1, "id"}}));
  EXPECT_EQ(model->rules().schemas_hashed(), 0U);
  model = After(model, OrderOf(4));
  EXPECT_EQ(model->rules().profiles_compiled(), 20U);
  EXPECT_EQ(model->rules().schemas_hashed(), 2U);  // the profiles are made anew, by both
  model = After(model, Deleted(3));
  EXPECT_EQ(model->rules().schemas_hashed(), 0U);
  EXPECT_TRUE(model->rules().rules().empty());
  model = After(model, AccountOf(9));  // now they fit
  EXPECT_EQ(model->rules().rules().size(), 1U);
  const auto parsed = OrgModel::Parse(model->Serialize());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ((*parsed)->rules().schemas_hashed(), 1U);
}

// A model with one filter of accounts.
ModelPtr RulesOf(const std::string& where) {
  v1::ProfileDefined defined = testing::DefineProfile("p", {}, {"sales"});
  testing::AddRules("account", {FilterRule(where)}, &defined);
  return After(After(After(OrgModel::Empty(), testing::OpenOrg(1)), AccountOf(4)), defined);
}

// What a step of the fold does is counted by it: rules can differ a hundred times in what they
// take.
TEST(RuleSet, AFilterHasItsComparisons) {
  const auto comparisons = [](size_t count) {
    std::string where = "x3 eq 'first'";
    for (size_t i = 1; i < count; ++i) {
      where += fmt::format(" or x{} eq 'value {}'", 3 + i % 2, i);
    }
    return RulesOf(where)->rules().Find(EntityId(1))->ComparisonsAt(1);
  };
  EXPECT_LE(comparisons(1), 2U);
  EXPECT_GE(comparisons(300), 300U);
  EXPECT_EQ(Organisation(1)->rules().Find(EntityId(1))->ComparisonsAt(9), 0U);
}

// contains() may read all of a large value, each time.
TEST(RuleSet, AFilterHasItsSearches) {
  const auto searches = [](const std::string& where) {
    return RulesOf(where)->rules().Find(EntityId(1))->SearchesAt(1);
  };
  EXPECT_EQ(searches("x3 eq 'first' or startswith(x3,'a')"), 0U);
  EXPECT_EQ(searches("contains(x3,'a') and (contains(x4,'b') or not contains(x3,'c'))"), 3U);
  EXPECT_EQ(searches("x3 eq x4 or startswith(x3,x4)"), 2U);
}

TEST(RuleSet, WhoNeedsDefinitionsAloneCompilesNothing) {
  ModelPtr model = After(OrgModel::WithoutRules(), testing::OpenOrg(1));
  model = After(After(model, AccountOf(4)), Profile("p", "v"));
  EXPECT_EQ(model->profiles().size(), 1U);
  EXPECT_EQ(model->rules().profiles_compiled(), 0U);
  EXPECT_TRUE(model->rules().rules().empty());
}

// A rule as text, without its own number.
std::string Describe(const RuleSet& set, const SyncRule& rule) {
  const SyncRule* source = set.FindRule(rule.source);
  return fmt::format("{} {} {} {} of {}", rule.id, rule.number, rule.depth, rule.attribute.value(),
                     source == nullptr ? "" : source->id);
}

std::vector<std::string> Describe(const OrgModel& model) {
  const RuleSet& set = model.rules();
  std::vector<std::string> lines = {fmt::format("{} {}", set.depth_max(), set.next_number())};
  for (const auto& rule : set.rules()) {
    lines.push_back(Describe(set, *rule));
    EXPECT_EQ(set.FindRule(rule->number), rule.get());
  }
  for (const auto& [id, entity] : set.entities()) {
    lines.push_back(fmt::format("entity {}", entity.schema->proto().ShortDebugString()));
    for (const SyncRule* rule : entity.rules) {
      lines.push_back(Describe(set, *rule));
    }
    lines.emplace_back("feeds");
    for (const SyncRule* rule : entity.feeds) {
      lines.push_back(Describe(set, *rule));
    }
  }
  for (const auto& [name, profile] : model.profiles()) {
    lines.push_back("profile " + name);
    for (const auto& rule : set.OfProfile(name)) {
      lines.push_back(rule->id);
    }
  }
  return lines;
}

// Event by event, and all at once from what was stored.
TEST(RuleSet, ItDoesNotMatterHowItCameToBe) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::minstd_rand random(seed);
  const auto below = [&random](unsigned n) { return static_cast<uint32_t>(random() % n); };
  ModelPtr model = Organisation(3);
  uint32_t account = 4;
  uint32_t order = 3;
  for (int step = 0; step < 200; ++step) {
    const std::string name = fmt::format("p{}", below(6));
    switch (below(6)) {
      case 0:
        model = After(model, Deleted(1 + below(2)));
        break;
      case 1:
        account += below(2);
        model = After(model, AccountOf(account));
        break;
      case 2:
        order += below(2);
        model = After(model, OrderOf(order));
        break;
      case 3: {
        v1::ProfileDeleted deleted;
        deleted.set_name(name);
        model = After(model, deleted);
        break;
      }
      case 4:
        model = After(model, testing::DefineProfile(name, {{"account", {kAll, kUser}}}, {}));
        break;
      default:
        model = After(model, Profile(name, fmt::format("v{}", below(4))));
    }
    const auto parsed = OrgModel::Parse(model->Serialize());
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    ASSERT_EQ(Describe(*model), Describe(**parsed)) << "step " << step;
  }
}

}  // namespace
}  // namespace sluice::projectors
