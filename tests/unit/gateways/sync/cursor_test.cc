#include "gateways/sync/cursor.h"

#include <absl/strings/escaping.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <random>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

Cursor Sample() {
  Cursor cursor;
  cursor.incarnation = 2;
  cursor.seen = Offset(1043);
  cursor.history = 0x9f2c0102030405ff;
  cursor.entities = {{schemas::EntityId(3), 0, "account"},
                     {schemas::EntityId(4), 0x1122334455667788, "contact"}};
  cursor.base = Offset(1000);
  cursor.first = Offset(1040);
  cursor.groups.push_back(
      {{.position = {Offset(1042), 7}, .removed_after = Offset(900), .at_base = true},
       {{0, BucketKey{0, 1}}}});
  cursor.groups.push_back({{.removed_after = Offset(1043), .lost = true, .lost_at = Offset(1001)},
                           {{1, BucketKey{2, 0}}, {0, BucketKey{~0ULL, ~0ULL}}}});
  cursor.groups.push_back(
      {{.kept_since_base = true, .away_from = Offset(7), .away_until = Offset(1042)}, {}});
  return cursor;
}

TEST(CursorTest, RoundTrip) {
  const CursorCodec codec("log-1", "");
  const std::string text = codec.Encode("contoso", Sample());
  const auto decoded = codec.Decode("contoso", text);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, Sample());
}

// The longest that there is: each of the most buckets is of an entity of its own.
TEST(CursorTest, TheLongestIsTaken) {
  Cursor cursor;
  cursor.incarnation = UINT32_MAX;
  cursor.seen = cursor.base = cursor.first = Offset(INT64_MAX - 1);
  cursor.history = ~0ULL;
  for (uint32_t i = 0; i < 32; ++i) {
    cursor.groups.push_back({{.position = {Offset(INT64_MAX - 1), UINT32_MAX - i},
                              .removed_after = Offset(INT64_MAX - 1),
                              .lost = true,
                              .lost_at = Offset(INT64_MAX - 1),
                              .away_from = Offset(INT64_MAX - 1),
                              .away_until = Offset(INT64_MAX - 1)},
                             {}});
  }
  for (uint32_t i = 0; i < kCursorEntriesMax; ++i) {
    std::string name = std::to_string(i);
    name.insert(0, 128 - name.size(), 'x');
    cursor.entities.push_back({schemas::EntityId(UINT32_MAX - i), ~0ULL, name});
    cursor.groups[i % 32].buckets.push_back({i, BucketKey{i, ~0ULL}});
  }
  const CursorCodec codec("log-1", "");
  const std::string text = codec.Encode("contoso", cursor);
  EXPECT_LT(text.size(), 880'000U) << "the body of a request has room for it";
  const auto decoded = codec.Decode("contoso", text);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, cursor);
}

// The worked example of gateways/docs/sync.md.
TEST(CursorTest, BytesStayAsTheyAre) {
  Cursor cursor;
  cursor.incarnation = 1;
  cursor.seen = Offset(1043);
  cursor.history = 0x9f2c0102030405ff;
  cursor.base = Offset(1000);
  cursor.first = Offset(1043);
  cursor.entities = {{schemas::EntityId(3), 0, "account"}};
  cursor.groups.push_back(
      {{.position = {Offset(999), 2}, .removed_after = Offset(1043), .kept_since_base = true},
       {{0, BucketKey{0x6162636465666768, 7}}}});
  cursor.groups.push_back({{.position = {Offset(999), 2},
                            .removed_after = Offset(1000),
                            .lost = true,
                            .at_base = true,
                            .lost_at = Offset(1000)},
                           {{0, BucketKey{0x1112131415161718, 0x2122232425262728}}}});
  std::string bytes;
  ASSERT_TRUE(
      absl::WebSafeBase64Unescape(CursorCodec("log-1", "").Encode("contoso", cursor), &bytes));
  EXPECT_EQ(absl::BytesToHexString(bytes),
            "03"
            "b8260cf725d5deb6f832dd098154d7f7"
            "11f0b04eda61baebd5646fde72b0058e"
            "01"
            "9408"
            "9f2c0102030405ff"
            "e907"
            "9408"
            "01"
            "03"
            "0000000000000000"
            "07"
            "6163636f756e74"
            "02"
            "04"
            "e807"
            "02"
            "9408"
            "01"
            "00"
            "61626364656667680000000000000007"
            "03"
            "e807"
            "02"
            "e907"
            "e907"
            "01"
            "00"
            "11121314151617182122232425262728"
            "08bfe9f39c4d28441b71e5b20f125f25"
            "3ac223b24269cd74");
}

// Cursors of versions 1 and 2, as the code of those wrote them: their holders start anew.
TEST(CursorTest, AnOlderFormatHasExpired) {
  const std::string second = absl::HexStringToBytes(
      "023ba88cee3a8c11e00f06ecbf7a2d96a4019408e90794080103000000000000000007616363"
      "6f756e740204e80702940801000000000000000007"
      "03e80702e907e9070100"
      "61626364656667686d5537226958017ff479a34b2655a478cd309b064e595106");
  EXPECT_EQ(
      ErrorCode(
          CursorCodec("log-1", "").Decode("contoso", absl::WebSafeBase64Escape(second)).status()),
      "cursor_expired");
  const std::string bytes = absl::HexStringToBytes(
      "013ba88cee3a8c11e00f06ecbf7a2d96a401940801030000000000000000076163636f756e7401009408ffffffff"
      "0f94080100"
      "6162636465666768c03e1b0260f1bf0cf341fd3e9d8eb24eefb8a95450869452");
  const std::string text = absl::WebSafeBase64Escape(bytes);
  const CursorCodec codec("log-1", "");
  EXPECT_EQ(ErrorCode(codec.Decode("contoso", text).status()), "cursor_expired");
}

TEST(CursorTest, AnyChangedCharacterIsNoticed) {
  const CursorCodec codec("log-1", "secret");
  const std::string text = codec.Encode("contoso", Sample());
  for (size_t i = 0; i < text.size(); ++i) {
    for (const char c : std::string("A_z0 =\n\xff")) {
      std::string changed = text;
      changed[i] = c;
      if (changed != text) {
        EXPECT_EQ(ErrorCode(codec.Decode("contoso", changed).status()), "cursor_invalid") << i;
      }
    }
    EXPECT_EQ(ErrorCode(codec.Decode("contoso", text.substr(0, i)).status()), "cursor_invalid");
    EXPECT_EQ(ErrorCode(codec.Decode("contoso", text + text.substr(0, i + 1)).status()),
              "cursor_invalid");
  }
}

// Whoever knows the format can make the checksum fit; the authenticator takes the secret.
TEST(CursorTest, ForgedBytesAreRefused) {
  const CursorCodec codec("log-1", "secret");
  std::string bytes;
  ASSERT_TRUE(absl::WebSafeBase64Unescape(codec.Encode("contoso", Sample()), &bytes));
  bytes.resize(bytes.size() - 8);
  for (size_t i = 33; i < bytes.size(); ++i) {
    std::string forged = bytes;
    forged[i] = static_cast<char>(forged[i] ^ 1);
    const uint64_t sum = XXH64(forged.data(), forged.size(), 0);
    for (int shift = 56; shift >= 0; shift -= 8) {
      forged.push_back(static_cast<char>(sum >> shift));
    }
    EXPECT_EQ(ErrorCode(codec.Decode("contoso", absl::WebSafeBase64Escape(forged)).status()),
              "cursor_invalid")
        << i;
  }
  EXPECT_EQ(ErrorCode(CursorCodec("log-1", "other")
                          .Decode("contoso", codec.Encode("contoso", Sample()))
                          .status()),
            "cursor_invalid");
}

TEST(CursorTest, OtherOrganisationAndOtherLog) {
  const std::string text = CursorCodec("log-1", "").Encode("contoso", Sample());
  const CursorCodec other("log-2", "");
  EXPECT_EQ(ErrorCode(CursorCodec("log-1", "").Decode("fabrikam", text).status()),
            "cursor_other_org");
  EXPECT_EQ(ErrorCode(other.Decode("contoso", text).status()), "cursor_other_log");
}

TEST(CursorTest, GarbageIsRefused) {
  const CursorCodec codec("log-1", "");
  std::mt19937_64 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes(random() % 120, '\0');
    for (char& c : bytes) {
      c = static_cast<char>(random());
    }
    EXPECT_FALSE(codec.Decode("contoso", absl::WebSafeBase64Escape(bytes)).ok());
    EXPECT_FALSE(codec.Decode("contoso", bytes).ok());
  }
}

}  // namespace
}  // namespace sluice::gateways
