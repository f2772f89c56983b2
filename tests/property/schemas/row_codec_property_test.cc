#include <gmock/gmock.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "schemas/attribute_type.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "tests/support/random_history.h"
#include "tests/support/schemas/test_schema.h"

// Random rows against the plain model: a map from attribute to the JSON text of its value.
// SLUICE_SEED=<printed seed> replays a run.
namespace sluice::schemas {
namespace {

using testing::ValueOrDie;

constexpr int kRounds = 2'000;

using Model = std::map<uint32_t, std::string>;  // attribute id -> value as AppendRowJson writes it

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t Below(uint64_t bound) { return engine_() % bound; }
  uint64_t Bits() { return engine_(); }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

 private:
  std::mt19937_64 engine_;
};

void AppendUtf8(uint32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->push_back(static_cast<char>(0xc0 | c >> 6));
    out->push_back(static_cast<char>(0x80 | (c & 63)));
  } else if (c < 0x10000) {
    out->push_back(static_cast<char>(0xe0 | c >> 12));
    out->push_back(static_cast<char>(0x80 | (c >> 6 & 63)));
    out->push_back(static_cast<char>(0x80 | (c & 63)));
  } else {
    out->push_back(static_cast<char>(0xf0 | c >> 18));
    out->push_back(static_cast<char>(0x80 | (c >> 12 & 63)));
    out->push_back(static_cast<char>(0x80 | (c >> 6 & 63)));
    out->push_back(static_cast<char>(0x80 | (c & 63)));
  }
}

// A JSON string of random characters, controls, quotes and surrogate pairs among them, written the
// way that AppendJsonString must write it.
std::string RandomString(Random& random) {
  static const std::map<uint32_t, std::string> kEscapes = {
      {'"', "\\\""}, {'\\', "\\\\"}, {'\b', "\\b"}, {'\f', "\\f"},
      {'\n', "\\n"}, {'\r', "\\r"},  {'\t', "\\t"}};
  std::string json = "\"";
  const uint64_t size = random.OneIn(20) ? random.Below(3'000) : random.Below(40);
  const uint64_t alphabet = random.Below(4);
  for (uint64_t i = 0; i < size; ++i) {
    uint32_t c = static_cast<uint32_t>(alphabet == 0   ? 'a' + random.Below(26)
                                       : alphabet == 1 ? random.Below(0x80)
                                       : alphabet == 2 ? random.Below(0x900)
                                                       : random.Below(0x110000));
    if (c >= 0xd800 && c <= 0xdfff) {
      c = '\\';
    }
    if (const auto escape = kEscapes.find(c); escape != kEscapes.end()) {
      json += escape->second;
    } else if (c < 0x20) {
      json += std::string("\\u00") + "01"[c >> 4] + "0123456789abcdef"[c & 15];
    } else {
      AppendUtf8(c, &json);
    }
  }
  return json + "\"";
}

std::string RandomDecimal(Random& random) {
  const uint64_t digits = 1 + random.Below(38);
  const uint64_t behind = random.Below(digits + 1);
  std::string text;
  for (uint64_t i = 0; i < digits; ++i) {
    // The ends are not zero, so that the text is canonical.
    const bool end = i == 0 || i + 1 == digits;
    text.push_back(static_cast<char>('0' + (end ? 1 + random.Below(9) : random.Below(10))));
  }
  if (behind > 0) {
    text.insert(digits - behind, behind == digits ? "0." : ".");
  }
  return (random.OneIn(2) ? "\"-" : "\"") + text + "\"";
}

std::string RandomDatetime(Random& random) {
  char text[40];
  std::snprintf(text, sizeof(text), "\"%04d-%02d-%02dT%02d:%02d:%02d.%06dZ\"",
                static_cast<int>(1 + random.Below(9999)), static_cast<int>(1 + random.Below(12)),
                static_cast<int>(1 + random.Below(28)), static_cast<int>(random.Below(24)),
                static_cast<int>(random.Below(60)), static_cast<int>(random.Below(60)),
                static_cast<int>(random.Below(1'000'000)));
  return text;
}

std::string RandomDate(Random& random) {
  constexpr std::string_view kEdges[] = {"0001-01-01", "0004-02-29", "1900-02-28", "1969-12-31",
                                         "1970-01-01", "2000-02-29", "9999-12-31"};
  if (random.OneIn(4)) {
    return "\"" + std::string(kEdges[random.Below(std::size(kEdges))]) + "\"";
  }
  return RandomDatetime(random).substr(0, 11) + "\"";
}

std::string RandomTime(Random& random) {
  constexpr std::string_view kEdges[] = {"00:00:00.000000", "00:00:00.000001", "23:59:59.999999"};
  if (random.OneIn(4)) {
    return "\"" + std::string(kEdges[random.Below(std::size(kEdges))]) + "\"";
  }
  return "\"" + RandomDatetime(random).substr(12, 15) + "\"";
}

std::string RandomHex(Random& random, std::string_view form) {
  std::string text;
  for (const char c : form) {
    text.push_back(c == 'x' ? "0123456789abcdef"[random.Below(16)] : c);
  }
  return "\"" + text + "\"";
}

std::string RandomBase64(Random& random) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  const uint64_t size = random.OneIn(20) ? random.Below(500) : random.Below(8);
  for (uint64_t i = 0; i < size * 4; ++i) {
    text.push_back(kDigits[random.Below(64)]);
  }
  constexpr std::string_view kEnds[] = {"", "AA==", "/w==", "AAA=", "+/8="};
  return "\"" + text + std::string(kEnds[random.Below(5)]) + "\"";
}

// A finite double in its shortest text.
std::string RandomDouble(Random& random) {
  for (;;) {
    const double value = random.OneIn(2) ? std::bit_cast<double>(random.Bits())
                                         : static_cast<double>(random.Below(100'000)) / 8;
    if (std::isfinite(value) && value != 0) {
      char text[40];
      return {text, std::to_chars(text, text + sizeof(text), value).ptr};
    }
  }
}

std::string RandomValue(v1::AttributeType type, Random& random) {
  switch (type) {
    case v1::ATTRIBUTE_TYPE_INT32:
      return std::to_string(static_cast<int32_t>(random.Bits() >> random.Below(64)));
    case v1::ATTRIBUTE_TYPE_INT64:
      return "\"" + std::to_string(static_cast<int64_t>(random.Bits() >> random.Below(64))) + "\"";
    case v1::ATTRIBUTE_TYPE_DOUBLE:
      return RandomDouble(random);
    case v1::ATTRIBUTE_TYPE_DECIMAL:
      return RandomDecimal(random);
    case v1::ATTRIBUTE_TYPE_BOOL:
      return random.OneIn(2) ? "true" : "false";
    case v1::ATTRIBUTE_TYPE_DATETIME:
      return RandomDatetime(random);
    case v1::ATTRIBUTE_TYPE_DATE:
      return RandomDate(random);
    case v1::ATTRIBUTE_TYPE_TIME:
      return RandomTime(random);
    case v1::ATTRIBUTE_TYPE_UUID:
      return RandomHex(random, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
    case v1::ATTRIBUTE_TYPE_BYTES:
      return RandomBase64(random);
    default:
      return RandomString(random);
  }
}

std::shared_ptr<const EntitySchema> RandomSchema(Random& random) {
  std::string json = R"({"primary_key":"key","attributes":[{"name":"key","type":"uuid"})";
  const uint64_t count = random.Below(30);
  for (uint64_t i = 0; i < count; ++i) {
    json += ",{\"name\":\"" + std::string(1 + random.Below(100), 'n') + "_" + std::to_string(i) +
            "\",\"type\":\"" +
            std::string(AttributeTypeName(
                static_cast<v1::AttributeType>(1 + random.Below(v1::AttributeType_MAX)))) +
            "\"}";
  }
  return testing::MakeSchema("random", json + "]}");
}

Model RandomModel(const EntitySchema& schema, Random& random) {
  Model model;
  for (const Attribute& attribute : schema.attributes()) {
    if (!random.OneIn(3)) {
      model[attribute.id.value()] = RandomValue(attribute.type, random);
    }
  }
  return model;
}

std::string ToJson(const EntitySchema& schema, const Model& model,
                   const std::vector<AttributeId>& cleared = {}) {
  std::string json = "{";
  const auto add = [&](uint32_t id, const std::string& value) {
    json += (json.size() > 1 ? ",\"" : "\"") + schema.Find(AttributeId(id))->name + "\":" + value;
  };
  for (const auto& [id, value] : model) {
    add(id, value);
  }
  for (const AttributeId id : cleared) {
    add(id.value(), "null");
  }
  return json + "}";
}

std::string RowJson(const EntitySchema& schema, std::string_view row,
                    const std::vector<AttributeId>& denied = {}) {
  std::string out;
  const absl::Status status = AppendRowJson(schema, row, denied, &out);
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

EncodedRow Encode(const EntitySchema& schema, const std::string& json) {
  static RowEncoder* const encoder = new RowEncoder();
  const auto row = encoder->Encode(schema, json);
  EXPECT_TRUE(row.ok()) << row.status() << "\n" << json;
  return row.ok() ? *row : EncodedRow();
}

std::vector<AttributeId> RandomIds(const EntitySchema& schema, Random& random) {
  std::vector<AttributeId> ids;
  for (const Attribute& attribute : schema.attributes()) {
    if (attribute.id != schema.key().id && random.OneIn(3)) {
      ids.push_back(attribute.id);
    }
  }
  return ids;
}

TEST(RowCodecProperty, EncodeAndDecodeAreInverse) {
  Random random(sluice::testing::TestSeed());
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    const auto schema = RandomSchema(random);
    const Model model = RandomModel(*schema, random);
    const std::string json = ToJson(*schema, model);
    const EncodedRow row = Encode(*schema, json);
    EXPECT_EQ(RowJson(*schema, row.bytes), json);
    EXPECT_EQ(Encode(*schema, RowJson(*schema, row.bytes)).bytes, row.bytes);
    const absl::Status valid = ValidateRow(*schema, row.bytes);
    EXPECT_TRUE(valid.ok()) << valid;
    for (const Attribute& attribute : schema->attributes()) {
      const auto text = ValueOrDie(AttributeText(attribute, row.bytes));
      ASSERT_EQ(text.has_value(), model.contains(attribute.id.value()));
      if (text.has_value()) {
        EXPECT_EQ(ValueOrDie(CanonicalText(attribute.type, *text)), *text);
      }
    }
  }
}

TEST(RowCodecProperty, PatchEqualsTheModel) {
  Random random(sluice::testing::TestSeed());
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    const auto schema = RandomSchema(random);
    Model model = RandomModel(*schema, random);
    const EncodedRow row = Encode(*schema, ToJson(*schema, model));
    Model changes = RandomModel(*schema, random);
    const std::vector<AttributeId> cleared = RandomIds(*schema, random);
    for (const AttributeId id : cleared) {
      changes.erase(id.value());
    }
    const EncodedRow patch = Encode(*schema, ToJson(*schema, changes, cleared));
    EXPECT_EQ(patch.cleared, cleared);
    for (const AttributeId id : cleared) {
      model.erase(id.value());
    }
    for (const auto& [id, value] : changes) {
      model[id] = value;
    }
    EXPECT_EQ(ValueOrDie(PatchRow(row.bytes, patch.bytes, patch.cleared)),
              Encode(*schema, ToJson(*schema, model)).bytes);
  }
}

TEST(RowCodecProperty, MaskEqualsTheModel) {
  Random random(sluice::testing::TestSeed());
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    const auto schema = RandomSchema(random);
    Model model = RandomModel(*schema, random);
    const EncodedRow row = Encode(*schema, ToJson(*schema, model));
    const std::vector<AttributeId> denied = RandomIds(*schema, random);
    for (const AttributeId id : denied) {
      model.erase(id.value());
    }
    EXPECT_EQ(RowJson(*schema, row.bytes, denied), ToJson(*schema, model));
    EXPECT_EQ(ValueOrDie(MaskRow(*schema, row.bytes, denied)),
              Encode(*schema, ToJson(*schema, model)).bytes);
  }
}

// The same value with the point elsewhere, an exponent that makes up for it, and needless zeros.
std::string Disguise(std::string text, Random& random) {
  const bool negative = text.front() == '-';
  text.erase(0, negative ? 1 : 0);
  const size_t dot = text.find('.');
  std::string digits = text;
  std::erase(digits, '.');
  const auto whole = static_cast<int64_t>(dot == std::string::npos ? text.size() : dot);
  // value = digits * 10^(whole - size); now write it as digits[0..cut].digits[cut..] * 10^exponent.
  const auto cut = static_cast<int64_t>(random.Below(digits.size() + 1));
  std::string integer = digits.substr(0, static_cast<size_t>(cut));
  std::string fraction =
      digits.substr(static_cast<size_t>(cut)) + std::string(random.Below(3), '0');
  integer.erase(0, std::min(integer.find_first_not_of('0'), integer.size()));
  std::string result = negative ? "-" : "";
  result += integer.empty() ? "0" : integer;
  result += fraction.empty() ? "" : "." + fraction;
  return result + (random.OneIn(2) ? "e" : "E") + std::to_string(whole - cut);
}

TEST(RowCodecProperty, DisguisedDecimalsAreTheSameValue) {
  Random random(sluice::testing::TestSeed());
  for (int round = 0; round < kRounds * 10 && !HasFailure(); ++round) {
    std::string canonical = RandomDecimal(random);
    std::erase(canonical, '"');
    const std::string disguised = Disguise(canonical, random);
    const auto text = CanonicalText(v1::ATTRIBUTE_TYPE_DECIMAL, disguised);
    ASSERT_TRUE(text.ok()) << text.status() << " of " << canonical;
    EXPECT_EQ(*text, canonical) << disguised;
  }
}

// Whatever stands behind the sixth digit of a second makes no difference.
TEST(RowCodecProperty, FinerDigitsOfASecondAreCut) {
  Random random(sluice::testing::TestSeed());
  for (int round = 0; round < kRounds * 10 && !HasFailure(); ++round) {
    const bool is_time = random.OneIn(2);
    std::string canonical = is_time ? RandomTime(random) : RandomDatetime(random);
    std::erase(canonical, '"');
    std::string finer = canonical;
    const size_t at = finer.find('.') + 7;
    for (uint64_t digits = random.Below(12); digits > 0; --digits) {
      finer.insert(at, 1, static_cast<char>('0' + random.Below(10)));
    }
    const auto text =
        CanonicalText(is_time ? v1::ATTRIBUTE_TYPE_TIME : v1::ATTRIBUTE_TYPE_DATETIME, finer);
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, canonical) << finer;
  }
}

// A damaged row is either refused or a row that another JSON encodes to.
TEST(RowCodecProperty, DamagedRowsAreRefusedOrRows) {
  Random random(sluice::testing::TestSeed());
  int refused = 0;
  for (int round = 0; round < kRounds * 4 && !HasFailure(); ++round) {
    const auto schema = RandomSchema(random);
    std::string bytes = Encode(*schema, ToJson(*schema, RandomModel(*schema, random))).bytes;
    for (uint64_t i = 0; i <= random.Below(4) && !bytes.empty(); ++i) {
      const uint64_t at = random.Below(bytes.size());
      switch (random.Below(3)) {
        case 0:
          bytes[at] = static_cast<char>(random.Bits());
          break;
        case 1:
          bytes.erase(at, 1 + random.Below(3));
          break;
        default:
          bytes.insert(at, 1, static_cast<char>(random.Bits()));
      }
    }
    if (!ValidateRow(*schema, bytes).ok()) {
      ++refused;
      std::string out;
      const absl::Status ignored = AppendRowJson(*schema, bytes, {}, &out);
      EXPECT_TRUE(ignored.ok() || out.empty());
      continue;
    }
    EXPECT_EQ(Encode(*schema, RowJson(*schema, bytes)).bytes, bytes);
  }
  EXPECT_GT(refused, kRounds / 4);
}

}  // namespace
}  // namespace sluice::schemas
