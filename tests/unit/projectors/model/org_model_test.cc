#include "projectors/model/org_model.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <chrono>
#include <functional>

#include "schemas/base/status.h"
#include "tests/support/change_events.h"
#include "tests/unit/projectors/staging/model_testing.h"

namespace sluice::projectors {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

std::string Refusal(const ModelPtr& model, const google::protobuf::Message& control) {
  const auto next = model->Apply(testing::MakeEvent(1, control).event);
  return next.ok() ? "accepted" : ErrorCode(next.status());
}

v1::EntityDefined Account(uint32_t id = 1) {
  return testing::DefineEntity(id, "account",
                               {{1, "accountid"},
                                {2, "ownerid"},
                                {3, "team"},
                                {4, "unit", v1::ATTRIBUTE_TYPE_UUID},
                                {5, "revenue", v1::ATTRIBUTE_TYPE_DECIMAL}},
                               2, 3, 4);
}

constexpr NamesRoom kWide{.buckets = 10'000, .bytes = uint64_t{1} << 30};
constexpr auto kTeam = v1::RULE_KIND_TEAM;
constexpr auto kUnit = v1::RULE_KIND_BUSINESS_UNIT;

ModelPtr Organisation() {
  ModelPtr model = After(OrgModel::Empty(), testing::OpenOrg(1));
  model = After(model, Account());
  model = After(model, testing::DefineEntity(2, "product", {{1, "id"}}));
  model = After(model, testing::DefineRole("sales", true, {"account", "product"}));
  return model;
}

std::map<std::string, uint32_t> NumbersOf(const OrgModel& model) {
  std::map<std::string, uint32_t> numbers;
  for (const auto& rule : model.rules().rules()) {
    numbers.emplace(rule->id, rule->number);
  }
  return numbers;
}

std::vector<std::string> NamesOf(const ModelPtr& model, const CallerClaims& caller) {
  const auto buckets = model->BucketsOf(caller, 1000);
  EXPECT_TRUE(buckets.ok()) << buckets.status();
  std::vector<std::string> names;
  for (const CallerBucket& bucket : buckets.value_or(std::vector<CallerBucket>())) {
    names.push_back(bucket.bucket.name);
  }
  return names;
}

TEST(OrgModel, SerializedModelsAreReadBackAndEqualOnesHaveEqualBytes) {
  ModelPtr model =
      After(Organisation(), testing::DefineProfile("b", {{"account", {kUser}}}, {"sales"}));
  model = After(model, testing::DefineProfile("a", {{"product", {kAll}}}, {"sales"}));
  ModelPtr other =
      After(Organisation(), testing::DefineProfile("b", {{"account", {kUser}}}, {"sales"}));
  other = After(other, testing::DefineProfile("a", {{"product", {kAll}}}, {"sales"}));
  EXPECT_EQ(model->Serialize(), other->Serialize());
  const auto parsed = OrgModel::Parse(model->Serialize());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ((*parsed)->Serialize(), model->Serialize());
  EXPECT_TRUE((*parsed)->open());
  EXPECT_EQ((*parsed)->incarnation(), 1u);
  EXPECT_EQ(NumbersOf(**parsed), NumbersOf(*model));
  EXPECT_EQ((*parsed)->FindEntity(EntityId(2))->name(), "product");
  EXPECT_EQ(OrgModel::Parse("\x0f").status().code(), absl::StatusCode::kDataLoss);
}

TEST(OrgModel, AnIncarnationOpensOnceAndStartsEmpty) {
  const ModelPtr open = Organisation();
  EXPECT_EQ(After(open, testing::OpenOrg(1))->Serialize(), open->Serialize());  // repeated
  EXPECT_EQ(Refusal(open, testing::OpenOrg(2)), "malformed_event");
  v1::OrgClosed closed;
  closed.set_incarnation(2);
  EXPECT_EQ(Refusal(open, closed), "malformed_event");
  closed.set_incarnation(1);
  const ModelPtr gone = After(open, closed);
  EXPECT_FALSE(gone->open());
  EXPECT_EQ(Refusal(gone, Account()), "org_not_open");
  EXPECT_EQ(Refusal(gone, testing::OpenOrg(1)), "malformed_event");
  const ModelPtr again = After(gone, testing::OpenOrg(2));
  EXPECT_TRUE(again->open());
  EXPECT_EQ(again->incarnation(), 2u);
  EXPECT_THAT(again->entities(), IsEmpty());
}

TEST(OrgModel, DefinitionsThatContradictTheModelAreRefused) {
  const ModelPtr model = Organisation();
  EXPECT_EQ(Refusal(model, Account(9)), "malformed_event");  // another id
  v1::EntityDefined renamed = Account();
  renamed.mutable_schema()->set_name("customer");
  EXPECT_EQ(Refusal(model, renamed), "malformed_event");
  v1::EntityDefined retyped = Account();
  retyped.mutable_schema()->mutable_attributes(4)->set_type(v1::ATTRIBUTE_TYPE_STRING);
  EXPECT_EQ(Refusal(model, retyped), "malformed_event");
  v1::EntityDefined rekeyed = Account();
  rekeyed.mutable_schema()->set_primary_key(2);
  EXPECT_EQ(Refusal(model, rekeyed), "malformed_event");
  EXPECT_EQ(Refusal(model, v1::ProfileDefined()), "malformed_event");
  EXPECT_EQ(Refusal(model, v1::RoleDefined()), "malformed_event");
  EXPECT_EQ(Refusal(model, testing::MakeSet({})), "malformed_event");
  eventlog::Event garbage = testing::MakeEvent(1, Account()).event;
  garbage.value = "\x0f";
  EXPECT_EQ(ErrorCode(model->Apply(garbage).status()), "malformed_event");
}

v1::SourceDefined Source(const std::string& name, const std::string& kind, int64_t epoch) {
  v1::SourceDefined defined;
  defined.mutable_settings()->set_name(name);
  defined.mutable_settings()->set_kind(kind);
  defined.set_epoch(epoch);
  return defined;
}

TEST(OrgModel, HasSourcesAndTheirEpochs) {
  ModelPtr model = After(Organisation(), Source("shop", "debezium", 7));
  model = After(model, Source("crm", "odata", 8));
  model = After(model, Source("crm", "odata", 12));
  const ModelPtr read = OrgModel::Parse(model->Serialize()).value();
  for (const ModelPtr& either : {model, read}) {
    ASSERT_EQ(either->sources().size(), 2U);
    ASSERT_NE(either->FindSource("crm"), nullptr);
    EXPECT_EQ(either->FindSource("crm")->epoch(), 12);
    EXPECT_EQ(either->FindSource("crm")->kind(), "odata");
    EXPECT_EQ(either->FindSource("erp"), nullptr);
  }
  EXPECT_EQ(read->Serialize(), model->Serialize());
  EXPECT_EQ(Refusal(model, Source("", "odata", 1)), "malformed_event");
  EXPECT_EQ(Refusal(model, Source("crm", "", 1)), "malformed_event");
  v1::SourceDeleted deleted;
  deleted.set_name("crm");
  EXPECT_EQ(After(model, deleted)->FindSource("crm"), nullptr);
  v1::OrgClosed closed;
  closed.set_incarnation(1);
  EXPECT_THAT(After(After(model, closed), testing::OpenOrg(2))->sources(), IsEmpty());
}

TEST(OrgModel, AnOwnerCountsWhileThereIsTheSource) {
  const ModelPtr model = After(Organisation(), Source("crm", "odata", 8));
  const auto owner_of = [&model](const std::string& owner) {
    v1::EntitySchema schema;
    schema.set_source(owner);
    return std::string(model->OwnerOf(schema));
  };
  EXPECT_EQ(owner_of(""), "");
  EXPECT_EQ(owner_of("odata:crm"), "odata:crm");
  EXPECT_EQ(owner_of("odata:crm"), OrgModel::OwnerName(*model->FindSource("crm")));
  EXPECT_EQ(owner_of("debezium:crm"), "");
  EXPECT_EQ(owner_of("odata:erp"), "");
  EXPECT_EQ(owner_of("crm"), "");
  EXPECT_EQ(owner_of("debezium:@home/shop"), "debezium:@home/shop");
}

// Rows hold values by id: what was denied under one name would be shown under another.
TEST(OrgModel, AnIdIsGivenToOneAttribute) {
  const auto define = [](const std::vector<testing::TestAttribute>& attributes, uint32_t next) {
    v1::EntityDefined defined = testing::DefineEntity(1, "account", attributes, 0, 0, 0);
    defined.mutable_schema()->set_next_attribute_id(next);
    return defined;
  };
  ModelPtr model = After(OrgModel::Empty(), testing::OpenOrg(1));
  model = After(model, define({{1, "accountid"}, {2, "salary"}, {3, "note"}}, 4));
  EXPECT_EQ(Refusal(model, define({{1, "accountid"}, {2, "nick"}, {3, "note"}}, 4)),
            "malformed_event");
  EXPECT_EQ(Refusal(model, define({{1, "key"}, {2, "salary"}, {3, "note"}}, 4)), "malformed_event");
  v1::EntityDefined removed = define({{1, "accountid"}}, 4);
  v1::RemovedAttribute& salary = *removed.mutable_schema()->add_removed();
  salary.set_id(2);
  salary.set_name("salary");
  model = After(model, removed);
  EXPECT_EQ(Refusal(model, define({{1, "accountid"}, {2, "nick"}}, 4)), "malformed_event");
  EXPECT_EQ(Refusal(model, define({{1, "accountid"}, {3, "nick"}}, 4)), "malformed_event")
      << "nobody says to what it was given";
  EXPECT_EQ(Refusal(model, define({{1, "accountid"}, {2, "salary"}}, 4)), "accepted");
  EXPECT_EQ(Refusal(model, define({{1, "accountid"}, {4, "nick"}}, 5)), "accepted");
}

TEST(OrgModel, RulesAreTheUnionOfAllProfilesAndUnknownNamesMakeNone) {
  ModelPtr model =
      After(Organisation(),
            testing::DefineProfile("a", {{"account", {kUser, kTeam}}, {"ghost", {kAll}}}, {}));
  model = After(model,
                testing::DefineProfile(
                    "b", {{"account", {kTeam, v1::RULE_KIND_FILTER}}, {"product", {kUser}}}, {}));
  std::vector<std::string> ids;
  for (const SyncRule* rule : model->rules().Find(EntityId(1))->rules) {
    ids.push_back(rule->id);
  }
  EXPECT_THAT(ids, ElementsAre("e1|team:a3", "e1|user:a2"));
  EXPECT_THAT(model->rules().Find(EntityId(2))->rules, IsEmpty());  // a product has no owner
  v1::EntityDeleted deleted;
  deleted.set_entity_id(1);
  model = After(model, deleted);
  EXPECT_EQ(model->rules().Find(EntityId(1)), nullptr);
  EXPECT_THAT(model->rules().rules(), IsEmpty());
  EXPECT_EQ(model->FindEntity(EntityId(1)), nullptr);
  EXPECT_EQ(model->profiles().size(), 2u);  // profiles keep what they name
}

TEST(OrgModel, BucketsOfARowFollowItsOwnership) {
  const ModelPtr model = After(
      Organisation(), testing::DefineProfile("a", {{"account", {kAll, kUser, kTeam, kUnit}}}, {}));
  const std::string row = testing::RowWriter().Text(1, "A1").Text(2, "U1").bytes();
  std::vector<std::string> names;
  for (const SyncRule* rule : model->rules().Find(EntityId(1))->rules) {
    const auto bucket = BucketOfRow(*rule, *model->FindEntity(EntityId(1)), row);
    ASSERT_TRUE(bucket.ok()) << bucket.status();
    if (bucket->has_value()) {
      EXPECT_EQ(**bucket, MakeBucketName((*bucket)->name));
      names.push_back((*bucket)->name);
    }
  }
  EXPECT_THAT(names, UnorderedElementsAre("e1|all", "e1|user:a2=U1"));
  // `printf 'e1|all' | sha256sum | cut -c1-32`, for ever: stored deltas are found by it.
  EXPECT_EQ(MakeBucketName("e1|all").key.ToHex(), "a21d0d40f46b778f1978eb311678715b");
}

TEST(OrgModel, CallersGetTheBucketsThatTheirClaimsChoose) {
  const ModelPtr model =
      After(Organisation(),
            testing::DefineProfile("a", {{"account", {kUser, kTeam, kUnit}}, {"product", {kAll}}},
                                   {"sales"}));
  EXPECT_THAT(
      NamesOf(model,
              {.user = "U1", .roles = {"sales"}, .teams = {"T1", "T2", "T1"}, .business_unit = {}}),
      UnorderedElementsAre("e1|user:a2=U1", "e1|team:a3=T1", "e1|team:a3=T2", "e2|all"));
  // Canonical: a unit is a uuid, in whatever case the token has it.
  EXPECT_THAT(
      NamesOf(model, {.user = "",
                      .roles = {"sales"},
                      .teams = {},
                      .business_unit = "0190A6E4-0000-7000-8000-0000000000AB"}),
      UnorderedElementsAre("e1|business_unit:a4=0190a6e4-0000-7000-8000-0000000000ab", "e2|all"));
  // A claim that is no value of the attribute, or absent, matches nothing.
  EXPECT_THAT(
      NamesOf(model, {.user = "", .roles = {"sales"}, .teams = {}, .business_unit = "north"}),
      ElementsAre("e2|all"));
}

TEST(OrgModel, OfflineIsAskedOfTheRolesThatExist) {
  ModelPtr model =
      After(Organisation(), testing::DefineProfile("a", {{"product", {kAll}}}, {"desk", "sales"}));
  model = After(model, testing::DefineRole("desk", false, {"product"}));
  const auto code = [&](std::vector<std::string> roles) {
    return ErrorCode(
        model
            ->BucketsOf({.user = "U1", .roles = std::move(roles), .teams = {}, .business_unit = {}},
                        10)
            .status());
  };
  EXPECT_EQ(code({}), "offline_not_allowed");
  EXPECT_EQ(code({"ghost"}), "offline_not_allowed");
  EXPECT_EQ(code({"desk"}), "offline_not_allowed");
  v1::RoleDeleted deleted;
  deleted.set_name("sales");
  model = After(model, deleted);
  EXPECT_EQ(code({"sales", "desk"}), "offline_not_allowed");
}

TEST(OrgModel, WithOneOfflineRoleAllRolesCountAndEntitiesNeedAReadingRole) {
  ModelPtr model = After(OrgModel::Empty(), testing::OpenOrg(1));
  model = After(model, Account());
  model = After(model, testing::DefineEntity(2, "product", {{1, "id"}}));
  model = After(model, testing::DefineRole("mobile", true, {}));
  model = After(model, testing::DefineRole("desk", false, {"account"}));
  model = After(
      model, testing::DefineProfile("a", {{"account", {kAll}}, {"product", {kAll}}}, {"mobile"}));
  EXPECT_THAT(NamesOf(model, {.user = "U", .roles = {"mobile"}, .teams = {}, .business_unit = {}}),
              IsEmpty());
  EXPECT_THAT(
      NamesOf(model, {.user = "U", .roles = {"mobile", "desk"}, .teams = {}, .business_unit = {}}),
      ElementsAre("e1|all"));
  // A profile of other roles does not reach the caller.
  model = After(model, testing::DefineProfile("a", {{"account", {kAll}}}, {"desk"}));
  EXPECT_THAT(NamesOf(model, {.user = "U", .roles = {"mobile"}, .teams = {}, .business_unit = {}}),
              IsEmpty());
}

TEST(OrgModel, AColumnIsShownWhenSomeRoleThatReadsTheEntityShowsIt) {
  ModelPtr model =
      After(Organisation(), testing::DefineProfile("a", {{"account", {kAll}}}, {"x", "y", "z"}));
  const auto role = [&](std::string_view name, const std::vector<std::string>& denied, bool read) {
    v1::RoleDefined defined = testing::DefineRole(name, true, {"account"});
    for (const std::string& column : denied) {
      defined.mutable_role()->mutable_entities(0)->add_deny_columns(column);
    }
    defined.mutable_role()->mutable_entities(0)->set_read(read);
    model = After(model, defined);
  };
  role("x", {"accountid", "revenue", "team"}, true);
  role("y", {"ownerid", "revenue", "ghost"}, true);
  role("z", {}, false);
  const auto denied = [&](std::vector<std::string> roles) {
    const auto buckets = model->BucketsOf(
        {.user = "U", .roles = std::move(roles), .teams = {}, .business_unit = {}}, 10);
    return buckets.ok() && buckets->size() == 1 ? buckets->front().entity->denied
                                                : std::vector<AttributeId>{AttributeId(99)};
  };
  EXPECT_THAT(denied({"x"}), ElementsAre(AttributeId(3), AttributeId(5)));  // never the key
  EXPECT_THAT(denied({"x", "y"}), ElementsAre(AttributeId(5)));
  EXPECT_THAT(denied({"x", "z"}), ElementsAre(AttributeId(3), AttributeId(5)));  // z reads nothing
}

// What a caller sees of an entity changes when a column is denied or shown, and when an attribute
// takes the name of an earlier one, whose values a holder of rows has; not otherwise.
TEST(OrgModel, ColumnsAreTheSameWhileACallersRowsAre) {
  ModelPtr model =
      After(Organisation(), testing::DefineProfile("a", {{"account", {kAll}}}, {"x", "y"}));
  const auto define = [&](std::map<uint32_t, std::string> live,
                          std::map<uint32_t, std::string> removed) {
    std::vector<testing::TestAttribute> attributes;
    for (const auto& [id, name] : live) {
      attributes.push_back({id, name});
    }
    v1::EntityDefined defined = testing::DefineEntity(1, "account", attributes, 0, 0, 0);
    v1::EntitySchema& schema = *defined.mutable_schema();
    for (const auto& [id, name] : removed) {
      v1::RemovedAttribute& added = *schema.add_removed();
      added.set_id(id);
      added.set_name(name);
      schema.set_next_attribute_id(std::max(schema.next_attribute_id(), id + 1));
    }
    model = After(model, defined);
  };
  const auto columns = [&](const std::string& role) {
    return model->BucketsOf({.user = "U", .roles = {role}, .teams = {}, .business_unit = {}}, 10)
        .value()
        .at(0)
        .columns;
  };
  v1::RoleDefined denying = testing::DefineRole("y", true, {"account"});
  denying.mutable_role()->mutable_entities(0)->add_deny_columns("note");
  model = After(model, testing::DefineRole("x", true, {"account"}));
  model = After(model, denying);
  define({{1, "accountid"}, {10, "note"}}, {});
  const uint64_t shown = columns("x");
  const uint64_t hidden = columns("y");
  EXPECT_EQ(shown, 0u);
  EXPECT_NE(hidden, shown);
  define({{1, "accountid"}, {10, "note"}, {11, "more"}}, {});
  EXPECT_EQ(columns("x"), shown);
  EXPECT_EQ(columns("y"), hidden);
  define({{1, "accountid"}, {11, "more"}}, {{10, "note"}});
  EXPECT_EQ(columns("x"), shown);
  EXPECT_EQ(columns("y"), hidden);
  define({{1, "accountid"}, {11, "more"}, {12, "note"}}, {{10, "note"}});
  const uint64_t again = columns("x");
  EXPECT_NE(again, shown);
  EXPECT_NE(again, hidden);
  EXPECT_EQ(columns("y"), hidden);
  define({{1, "accountid"}, {11, "more"}}, {{10, "note"}, {12, "note"}});
  EXPECT_EQ(columns("x"), again);
  EXPECT_EQ(columns("y"), hidden);
  define({{1, "accountid"}, {11, "more"}, {13, "note"}}, {{10, "note"}, {12, "note"}});
  EXPECT_NE(columns("x"), again);
  EXPECT_NE(columns("x"), shown);
  EXPECT_EQ(columns("y"), hidden);
}

// The later of what gives the caller its rules; defining it again as it is does not count.
TEST(OrgModel, ABucketKnowsWhenTheCallersRulesWereDefined) {
  ModelPtr model = Organisation();
  const auto apply = [&](const auto& control, int64_t offset) {
    model = model->Apply(testing::MakeEvent(offset, control).event, Offset(offset)).value();
    model = OrgModel::Parse(model->Serialize()).value();
  };
  const auto defined = [&] {
    return model->BucketsOf({.user = "U", .roles = {"x"}, .teams = {}, .business_unit = {}}, 10)
        .value()
        .at(0)
        .defined;
  };
  const auto role = testing::DefineRole("x", true, {"account"});
  const auto profile = testing::DefineProfile("a", {{"account", {kAll}}}, {"x"});
  apply(role, 10);
  apply(profile, 11);
  EXPECT_EQ(defined(), Offset(11));
  apply(testing::DefineProfile("b", {{"account", {kAll}}}, {"other"}), 12);
  apply(testing::DefineRole("other", true, {"account"}), 13);
  apply(role, 14);
  apply(profile, 15);
  EXPECT_EQ(defined(), Offset(11));
  apply(testing::DefineRole("x", false, {"account"}), 16);
  apply(role, 17);
  EXPECT_EQ(defined(), Offset(17));
}

size_t Allocated() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

// A profile of 100 filter rules; each begins with what is the same nowhere else.
v1::ProfileDefined Filters(const std::function<std::string(int)>& where) {
  auto defined = testing::DefineProfile("a", {}, {"sales"});
  auto& rules = *defined.mutable_profile()->add_entities();
  rules.set_entity("account");
  for (int i = 0; i < 100; ++i) {
    auto& rule = *rules.add_rules();
    rule.set_kind(v1::RULE_KIND_FILTER);
    rule.set_where(where(i));
  }
  return defined;
}

// Every process holds several models of every organisation.
TEST(OrgModel, AModelHoldsItsFiltersAndTheirLiteralsOnce) {
  const auto long_text = [](int i) {
    return fmt::format("team eq '{}{}'", std::string(8'000, 'v'), i);
  };
  const auto deep = [](int i) {
    std::string where = fmt::format("team eq '{}'", i);
    for (int level = 0; level < 60; ++level) {
      where = fmt::format("team {} '{}' {} ({})", level % 2 == 0 ? "ne" : "eq",
                          std::string(100, static_cast<char>('A' + level % 26)),
                          level % 2 == 0 ? "and" : "or", where);
    }
    return where;
  };
  const auto bytes_of = [](const v1::ProfileDefined& filters) {
    const ModelPtr before = Organisation();
    const size_t empty = Allocated();
    const ModelPtr model = After(before, filters);
    const size_t bytes = Allocated() - empty;
    EXPECT_EQ(model->rules().rules().size(), 100U);
    return bytes / filters.ByteSizeLong();
  };
  EXPECT_LE(bytes_of(Filters(long_text)), 2U);
  EXPECT_LE(bytes_of(Filters(deep)), 6U);  // steps and their inputs
}

TEST(OrgModel, LongFiltersAreCutInMessages) {
  const auto long_claim = [](int i) {
    std::string where = fmt::format("team in @teams and unit ne null and accountid ne '{}", i);
    while (where.size() < 1'000) {
      where += "\u00e9";
    }
    return where + "'";
  };
  const ModelPtr model = After(Organisation(), Filters(long_claim));
  const CallerClaims caller{
      .user = "U", .roles = {"sales"}, .teams = {"a", "b", "c"}, .business_unit = {}};
  const absl::Status status = model->BucketsOf(caller, 2).status();
  EXPECT_EQ(ErrorCode(status), "too_many_buckets") << status;
  EXPECT_THAT(std::string(Message(status)),
              AllOf(StartsWith("rule filter \"team in @teams and"),
                    HasSubstr("\u00e9...\" of entity account in profile a makes 3 buckets")));
}

TEST(OrgModel, TooManyBucketsNameTheRule) {
  const ModelPtr model =
      After(Organisation(), testing::DefineProfile("a", {{"account", {kTeam}}}, {"sales"}));
  const CallerClaims caller{
      .user = "U", .roles = {"sales"}, .teams = {"a", "b", "c"}, .business_unit = {}};
  EXPECT_TRUE(model->BucketsOf(caller, 3).ok());
  const absl::Status status = model->BucketsOf(caller, 2).status();
  EXPECT_EQ(ErrorCode(status), "too_many_buckets");
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(Message(status)),
              StartsWith("rule team of entity account in profile a makes 3 buckets for the caller, "
                         "3 with the rules before it; the limit is 2"));
  EXPECT_TRUE(model->BucketsOf(caller, 20'000).ok());
}

// Each name has the values of all terms: 961 buckets would have names of 13 MB.
TEST(OrgModel, TooLongNamesNameTheRule) {
  std::vector<testing::TestAttribute> attributes{{1, "id"}, {2, "g"}, {3, "h"}};
  std::string where = "g in @teams and h in @teams";
  for (uint32_t id = 4; id < 18; ++id) {
    attributes.push_back({id, "f" + std::to_string(id)});
    where += " and f" + std::to_string(id) + " eq @user";
  }
  ModelPtr model = After(Organisation(), testing::DefineEntity(3, "order", attributes));
  model = After(model, testing::DefineRole("clerk", true, {"order"}));
  v1::ProfileDefined profile = testing::DefineProfile("a", {{"order", {}}}, {"clerk"});
  v1::Rule* rule = profile.mutable_profile()->mutable_entities(0)->add_rules();
  rule->set_kind(v1::RULE_KIND_FILTER);
  rule->set_where(where);
  model = After(model, profile);
  CallerClaims caller;
  caller.user = std::string(kClaimBytesMax, 'u');
  caller.roles = {"clerk"};
  for (int i = 0; i < 31; ++i) {
    caller.teams.push_back("t" + std::to_string(i));
  }
  const absl::Status status = model->BucketsOf(caller, 1'000).status();
  EXPECT_EQ(ErrorCode(status), "too_many_buckets");
  EXPECT_THAT(std::string(Message(status)),
              AllOf(StartsWith("rule filter"),
                    HasSubstr("makes 961 buckets for the caller whose names have 13"),
                    HasSubstr("the limit is 1024000:")));
  caller.user.resize(50);
  EXPECT_EQ(NamesOf(model, caller).size(), 961U);
  EXPECT_EQ(ErrorCode(model->BucketsOf(caller, 960).status()), "too_many_buckets");
}

// What a sequencer wrote that was paused while another one took over.
TEST(OrgModelFencing, ADefinitionThatAnswersAnOlderRequestIsPassedOver) {
  const auto after = [](const ModelPtr& model, const google::protobuf::Message& control,
                        Offset answers) {
    eventlog::Event event = testing::MakeEvent(1, control).event;
    event.answers = answers;
    const auto next = model->Apply(event);
    EXPECT_TRUE(next.ok()) << next.status();
    return next.value_or(model);
  };
  const v1::RoleDefined old_role = testing::DefineRole("r", true, {"account"});
  const v1::RoleDefined new_role = testing::DefineRole("r", false, {});
  ModelPtr model = after(OrgModel::Empty(), testing::OpenOrg(1), Offset(10));
  model = after(model, Account(), Offset(11));
  model = after(model, old_role, Offset(12));
  model = after(model, new_role, Offset(14));
  const std::string bytes = model->Serialize();
  EXPECT_EQ(after(model, old_role, Offset(12))->Serialize(), bytes);
  EXPECT_EQ(after(model, new_role, Offset(14))->Serialize(), bytes) << "repeated after a crash";
  v1::OrgClosed closed;
  closed.set_incarnation(1);
  EXPECT_TRUE(after(model, closed, Offset(13))->open());
  // It is part of what is stored.
  const ModelPtr parsed = OrgModel::Parse(bytes).value();
  EXPECT_EQ(after(parsed, old_role, Offset(13))->Serialize(), bytes);
  EXPECT_NE(after(parsed, old_role, Offset(15))->Serialize(), bytes);
  // And of the next incarnation too.
  const ModelPtr reopened =
      after(after(parsed, closed, Offset(20)), testing::OpenOrg(2), Offset(21));
  EXPECT_EQ(after(reopened, old_role, Offset(19))->roles().size(), 0U);
  // Events of before requests were named count as ever.
  EXPECT_NE(after(model, old_role, kNoOffset)->Serialize(), bytes);
}

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
