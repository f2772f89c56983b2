#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>

#include "absl/strings/escaping.h"
#include "projectors/store/place_codec.h"
#include "projectors/store/record_codec.h"

// The bytes in tests/golden/store are read for ever: a store that any version wrote must mean the
// same to every later one. They were computed from projectors/docs/store-format.md, not by
// the codec. A new format adds files; a file is never changed or removed.
namespace sluice::projectors {
namespace {

constexpr BucketKey kBucket{0x0102030405060708, 0x090a0b0c0d0e0f10};
constexpr BucketKey kOther{0x1112131415161718, 0x191a1b1c1d1e1f20};
const std::string kRow = absl::HexStringToBytes("0a024131");

Record LiveRecord() {
  Record record;
  record.last = {Offset(1042), 0};
  record.version = 17;
  record.memberships = {{kBucket, {Offset(1042), 0}, true, 0, Offset(1042)},
                        {kOther, {Offset(1040), 3}, false, 0, Offset(1040)}};
  record.row = kRow;
  return record;
}

Record DeletedRecord() {
  Record record;
  record.last = {Offset(300), 7};
  record.version = -5;
  record.deleted = true;
  record.memberships = {{kBucket, {Offset(300), 7}, false, 0, Offset(300)}};
  return record;
}

Record RecordWithoutVersion() {
  Record record;
  record.last = {Offset(5), 1};
  record.row = kRow;
  return record;
}

// In a bucket of rule 5 since 1040, and given a bucket by rule 300 twice.
Record RelatedRecord() {
  Record record;
  record.last = {Offset(1042), 0};
  record.memberships = {{kBucket, {Offset(1042), 0}, true, 5, Offset(1040)}};
  record.support = {{300, kOther, 2}};
  record.row = kRow;
  return record;
}

// It was there twice before, and left the second time by a definition.
Record ReturnedRecord() {
  Record record = RelatedRecord();
  record.support.clear();
  record.memberships[0].earlier = {{Offset(700), Offset(800)}, {Offset(900), Offset(950), true}};
  record.memberships[0].vague = true;
  record.memberships.push_back({kOther, {Offset(1041), 0}, false, 6, Offset(1030), true});
  return record;
}

// Of a record in 40 buckets, given two of them: these are apart.
Record RecordApart() {
  Record record = RelatedRecord();
  record.memberships.clear();
  record.support.clear();
  record.apart = true;
  record.memberships_apart = 40;
  record.support_apart = 2;
  return record;
}

AppliedState Applied() {
  AppliedState applied;
  applied.position = Offset(1042);
  applied.event_hash = 0x0102030405060708;
  applied.records = 300;
  applied.events = 900;
  applied.history = 0x1112131415161718;
  applied.clock_us = 2'000'000;
  applied.time_us = 3'000'000;
  applied.marks = {{Offset(1000), 870, 1'000'000}, {Offset(1042), 900, 2'000'000}};
  return applied;
}

// Amid the event at 1043.
AppliedState PartlyApplied() {
  AppliedState applied = Applied();
  applied.partial = PartialEvent{Offset(1043), 2, "ab", "A1", 300, 0x2122232425262728};
  return applied;
}

// Amid its operations.
AppliedState AmidOperations() {
  AppliedState applied = Applied();
  applied.partial = PartialEvent{Offset(1043), 1, "", "", 700, 0x2122232425262728, 300};
  return applied;
}

struct Format {
  std::string encoded;                                     // by today's encoder
  std::function<bool(const std::string&)> decodes;         // to the same value
  std::function<absl::Status(const std::string&)> status;  // of decoding anything
};

// Of a value with ==, and its codec.
template <typename T, typename Encode, typename Decode>
Format Of(const T& value, Encode encode, Decode decode) {
  return {encode(value),
          [=](const std::string& bytes) {
            const auto decoded = decode(bytes);
            return decoded.ok() && *decoded == value;
          },
          [=](const std::string& bytes) { return decode(bytes).status(); }};
}

// At 1042.3.
Format OfDelta(const DeltaOp& op) {
  const Position position{Offset(1042), 3};
  const auto decode = [=](const std::string& bytes, DeltaView* view) {
    view->position = position;
    return DecodeDelta(bytes, view);
  };
  return {EncodeDelta(op, position),
          [=](const std::string& bytes) {
            DeltaView view;
            return decode(bytes, &view).ok() && view.put == op.put && view.entity == op.entity &&
                   view.key == op.key && view.row == op.row && view.entered == op.entered &&
                   view.returned == op.returned;
          },
          [=](const std::string& bytes) {
            DeltaView view;
            return decode(bytes, &view);
          }};
}

Format OfDeltaKey() {
  const auto same = [](const DeltaKey& key) {
    return key.bucket == kBucket && key.position == Position{Offset(1042), 3};
  };
  return {EncodeDeltaKey(kBucket, {Offset(1042), 3}),
          [=](const std::string& bytes) {
            const auto key = DecodeDeltaKey(bytes);
            return key.ok() && same(*key);
          },
          [](const std::string& bytes) { return DecodeDeltaKey(bytes).status(); }};
}

const Rejected kRejected{Offset(1042), 2, "unknown_entity", "no entity 9"};

Format OfRejection(bool key) {
  const std::string key_bytes = EncodeRejectedKey(Offset(1042), 2);
  const std::string value_bytes = EncodeRejected(kRejected);
  const auto decode = [=](const std::string& bytes) {
    return key ? DecodeRejected(bytes, value_bytes) : DecodeRejected(key_bytes, bytes);
  };
  return {key ? key_bytes : value_bytes,
          [=](const std::string& bytes) {
            const auto found = decode(bytes);
            return found.ok() && found->offset == kRejected.offset &&
                   found->op_index == kRejected.op_index && found->code == kRejected.code &&
                   found->reason == kRejected.reason;
          },
          [=](const std::string& bytes) { return decode(bytes).status(); }};
}

// A commit of the events at 1040 and 1042.
Format OfHistory(bool key) {
  const HistoryEntries entries = {{Offset(1040), 0x0102030405060708},
                                  {Offset(1042), 0x1112131415161718}};
  const std::string key_bytes = EncodeHistoryKey(Offset(1042));
  const std::string value_bytes = EncodeHistory(entries);
  const auto decode = [=](const std::string& bytes) {
    return key ? DecodeHistory(bytes, value_bytes) : DecodeHistory(key_bytes, bytes);
  };
  return {key ? key_bytes : value_bytes,
          [=](const std::string& bytes) {
            const auto found = decode(bytes);
            return found.ok() && *found == entries;
          },
          [=](const std::string& bytes) { return decode(bytes).status(); }};
}

// The key of a row of `places`, from which the record's is read.
Format OfPlaceKey(const std::string& key) {
  return {key,
          [](const std::string& bytes) {
            const auto record = DecodePlaceKey(bytes);
            return record.ok() && *record == RecordKey{EntityId(1), "A1"};
          },
          [](const std::string& bytes) { return DecodePlaceKey(bytes).status(); }};
}

Format OfSourceState() {
  v1::SourceState state;
  state.set_epoch(12);
  state.set_last_id("i/1/7");
  state.set_number(40);
  state.set_cursor("\x08\x01");
  state.set_offset(4200);
  state.set_rows(7000);
  state.set_former_cursor("\x08\x02");
  const std::string encoded = EncodeSourceState(state);
  return {encoded,
          [encoded](const std::string& bytes) {
            const auto read = DecodeSourceState(bytes);
            return read.ok() && EncodeSourceState(*read) == encoded;
          },
          [](const std::string& bytes) { return DecodeSourceState(bytes).status(); }};
}

std::map<std::string, Format> Formats() {
  const auto record_key = [](const RecordKey& key) { return EncodeRecordKey(key.entity, key.key); };
  return {
      {"record-key", Of(RecordKey{EntityId(1), "A1"}, record_key, DecodeRecordKey)},
      {"record-live-4", Of(LiveRecord(), EncodeRecord, DecodeRecord)},
      {"record-deleted-4", Of(DeletedRecord(), EncodeRecord, DecodeRecord)},
      {"record-without-version", Of(RecordWithoutVersion(), EncodeRecord, DecodeRecord)},
      {"delta-key-4", OfDeltaKey()},
      {"delta-put", OfDelta({true, EntityId(1), "A1", kRow, Offset(1042)})},
      {"delta-put-entered", OfDelta({true, EntityId(1), "A1", kRow, Offset(742)})},
      {"delta-put-returned", OfDelta({true, EntityId(1), "A1", kRow, Offset(742), true})},
      {"delta-remove", OfDelta({false, EntityId(300), "A1", "", Offset(1042)})},
      {"delta-remove-entered", OfDelta({false, EntityId(300), "A1", "", Offset(1040)})},
      {"record-related-4", Of(RelatedRecord(), EncodeRecord, DecodeRecord)},
      {"record-returned-4", Of(ReturnedRecord(), EncodeRecord, DecodeRecord)},
      {"record-apart-4", Of(RecordApart(), EncodeRecord, DecodeRecord)},
      {"place-membership-key", OfPlaceKey(EncodeMembershipKey({EntityId(1), "A1"}, kBucket))},
      {"place-membership", Of(RelatedRecord().memberships[0], EncodeMembership, DecodeMembership)},
      {"place-support-key", OfPlaceKey(EncodeSupportKey({EntityId(1), "A1"}, 300, kOther))},
      {"place-support", Of(RelatedRecord().support[0], EncodeSupport, DecodeSupport)},
      {"link", Of(Link{EntityId(2), AttributeId(6), "A1", "C7"}, EncodeLink, DecodeLink)},
      {"bucket-key-4", Of(kBucket, EncodeBucketKey, DecodeBucketKey)},
      {"bucket-4", Of(BucketState{"e1|user:a2=U1", 300, 0xfedcba9876543210, Offset(1042)},
                      EncodeBucket, DecodeBucket)},
      {"change-set-4", Of(AppliedSet{Offset(1042), 900}, EncodeChangeSet, DecodeChangeSet)},
      {"history-key", OfHistory(true)},
      {"history", OfHistory(false)},
      {"applied-4", Of(Applied(), EncodeApplied, DecodeApplied)},
      {"applied-partial-4", Of(PartlyApplied(), EncodeApplied, DecodeApplied)},
      {"applied-operations-4", Of(AmidOperations(), EncodeApplied, DecodeApplied)},
      {"rejected-key", OfRejection(true)},
      {"rejected", OfRejection(false)},
      {"source-key", Of(SourceStream{"crm", "account"}, EncodeSourceKey, DecodeSourceKey)},
      {"source-state", OfSourceState()},
      {"identity-5", Of(StoreIdentity{"log-1", "acme", 2}, EncodeIdentity, DecodeIdentity)},
      {"checkpoint", Of(PartitionCheckpoint{Offset(1043), Offset(1042), 0x0102030405060708, {}},
                        EncodeCheckpoint, DecodeCheckpoint)},
      {"checkpoint-control",
       Of(PartitionCheckpoint{Offset(1043),
                              Offset(1042),
                              0x0102030405060708,
                              {Offset(1000), Offset(17), "0190f0c2-5b7a-8000-8000-0123456789ab"}},
          EncodeCheckpoint, DecodeCheckpoint)},
      {"registration",
       Of(OrgRegistration{2, PartitionId(3), Offset(20)}, EncodeRegistration, DecodeRegistration)},
      {"flushed", Of(Offset(1042), EncodeFlushed, DecodeFlushed)},
      {"noted", Of(NotedEvent{Offset(1040), 0x0102030405060708}, EncodeNoted, DecodeNoted)},
      {"closed-mark", Of(ClosedMark{1, Offset(12)}, EncodeClosedMark, DecodeClosedMark)},
  };
}

std::string Golden(const std::string& name) {
  std::ifstream file(std::string(SLUICE_GOLDEN) + "/" + name + ".hex");
  std::string hex;
  file >> hex;
  return absl::HexStringToBytes(hex);
}

// Identities of formats 1 to 4, by which a store is known to be one of theirs: those of 4 are read
// on, others are built anew; and what formats 1 to 3 wrote otherwise (keys of 64 bits, no events
// counted), which nothing reads.
constexpr size_t kOldFiles = 4 + 10;

TEST(StoreGolden, EveryFormatIsWrittenAndReadAsEver) {
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(SLUICE_GOLDEN)) {
    files += entry.path().extension() == ".hex" ? 1 : 0;
  }
  EXPECT_EQ(files, Formats().size() + kOldFiles);
  for (const auto& [name, format] : Formats()) {
    EXPECT_EQ(absl::BytesToHexString(format.encoded), absl::BytesToHexString(Golden(name))) << name;
    EXPECT_TRUE(format.decodes(Golden(name))) << name;
  }
}

// Where the length is not given by the bytes themselves, what is cut off is taken for a shorter
// key or row.
TEST(StoreGolden, WhatIsCutShortIsRefused) {
  const std::map<std::string, size_t> open_ended = {{"record-key", 2},
                                                    {"source-key", 7},
                                                    {"record-live-4", kRow.size()},
                                                    {"record-without-version", kRow.size()},
                                                    {"record-related-4", kRow.size()},
                                                    {"record-returned-4", kRow.size()},
                                                    {"record-apart-4", kRow.size()},
                                                    {"delta-put-returned", kRow.size()},
                                                    {"delta-put", kRow.size()},
                                                    {"delta-put-entered", kRow.size()}};
  for (const auto& [name, format] : Formats()) {
    const std::string bytes = Golden(name);
    const auto found = open_ended.find(name);
    if (name == "link" || name == "applied-partial-4" || name == "applied-operations-4" ||
        name == "checkpoint-control" || name == "source-state") {
      continue;  // parts of these are whole themselves
    }
    const size_t end = bytes.size() - (found == open_ended.end() ? 0 : found->second);
    for (size_t size = 0; size < end; ++size) {
      EXPECT_TRUE(absl::IsDataLoss(format.status(bytes.substr(0, size)))) << name << " " << size;
    }
    if (found == open_ended.end() && name != "record-deleted-4") {
      EXPECT_TRUE(absl::IsDataLoss(format.status(bytes + '\0'))) << name;
    }
  }
}

TEST(StoreGolden, AnotherFormatsIdentityIsRefusedAsSuch) {
  for (const auto& [older, format] : {std::pair("identity", 1u), std::pair("identity-2", 2u),
                                      std::pair("identity-3", 3u), std::pair("identity-4", 4u)}) {
    const auto identity = DecodeIdentity(Golden(older));
    ASSERT_TRUE(identity.ok()) << identity.status();
    EXPECT_EQ(*identity, (StoreIdentity{"log-1", "acme", 2, format}));
  }
  std::string newer = Golden("identity-5");
  newer[0] = 6;
  const auto status = DecodeIdentity(newer).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  newer[0] = 0;
  EXPECT_TRUE(absl::IsDataLoss(DecodeIdentity(newer).status()));
}

}  // namespace
}  // namespace sluice::projectors
