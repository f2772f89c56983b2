#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "gateways/debezium/value_codec.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"
#include "schemas/row_codec.h"
#include "tests/support/schemas/test_schema.h"

// Random values, written as Connect's JsonConverter writes them and decoded into row bytes: the
// text in the row is that of a plain model, which counts in decimal digits and in calendar days.
// The seed is printed; SLUICE_SEED replays it, SLUICE_STEPS multiplies the values.
namespace sluice::gateways {
namespace {

using schemas::testing::ValueOrDie;

class ValuesPropertyTest : public ::testing::Test {
 protected:
  ValuesPropertyTest() {
    const char* const given = std::getenv("SLUICE_SEED");
    const uint64_t seed =
        given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
    std::cout << "SLUICE_SEED=" << seed << std::endl;
    engine_.seed(seed);
    const char* const steps = std::getenv("SLUICE_STEPS");
    values_ = 5'000 * (steps == nullptr ? 1 : std::strtoull(steps, nullptr, 10));
  }

  uint64_t Below(uint64_t bound) { return engine_() % bound; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  // The text of `json` in an attribute of `type` of a column whose Connect schema is `schema`.
  absl::StatusOr<std::string> Decode(const std::string& type, const std::string& schema,
                                     const std::string& json) {
    const auto entity = schemas::testing::MakeSchema(
        "e",
        R"({"primary_key":"k","attributes":[{"name":"k","type":"string"},{"name":"v","type":")" +
            type + "\"}]}");
    const auto columns = ValueOrDie(ConnectSchema::Parse(
        R"({"type":"struct","fields":[{"type":"string","field":"k"},{"field":"v",)" + schema +
        "}]}"));
    ASSIGN_OR_RETURN(const DecodedRow row,
                     decoder_.Decode(*entity, columns.get(), R"({"k":"K","v":)" + json + "}"));
    EXPECT_EQ(row.key, "K");
    EXPECT_TRUE(schemas::ValidateRow(*entity, row.bytes).ok());
    ASSIGN_OR_RETURN(const auto text, schemas::AttributeText(*entity->Find("v"), row.bytes));
    return text.value_or("null");
  }

  std::mt19937_64 engine_;
  uint64_t values_ = 0;
  ValueDecoder decoder_;
};

std::string Base64(const std::string& bytes) {
  std::string text(Base64Size(bytes.size()), '\0');
  EncodeBase64(bytes, text.data());
  return text;
}

// The two's complement of a number given by its decimal digits, as java.math.BigInteger writes it:
// big-endian, in as few bytes as hold the sign.
std::string TwosComplement(const std::string& digits, bool negative) {
  std::string bytes(1, '\0');  // the least first
  for (const char digit : digits) {
    int carry = digit - '0';
    for (char& byte : bytes) {
      carry += 10 * static_cast<uint8_t>(byte);
      byte = static_cast<char>(carry);
      carry >>= 8;
    }
    if (carry != 0) {
      bytes.push_back(static_cast<char>(carry));
    }
  }
  bytes.push_back('\0');
  if (negative) {
    int carry = 1;
    for (char& byte : bytes) {
      carry += static_cast<uint8_t>(~byte);
      byte = static_cast<char>(carry);
      carry >>= 8;
    }
  }
  const auto sign = [](char c) { return (static_cast<uint8_t>(c) & 0x80) != 0; };
  while (bytes.size() > 1 && (bytes.back() == '\0' || bytes.back() == '\xff') &&
         sign(bytes.back()) == sign(bytes[bytes.size() - 2])) {
    bytes.pop_back();
  }
  std::ranges::reverse(bytes);
  return bytes;
}

// The decimal text of digits with `scale` of them behind the point.
std::string PlainDecimal(std::string digits, int scale, bool negative) {
  digits.append(static_cast<size_t>(std::max(-scale, 0)), '0');
  const auto behind = static_cast<size_t>(std::max(scale, 0));
  if (digits.size() <= behind) {
    digits.insert(0, behind + 1 - digits.size(), '0');
  }
  std::string whole = digits.substr(0, digits.size() - behind);
  std::string fraction = digits.substr(digits.size() - behind);
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size() - 1));
  while (!fraction.empty() && fraction.back() == '0') {
    fraction.pop_back();
  }
  const bool zero = whole == "0" && fraction.empty();
  return (negative && !zero ? "-" : "") + whole + (fraction.empty() ? "" : "." + fraction);
}

size_t Digits(const std::string& decimal) {
  const size_t digits = static_cast<size_t>(
      std::ranges::count_if(decimal, [](char c) { return c >= '0' && c <= '9'; }));
  return digits - (decimal.starts_with("0.") || decimal.starts_with("-0.") ? 1 : 0);
}

TEST_F(ValuesPropertyTest, Decimals) {
  size_t taken = 0;
  for (uint64_t i = 0; i < values_; ++i) {
    std::string digits;
    for (uint64_t n = 1 + Below(OneIn(10) ? 60 : 38); n > 0; --n) {
      digits.push_back(static_cast<char>('0' + (OneIn(5) ? 0 : Below(10))));
    }
    const int scale = static_cast<int>(Below(45)) - 5;
    const bool negative = OneIn(2);
    const std::string base64 = Base64(TwosComplement(digits, negative));
    const std::string expected = PlainDecimal(digits, scale, negative);
    const auto fixed = Decode("decimal",
                              R"("type":"bytes","name":"org.apache.kafka.connect.data.Decimal",)"
                              R"("parameters":{"scale":")" +
                                  std::to_string(scale) + "\"}",
                              "\"" + base64 + "\"");
    const auto scaled =
        Decode("decimal", R"("type":"struct","name":"io.debezium.data.VariableScaleDecimal")",
               R"({"scale":)" + std::to_string(scale) + R"(,"value":")" + base64 + "\"}");
    if (Digits(expected) <= 38) {
      ++taken;
      ASSERT_TRUE(fixed.ok()) << fixed.status() << " " << expected;
      EXPECT_EQ(*fixed, expected);
      ASSERT_TRUE(scaled.ok()) << scaled.status();
      EXPECT_EQ(*scaled, expected);
    } else {
      EXPECT_EQ(ErrorCode(fixed.status()), "type_mismatch") << expected;
      EXPECT_EQ(ErrorCode(scaled.status()), "type_mismatch");
    }
  }
  EXPECT_GT(taken, values_ / 2);
}

// "2026-01-31" by the calendar of the standard library.
std::string PlainDate(int64_t days) {
  const std::chrono::year_month_day date(
      std::chrono::sys_days(std::chrono::days(static_cast<int>(days))));
  char text[16];
  std::snprintf(text, sizeof(text), "%04d-%02u-%02u", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
  return text;
}

std::string PlainTime(int64_t micros) {
  char text[32];
  std::snprintf(text, sizeof(text), "%02d:%02d:%02d.%06d", static_cast<int>(micros / 3'600'000'000),
                static_cast<int>(micros / 60'000'000 % 60),
                static_cast<int>(micros / 1'000'000 % 60), static_cast<int>(micros % 1'000'000));
  return text;
}

TEST_F(ValuesPropertyTest, DatesAndTimes) {
  constexpr int64_t kDay = 86'400'000'000;
  const auto type = [](v1::AttributeType given) {
    return given == v1::ATTRIBUTE_TYPE_STRING     ? "string"
           : given == v1::ATTRIBUTE_TYPE_DATETIME ? "datetime"
                                                  : (given == kDateType ? "date" : "time");
  };
  const auto named = [](const char* connect, const char* name) {
    return std::string("\"type\":\"") + connect + "\",\"name\":\"" + name + "\"";
  };
  for (uint64_t i = 0; i < values_; ++i) {
    const int64_t days = static_cast<int64_t>(Below(3'652'059)) - 719'162;  // years 1 to 9999
    const auto of_day = static_cast<int64_t>(Below(kDay));
    const std::string date = PlainDate(days);
    EXPECT_EQ(
        *Decode(type(kDateType), named("int32", "io.debezium.time.Date"), std::to_string(days)),
        date);
    EXPECT_EQ(*Decode(type(kTimeType), named("int64", "io.debezium.time.MicroTime"),
                      std::to_string(of_day)),
              PlainTime(of_day));
    EXPECT_EQ(*Decode(type(kTimeType), named("int64", "io.debezium.time.NanoTime"),
                      std::to_string(of_day * 1'000 + static_cast<int64_t>(Below(1'000)))),
              PlainTime(of_day));
    EXPECT_EQ(*Decode(type(kTimeType), named("int32", "org.apache.kafka.connect.data.Time"),
                      std::to_string(of_day / 1'000)),
              PlainTime(of_day / 1'000 * 1'000));
    const int64_t micros = days * kDay + of_day;
    const std::string expected = date + "T" + PlainTime(of_day) + "Z";
    EXPECT_EQ(*Decode("datetime", named("int64", "io.debezium.time.MicroTimestamp"),
                      std::to_string(micros)),
              expected);
    const int64_t millis = days * 86'400'000 + of_day / 1'000;
    EXPECT_EQ(
        *Decode("datetime", named("int64", "io.debezium.time.Timestamp"), std::to_string(millis)),
        date + "T" + PlainTime(of_day / 1'000 * 1'000) + "Z");
    if (days > -100'000 && days < 100'000) {  // int64 nanoseconds end in 1677 and 2262
      EXPECT_EQ(*Decode("datetime", named("int64", "io.debezium.time.NanoTimestamp"),
                        std::to_string(micros * 1'000 + static_cast<int64_t>(Below(1'000)))),
                expected);
    }
  }
}

TEST_F(ValuesPropertyTest, Integers) {
  for (uint64_t i = 0; i < values_; ++i) {
    const std::string number =
        std::to_string(static_cast<int64_t>(engine_() >> (1 + Below(63))) * (OneIn(2) ? 1 : -1));
    EXPECT_EQ(*Decode("int64", R"("type":"int64")", number), number);
    EXPECT_EQ(*Decode("decimal", R"("type":"int64")", number), number);
    EXPECT_EQ(*Decode("string", R"("type":"int64")", number), number);
  }
}

}  // namespace
}  // namespace sluice::gateways
