#include "projectors/store/record_codec.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"

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

}  // namespace
}  // namespace sluice::projectors
