#include "schemas/entity_schema.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>

#include <string>

#include "schemas/base/status.h"
#include "schemas/entity_definition.h"
#include "tests/support/schemas/test_schema.h"

namespace sluice::schemas {
namespace {

using ::testing::HasSubstr;
using testing::MakeProto;
using testing::ValueOrDie;

// The definition that gateways/docs/api.md, section 1, shows: two ownership attributes are not in
// its list.
constexpr std::string_view kAccount = R"({"primary_key":"accountid",
     "attributes":[{"name":"accountid","type":"string"},
                   {"name":"name","type":"string"},
                   {"name":"parentid","type":"string","references":"account"},
                   {"name":"ownerid","type":"string"}, {"name":"revenue","type":"decimal"}],
     "ownership":{"user":"ownerid","team":"owningteam","business_unit":"owningbusinessunit"}})";

std::string ParseError(std::string_view json, std::string_view name = "account") {
  const auto parsed = ParseEntityDefinition(name, json);
  return parsed.ok() ? "ok"
                     : ErrorCode(parsed.status()) + ": " + std::string(Message(parsed.status()));
}

// A definition with this text for the list of attributes and what follows it.
std::string With(std::string_view attributes, std::string_view rest = "") {
  return R"({"primary_key":"a","attributes":[)" + std::string(attributes) + "]" +
         std::string(rest) + "}";
}

absl::StatusOr<v1::EntitySchema> Evolve(const v1::EntitySchema& current, std::string_view json) {
  return EvolveSchema(&current, ValueOrDie(ParseEntityDefinition(current.name(), json)),
                      EntityId(99));
}

TEST(ParseEntityDefinitionTest, TakesTheExampleOfTheApi) {
  const auto parsed = ParseEntityDefinition("account", kAccount);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->name(), "account");
  EXPECT_EQ(parsed->primary_key(), "accountid");
  ASSERT_EQ(parsed->attributes_size(), 5);
  EXPECT_EQ(parsed->attributes(2).references(), "account");
  EXPECT_EQ(parsed->attributes(4).type(), v1::ATTRIBUTE_TYPE_DECIMAL);
  EXPECT_EQ(parsed->owner_user(), "ownerid");
  EXPECT_EQ(parsed->owner_business_unit(), "owningbusinessunit");
}

TEST(ParseEntityDefinitionTest, RefusesWhatIsNoDefinition) {
  const std::string a = R"({"name":"a","type":"string"})";
  EXPECT_EQ(ParseError(With(a)), "ok");
  for (const std::string& json :
       {std::string("[]"),
        std::string("5"),
        std::string("{}"),
        std::string(R"({"primary_key":"a"})"),
        With(""),
        With(R"({"name":"b","type":"string"})"),
        With("5"),
        With(a + ",null"),
        With(R"({"name":"a"})"),
        With(R"({"type":"string"})"),
        With(R"({"name":"a","type":5})"),
        With(R"({"name":"a","type":"text"})"),
        With(R"({"name":"a","type":"String"})"),
        With(R"({"name":"a","type":"string","nullable":true})"),
        With(R"({"name":"a","type":"string","references":""})"),
        With(R"({"name":"a","type":"string","references":"no-name"})"),
        With(a + "," + a),
        With(a + R"(,{"name":"1b","type":"string"})"),
        With(a + R"(,{"name":"b c","type":"string"})"),
        With(a + R"(,{"name":"é","type":"bool"})"),
        With(a + R"(,{"name":"b\u0000","type":"string"})"),
        With(a, R"(,"extra":1)"),
        With(a, R"(,"ownership":[])"),
        With(a, R"(,"ownership":{"group":"a"})"),
        With(a, R"(,"ownership":{"user":5})"),
        With(a, R"(,"ownership":{"user":"no-name"})"),
        With(a + R"(,{"name":"o","type":"double"})", R"(,"ownership":{"user":"o"})"),
        R"({"primary_key":5,"attributes":[)" + a + "]}",
        std::string(R"({"primary_key":"a","attributes":{}})")}) {
    EXPECT_THAT(ParseError(json), ::testing::StartsWith("invalid_argument: ")) << json;
  }
  EXPECT_THAT(ParseError(With(a), "no-name"), ::testing::StartsWith("invalid_argument: "));
  EXPECT_THAT(ParseError(With(a), ""), ::testing::StartsWith("invalid_argument: "));
}

TEST(ParseEntityDefinitionTest, RefusesWhatIsNoJson) {
  for (const std::string& json :
       {std::string(""), std::string("{"), std::string("{} x"),
        std::string("{\"primary_key\":\"\xff\"}"),
        std::string(R"({"primary_key":"a","primary_key":"a","attributes":[]})"),
        With(R"({"name":"a","name":"b","type":"string"})"), std::string(200'000, '[')}) {
    EXPECT_THAT(ParseError(json), ::testing::StartsWith("invalid_json: ")) << json.substr(0, 80);
  }
}

TEST(ParseEntityDefinitionTest, Limits) {
  EXPECT_THAT(ParseError(std::string(kDefinitionSizeMax + 1, ' ')),
              ::testing::StartsWith("too_large: "));
  std::string list = R"({"name":"a","type":"string"})";
  for (int i = 1; i < kAttributesMax; ++i) {
    list += ",{\"name\":\"a" + std::to_string(i) + "\",\"type\":\"bool\"}";
  }
  EXPECT_EQ(ParseError(With(list)), "ok");
  EXPECT_THAT(ParseError(With(list + R"(,{"name":"z","type":"bool"})")),
              HasSubstr("more than 1000"));
  const std::string name(128, 'n');
  EXPECT_EQ(ParseError(R"({"primary_key":")" + name + R"(","attributes":[{"name":")" + name +
                       R"(","type":"string"}]})"),
            "ok");
  EXPECT_THAT(ParseError(With(R"({"name":"a","type":"string"},{"name":")" + name +
                              R"(n","type":"string"})")),
              HasSubstr("is no attribute name"));
}

TEST(EvolveSchemaTest, GivesIdsInOrder) {
  const v1::EntitySchema schema = MakeProto("account", kAccount);
  EXPECT_EQ(schema.entity_id(), 1U);
  EXPECT_EQ(schema.primary_key(), 1U);
  EXPECT_EQ(schema.next_attribute_id(), 8U);
  EXPECT_EQ(schema.ownership().user(), 4U);
  EXPECT_EQ(schema.ownership().team(), 6U);
  EXPECT_EQ(schema.ownership().business_unit(), 7U);
  EXPECT_EQ(schema.attributes(5).name(), "owningteam");
  EXPECT_TRUE(schema.attributes(5).implied());
  EXPECT_EQ(schema.attributes(5).type(), v1::ATTRIBUTE_TYPE_STRING);
}

TEST(EvolveSchemaTest, TheSameDefinitionAgainChangesNothing) {
  const v1::EntitySchema schema = MakeProto("account", kAccount);
  const auto again = Evolve(schema, kAccount);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(schema, *again));
  const auto as_read = Evolve(schema, EntitySchemaToJson(schema));
  ASSERT_TRUE(as_read.ok()) << as_read.status();
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(schema, *as_read));
}

TEST(EvolveSchemaTest, RemovedNamesComeBackAsNewAttributes) {
  const std::string a = R"({"name":"a","type":"string"})";
  const std::string b = R"({"name":"b","type":"string"})";
  const v1::EntitySchema first = MakeProto("e", With(a + "," + b));
  const v1::EntitySchema second = ValueOrDie(Evolve(first, With(a)));
  EXPECT_EQ(second.attributes_size(), 1);
  EXPECT_EQ(second.next_attribute_id(), 3U);
  const v1::EntitySchema third =
      ValueOrDie(Evolve(second, With(R"({"name":"b","type":"int32"},)" + a)));
  EXPECT_EQ(third.entity_id(), 1U);
  EXPECT_EQ(third.attributes(0).id(), 3U);
  EXPECT_EQ(third.attributes(1).id(), 1U);
  const auto removed = [](const v1::EntitySchema& schema) {
    std::string text;
    for (const v1::RemovedAttribute& attribute : schema.removed()) {
      text += attribute.name() + std::to_string(attribute.id()) + " ";
    }
    return text;
  };
  EXPECT_EQ(removed(first), "");
  EXPECT_EQ(removed(second), "b2 ");
  EXPECT_EQ(removed(third), "b2 ");
  EXPECT_EQ(removed(ValueOrDie(Evolve(third, With(a)))), "b2 b3 ");
}

TEST(EvolveSchemaTest, TypeAndKeyStay) {
  const std::string a = R"({"name":"a","type":"string"})";
  const v1::EntitySchema first = MakeProto("e", With(a + R"(,{"name":"b","type":"int32"})"));
  for (const std::string& json :
       {With(a + R"(,{"name":"b","type":"int64"})"), With(R"({"name":"a","type":"uuid"})"),
        std::string(R"({"primary_key":"b","attributes":[{"name":"a","type":"string"},
                        {"name":"b","type":"int32"}]})"),
        std::string(R"({"primary_key":"c","attributes":[{"name":"c","type":"string"}]})")}) {
    const auto evolved = Evolve(first, json);
    EXPECT_EQ(ErrorCode(evolved.status()), "incompatible_schema") << json;
    EXPECT_EQ(evolved.status().code(), absl::StatusCode::kFailedPrecondition);
  }
  const v1::EntitySchema referencing =
      ValueOrDie(Evolve(first, With(R"({"name":"a","type":"string","references":"x"})")));
  EXPECT_EQ(referencing.attributes(0).id(), 1U);
}

TEST(EvolveSchemaTest, AnAttributeThatTheOwnershipNamesStays) {
  const v1::EntitySchema first = MakeProto("account", kAccount);
  const auto removed = Evolve(first, R"({"primary_key":"accountid",
     "attributes":[{"name":"accountid","type":"string"}],"ownership":{"user":"ownerid"}})");
  EXPECT_EQ(ErrorCode(removed.status()), "attribute_in_use");
  const auto both = Evolve(first, R"({"primary_key":"accountid",
     "attributes":[{"name":"accountid","type":"string"}]})");
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_FALSE(both->has_ownership());
  EXPECT_EQ(both->attributes_size(), 1);
}

TEST(EvolveSchemaTest, AnImpliedAttributeCanBeListedLater) {
  const v1::EntitySchema first =
      MakeProto("e", With(R"({"name":"a","type":"string"})", R"(,"ownership":{"team":"t"})"));
  const v1::EntitySchema second =
      ValueOrDie(Evolve(first, With(R"({"name":"a","type":"string"},{"name":"t","type":"string"})",
                                    R"(,"ownership":{"team":"t"})")));
  EXPECT_EQ(second.ownership().team(), first.ownership().team());
  EXPECT_FALSE(second.attributes(1).implied());
  EXPECT_EQ(second.next_attribute_id(), first.next_attribute_id());
}

TEST(EvolveSchemaTest, SkipsProtobufsOwnNumbersAndEndsAtTheLimit) {
  v1::EntitySchema current = MakeProto("e", With(R"({"name":"a","type":"string"})"));
  current.set_next_attribute_id(18'999);
  const v1::EntitySchema next =
      ValueOrDie(Evolve(current, With(R"({"name":"a","type":"string"},{"name":"b","type":"bool"},
                              {"name":"c","type":"bool"})")));
  EXPECT_EQ(next.attributes(1).id(), 18'999U);
  EXPECT_EQ(next.attributes(2).id(), 20'000U);
  current.set_next_attribute_id(kAttributeIdMax);
  const std::string two = With(R"({"name":"a","type":"string"},{"name":"b","type":"bool"})");
  const v1::EntitySchema last = ValueOrDie(Evolve(current, two));
  EXPECT_TRUE(EntitySchema::FromProto(last).ok());
  EXPECT_EQ(
      ErrorCode(Evolve(last, With(R"({"name":"a","type":"string"},{"name":"c","type":"bool"})"))
                    .status()),
      "incompatible_schema");
}

TEST(EvolveSchemaTest, ValidatesWhatComesFromTheLog) {
  v1::ProvisioningRequest::PutEntity wanted;
  wanted.set_name("no-name");
  EXPECT_EQ(ErrorCode(EvolveSchema(nullptr, wanted, EntityId(1)).status()), "invalid_argument");
}

TEST(EntitySchemaTest, FindsByIdAndName) {
  const auto schema = testing::MakeSchema("account", kAccount);
  EXPECT_EQ(schema->key().name, "accountid");
  EXPECT_EQ(schema->Find("revenue")->id, AttributeId(5));
  EXPECT_EQ(schema->Find(AttributeId(5))->name, "revenue");
  EXPECT_EQ(schema->Find("Revenue"), nullptr);
  EXPECT_EQ(schema->Find(AttributeId(0)), nullptr);
  EXPECT_EQ(schema->Find(AttributeId(8)), nullptr);
  EXPECT_EQ(schema->Find(AttributeId(UINT32_MAX)), nullptr);
}

TEST(EntitySchemaTest, RefusesBrokenProtos) {
  const v1::EntitySchema good = MakeProto("account", kAccount);
  const auto broken = [&good](auto&& change) {
    v1::EntitySchema proto = good;
    change(proto);
    const auto schema = EntitySchema::FromProto(proto);
    EXPECT_EQ(schema.status().code(), absl::StatusCode::kInternal);
  };
  broken([](auto& p) { p.set_entity_id(0); });
  broken([](auto& p) { p.set_name(""); });
  broken([](auto& p) { p.set_primary_key(0); });
  broken([](auto& p) { p.set_primary_key(77); });
  broken([](auto& p) { p.mutable_attributes(1)->set_id(1); });
  broken([](auto& p) { p.mutable_attributes(1)->set_id(0); });
  broken([](auto& p) { p.mutable_attributes(1)->set_id(8); });
  broken([](auto& p) { p.mutable_attributes(1)->set_name("accountid"); });
  broken([](auto& p) { p.mutable_attributes(1)->set_name("a b"); });
  broken([](auto& p) { p.mutable_attributes(1)->set_type(v1::ATTRIBUTE_TYPE_UNSPECIFIED); });
  broken([](auto& p) { p.mutable_attributes(1)->set_type(static_cast<v1::AttributeType>(12)); });
  broken([](auto& p) { p.mutable_ownership()->set_team(9); });
  broken([](auto& p) { p.set_next_attribute_id(UINT32_MAX); });
  broken([](auto& p) { p.add_removed(); });
  broken([](auto& p) { p.add_removed()->set_id(p.attributes(0).id()); });
  broken([](auto& p) { p.add_removed()->set_id(p.next_attribute_id()); });
}

TEST(EntitySchemaTest, ToJson) {
  EXPECT_EQ(EntitySchemaToJson(MakeProto("account", kAccount)),
            R"({"primary_key":"accountid","attributes":[{"name":"accountid","type":"string"},)"
            R"({"name":"name","type":"string"},)"
            R"({"name":"parentid","type":"string","references":"account"},)"
            R"({"name":"ownerid","type":"string"},{"name":"revenue","type":"decimal"}],)"
            R"("ownership":{"user":"ownerid","team":"owningteam",)"
            R"("business_unit":"owningbusinessunit"}})");
}

}  // namespace
}  // namespace sluice::schemas
