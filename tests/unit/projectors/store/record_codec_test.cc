#include "projectors/store/record_codec.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"
#include "projectors/store/place_codec.h"

namespace sluice::projectors {
namespace {

std::string Hex(const std::string& bytes) { return absl::BytesToHexString(bytes); }

Record Example() {
  Record record;
  record.last = {Offset(1042), 0};
  record.version = 17;
  record.memberships = {
      {BucketKey{0x0102030405060708, 0x090a0b0c0d0e0f10}, {Offset(1042), 0}, true, 0, Offset(1042)},
      {BucketKey{0x1112131415161718, 0x191a1b1c1d1e1f20},
       {Offset(1040), 3},
       false,
       0,
       Offset(1040)}};
  record.row =
      "\x0a\x02"
      "A1";
  return record;
}

// Golden: the worked example of projectors/docs/store-format.md.
TEST(RecordCodec, WritesTheBytesOfThePage) {
  EXPECT_EQ(Hex(EncodeRecordKey(EntityId(1), "A1")), "000000014131");
  EXPECT_EQ(Hex(EncodeRecord(Example())),
            "02a410002202"
            "0102030405060708090a0b0c0d0e0f1000"
            "1112131415161718191a1b1c1d1e1f20030303"
            "0a024131");
  EXPECT_EQ(
      Hex(EncodeDeltaKey(BucketKey{0x0102030405060708, 0x090a0b0c0d0e0f10}, {Offset(1042), 0})),
      "0102030405060708090a0b0c0d0e0f10000000000000041200000000");
  EXPECT_EQ(Hex(EncodeDelta({true, EntityId(1), "A1", Example().row}, {Offset(1042), 0})),
            "01010241310a024131");
}

TEST(RecordCodec, ReadsWhatItWroteAndRefusesWhatIsCutShort) {
  const std::string bytes = EncodeRecord(Example());
  EXPECT_EQ(DecodeRecord(bytes).value(), Example());
  for (size_t size = 0; size < bytes.size() - Example().row.size(); ++size) {
    EXPECT_FALSE(DecodeRecord(bytes.substr(0, size)).ok()) << size;
  }
}

TEST(RecordCodec, KeepsWhatAMembershipRemembers) {
  Record record = Example();
  record.memberships[0].entered = Offset(1000);
  record.memberships[0].earlier = {{Offset(900), Offset(950), true}, {Offset(960), Offset(960)}};
  record.memberships[0].vague = true;
  record.memberships[1].by_definition = true;
  record.memberships[1].earlier.assign(kStaysMax, {Offset(10), Offset(10)});
  EXPECT_EQ(DecodeRecord(EncodeRecord(record)).value(), record);
  record.memberships[1].earlier.push_back({Offset(10), Offset(10)});
  EXPECT_TRUE(absl::IsDataLoss(DecodeRecord(EncodeRecord(record)).status()));
}

// The worked example of a record that has them apart.
TEST(RecordCodec, WritesWhatIsApartInRowsOfItsOwn) {
  Record record;
  record.last = {Offset(1042), 0};
  record.apart = true;
  record.memberships_apart = 40;
  record.support_apart = 2;
  record.row = Example().row;
  EXPECT_EQ(Hex(EncodeRecord(record)), "08a4100028020a024131");
  EXPECT_EQ(DecodeRecord(EncodeRecord(record)).value(), record);
  for (const auto size : {0, 1, 3, 4, 5}) {
    EXPECT_FALSE(DecodeRecord(EncodeRecord(record).substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(DecodeRecord("\x0c" + EncodeRecord(record).substr(1)).ok()) << "support as well";

  const RecordKey key{EntityId(1), "A1"};
  const Membership given{
      BucketKey{0x0102030405060708, 0x090a0b0c0d0e0f10}, {Offset(1042), 0}, true, 5, Offset(1040)};
  EXPECT_EQ(Hex(EncodeMembershipKey(key, given.bucket)),
            "6d000000010241310102030405060708090a0b0c0d0e0f10");
  EXPECT_EQ(Hex(EncodeMembership(given)), "0102030405060708090a0b0c0d0e0f100ea410000502");
  const Support support{300, BucketKey{0x1112131415161718, 0x191a1b1c1d1e1f20}, 2};
  EXPECT_EQ(Hex(EncodeSupportKey(key, support.rule, support.source)),
            "73000000010241310000012c1112131415161718191a1b1c1d1e1f20");
  EXPECT_EQ(Hex(EncodeSupport(support)), "ac021112131415161718191a1b1c1d1e1f2002");
}

// Of a source's operation; what has neither is written as before there were sources.
TEST(RecordCodec, ARejectionSaysOfWhichRowItIs) {
  const std::string key = EncodeRejectedKey(Offset(7), 2);
  Rejected rejected{Offset(7), 2, "invalid_key", "why"};
  const std::string before = EncodeRejected(rejected);
  EXPECT_EQ(DecodeRejected(key, before)->entity, "");
  for (const char* const entity : {"account", ""}) {
    rejected.entity = entity;
    rejected.key = "A1";
    const std::string bytes = EncodeRejected(rejected);
    EXPECT_TRUE(bytes.starts_with(before));
    EXPECT_EQ(DecodeRejected(key, bytes)->entity, entity);
    EXPECT_EQ(DecodeRejected(key, bytes)->key, "A1");
    EXPECT_FALSE(DecodeRejected(key, bytes.substr(0, bytes.size() - 1)).ok());
  }
}

TEST(RecordCodec, RefusesRowsOfPlacesThatItCannotHaveWritten) {
  const RecordKey key{EntityId(1), "A1"};
  const std::string membership = EncodeMembership(Example().memberships[1]);
  const std::string support = EncodeSupport({300, Example().memberships[0].bucket, 2});
  EXPECT_EQ(DecodeMembership(membership).value(), Example().memberships[1]);
  for (size_t size = 0; size < membership.size(); ++size) {
    EXPECT_FALSE(DecodeMembership(membership.substr(0, size)).ok()) << size;
  }
  for (size_t size = 0; size < support.size(); ++size) {
    EXPECT_FALSE(DecodeSupport(support.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(DecodeMembership(membership + "x").ok());
  EXPECT_FALSE(DecodeSupport(support + "x").ok());
  const std::string place = EncodeMembershipKey(key, Example().memberships[0].bucket);
  EXPECT_EQ(DecodePlaceKey(place).value(), key);
  EXPECT_EQ(DecodePlaceKey(EncodeSupportKey(key, 1, BucketKey{})).value(), key);
  for (size_t size = 0; size < place.size(); ++size) {
    EXPECT_FALSE(DecodePlaceKey(place.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(DecodePlaceKey("x" + place.substr(1)).ok());
  // One record's prefix is none of another's, whatever their keys are.
  EXPECT_FALSE(
      EncodeMembershipPrefix({EntityId(1), "A12"}).starts_with(EncodeMembershipPrefix(key)));
}

}  // namespace
}  // namespace sluice::projectors
