#include "gateways/debezium/value_codec.h"

#include <gmock/gmock.h>

#include <map>

#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "tests/support/schemas/test_schema.h"

namespace sluice::gateways {
namespace {

using schemas::testing::MakeSchema;
using schemas::testing::ValueOrDie;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

// The text of a value of one column, or the code of the error; "kept" and "null" where it is so.
std::string Decode(const std::string& type, const std::string& schema, const std::string& json) {
  const auto entity =
      MakeSchema("e", R"({"primary_key":"k","attributes":[{"name":"k","type":"string"},)"
                      R"({"name":"v","type":")" +
                          type + "\"}]}");
  std::shared_ptr<const ConnectSchema> columns;
  if (!schema.empty()) {
    columns = ValueOrDie(ConnectSchema::Parse(
        R"({"type":"struct","fields":[{"type":"string","field":"k"},{"field":"v",)" + schema +
        "}]}"));
  }
  ValueDecoder decoder;
  const auto row = decoder.Decode(*entity, columns.get(), R"({"k":"K","v":)" + json + "}");
  if (!row.ok()) {
    return ErrorCode(row.status());
  }
  if (!row->kept.empty()) {
    return "kept";
  }
  return ValueOrDie(schemas::AttributeText(*entity->Find("v"), row->bytes)).value_or("null");
}

std::string Named(const std::string& type, const std::string& name) {
  return "\"type\":\"" + type + "\",\"name\":\"" + name + "\"";
}
const std::string kDecimal =
    Named("bytes", "org.apache.kafka.connect.data.Decimal") + R"(,"parameters":{"scale":"2"})";

TEST(ValueCodecTest, PlainTypes) {
  EXPECT_EQ(Decode("bool", R"("type":"boolean")", "true"), "true");
  EXPECT_EQ(Decode("int32", R"("type":"int16")", "-32768"), "-32768");
  EXPECT_EQ(Decode("int64", R"("type":"int64")", "9223372036854775807"), "9223372036854775807");
  EXPECT_EQ(Decode("double", R"("type":"float")", "1.1"), "1.1");
  EXPECT_EQ(Decode("string", R"("type":"string")", R"("a\u0000\"ü")"), std::string("a\0\"ü", 5));
  EXPECT_EQ(Decode("bytes", R"("type":"bytes")", R"("AP8=")"), "AP8=");
  EXPECT_EQ(Decode("uuid", Named("string", "io.debezium.data.Uuid"),
                   R"("1B4E28BA-2fa1-11d2-883f-0016d3cca427")"),
            "1b4e28ba-2fa1-11d2-883f-0016d3cca427");
  EXPECT_EQ(Decode("string", R"("type":"array")", R"([1, {"a":[null]}])"), R"([1, {"a":[null]}])");
  EXPECT_EQ(Decode("string", R"("type":"string")", "null"), "null");
}

TEST(ValueCodecTest, ValuesThatDoNotFit) {
  EXPECT_EQ(Decode("double", R"("type":"double")", R"("NaN")"), "type_mismatch");
  EXPECT_EQ(Decode("double", R"("type":"float")", R"("Infinity")"), "type_mismatch");
  EXPECT_EQ(Decode("int64", R"("type":"int64")", R"("7")"), "type_mismatch");
  EXPECT_EQ(Decode("string", R"("type":"string")", "7"), "type_mismatch");
  EXPECT_EQ(Decode("bytes", R"("type":"bytes")", R"("%")"), "type_mismatch");
  EXPECT_EQ(Decode("bool", R"("type":"boolean")", "1"), "type_mismatch");
  // What somebody declared differently is taken by value, and never by chance.
  EXPECT_EQ(Decode("decimal", R"("type":"int64")", "12"), "12");
  EXPECT_EQ(Decode("int32", R"("type":"int64")", "2147483648"), "type_mismatch");
  EXPECT_EQ(Decode("decimal", R"("type":"string")", R"("1.50")"), "1.5");
  EXPECT_EQ(Decode("bytes", R"("type":"int64")", "1234"), "type_mismatch");
  EXPECT_EQ(Decode("bytes", "", "1234"), "type_mismatch");
  EXPECT_EQ(Decode("bytes", "", "true"), "type_mismatch");
}

TEST(ValueCodecTest, Decimals) {
  EXPECT_EQ(Decode("decimal", kDecimal, R"("MDk=")"), "123.45");
  EXPECT_EQ(Decode("decimal", kDecimal, R"("z8c=")"), "-123.45");
  EXPECT_EQ(Decode("decimal", kDecimal, R"("AA==")"), "0");
  EXPECT_EQ(Decode("decimal", kDecimal, "123.450"), "123.45");  // decimal.format=NUMERIC
  EXPECT_EQ(Decode("string", kDecimal, R"("MDk=")"), "123.45");
  EXPECT_EQ(Decode("decimal", kDecimal, R"("")"), "type_mismatch");
  EXPECT_EQ(Decode("decimal", kDecimal, R"("MDk")"), "type_mismatch");
  const std::string scaled = Named("struct", "io.debezium.data.VariableScaleDecimal");
  EXPECT_EQ(Decode("decimal", scaled, R"({"scale":3,"value":"MDk="})"), "12.345");
  EXPECT_EQ(Decode("decimal", scaled, R"({"value":"MDk=","scale":-1})"), "123450");
  EXPECT_EQ(Decode("decimal", scaled, R"({"scale":3})"), "type_mismatch");
  EXPECT_EQ(Decode("decimal", scaled, R"({"scale":9223372036854775807,"value":"MDk="})"),
            "type_mismatch");
}

TEST(ValueCodecTest, DecimalText) {
  EXPECT_EQ(*DecimalText("\x7f", 0), "127");
  EXPECT_EQ(*DecimalText("\x80", 0), "-128");
  EXPECT_EQ(*DecimalText("\xff", 0), "-1");
  EXPECT_EQ(*DecimalText(std::string("\x00\xff", 2), 0), "255");
  EXPECT_EQ(*DecimalText(std::string("\xff\x00", 2), 0), "-256");
  EXPECT_EQ(*DecimalText(std::string(4, '\xff'), 9), "-0.000000001");
  EXPECT_EQ(*DecimalText(std::string("\x80\0\0\0", 4), 0), "-2147483648");
  EXPECT_EQ(*DecimalText(std::string("\x80\0\0\0\0\0\0\0", 8), 0), "-9223372036854775808");
  // 10^38 - 1, and one more, which has too many digits.
  EXPECT_EQ(*DecimalText("\x4b\x3b\x4c\xa8\x5a\x86\xc4\x7a\x09\x8a\x22\x3f\xff\xff\xff\xff", 38),
            "0.99999999999999999999999999999999999999");
  EXPECT_EQ(
      ErrorCode(DecimalText(
                    std::string("\x4b\x3b\x4c\xa8\x5a\x86\xc4\x7a\x09\x8a\x22\x40\0\0\0\0", 16), 0)
                    .status()),
      "type_mismatch");
  EXPECT_FALSE(DecimalText(std::string(100'000, '\x7f'), 0).ok());
}

TEST(ValueCodecTest, DatesAndTimes) {
  const std::string micros = Named("int64", "io.debezium.time.MicroTimestamp");
  EXPECT_EQ(Decode("datetime", micros, "1769846400123456"), "2026-01-31T08:00:00.123456Z");
  EXPECT_EQ(Decode("datetime", micros, "-1"), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(Decode("datetime", Named("int64", "io.debezium.time.Timestamp"), "1769846400123"),
            "2026-01-31T08:00:00.123000Z");
  EXPECT_EQ(Decode("datetime", Named("int64", "io.debezium.time.NanoTimestamp"), "-1"),
            "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(Decode("datetime", Named("string", "io.debezium.time.ZonedTimestamp"),
                   R"("2026-01-31T10:00:00.5+02:00")"),
            "2026-01-31T08:00:00.500000Z");
  EXPECT_EQ(Decode("date", Named("int32", "io.debezium.time.Date"), "20484"), "2026-01-31");
  EXPECT_EQ(Decode("date", Named("int32", "org.apache.kafka.connect.data.Date"), "-719162"),
            "0001-01-01");
  EXPECT_EQ(Decode("date", Named("string", "io.debezium.time.IsoDate"), R"("2026-01-31Z")"),
            "2026-01-31");
  EXPECT_EQ(Decode("time", Named("int64", "io.debezium.time.MicroTime"), "36000500000"),
            "10:00:00.500000");
  EXPECT_EQ(Decode("time", Named("int64", "io.debezium.time.NanoTime"), "36000500000999"),
            "10:00:00.500000");
  EXPECT_EQ(Decode("time", Named("int32", "io.debezium.time.Time"), "1"), "00:00:00.001000");
  EXPECT_EQ(Decode("time", Named("string", "io.debezium.time.IsoTime"), R"("10:00:00.5Z")"),
            "10:00:00.500000");
  EXPECT_EQ(Decode("string", Named("int32", "io.debezium.time.Date"), "20484"), "2026-01-31");
  EXPECT_EQ(Decode("datetime", Named("string", "io.debezium.time.ZonedTimestamp"),
                   R"("2026-01-31T10:00:00.123456789Z")"),
            "2026-01-31T10:00:00.123456Z");
  // PostgreSQL's infinity, years before 1 and 24:00.
  EXPECT_EQ(Decode("datetime", micros, "9223372036825200000"), "type_mismatch");
  EXPECT_EQ(Decode("datetime", micros, "-62135596800000001"), "type_mismatch");
  EXPECT_EQ(Decode("datetime", Named("int64", "io.debezium.time.Timestamp"), "9223372036825200"),
            "type_mismatch");
  EXPECT_EQ(Decode("date", Named("int32", "io.debezium.time.Date"), "2147483647"), "type_mismatch");
  EXPECT_EQ(Decode("time", Named("int64", "io.debezium.time.MicroTime"), "86400000000"),
            "type_mismatch");
  EXPECT_EQ(Decode("time", Named("int64", "io.debezium.time.MicroTime"), "-1"), "type_mismatch");
}

TEST(ValueCodecTest, WithoutSchemasTheAttributeDecides) {
  EXPECT_EQ(Decode("datetime", "", "1769846400123456"), "2026-01-31T08:00:00.123456Z");
  EXPECT_EQ(Decode("datetime", "", R"("2026-01-31T08:00:00Z")"), "2026-01-31T08:00:00.000000Z");
  EXPECT_EQ(Decode("date", "", "20484"), "2026-01-31");
  EXPECT_EQ(Decode("date", "", R"("2026-01-31")"), "2026-01-31");
  EXPECT_EQ(Decode("time", "", "36000500000"), "10:00:00.500000");
  EXPECT_EQ(Decode("time", "", "-1"), "type_mismatch");
  EXPECT_EQ(Decode("decimal", "", R"("1.50")"), "1.5");
  EXPECT_EQ(Decode("decimal", "", "1.50"), "1.5");
  EXPECT_EQ(Decode("string", "", "1.50"), "1.50");
  EXPECT_EQ(Decode("string", "", "[1]"), "[1]");
  EXPECT_EQ(Decode("int64", "", "[1]"), "type_mismatch");
  EXPECT_EQ(Decode("bool", "", "false"), "false");
}

TEST(ValueCodecTest, ValuesThatDidNotChangeAreKept) {
  EXPECT_EQ(Decode("string", R"("type":"string")", R"("__debezium_unavailable_value")"), "kept");
  EXPECT_EQ(Decode("bytes", R"("type":"bytes")", R"("X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==")"),
            "kept");
  EXPECT_EQ(Decode("bytes", "", R"("X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==")"), "kept");
  EXPECT_EQ(Decode("string", R"("type":"string")", R"("X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==")"),
            "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==");
  for (const char* const json :
       {R"(["__debezium_unavailable_value"])", R"(["b68a35a7-17ad-35b3-af2a-ae46edb4545a"])",
        R"(["X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="])",
        "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,"
        "97,108,117,101]",
        R"({"__debezium_unavailable_value":"__debezium_unavailable_value"})"}) {
    EXPECT_EQ(Decode("string", R"("type":"array")", json), "kept") << json;
  }
  EXPECT_EQ(Decode("string", R"("type":"array")", "[95]"), "[95]");
}

TEST(ValueCodecTest, ARowInAnyOrderOfColumns) {
  const auto entity = MakeSchema(
      "e",
      R"({"primary_key":"b","attributes":[{"name":"a","type":"string"},)"
      R"({"name":"b","type":"int64"},{"name":"c","type":"string"},{"name":"d","type":"bool"}]})");
  ValueDecoder decoder;
  const auto row =
      decoder.Decode(*entity, nullptr,
                     R"({"d":true,"c":"__debezium_unavailable_value","b":7,"gone":null,"a":"x"})");
  ASSERT_TRUE(row.ok()) << row.status();
  EXPECT_EQ(row->key, "7");
  EXPECT_THAT(row->kept, ElementsAre(entity->Find("c")->id));
  std::string json;
  ASSERT_TRUE(schemas::AppendRowJson(*entity, row->bytes, {}, &json).ok());
  EXPECT_EQ(json, R"({"a":"x","b":"7","d":true})");
  EXPECT_EQ(decoder.Decode(*entity, nullptr, R"({"a":"x"})")->key, "");
}

TEST(ValueCodecTest, ColumnsThatTheEntityLacksAreNamed) {
  const auto entity =
      MakeSchema("e", R"({"primary_key":"b","attributes":[{"name":"b","type":"string"}]})");
  ValueDecoder decoder;
  const auto row = decoder.Decode(*entity, nullptr, R"({"z":1,"b":"k","null":null,"a":""})");
  ASSERT_TRUE(row.ok()) << row.status();
  EXPECT_EQ(row->key, "k");
  EXPECT_EQ(row->unknown, (std::vector<std::string>{"z", "a"}));
}

TEST(ValueCodecTest, RowsThatAreRefused) {
  const auto entity =
      MakeSchema("e", R"({"primary_key":"b","attributes":[{"name":"a","type":"int64"},)"
                      R"({"name":"b","type":"string"}]})");
  ValueDecoder decoder;
  const auto code = [&](std::string_view json) {
    return ErrorCode(decoder.Decode(*entity, nullptr, json).status());
  };
  EXPECT_EQ(code(R"({"a":1,"a":2})"), "invalid_json");
  EXPECT_EQ(code(R"({"a":01})"), "invalid_json");
  EXPECT_EQ(code(R"({"a":nul})"), "invalid_json");
  EXPECT_EQ(code(R"({"b":""})"), "invalid_key");
  for (const char* const text : {"", "[]", "7", "{", R"({"a":1)", R"({"a":1} 7)", R"({"a" 1})"}) {
    EXPECT_EQ(code(text), "invalid_json") << text;
  }
  const absl::Status refused = decoder.Decode(*entity, nullptr, R"({"a":"x"})").status();
  EXPECT_THAT(Message(refused), HasSubstr("e.a: \"x\" is not an integer"));
  // A row that its message's schema does not describe.
  const auto columns = ValueOrDie(
      ConnectSchema::Parse(R"({"type":"struct","fields":[{"type":"int64","field":"a"}]})"));
  EXPECT_EQ(ErrorCode(decoder.Decode(*entity, columns.get(), R"({"b":"x"})").status()),
            "invalid_json");
}

TEST(ValueCodecTest, SuggestsTypes) {
  ValueDecoder decoder;
  const auto columns = decoder.Suggest(
      R"({"a":true,"b":7,"c":7.5,"d":"x","e":null,"f":[1],"g":1e300,"h":9223372036854775808})");
  ASSERT_TRUE(columns.ok()) << columns.status();
  EXPECT_THAT(
      *columns,
      ElementsAre(Pair("a", v1::ATTRIBUTE_TYPE_BOOL), Pair("b", v1::ATTRIBUTE_TYPE_INT64),
                  Pair("c", v1::ATTRIBUTE_TYPE_DOUBLE), Pair("d", v1::ATTRIBUTE_TYPE_STRING),
                  Pair("f", v1::ATTRIBUTE_TYPE_STRING), Pair("g", v1::ATTRIBUTE_TYPE_DOUBLE),
                  Pair("h", v1::ATTRIBUTE_TYPE_DOUBLE)));
  EXPECT_THAT(*decoder.Suggest("{}"), IsEmpty());
  EXPECT_FALSE(decoder.Suggest("[]").ok());
}

}  // namespace
}  // namespace sluice::gateways
