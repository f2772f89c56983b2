#include "projectors/store/record_codec.h"

#include <fmt/format.h>

#include "projectors/store/byte_codec.h"
#include "schemas/status.h"

namespace sluice::projectors {
namespace {

// Flags of a record.
constexpr uint8_t kDeleted = 1;
constexpr uint8_t kHasVersion = 2;
// Tags of a membership.
constexpr uint8_t kRemoved = 1;      // the operation is a removal
constexpr uint8_t kOwnPosition = 2;  // the position follows; otherwise it is the record's `last`
// First byte of a delta.
constexpr uint8_t kRemove = 0;
constexpr uint8_t kPut = 1;

absl::Status Malformed(std::string_view what, std::string_view bytes) {
  return Error(absl::StatusCode::kDataLoss, "store_corrupt",
               fmt::format("{} of {} bytes is malformed", what, bytes.size()));
}

void PutMembership(const Membership& membership, Position last, std::string* out) {
  PutFixed64(membership.bucket.value(), out);
  const bool own = membership.position != last;
  out->push_back(static_cast<char>((membership.member ? 0 : kRemoved) | (own ? kOwnPosition : 0)));
  if (own) {
    PutSigned(membership.position.offset.value() - last.offset.value(), out);
    PutVarint(membership.position.index, out);
  }
}

std::string EncodeOffset(Offset offset) {
  std::string out;
  PutSigned(offset.value(), &out);
  return out;
}

absl::StatusOr<Offset> DecodeOffset(std::string_view what, std::string_view bytes) {
  ByteReader reader(bytes);
  const Offset offset(reader.Signed());
  if (!reader.done()) {
    return Malformed(what, bytes);
  }
  return offset;
}

}  // namespace

std::string EncodeRecordKey(EntityId entity, std::string_view key) {
  std::string out;
  out.reserve(4 + key.size());
  PutFixed32(entity.value(), &out);
  out.append(key);
  return out;
}

absl::StatusOr<RecordKey> DecodeRecordKey(std::string_view bytes) {
  ByteReader reader(bytes);
  RecordKey key{EntityId(reader.Fixed32()), {}};
  if (!reader.ok()) {
    return Malformed("record key", bytes);
  }
  key.key = reader.rest();
  return key;
}

std::string EncodeRecord(const Record& record) {
  std::string out;
  out.reserve(24 + record.memberships.size() * 9 + record.row.size());
  out.push_back(static_cast<char>((record.deleted ? kDeleted : 0) |
                                  (record.version.has_value() ? kHasVersion : 0)));
  PutSigned(record.last.offset.value(), &out);
  PutVarint(record.last.index, &out);
  if (record.version.has_value()) {
    PutSigned(*record.version, &out);
  }
  PutVarint(record.memberships.size(), &out);
  for (const Membership& membership : record.memberships) {
    PutMembership(membership, record.last, &out);
  }
  out.append(record.row);
  return out;
}

absl::StatusOr<Record> DecodeRecord(std::string_view bytes) {
  ByteReader reader(bytes);
  Record record;
  const uint8_t flags = reader.Byte();
  record.deleted = (flags & kDeleted) != 0;
  record.last.offset = Offset(reader.Signed());
  record.last.index = reader.Varint32();
  if ((flags & kHasVersion) != 0) {
    record.version = reader.Signed();
  }
  const uint64_t count = reader.Varint();
  if (!reader.ok() || flags > (kDeleted | kHasVersion) || count > reader.rest().size() / 9) {
    return Malformed("record", bytes);
  }
  record.memberships.resize(count);
  for (Membership& membership : record.memberships) {
    membership.bucket = BucketKey(reader.Fixed64());
    const uint8_t tag = reader.Byte();
    membership.member = (tag & kRemoved) == 0;
    membership.position = record.last;
    if ((tag & kOwnPosition) != 0) {
      // Unsigned, so that malformed numbers wrap round instead of overflowing.
      membership.position.offset =
          Offset(static_cast<int64_t>(static_cast<uint64_t>(record.last.offset.value()) +
                                      static_cast<uint64_t>(reader.Signed())));
      membership.position.index = reader.Varint32();
    }
    if (!reader.ok() || tag > (kRemoved | kOwnPosition)) {
      return Malformed("record", bytes);
    }
  }
  record.row = reader.rest();
  return record;
}

std::string EncodeDeltaKey(BucketKey bucket, Position position) {
  std::string out;
  out.reserve(20);
  PutFixed64(bucket.value(), &out);
  PutFixed64(static_cast<uint64_t>(position.offset.value()), &out);
  PutFixed32(position.index, &out);
  return out;
}

absl::StatusOr<DeltaKey> DecodeDeltaKey(std::string_view bytes) {
  ByteReader reader(bytes);
  DeltaKey key;
  key.bucket = BucketKey(reader.Fixed64());
  key.position.offset = Offset(static_cast<int64_t>(reader.Fixed64()));
  key.position.index = reader.Fixed32();
  if (!reader.done()) {
    return Malformed("delta key", bytes);
  }
  return key;
}

std::string EncodeDelta(const DeltaOp& op) {
  std::string out;
  out.reserve(8 + op.key.size() + op.row.size());
  out.push_back(static_cast<char>(op.put ? kPut : kRemove));
  PutVarint(op.entity.value(), &out);
  PutText(op.key, &out);
  out.append(op.row);
  return out;
}

absl::Status DecodeDelta(std::string_view bytes, DeltaView* view) {
  ByteReader reader(bytes);
  const uint8_t kind = reader.Byte();
  view->put = kind == kPut;
  view->entity = EntityId(reader.Varint32());
  view->key = reader.Text();
  view->row = reader.rest();
  if (!reader.ok() || kind > kPut || (kind == kRemove && !view->row.empty())) {
    return Malformed("delta", bytes);
  }
  return absl::OkStatus();
}

std::string EncodeChangeSet(Offset offset) { return EncodeOffset(offset); }

absl::StatusOr<Offset> DecodeChangeSet(std::string_view bytes) {
  return DecodeOffset("change set", bytes);
}

std::string EncodeBucketKey(BucketKey bucket) {
  std::string out(kBucketPrefix);
  PutFixed64(bucket.value(), &out);
  return out;
}

absl::StatusOr<BucketKey> DecodeBucketKey(std::string_view bytes) {
  ByteReader reader(bytes);
  const bool prefixed = reader.Take(kBucketPrefix.size()) == kBucketPrefix;
  const BucketKey key(reader.Fixed64());
  if (!reader.done() || !prefixed) {
    return Malformed("bucket key", bytes);
  }
  return key;
}

std::string EncodeBucket(const BucketState& state) {
  std::string out;
  PutText(state.name, &out);
  PutVarint(state.count, &out);
  PutFixed64(state.checksum, &out);
  return out;
}

absl::StatusOr<BucketState> DecodeBucket(std::string_view bytes) {
  ByteReader reader(bytes);
  BucketState state;
  state.name = reader.Text();
  state.count = reader.Varint();
  state.checksum = reader.Fixed64();
  if (!reader.done()) {
    return Malformed("bucket state", bytes);
  }
  return state;
}

std::string EncodeApplied(const AppliedState& applied) {
  std::string out;
  PutSigned(applied.position.value(), &out);
  PutFixed64(applied.event_hash, &out);
  PutVarint(applied.records, &out);
  PutSigned(applied.horizon.value(), &out);
  return out;
}

absl::StatusOr<AppliedState> DecodeApplied(std::string_view bytes) {
  ByteReader reader(bytes);
  AppliedState applied;
  applied.position = Offset(reader.Signed());
  applied.event_hash = reader.Fixed64();
  applied.records = reader.Varint();
  applied.horizon = Offset(reader.Signed());
  if (!reader.done()) {
    return Malformed("applied state", bytes);
  }
  return applied;
}

std::string EncodeRejectedKey(Offset offset, uint32_t op_index) {
  std::string out(kRejectedPrefix);
  PutFixed64(static_cast<uint64_t>(offset.value()), &out);
  PutFixed32(op_index, &out);
  return out;
}

std::string EncodeRejected(const Rejected& rejected) {
  std::string out;
  PutText(rejected.code, &out);
  PutText(rejected.reason, &out);
  return out;
}

absl::StatusOr<Rejected> DecodeRejected(std::string_view key, std::string_view value) {
  ByteReader key_reader(key);
  const bool prefixed = key_reader.Take(kRejectedPrefix.size()) == kRejectedPrefix;
  Rejected rejected;
  rejected.offset = Offset(static_cast<int64_t>(key_reader.Fixed64()));
  rejected.op_index = key_reader.Fixed32();
  ByteReader reader(value);
  rejected.code = reader.Text();
  rejected.reason = reader.Text();
  if (!prefixed || !key_reader.done() || !reader.done()) {
    return Malformed("rejection", value);
  }
  return rejected;
}

std::string EncodeIdentity(const StoreIdentity& identity) {
  std::string out;
  PutVarint(kStoreFormat, &out);
  PutText(identity.log_id, &out);
  PutText(identity.org, &out);
  PutVarint(identity.incarnation, &out);
  return out;
}

absl::StatusOr<StoreIdentity> DecodeIdentity(std::string_view bytes) {
  ByteReader reader(bytes);
  const uint64_t format = reader.Varint();
  if (reader.ok() && format > kStoreFormat) {
    return Error(absl::StatusCode::kFailedPrecondition, "store_format_newer",
                 fmt::format("the store has format {}, this program reads up to {}: use a newer "
                             "program, or delete the store so that it is built anew",
                             format, kStoreFormat));
  }
  StoreIdentity identity;
  identity.log_id = reader.Text();
  identity.org = reader.Text();
  identity.incarnation = reader.Varint32();
  if (!reader.done() || format == 0) {
    return Malformed("store identity", bytes);
  }
  return identity;
}

std::string EncodeCheckpoint(const PartitionCheckpoint& checkpoint) {
  std::string out;
  PutSigned(checkpoint.next.value(), &out);
  PutSigned(checkpoint.applied.value(), &out);
  PutFixed64(checkpoint.event_hash, &out);
  return out;
}

absl::StatusOr<PartitionCheckpoint> DecodeCheckpoint(std::string_view bytes) {
  ByteReader reader(bytes);
  PartitionCheckpoint checkpoint;
  checkpoint.next = Offset(reader.Signed());
  checkpoint.applied = Offset(reader.Signed());
  checkpoint.event_hash = reader.Fixed64();
  if (!reader.done()) {
    return Malformed("partition checkpoint", bytes);
  }
  return checkpoint;
}

std::string EncodeRegistration(const OrgRegistration& registration) {
  std::string out;
  PutVarint(registration.incarnation, &out);
  PutVarint(static_cast<uint32_t>(registration.partition.value()), &out);
  PutSigned(registration.opened.value(), &out);
  return out;
}

absl::StatusOr<OrgRegistration> DecodeRegistration(std::string_view bytes) {
  ByteReader reader(bytes);
  OrgRegistration registration;
  registration.incarnation = reader.Varint32();
  registration.partition = PartitionId(static_cast<int32_t>(reader.Varint32()));
  registration.opened = Offset(reader.Signed());
  if (!reader.done()) {
    return Malformed("organisation registration", bytes);
  }
  return registration;
}

std::string EncodeFlushed(Offset offset) { return EncodeOffset(offset); }

absl::StatusOr<Offset> DecodeFlushed(std::string_view bytes) {
  return DecodeOffset("flushed position", bytes);
}

std::string EncodeClosedMark(const ClosedMark& mark) {
  std::string out;
  PutVarint(mark.incarnation, &out);
  PutSigned(mark.offset.value(), &out);
  return out;
}

absl::StatusOr<ClosedMark> DecodeClosedMark(std::string_view bytes) {
  ByteReader reader(bytes);
  ClosedMark mark;
  mark.incarnation = reader.Varint32();
  mark.offset = Offset(reader.Signed());
  if (!reader.done()) {
    return Malformed("closed mark", bytes);
  }
  return mark;
}

}  // namespace sluice::projectors
