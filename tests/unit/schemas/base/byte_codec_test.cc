#include "schemas/base/byte_codec.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace sluice {
namespace {

using std::string_literals::operator""s;

TEST(ByteCodecTest, VarintsAreReadAsTheyWereWritten) {
  for (unsigned bits = 0; bits < 64; ++bits) {
    for (const uint64_t value : {uint64_t{1} << bits, (uint64_t{1} << bits) - 1, UINT64_MAX}) {
      std::string bytes;
      PutVarint(value, &bytes);
      PutSigned(static_cast<int64_t>(value), &bytes);
      ByteReader reader(bytes);
      EXPECT_EQ(reader.Varint(), value);
      EXPECT_EQ(reader.Signed(), static_cast<int64_t>(value));
      EXPECT_TRUE(reader.done());
    }
  }
  std::string bytes;
  PutVarint(300, &bytes);
  EXPECT_EQ(bytes, "\xac\x02");
}

TEST(ByteCodecTest, AVarintThatDoesNotFitIsRefused) {
  const std::string nine(9, '\xff');
  EXPECT_EQ(ByteReader(nine + "\x01").Varint(), UINT64_MAX);
  for (const std::string& bytes : {nine + "\x02", nine + "\x7f", nine + "\x81\x01"s, nine, ""s}) {
    ByteReader reader(bytes);
    EXPECT_EQ(reader.Varint(), 0U);
    EXPECT_FALSE(reader.ok());
  }
  // A longer form than needed is no error here.
  EXPECT_EQ(ByteReader("\x81\x80\x00"s).Varint(), 1U);
}

TEST(ByteCodecTest, AVarintAboveItsBoundIsRefused) {
  std::string bytes;
  PutVarint(uint64_t{1} << 32, &bytes);
  EXPECT_EQ(ByteReader(bytes).Varint(uint64_t{1} << 32), uint64_t{1} << 32);
  ByteReader reader(bytes + "\x05");
  EXPECT_EQ(reader.Varint32(), 0U);
  EXPECT_EQ(reader.Byte(), 0) << "nothing is read after a failure";
  EXPECT_FALSE(reader.ok());
}

TEST(ByteCodecTest, TextsAndFixedWidthsEndWhereTheBytesDo) {
  std::string bytes;
  PutText("row", &bytes);
  PutFixed32(7, &bytes);
  PutFixed64(uint64_t{1} << 63, &bytes);
  ByteReader whole(bytes);
  EXPECT_EQ(whole.Text(), "row");
  EXPECT_EQ(whole.Fixed32(), 7U);
  EXPECT_EQ(whole.Fixed64(), uint64_t{1} << 63);
  EXPECT_TRUE(whole.done());
  ByteReader cut(std::string_view(bytes).substr(0, 3));
  EXPECT_EQ(cut.Text(), "");
  EXPECT_FALSE(cut.ok());
}

}  // namespace
}  // namespace sluice
