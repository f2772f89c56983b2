#include "gateways/sync/cursor.h"

#include <absl/strings/escaping.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <random>

#include "schemas/status.h"

namespace sluice::gateways {
namespace {

Cursor Sample() {
  Cursor cursor;
  cursor.incarnation = 2;
  cursor.seen = Offset(1043);
  cursor.entities = {{schemas::EntityId(3), 0, "account"},
                     {schemas::EntityId(4), 0x1122334455667788, "contact"}};
  cursor.groups.push_back({{Offset(1042), 7}, Offset(900), false, {{0, BucketKey(1)}}});
  cursor.groups.push_back({{}, Offset(1043), true, {{1, BucketKey(2)}, {0, BucketKey(~0ULL)}}});
  return cursor;
}

TEST(CursorTest, RoundTrip) {
  const CursorCodec codec("log-1", "");
  const std::string text = codec.Encode("contoso", Sample());
  const auto decoded = codec.Decode("contoso", text);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, Sample());
}

// The worked example of gateways/docs/sync.md.
TEST(CursorTest, BytesStayAsTheyAre) {
  Cursor cursor;
  cursor.incarnation = 1;
  cursor.seen = Offset(1043);
  cursor.entities = {{schemas::EntityId(3), 0, "account"}};
  cursor.groups.push_back(
      {{Offset(1043), UINT32_MAX}, Offset(1043), false, {{0, BucketKey(0x6162636465666768)}}});
  std::string bytes;
  ASSERT_TRUE(
      absl::WebSafeBase64Unescape(CursorCodec("log-1", "").Encode("contoso", cursor), &bytes));
  EXPECT_EQ(absl::BytesToHexString(bytes),
            "01"
            "3ba88cee3a8c11e0"
            "0f06ecbf7a2d96a4"
            "01"
            "9408"
            "01"
            "03"
            "0000000000000000"
            "07"
            "6163636f756e74"
            "01"
            "00"
            "9408"
            "ffffffff0f"
            "9408"
            "01"
            "00"
            "6162636465666768"
            "c03e1b0260f1bf0cf341fd3e9d8eb24e"
            "efb8a95450869452");
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
  for (size_t i = 17; i < bytes.size(); ++i) {
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
