#include "gateways/debezium/table_mapper.h"

#include <gmock/gmock.h>

#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "tests/support/gateways/debezium_messages.h"
#include "tests/support/schemas/test_schema.h"

#include "gateways/debezium/record_reader.h"

namespace sluice::gateways {
namespace {

using schemas::testing::ValueOrDie;
using testing::DebeziumChange;
using testing::DebeziumRecord;
using ::testing::ElementsAre;

class TableMapperTest : public ::testing::Test {
 protected:
  TableChange Change(const DebeziumChange& change) {
    return ValueOrDie(ReadTableChange(reader_, DebeziumRecord(change)));
  }
  static v1::SourceEntity Settings() {
    v1::SourceEntity settings;
    settings.set_name("customer");
    settings.set_topic("shop.public.customer");
    return settings;
  }
  static std::shared_ptr<const schemas::EntitySchema> SchemaOf(
      const TableDefinition& definition, const schemas::EntitySchema* current = nullptr) {
    return ValueOrDie(schemas::EntitySchema::FromProto(
        ValueOrDie(schemas::EvolveSchema(current == nullptr ? nullptr : &current->proto(),
                                         definition.entity, schemas::EntityId(1)))));
  }
  static std::string Text(const TableDefinition& definition) {
    std::string text = definition.entity.primary_key() + ":";
    for (const v1::Attribute& attribute : definition.entity.attributes()) {
      text += " " + attribute.name() + "=" + std::to_string(attribute.type());
    }
    return text;
  }

  EnvelopeReader reader_;
};

TEST_F(TableMapperTest, TheFirstRowDefinesAndTheNextAdds) {
  TableMapper mapper(Settings(), "debezium:shop");
  const auto first = ValueOrDie(mapper.Define(
      nullptr, Change({.key = R"({"id":1})", .after = R"({"id":1,"name":"Ann","new":null})"})));
  EXPECT_EQ(Text(first), "id: id=3 name=1");
  EXPECT_EQ(first.entity.source(), "debezium:shop");
  const auto schema = SchemaOf(first);
  const TableChange second = Change({.key = R"({"id":1})", .after = R"({"id":1,"new":true})"});
  EXPECT_THAT(ValueOrDie(mapper.Row(*schema, second, second.event.after)).unknown,
              ElementsAre("new"));
  const auto more = ValueOrDie(mapper.Define(schema.get(), second));
  EXPECT_EQ(Text(more), "id: id=3 name=1 new=6");
}

TEST_F(TableMapperTest, WhatIsDeclaredStands) {
  v1::SourceEntity settings = Settings();
  v1::Attribute& price = *settings.add_attributes();
  price.set_name("price");
  price.set_type(v1::ATTRIBUTE_TYPE_DECIMAL);
  TableMapper mapper(settings, "");
  const auto definition = ValueOrDie(mapper.Define(
      nullptr, Change({.key = R"({"id":1})", .after = R"({"id":1,"price":"1.50"})"})));
  EXPECT_EQ(Text(definition), "id: price=5 id=3");
}

TEST_F(TableMapperTest, AKeyOfSeveralColumns) {
  TableMapper mapper(Settings(), "");
  const TableChange change =
      Change({.key = R"({"b":7,"a":"x,~"})", .after = R"({"a":"x,~","b":7,"v":1})"});
  const auto definition = ValueOrDie(mapper.Define(nullptr, change));
  EXPECT_EQ(Text(definition), "_key: a=1 b=3 v=3 _key=1");
  const auto schema = SchemaOf(definition);
  const DecodedRow row = ValueOrDie(mapper.Row(*schema, change, change.event.after));
  EXPECT_EQ(row.key, "7,x~1~0");
  std::string json;
  EXPECT_TRUE(schemas::AppendRowJson(*schema, row.bytes, {}, &json).ok());
  EXPECT_EQ(json, R"({"a":"x,~","b":"7","v":"1","_key":"7,x~1~0"})");
  EXPECT_EQ(
      ValueOrDie(mapper.DeletedKey(*schema, Change({.op = "d", .key = R"({"b":7,"a":"x,~"})"}))),
      "7,x~1~0");
  TableChange moved = change;
  moved.old_key = R"({"b":6,"a":"x"})";
  EXPECT_EQ(ValueOrDie(mapper.OldKey(*schema, moved)), "6,x");
  const TableChange null = Change({.key = R"({"b":7,"a":"x"})", .after = R"({"a":null,"b":7})"});
  EXPECT_EQ(ErrorCode(mapper.Row(*schema, null, null.event.after).status()), "missing_key");
}

TEST_F(TableMapperTest, KeysWhereMessagesHaveNone) {
  TableMapper without(Settings(), "");
  const TableChange change = Change({.after = R"({"id":1,"v":2})"});
  EXPECT_EQ(ErrorCode(without.Define(nullptr, change).status()), "no_key");
  v1::SourceEntity settings = Settings();
  settings.add_key("id");
  TableMapper mapper(settings, "");
  const auto schema = SchemaOf(ValueOrDie(mapper.Define(nullptr, change)));
  EXPECT_EQ(schema->key().name, "id");
  EXPECT_EQ(
      ValueOrDie(mapper.DeletedKey(*schema, Change({.op = "d", .before = R"({"id":5,"v":2})"}))),
      "5");
  EXPECT_EQ(ErrorCode(mapper.DeletedKey(*schema, Change({.op = "d"})).status()), "missing_key");
}

TEST_F(TableMapperTest, AnotherKeyIsAnotherEntity) {
  TableMapper mapper(Settings(), "");
  const auto schema = SchemaOf(ValueOrDie(
      mapper.Define(nullptr, Change({.key = R"({"id":1})", .after = R"({"id":1,"b":2})"}))));
  TableMapper later(Settings(), "");
  EXPECT_EQ(ErrorCode(later
                          .Define(schema.get(), Change({.key = R"({"id":1,"b":2})",
                                                        .after = R"({"id":1,"b":2})"}))
                          .status()),
            "incompatible_schema");
}

TEST_F(TableMapperTest, ColumnsThatCanBeNoAttributes) {
  TableMapper mapper(Settings(), "");
  const TableChange change =
      Change({.key = R"({"id":1})", .after = R"({"id":1,"first name":"Ann"})"});
  const auto definition = ValueOrDie(mapper.Define(nullptr, change));
  EXPECT_EQ(Text(definition), "id: id=3");
  ASSERT_EQ(definition.refused.size(), 1U);
  EXPECT_EQ(definition.refused[0].code, "invalid_name");
  EXPECT_TRUE(
      ValueOrDie(mapper.Row(*SchemaOf(definition), change, change.event.after)).unknown.empty());
}

TEST_F(TableMapperTest, HugeRowsAreRefused) {
  TableMapper mapper(Settings(), "");
  const TableChange change = Change(
      {.key = R"({"id":1})", .after = R"({"id":1,"t":")" + std::string(1 << 20, 'x') + R"("})"});
  const auto schema = SchemaOf(ValueOrDie(mapper.Define(nullptr, change)));
  EXPECT_EQ(ErrorCode(mapper.Row(*schema, change, change.event.after).status()), "too_large");
}

}  // namespace
}  // namespace sluice::gateways
