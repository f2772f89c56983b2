#include <gmock/gmock.h>

#include <string>

#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "tests/support/schemas/test_schema.h"

namespace sluice::schemas {
namespace {

using testing::EveryType;
using ::testing::HasSubstr;
using testing::MakeSchema;

// The row's JSON after encoding and decoding, or "code: message" of the refusal.
std::string RoundTrip(std::string_view json) {
  static RowEncoder* const encoder = new RowEncoder();
  const auto schema = EveryType();
  const auto encoded = encoder->Encode(*schema, json);
  if (!encoded.ok()) {
    EXPECT_EQ(encoded.status().code(), absl::StatusCode::kInvalidArgument);
    return ErrorCode(encoded.status()) + ": " + std::string(Message(encoded.status()));
  }
  const absl::Status valid = ValidateRow(*schema, encoded->bytes);
  EXPECT_TRUE(valid.ok()) << valid;
  std::string out;
  const absl::Status status = AppendRowJson(*schema, encoded->bytes, {}, &out);
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

struct Value {
  std::string_view attribute;
  std::string_view given;
  std::string_view sent;  // empty: refused as type_mismatch
};

class ValueTest : public ::testing::TestWithParam<Value> {};

TEST_P(ValueTest, IsTakenAndSentOrRefused) {
  const auto& [attribute, given, sent] = GetParam();
  const std::string json = "{\"" + std::string(attribute) + "\":" + std::string(given) + "}";
  const std::string result = RoundTrip(json);
  if (sent.empty()) {
    EXPECT_THAT(result, HasSubstr("type_mismatch: every." + std::string(attribute))) << json;
  } else {
    EXPECT_EQ(result, "{\"" + std::string(attribute) + "\":" + std::string(sent) + "}") << json;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Strings, ValueTest,
    ::testing::Values(Value{"s", R"("A1")", R"("A1")"}, Value{"s", "5", ""}, Value{"s", "true", ""},
                      Value{"s", "[]", ""}, Value{"s", R"({"a":1})", ""},
                      Value{"s", R"("\u00e9\ud83d\ude00\n\"\\\/")", "\"é😀\\n\\\"\\\\/\""}));

INSTANTIATE_TEST_SUITE_P(
    Integers, ValueTest,
    ::testing::Values(
        Value{"i", "2147483647", "2147483647"}, Value{"i", "-2147483648", "-2147483648"},
        Value{"i", "2147483648", ""}, Value{"i", "-2147483649", ""}, Value{"i", R"("17")", "17"},
        Value{"i", "-0", "0"}, Value{"i", "5.0", "5"}, Value{"i", "5e2", "500"},
        Value{"i", "5.5", ""}, Value{"i", "1e-1", ""}, Value{"i", "1e999999999999", ""},
        Value{"i", R"("")", ""}, Value{"i", R"("+5")", ""}, Value{"i", R"(" 5")", ""},
        Value{"i", R"("05")", ""}, Value{"i", R"("0x5")", ""}, Value{"i", R"("5a")", ""},
        Value{"i", "true", ""}, Value{"l", "9223372036854775807", R"("9223372036854775807")"},
        Value{"l", "-9223372036854775808", R"("-9223372036854775808")"},
        Value{"l", R"("9007199254740993")", R"("9007199254740993")"},
        Value{"l", "9007199254740993", R"("9007199254740993")"},
        Value{"l", "9007199254740993.0", R"("9007199254740993")"},
        Value{"l", "9223372036854775808", ""}, Value{"l", "-9223372036854775809", ""},
        Value{"l", "99999999999999999999999999999999999999999999", ""}));

INSTANTIATE_TEST_SUITE_P(
    Doubles, ValueTest,
    ::testing::Values(Value{"f", "0.1", "0.1"}, Value{"f", R"("0.1")", "0.1"},
                      Value{"f", "-0.0", "0"}, Value{"f", "1e400", ""}, Value{"f", "-1e400", ""},
                      Value{"f", "1e-400", "0"}, Value{"f", "-1e-400", "0"},
                      Value{"f", "5e-324", "5e-324"},
                      Value{"f", "1.7976931348623157e308", "1.7976931348623157e+308"},
                      Value{"f", "1.7976931348623158e308", "1.7976931348623157e+308"},
                      Value{"f", "1.8e308", ""}, Value{"f", "9007199254740993", "9007199254740992"},
                      Value{"f", R"("NaN")", ""}, Value{"f", R"("Infinity")", ""},
                      Value{"f", R"("inf")", ""}, Value{"f", R"(".5")", ""},
                      Value{"f", R"("5.")", ""}, Value{"f", "false", ""}));

INSTANTIATE_TEST_SUITE_P(
    Decimals, ValueTest,
    ::testing::Values(
        Value{"d", "1.50", R"("1.5")"}, Value{"d", R"("-12.50")", R"("-12.5")"},
        Value{"d", "-0.00", R"("0")"}, Value{"d", "1e3", R"("1000")"},
        Value{"d", "1.25E-2", R"("0.0125")"}, Value{"d", "0.1e1", R"("1")"},
        Value{"d", "12345678901234567890123456789012345678",
              R"("12345678901234567890123456789012345678")"},
        Value{"d", "123456789012345678901234567890123456789", ""},
        Value{"d", "1234567890123456789.01234567890123456780",
              R"("1234567890123456789.0123456789012345678")"},
        Value{"d", "1234567890123456789.01234567890123456789",  // 19 + 20 digits: one too many
              ""},
        Value{"d", "1e37", R"("10000000000000000000000000000000000000")"}, Value{"d", "1e38", ""},
        Value{"d", "1e-38", R"("0.00000000000000000000000000000000000001")"},
        Value{"d", "1e-39", ""}, Value{"d", "0e999999999999", R"("0")"},
        Value{"d", "1e-999999999999", ""}, Value{"d", R"("1,5")", ""}, Value{"d", R"("--1")", ""},
        Value{"d", R"("1e")", ""}, Value{"d", R"("abc")", ""}));

INSTANTIATE_TEST_SUITE_P(Bools, ValueTest,
                         ::testing::Values(Value{"b", "true", "true"}, Value{"b", "false", "false"},
                                           Value{"b", R"("true")", ""}, Value{"b", "1", ""}));

INSTANTIATE_TEST_SUITE_P(
    Datetimes, ValueTest,
    ::testing::Values(
        Value{"t", R"("2026-01-31T10:00:00Z")", R"("2026-01-31T10:00:00.000000Z")"},
        Value{"t", R"("2026-01-31t10:00:00.5z")", R"("2026-01-31T10:00:00.500000Z")"},
        Value{"t", R"("2026-01-01T00:30:00+02:00")", R"("2025-12-31T22:30:00.000000Z")"},
        Value{"t", R"("2024-02-28T23:30:00-05:30")", R"("2024-02-29T05:00:00.000000Z")"},
        Value{"t", R"("1969-12-31T23:59:59.999999Z")", R"("1969-12-31T23:59:59.999999Z")"},
        Value{"t", R"("2026-01-31T10:00:00.123456000Z")", R"("2026-01-31T10:00:00.123456Z")"},
        Value{"t", R"("2026-01-31T10:00:00.1234567Z")", R"("2026-01-31T10:00:00.123456Z")"},
        Value{"t", R"("1969-12-31T23:59:59.999999999Z")", R"("1969-12-31T23:59:59.999999Z")"},
        Value{"t", R"("0001-01-01T00:00:00Z")", R"("0001-01-01T00:00:00.000000Z")"},
        Value{"t", R"("9999-12-31T23:59:59.999999Z")", R"("9999-12-31T23:59:59.999999Z")"},
        Value{"t", R"("0001-01-01T00:00:00+00:01")", ""},
        Value{"t", R"("9999-12-31T23:59:59-00:01")", ""},
        Value{"t", R"("0000-06-01T00:00:00Z")", ""}, Value{"t", R"("2026-02-29T00:00:00Z")", ""},
        Value{"t", R"("2026-13-01T00:00:00Z")", ""}, Value{"t", R"("2026-01-31T24:00:00Z")", ""},
        Value{"t", R"("2016-12-31T23:59:60Z")", ""}, Value{"t", R"("2026-01-31")", ""},
        Value{"t", R"("2026-01-31T10:00:00")", ""}, Value{"t", R"("2026-01-31 10:00:00Z")", ""},
        Value{"t", R"("2026-01-31T10:00Z")", ""}, Value{"t", R"("2026-01-31T10:00:00.Z")", ""},
        Value{"t", R"("2026-01-31T10:00:00+24:00")", ""},
        Value{"t", R"("2026-01-31T10:00:00+0200")", ""},
        Value{"t", R"("2026-01-31T10:00:00Zx")", ""}, Value{"t", R"("")", ""},
        Value{"t", "1769853600", ""}));

INSTANTIATE_TEST_SUITE_P(Dates, ValueTest,
                         ::testing::Values(Value{"da", R"("2026-01-31")", R"("2026-01-31")"},
                                           Value{"da", R"("2024-02-29")", R"("2024-02-29")"},
                                           Value{"da", R"("1969-12-31")", R"("1969-12-31")"},
                                           Value{"da", R"("0001-01-01")", R"("0001-01-01")"},
                                           Value{"da", R"("9999-12-31")", R"("9999-12-31")"},
                                           Value{"da", R"("0000-12-31")", ""},
                                           Value{"da", R"("2026-02-29")", ""},
                                           Value{"da", R"("2026-01-31T00:00:00Z")", ""},
                                           Value{"da", R"("2026-1-31")", ""},
                                           Value{"da", R"("")", ""}, Value{"da", "20484", ""},
                                           Value{"da", "true", ""}));

INSTANTIATE_TEST_SUITE_P(
    Times, ValueTest,
    ::testing::Values(Value{"ti", R"("10:00:00")", R"("10:00:00.000000")"},
                      Value{"ti", R"("10:00:00.5")", R"("10:00:00.500000")"},
                      Value{"ti", R"("00:00:00")", R"("00:00:00.000000")"},
                      Value{"ti", R"("23:59:59.999999999")", R"("23:59:59.999999")"},
                      Value{"ti", R"("24:00:00")", ""}, Value{"ti", R"("23:59:60")", ""},
                      Value{"ti", R"("10:00")", ""}, Value{"ti", R"("10:00:00Z")", ""},
                      Value{"ti", R"("")", ""}, Value{"ti", "36000", ""}, Value{"ti", "[]", ""}));

INSTANTIATE_TEST_SUITE_P(
    Uuids, ValueTest,
    ::testing::Values(Value{"u", R"("1B4E28BA-2fa1-11d2-883F-0016D3CCA427")",
                            R"("1b4e28ba-2fa1-11d2-883f-0016d3cca427")"},
                      Value{"u", R"("1b4e28ba2fa111d2883f0016d3cca427")", ""},
                      Value{"u", R"("{1b4e28ba-2fa1-11d2-883f-0016d3cca427}")", ""},
                      Value{"u", R"("1b4e28ba-2fa1-11d2-883f-0016d3cca42g")", ""},
                      Value{"u", R"("1b4e28ba-2fa1-11d2-883f00-16d3cca427")", ""},
                      Value{"u", "7", ""}));

INSTANTIATE_TEST_SUITE_P(
    Bytes, ValueTest,
    ::testing::Values(Value{"x", R"("")", R"("")"}, Value{"x", R"("AA==")", R"("AA==")"},
                      Value{"x", R"("AP8=")", R"("AP8=")"}, Value{"x", R"("+/+/")", R"("+/+/")"},
                      Value{"x", R"("AA=")", ""}, Value{"x", R"("AA")", ""},
                      Value{"x", R"("AB==")", ""}, Value{"x", R"("-_-_")", ""},
                      Value{"x", R"("A A=")", ""}, Value{"x", R"("====")", ""},
                      Value{"x", R"("A===")", ""}, Value{"x", R"("AA==AA==")", ""}));

TEST(RowEncoderTest, WritesFieldsInTheOrderOfTheirIds) {
  RowEncoder encoder;
  const auto schema = EveryType();
  const auto forward = encoder.Encode(*schema, R"({"s":"k","i":1,"b":true})");
  const auto backward = encoder.Encode(*schema, R"( { "b" : true , "i" : 1 , "s" : "k" } )");
  ASSERT_TRUE(forward.ok() && backward.ok());
  EXPECT_EQ(forward->bytes, std::string("\x0a\x01k\x10\x01\x30\x01", 7));
  EXPECT_EQ(forward->bytes, backward->bytes);
  EXPECT_EQ(forward->key, "k");
}

TEST(RowEncoderTest, NullIsAbsentAndListedAsCleared) {
  RowEncoder encoder;
  const auto encoded = encoder.Encode(*EveryType(), R"({"x":null,"i":null,"d":1})");
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  EXPECT_THAT(encoded->cleared, ::testing::ElementsAre(AttributeId(2), AttributeId(9)));
  EXPECT_EQ(encoded->key, "");
  EXPECT_EQ(encoded->bytes, std::string("\x2a\x01\x31", 3));
}

TEST(RowEncoderTest, RefusesWhatIsNotOneJsonObject) {
  for (const std::string_view json : {"",
                                      " ",
                                      "{",
                                      "}",
                                      "[]",
                                      "[{}]",
                                      "5",
                                      "null",
                                      "\"s\"",
                                      "{}}",
                                      "{} {}",
                                      "{}x",
                                      "{,}",
                                      R"({"i":1,})",
                                      R"({"i" 1})",
                                      R"({"i":})",
                                      R"({"i":1 "b":true})",
                                      R"({i:1})",
                                      R"({"i":1}, {"i":2})",
                                      R"({"i":01})",
                                      R"({"i":.5})",
                                      R"({"i":+1})",
                                      R"({"i":1.})",
                                      R"({"i":0x1})",
                                      R"({"i":1a})",
                                      R"({"b":tru})",
                                      R"({"b":truex})",
                                      R"({"i":nul})",
                                      R"({"i":nullx})",
                                      R"({"i":NaN})",
                                      "{\"s\":\"a\nb\"}",
                                      R"({"s":"\x"})",
                                      R"({"s":"\u12"})",
                                      R"({"s":"\ud800"})",
                                      R"({"s":"\udc00"})",
                                      R"({"s":"\ud800\u0041"})",
                                      "{\"s\":\"\xff\"}",
                                      "{\"s\":\"\xc0\x80\"}",
                                      "{\"s\":\"\xed\xa0\x80\"}",
                                      R"({"s":"abc)",
                                      "{'s':1}",
                                      "\xef\xbb\xbf{}",
                                      R"({"i":1,"i":2})",
                                      R"({"i":1,"\u0069":2})",
                                      R"({"i":null,"i":null})"}) {
    EXPECT_THAT(RoundTrip(json), ::testing::StartsWith("invalid_json: row of every")) << json;
  }
  EXPECT_THAT(RoundTrip(std::string_view("{\0}", 3)), ::testing::StartsWith("invalid_json"));
}

TEST(RowEncoderTest, RefusesUnknownAttributes) {
  EXPECT_EQ(RoundTrip(R"({"nope":1})"),
            "unknown_attribute: entity every has no attribute \"nope\"");
  EXPECT_THAT(RoundTrip(R"({"S":"a"})"), ::testing::StartsWith("unknown_attribute"));
  EXPECT_THAT(RoundTrip(R"({"":1})"), ::testing::StartsWith("unknown_attribute"));
}

TEST(RowEncoderTest, DeepNestingIsATypeMismatch) {
  const std::string deep(100'000, '[');
  EXPECT_THAT(RoundTrip("{\"i\":" + deep + "}"), ::testing::StartsWith("type_mismatch"));
  const std::string closed = deep + std::string(100'000, ']');
  EXPECT_THAT(RoundTrip("{\"i\":" + closed + "}"), ::testing::StartsWith("type_mismatch"));
}

TEST(RowEncoderTest, ChecksTheKey) {
  EXPECT_THAT(RoundTrip(R"({"s":null})"), ::testing::StartsWith("invalid_key"));
  EXPECT_THAT(RoundTrip(R"({"s":""})"), ::testing::StartsWith("invalid_key"));
  EXPECT_THAT(RoundTrip(R"({"s":"a\u0000b"})"), ::testing::StartsWith("invalid_key"));
  EXPECT_EQ(RoundTrip("{\"s\":\"" + std::string(512, 'k') + "\"}").size(), 520U);
  EXPECT_THAT(RoundTrip("{\"s\":\"" + std::string(513, 'k') + "\"}"),
              ::testing::StartsWith("invalid_key"));
  EXPECT_THAT(RoundTrip("{\"s\":\"" + std::string(513, 'k') + "\"}"), HasSubstr("513 bytes"));
}

TEST(RowEncoderTest, NulIsTakenOutsideKeys) {
  RowEncoder encoder;
  const auto schema =
      MakeSchema("e", R"({"primary_key":"k","attributes":[{"name":"k","type":"string"},
                {"name":"v","type":"string"}]})");
  const auto encoded = encoder.Encode(*schema, R"({"v":"a\u0000b"})");
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  EXPECT_EQ(encoded->bytes, std::string("\x12\x03"
                                        "a\0b",
                                        5));
  std::string out;
  ASSERT_TRUE(AppendRowJson(*schema, encoded->bytes, {}, &out).ok());
  EXPECT_EQ(out, R"({"v":"a\u0000b"})");
}

TEST(RowEncoderTest, AKeyIsTheCanonicalTextOfItsValue) {
  const std::pair<std::string_view, std::pair<std::string_view, std::string_view>> keys[] = {
      {"decimal", {"1.50", "1.5"}},
      {"int32", {"\"7.0\"", "7"}},
      {"int64", {"-12", "-12"}},
      {"uuid",
       {R"("1B4E28BA-2FA1-11D2-883F-0016D3CCA427")", "1b4e28ba-2fa1-11d2-883f-0016d3cca427"}},
      {"datetime", {R"("2026-01-31T11:00:00+01:00")", "2026-01-31T10:00:00.000000Z"}},
      {"date", {R"("2026-01-31")", "2026-01-31"}},
      {"time", {R"("10:00:00.5000009")", "10:00:00.500000"}},
      {"bool", {"true", "true"}},
      {"double", {"1.5e0", "1.5"}},
      {"bytes", {R"("AP8=")", "AP8="}},
  };
  for (const auto& [type, texts] : keys) {
    RowEncoder encoder;
    const auto schema = MakeSchema("e", R"({"primary_key":"k","attributes":[{"name":"k","type":")" +
                                            std::string(type) + "\"}]}");
    const auto encoded = encoder.Encode(*schema, "{\"k\":" + std::string(texts.first) + "}");
    ASSERT_TRUE(encoded.ok()) << encoded.status();
    EXPECT_EQ(encoded->key, texts.second);
    const auto text = AttributeText(schema->key(), encoded->bytes);
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, texts.second);
    EXPECT_EQ(*CanonicalText(schema->key().type, texts.second), texts.second);
  }
}

TEST(RowEncoderTest, AnEncoderServesSeveralSchemas) {
  RowEncoder encoder;
  const auto small =
      MakeSchema("small", R"({"primary_key":"k","attributes":[{"name":"k","type":"string"}]})");
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(encoder.Encode(*small, R"({"k":"a"})").ok());
    EXPECT_TRUE(encoder.Encode(*EveryType(), R"({"s":"a","i":1})").ok());
    EXPECT_FALSE(encoder.Encode(*EveryType(), R"({"s":"a","i":"x"})").ok());
  }
}

TEST(RowEncoderTest, ErrorsShowTheValueCutShort) {
  const std::string message = RoundTrip("{\"i\":\"" + std::string(1000, 'z') + "\"}");
  EXPECT_THAT(message, HasSubstr("zzzz\"... (1000 bytes)"));
  EXPECT_LT(message.size(), 200U);
  EXPECT_EQ(RoundTrip(R"({"i":"a\nb"})"), "type_mismatch: every.i: \"a\\nb\" is not an integer");
}

TEST(CanonicalTextTest, RefusesOtherTypes) {
  EXPECT_EQ(*CanonicalText(v1::ATTRIBUTE_TYPE_STRING, " A "), " A ");
  EXPECT_EQ(*CanonicalText(v1::ATTRIBUTE_TYPE_DECIMAL, "1.50"), "1.5");
  EXPECT_EQ(ErrorCode(CanonicalText(v1::ATTRIBUTE_TYPE_INT32, "x").status()), "type_mismatch");
  EXPECT_EQ(ErrorCode(CanonicalText(v1::ATTRIBUTE_TYPE_STRING, "\xff").status()), "type_mismatch");
  EXPECT_EQ(ErrorCode(CanonicalText(v1::ATTRIBUTE_TYPE_UNSPECIFIED, "x").status()),
            "type_mismatch");
}

TEST(ValidateKeyTest, LimitsAndUtf8) {
  EXPECT_TRUE(ValidateKey("A1").ok());
  EXPECT_TRUE(ValidateKey("é/ \n").ok());
  for (const std::string& key :
       {std::string(), std::string(513, 'k'), std::string("a\0b", 3), std::string("\xff")}) {
    EXPECT_EQ(ErrorCode(ValidateKey(key)), "invalid_key");
  }
}

}  // namespace
}  // namespace sluice::schemas
