#include "gateways/debezium/connect_schema.h"

#include <gmock/gmock.h>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr std::string_view kEnvelope = R"({"type":"struct","fields":[
  {"type":"struct","fields":[
    {"type":"int64","optional":false,"field":"id"},
    {"type":"bytes","optional":true,"name":"org.apache.kafka.connect.data.Decimal","version":1,
     "parameters":{"scale":"2","connect.decimal.precision":"10"},"field":"price"},
    {"type":"int32","optional":true,"name":"io.debezium.time.Date","version":1,"field":"day"},
    {"type":"array","items":{"type":"string","optional":true},"optional":true,"field":"tags"}],
   "optional":true,"name":"shop.public.customer.Value","field":"before"},
  {"type":"string","optional":false,"field":"op"}],
  "optional":false,"name":"shop.public.customer.Envelope","version":2})";

absl::StatusOr<ColumnForm> FormOf(const std::string& field) {
  const auto schema =
      ConnectSchema::Parse(R"({"type":"struct","fields":[{"field":"c",)" + field + "}]}");
  if (!schema.ok()) {
    return schema.status();
  }
  return (*schema)->columns().front().form;
}

TEST(ConnectSchemaTest, AnEnvelopeHasTheColumnsOfItsRow) {
  const auto schema = ConnectSchema::ParseEnvelope(kEnvelope);
  ASSERT_TRUE(schema.ok()) << schema.status();
  ASSERT_EQ((*schema)->columns().size(), 4U);
  EXPECT_EQ((*schema)->columns()[0].form, ColumnForm::kInt64);
  const ConnectColumn* const price = (*schema)->Find("price");
  ASSERT_NE(price, nullptr);
  EXPECT_EQ(price->form, ColumnForm::kDecimal);
  EXPECT_EQ(price->scale, 2);
  EXPECT_EQ((*schema)->Find("price", 1), price);
  EXPECT_EQ((*schema)->Find("price", 3), price);
  EXPECT_EQ((*schema)->Find("day")->form, ColumnForm::kDays);
  EXPECT_EQ((*schema)->Find("tags")->form, ColumnForm::kNested);
  EXPECT_EQ((*schema)->Find("op"), nullptr);
}

TEST(ConnectSchemaTest, OfNoRowIsNone) {
  const auto schema = ConnectSchema::ParseEnvelope(
      R"({"type":"struct","fields":[{"type":"string","field":"status"}]})");
  ASSERT_TRUE(schema.ok());
  EXPECT_EQ(*schema, nullptr);
}

TEST(ConnectSchemaTest, ANameCountsWithItsTypeOnly) {
  EXPECT_EQ(*FormOf(R"("type":"int64","name":"io.debezium.time.MicroTimestamp")"),
            ColumnForm::kMicros);
  EXPECT_EQ(*FormOf(R"("type":"string","name":"io.debezium.time.MicroTimestamp")"),
            ColumnForm::kString);
  EXPECT_EQ(*FormOf(R"("type":"string","name":"io.debezium.data.Json")"), ColumnForm::kString);
  EXPECT_EQ(*FormOf(R"("type":"bytes","name":"io.debezium.data.Bits","parameters":{"length":"9"})"),
            ColumnForm::kBytes);
  EXPECT_EQ(*FormOf(R"("type":"struct","name":"io.debezium.data.VariableScaleDecimal")"),
            ColumnForm::kScaledDecimal);
  EXPECT_EQ(*FormOf(R"("type":"int16","name":"somebody.else")"), ColumnForm::kInt32);
}

TEST(ConnectSchemaTest, EveryFormHasAType) {
  for (int form = 0; form < static_cast<int>(ColumnForm::kUndeclared); ++form) {
    EXPECT_NE(AttributeTypeOf(static_cast<ColumnForm>(form)), v1::ATTRIBUTE_TYPE_UNSPECIFIED)
        << form;
  }
  EXPECT_EQ(AttributeTypeOf(ColumnForm::kUndeclared), v1::ATTRIBUTE_TYPE_UNSPECIFIED);
}

TEST(ConnectSchemaTest, RefusesWhatIsNoSchema) {
  for (
      const char* const text :
      {"", "null", "[]", "{}", R"({"type":"struct"})", R"({"type":"int64","fields":[]})",
       R"({"type":"struct","fields":{}})", R"({"type":"struct","fields":[1]})",
       R"({"type":"struct","fields":[{"type":"int64"}]})",
       R"({"type":"struct","fields":[{"type":"int65","field":"c"}]})",
       R"({"type":"struct","fields":[{"type":"int64","field":"c"},{"type":"int64","field":"c"}]})"}) {
    EXPECT_EQ(ErrorCode(ConnectSchema::Parse(text).status()), "invalid_connect_schema") << text;
  }
  for (const char* const scale : {R"("parameters":{})", R"("parameters":{"scale":"x"})",
                                  R"("parameters":{"scale":"99999999999"})", R"("doc":"")"}) {
    EXPECT_FALSE(
        FormOf(std::string(R"("type":"bytes","name":"org.apache.kafka.connect.data.Decimal",)") +
               scale)
            .ok())
        << scale;
  }
}

}  // namespace
}  // namespace sluice::gateways
