#include "schemas/row_codec.h"
#include "schemas/base/json_writer.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "schemas/base/status.h"
#include "tests/support/schemas/test_schema.h"

namespace sluice::schemas {
namespace {

using testing::EveryType;
using testing::MakeProto;

std::string Encode(std::string_view json) {
  RowEncoder encoder;
  return testing::ValueOrDie(encoder.Encode(*EveryType(), json)).bytes;
}

std::string ToJson(const EntitySchema& schema, std::string_view row,
                   std::vector<AttributeId> denied = {}) {
  std::string out = "before ";
  const absl::Status status = AppendRowJson(schema, row, denied, &out);
  if (!status.ok()) {
    EXPECT_EQ(out, "before ");
    return ErrorCode(status);
  }
  return out.substr(7);
}

// Bytes that are no row of every schema, and why.
struct Malformed {
  std::string_view why;
  std::string bytes;
};

std::vector<Malformed> MalformedRows() {
  using namespace std::string_literals;
  return {{"tag alone", "\x0a"s},
          {"field number zero",
           "\x02\x01"
           "a"s},
          {"length beyond the end",
           "\x0a\x05"
           "abc"s},
          {"huge length", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"s},
          {"endless varint", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"s},
          {"varint of 65 bits", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"s},
          {"fixed64 cut", "\x21\x01\x02\x03"s},
          {"group", "\x13\x14"s},
          {"wire type 7", "\x17\x01"s},
          {"descending ids", "\x30\x01\x10\x01"s},
          {"the same id twice", "\x10\x01\x10\x01"s},
          {"field number over 2^29", "\x80\x80\x80\x80\x80\x01\x01"s}};
}

TEST(RowScannerTest, WalksFields) {
  const std::string row = Encode(R"({"s":"key","l":"-1","f":1.5})");
  RowScanner scanner(row);
  ASSERT_TRUE(scanner.Next());
  EXPECT_EQ(scanner.field().id, AttributeId(1));
  EXPECT_EQ(scanner.field().payload, "key");
  EXPECT_EQ(scanner.field().raw, "\x0a\x03key");
  ASSERT_TRUE(scanner.Next());
  EXPECT_EQ(scanner.field().id, AttributeId(3));
  EXPECT_EQ(scanner.field().scalar, UINT64_MAX);
  EXPECT_EQ(scanner.field().raw.size(), 11U);
  ASSERT_TRUE(scanner.Next());
  EXPECT_EQ(scanner.field().wire_type, 1);
  EXPECT_FALSE(scanner.Next());
  EXPECT_TRUE(scanner.status().ok());
}

TEST(RowScannerTest, StopsAtMalformedBytes) {
  for (const auto& [why, bytes] : MalformedRows()) {
    RowScanner scanner(bytes);
    while (scanner.Next()) {
    }
    EXPECT_EQ(ErrorCode(scanner.status()), "malformed_row") << why;
    EXPECT_EQ(scanner.status().code(), absl::StatusCode::kDataLoss) << why;
    EXPECT_FALSE(scanner.Next()) << why;
  }
}

TEST(RowCodecTest, MalformedBytesAreRefusedEverywhere) {
  const auto schema = EveryType();
  for (const auto& [why, bytes] : MalformedRows()) {
    EXPECT_EQ(ToJson(*schema, bytes), "malformed_row") << why;
    EXPECT_EQ(ErrorCode(ValidateRow(*schema, bytes)), "malformed_row") << why;
    EXPECT_EQ(ErrorCode(MaskRow(*schema, bytes, {}).status()), "malformed_row") << why;
    EXPECT_EQ(ErrorCode(PatchRow(bytes, "", {}).status()), "malformed_row") << why;
    EXPECT_EQ(ErrorCode(PatchRow("", bytes, {}).status()), "malformed_row") << why;
    EXPECT_EQ(ErrorCode(AttributeText(schema->attributes().back(), bytes).status()),
              "malformed_row")
        << why;
  }
}

TEST(AttributeTextTest, NullWhereAbsent) {
  const auto schema = EveryType();
  const std::string row = Encode(R"({"i":5,"b":false})");
  EXPECT_EQ(*AttributeText(*schema->Find("i"), row), "5");
  EXPECT_EQ(*AttributeText(*schema->Find("b"), row), "false");
  EXPECT_EQ(*AttributeText(*schema->Find("s"), row), std::nullopt);
  EXPECT_EQ(*AttributeText(*schema->Find("l"), row), std::nullopt);
  EXPECT_EQ(*AttributeText(*schema->Find("x"), row), std::nullopt);
}

TEST(ValidateRowTest, RefusesWhatNoEncoderWrites) {
  using namespace std::string_literals;
  const auto schema = EveryType();
  const std::pair<std::string_view, std::string> wrong[] = {
      {"string in an int32",
       "\x12\x01"
       "a"s},
      {"varint in a string", "\x08\x01"s},
      {"fixed32", "\x15\x01\x00\x00\x00"s},
      {"string that is not UTF-8", "\x0a\x01\xff"s},
      {"int32 out of range", "\x10\x80\x80\x80\x80\x08"s},
      {"varint too long", "\x10\x81\x00"s},
      {"tag too long", "\x90\x00\x01"s},
      {"length too long",
       "\x0a\x81\x00"
       "a"s},
      {"NaN", "\x21\x00\x00\x00\x00\x00\x00\xf8\x7f"s},
      {"negative zero", "\x21\x00\x00\x00\x00\x00\x00\x00\x80"s},
      {"decimal not canonical",
       "\x2a\x03"
       "1.0"s},
      {"decimal empty", "\x2a\x00"s},
      {"decimal with exponent",
       "\x2a\x03"
       "1e5"s},
      {"negative decimal zero", "\x2a\x02-0"s},
      {"bool of 2", "\x30\x02"s},
      {"datetime too late", "\x39\xff\xff\xff\xff\xff\xff\xff\x7f"s},
      {"date of the year 0000", "\x50\xf5\xe4\x57"s},       // -719163
      {"date of the year 10000", "\x50\xc2\x82\xe6\x02"s},  // 2932897
      {"date of 64 bits", "\x50\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"s},
      {"date in 64 bits", "\x51\x00\x00\x00\x00\x00\x00\x00\x00"s},
      {"date too long", "\x50\x81\x00"s},
      {"time of the next day", "\x58\x80\xc0\xdd\xee\xc1\x02"s},  // 86400000000
      {"negative time", "\x58\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"s},
      {"text in a time",
       "\x5a\x01"
       "a"s},
      {"uuid of 3 bytes",
       "\x42\x03"
       "abc"s}};
  for (const auto& [why, bytes] : wrong) {
    EXPECT_EQ(ErrorCode(ValidateRow(*schema, bytes)), "type_mismatch") << why;
  }
  EXPECT_EQ(ErrorCode(ValidateRow(*schema, "\x0a\x00"s)), "invalid_key");
  EXPECT_EQ(ErrorCode(ValidateRow(*schema, "\x62\x00"s)), "unknown_attribute");
  EXPECT_TRUE(ValidateRow(*schema, "").ok());
}

TEST(AppendRowJsonTest, RefusesValuesThatJsonCannotHold) {
  using namespace std::string_literals;
  const auto schema = EveryType();
  for (const std::string& row :
       {"\x12\x01"
        "a"s,
        "\x08\x01"s, "\x21\x00\x00\x00\x00\x00\x00\xf8\x7f"s, "\x30\x02"s,
        "\x39\xff\xff\xff\xff\xff\xff\xff\x7f"s, "\x50\xf5\xe4\x57"s, "\x50\xc2\x82\xe6\x02"s,
        "\x58\x80\xc0\xdd\xee\xc1\x02"s, "\x58\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"s,
        "\x42\x03"
        "abc"s,
        "\x10\x80\x80\x80\x80\x08"s}) {
    EXPECT_EQ(ToJson(*schema, row), "malformed_row");
  }
}

TEST(RowCodecTest, RemovedAttributesAreHidden) {
  const auto first = MakeProto("every", testing::kEveryType);
  const auto wanted = testing::ValueOrDie(ParseEntityDefinition(
      "every", R"({"primary_key":"s","attributes":[{"name":"s","type":"string"},
                   {"name":"b","type":"bool"}]})"));
  const auto schema = testing::ValueOrDie(
      EntitySchema::FromProto(testing::ValueOrDie(EvolveSchema(&first, wanted, EntityId(9)))));
  const std::string row = Encode(R"({"s":"a","i":5,"b":true,"x":"AA=="})");
  EXPECT_TRUE(ValidateRow(*schema, row).ok());
  EXPECT_EQ(ToJson(*schema, row), R"({"s":"a","b":true})");
  EXPECT_EQ(*MaskRow(*schema, row, {}), Encode(R"({"s":"a","b":true})"));
}

TEST(RowCodecTest, DeniedAttributesAreLeftOut) {
  const auto schema = EveryType();
  const std::string row = Encode(R"({"s":"a","i":5,"l":6,"b":true})");
  const std::vector<AttributeId> denied = {AttributeId(2), AttributeId(5), AttributeId(6)};
  EXPECT_EQ(ToJson(*schema, row, denied), R"({"s":"a","l":"6"})");
  EXPECT_EQ(*MaskRow(*schema, row, denied), Encode(R"({"s":"a","l":6})"));
  EXPECT_EQ(*MaskRow(*schema, row, {}), row);
  const std::vector<AttributeId> all = {AttributeId(1), AttributeId(2), AttributeId(3),
                                        AttributeId(6)};
  EXPECT_EQ(ToJson(*schema, row, all), "{}");
  EXPECT_EQ(*MaskRow(*schema, row, all), "");
}

TEST(PatchRowTest, ReplacesAddsAndClears) {
  const std::string row = Encode(R"({"s":"a","i":5,"b":true,"d":"1"})");
  const std::vector<AttributeId> cleared = {AttributeId(3), AttributeId(6)};
  EXPECT_EQ(*PatchRow(row, Encode(R"({"i":7,"t":"2026-01-31T10:00:00Z"})"), cleared),
            Encode(R"({"s":"a","i":7,"d":"1","t":"2026-01-31T10:00:00Z"})"));
  EXPECT_EQ(*PatchRow(row, "", {}), row);
  EXPECT_EQ(*PatchRow("", row, {}), row);
}

TEST(JsonStringTest, EscapesEveryControlCharacterAtEveryPlace) {
  for (int c = 0; c < 128; ++c) {
    for (size_t size = 1; size < 40; ++size) {
      for (size_t at = 0; at < size; ++at) {
        std::string text(size, 'a');
        text[at] = static_cast<char>(c);
        std::string expected(1, static_cast<char>(c));
        if (c < 0x20) {
          char hex[8];
          snprintf(hex, sizeof(hex), "\\u%04x", static_cast<unsigned>(c));
          const std::string_view from = "\b\f\n\r\t";
          const size_t found = from.find(static_cast<char>(c));
          expected = found == std::string_view::npos ? std::string(hex)
                                                     : std::string("\\") + "bfnrt"[found];
        } else if (c == '"' || c == '\\') {
          expected = std::string("\\") + static_cast<char>(c);
        }
        std::string out;
        AppendJsonString(text, &out);
        ASSERT_EQ(out,
                  "\"" + std::string(at, 'a') + expected + std::string(size - at - 1, 'a') + "\"");
      }
    }
  }
}

TEST(JsonStringTest, InvalidUtf8BecomesTheReplacementCharacter) {
  const std::pair<std::string, std::string> cases[] = {
      {"é😀", "é😀"},
      {"\xff", "\ufffd"},
      {"a\xc3", "a\ufffd"},
      {"\xc0\x80", "\ufffd\ufffd"},
      {"\xed\xa0\x80", "\ufffd\ufffd\ufffd"},
      {"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"},
      {"é\xff😀\"", "é\ufffd😀\\\""},
      {std::string(30, 'a') + "é" + std::string(30, 'b') + "\xe2\x82",
       std::string(30, 'a') + "é" + std::string(30, 'b') + "\ufffd\ufffd"},
  };
  for (const auto& [text, expected] : cases) {
    std::string out;
    AppendJsonString(text, &out);
    EXPECT_EQ(out, "\"" + expected + "\"");
  }
}

TEST(AppendRowJsonTest, LargeValuesPassTheBuffer) {
  const auto schema = EveryType();
  RowEncoder encoder;
  for (const size_t size : {100U, 255U, 256U, 257U, 2047U, 2048U, 2049U, 100'000U}) {
    const std::string text(size, 'x');
    const std::string base64 = std::string(size / 4 * 4, 'A');
    const std::string json = R"({"d":"5","x":")" + base64 + R"("})";
    const auto row = encoder.Encode(*schema, json);
    ASSERT_TRUE(row.ok());
    EXPECT_EQ(ToJson(*schema, row->bytes), json);
    std::string out;
    AppendJsonString(text, &out);
    EXPECT_EQ(out, "\"" + text + "\"");
  }
}

}  // namespace
}  // namespace sluice::schemas
