#include "projectors/store/record_codec.h"

#include "projectors/store/place_codec.h"
#include "schemas/base/byte_codec.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

// Flags of a record.
constexpr uint8_t kDeleted = 1;
constexpr uint8_t kHasVersion = 2;
constexpr uint8_t kHasSupport = 4;
constexpr uint8_t kApart = 8;  // counts stand for memberships and support
// First byte of a delta.
constexpr uint8_t kPut = 1;           // otherwise a removal
constexpr uint8_t kDeltaEntered = 2;  // as kEntered
constexpr uint8_t kDeltaReturned = 4;

// As a key has it, where offsets sort as numbers.
void PutFixedOffset(Offset offset, std::string* out) {
  PutFixed64(static_cast<uint64_t>(offset.value()), out);
}
Offset ReadFixedOffset(ByteReader& reader) {
  return Offset(static_cast<int64_t>(reader.Fixed64()));
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
  RecordKey key{EntityId(reader.Fixed32()), std::string(reader.rest())};
  return reader.ok() ? absl::StatusOr<RecordKey>(std::move(key)) : Malformed("record key", bytes);
}

std::string EncodeRecord(const Record& record) {
  std::string out;
  out.reserve(24 + record.memberships.size() * 18 + record.row.size());
  out.push_back(static_cast<char>(
      (record.deleted ? kDeleted : 0) | (record.version.has_value() ? kHasVersion : 0) |
      (record.support.empty() ? 0 : kHasSupport) | (record.apart ? kApart : 0)));
  PutSigned(record.last.offset.value(), &out);
  PutVarint(record.last.index, &out);
  if (record.version.has_value()) {
    PutSigned(*record.version, &out);
  }
  if (record.apart) {
    PutVarint(record.memberships_apart, &out);
    PutVarint(record.support_apart, &out);
    out.append(record.row);
    return out;
  }
  PutVarint(record.memberships.size(), &out);
  for (const Membership& membership : record.memberships) {
    PutMembership(membership, record.last, &out);
  }
  if (!record.support.empty()) {
    PutSupport(record.support, &out);
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
  record.apart = (flags & kApart) != 0;
  if (record.apart) {
    record.memberships_apart = reader.Varint();
    record.support_apart = reader.Varint();
    record.row = reader.rest();
    if (!reader.ok() || flags > (kDeleted | kHasVersion | kApart) || (flags & kHasSupport) != 0) {
      return Malformed("record", bytes);
    }
    return record;
  }
  // Before room is made for them: a damaged count must not take all memory. A membership has 17
  // bytes at least, and likewise a mark below has 3.
  const uint64_t count = reader.Varint();
  if (!reader.ok() || flags > (kDeleted | kHasVersion | kHasSupport) ||
      count > reader.rest().size() / 17) {
    return Malformed("record", bytes);
  }
  record.memberships.resize(count);
  for (Membership& membership : record.memberships) {
    if (!ReadMembership(record.last, reader, &membership)) {
      return Malformed("record", bytes);
    }
  }
  if (((flags & kHasSupport) != 0 && !ReadSupport(reader, &record.support)) || !reader.ok()) {
    return Malformed("record", bytes);
  }
  record.row = reader.rest();
  return record;
}

std::string EncodeDeltaKey(BucketKey bucket, Position position) {
  std::string out;
  out.reserve(28);
  PutBucket(bucket, &out);
  PutFixedOffset(position.offset, &out);
  PutFixed32(position.index, &out);
  return out;
}

absl::StatusOr<DeltaKey> DecodeDeltaKey(std::string_view bytes) {
  ByteReader reader(bytes);
  return Whole(reader, DeltaKey{ReadBucket(reader), {ReadFixedOffset(reader), reader.Fixed32()}},
               "delta key", bytes);
}

std::string EncodeDelta(const DeltaOp& op, Position position) {
  std::string out;
  out.reserve(12 + op.key.size() + op.row.size());
  const bool entered = HasEntered(op.entered, position);
  out.push_back(static_cast<char>((op.put ? kPut : 0) | (entered ? kDeltaEntered : 0) |
                                  (op.returned ? kDeltaReturned : 0)));
  PutVarint(op.entity.value(), &out);
  PutText(op.key, &out);
  if (entered) {
    PutEntered(op.entered, position, &out);
  }
  out.append(op.row);
  return out;
}

absl::Status DecodeDelta(std::string_view bytes, DeltaView* view) {
  ByteReader reader(bytes);
  const uint8_t kind = reader.Byte();
  view->put = (kind & kPut) != 0;
  view->entity = EntityId(reader.Varint32());
  view->key = reader.Text();
  view->entered =
      (kind & kDeltaEntered) != 0 ? ReadEntered(view->position, reader) : view->position.offset;
  view->returned = (kind & kDeltaReturned) != 0;
  view->row = reader.rest();
  if (!reader.ok() || kind > (kPut | kDeltaEntered | kDeltaReturned) ||
      (!view->put && !view->row.empty())) {
    return Malformed("delta", bytes);
  }
  return absl::OkStatus();
}

std::string EncodeChangeSet(const AppliedSet& set) {
  std::string out;
  PutSigned(set.offset.value(), &out);
  PutVarint(set.ordinal, &out);
  return out;
}

absl::StatusOr<AppliedSet> DecodeChangeSet(std::string_view bytes) {
  ByteReader reader(bytes);
  return Whole(reader, AppliedSet{Offset(reader.Signed()), reader.Varint()}, "change set", bytes);
}

std::string EncodeLinkPrefix(EntityId entity, AttributeId attribute) {
  std::string out(kLinkPrefix);
  PutFixed32(entity.value(), &out);
  PutFixed32(attribute.value(), &out);
  return out;
}

std::string EncodeLinkPrefix(EntityId entity, AttributeId attribute, std::string_view value) {
  std::string out = EncodeLinkPrefix(entity, attribute);
  PutText(value, &out);
  return out;
}

std::string EncodeLink(const Link& link) {
  std::string out = EncodeLinkPrefix(link.entity, link.attribute, link.value);
  out.append(link.child);
  return out;
}

absl::StatusOr<Link> DecodeLink(std::string_view bytes) {
  ByteReader reader(bytes);
  reader.Expect(kLinkPrefix);
  Link link{EntityId(reader.Fixed32()), AttributeId(reader.Fixed32()), std::string(reader.Text()),
            std::string(reader.rest())};
  return reader.ok() ? absl::StatusOr<Link>(std::move(link)) : Malformed("link", bytes);
}

std::string EncodeWork(uint32_t round, std::string_view item) {
  std::string out(kWorkPrefix);
  out.push_back(static_cast<char>(round));
  out.append(item);
  return out;
}

std::string EncodeBucketKey(BucketKey bucket) {
  std::string out(kBucketPrefix);
  PutBucket(bucket, &out);
  return out;
}

absl::StatusOr<BucketKey> DecodeBucketKey(std::string_view bytes) {
  ByteReader reader(bytes);
  reader.Expect(kBucketPrefix);
  return Whole(reader, ReadBucket(reader), "bucket key", bytes);
}

std::string EncodeBucket(const BucketState& state) {
  std::string out;
  PutText(state.name, &out);
  PutVarint(state.count, &out);
  PutFixed64(state.checksum, &out);
  PutSigned(state.changed.value(), &out);
  return out;
}

absl::StatusOr<BucketState> DecodeBucket(std::string_view bytes) {
  ByteReader reader(bytes);
  return Whole(reader,
               BucketState{std::string(reader.Text()), reader.Varint(), reader.Fixed64(),
                           Offset(reader.Signed())},
               "bucket state", bytes);
}

std::string EncodeApplied(const AppliedState& applied) {
  std::string out;
  PutSigned(applied.position.value(), &out);
  PutFixed64(applied.event_hash, &out);
  PutVarint(applied.records, &out);
  PutSigned(applied.horizon.value(), &out);
  PutVarint(applied.events, &out);
  PutFixed64(applied.history, &out);
  PutSigned(applied.clock_us, &out);
  PutSigned(applied.time_us, &out);
  PutVarint(applied.marks.size(), &out);
  for (const Mark& mark : applied.marks) {
    PutSigned(mark.offset.value(), &out);
    PutVarint(mark.ordinal, &out);
    PutSigned(mark.time_us, &out);
  }
  if (applied.partial.has_value()) {
    PutSigned(applied.partial->offset.value(), &out);
    PutVarint(applied.partial->round, &out);
    PutText(applied.partial->item, &out);
    PutText(applied.partial->row, &out);
    PutVarint(applied.partial->next_index, &out);
    PutFixed64(applied.partial->event_hash, &out);
    if (applied.partial->op > 0) {
      PutVarint(applied.partial->op, &out);
    }
  }
  return out;
}

absl::StatusOr<AppliedState> DecodeApplied(std::string_view bytes) {
  ByteReader reader(bytes);
  AppliedState applied;
  applied.position = Offset(reader.Signed());
  applied.event_hash = reader.Fixed64();
  applied.records = reader.Varint();
  applied.horizon = Offset(reader.Signed());
  applied.events = reader.Varint();
  applied.history = reader.Fixed64();
  applied.clock_us = reader.Signed();
  applied.time_us = reader.Signed();
  const uint64_t marks = reader.Varint();
  if (marks > reader.rest().size() / 3) {
    return Malformed("applied state", bytes);
  }
  applied.marks.resize(marks);
  for (Mark& mark : applied.marks) {
    mark = {Offset(reader.Signed()), reader.Varint(), reader.Signed()};
  }
  if (reader.ok() && !reader.rest().empty()) {
    PartialEvent& partial = applied.partial.emplace();
    partial.offset = Offset(reader.Signed());
    partial.round = reader.Varint32();
    partial.item = reader.Text();
    partial.row = reader.Text();
    partial.next_index = reader.Varint32();
    // What came to the format later is at the end, so that what was written before is read on.
    if (reader.ok() && !reader.rest().empty()) {
      partial.event_hash = reader.Fixed64();
    }
    if (reader.ok() && !reader.rest().empty()) {
      partial.op = reader.Varint32();
      if (partial.op == 0) {
        return Malformed("applied state", bytes);
      }
    }
  }
  return Whole(reader, std::move(applied), "applied state", bytes);
}

std::string EncodeHistoryKey(Offset last) {
  std::string out(kHistoryPrefix);
  PutFixedOffset(last, &out);
  return out;
}

std::string EncodeHistory(const HistoryEntries& entries) {
  std::string out;
  out.reserve(entries.size() * 10);
  for (const auto& [offset, history] : entries) {
    PutVarint(Distance(offset, entries.back().first), &out);
    PutFixed64(history, &out);
  }
  return out;
}

absl::StatusOr<HistoryEntries> DecodeHistory(std::string_view key, std::string_view value) {
  ByteReader key_reader(key);
  key_reader.Expect(kHistoryPrefix);
  const Offset last = ReadFixedOffset(key_reader);
  ByteReader reader(value);
  HistoryEntries entries;
  entries.reserve(value.size() / 9);
  while (reader.ok() && !reader.rest().empty()) {
    const uint64_t distance = reader.Varint();
    entries.emplace_back(Before(last, distance), reader.Fixed64());
  }
  if (!key_reader.done() || !reader.ok() || entries.empty() || entries.back().first != last) {
    return Malformed("history", value);
  }
  return entries;
}

// No name has the byte between the two.
std::string EncodeSourceKey(const SourceStream& stream) {
  std::string out(kSourcePrefix);
  out.append(stream.source).push_back('\0');
  out.append(stream.stream);
  return out;
}

absl::StatusOr<SourceStream> DecodeSourceKey(std::string_view bytes) {
  const size_t end = bytes.find('\0');
  if (!bytes.starts_with(kSourcePrefix) || end == std::string_view::npos) {
    return Malformed("source key", bytes);
  }
  return SourceStream{std::string(bytes.substr(kSourcePrefix.size(), end - kSourcePrefix.size())),
                      std::string(bytes.substr(end + 1))};
}

std::string EncodeSourceState(const v1::SourceState& state) { return state.SerializeAsString(); }

absl::StatusOr<v1::SourceState> DecodeSourceState(std::string_view bytes) {
  v1::SourceState state;
  if (!state.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Malformed("source state", bytes);
  }
  return state;
}

std::string EncodeRejectedKey(Offset offset, uint32_t op_index) {
  std::string out(kRejectedPrefix);
  PutFixedOffset(offset, &out);
  PutFixed32(op_index, &out);
  return out;
}

std::string EncodeRejected(const Rejected& rejected) {
  std::string out;
  PutText(rejected.code, &out);
  PutText(rejected.reason, &out);
  if (!rejected.entity.empty() || !rejected.key.empty()) {  // since sources, of theirs alone
    PutText(rejected.entity, &out);
    PutText(rejected.key, &out);
  }
  return out;
}

absl::StatusOr<Rejected> DecodeRejected(std::string_view key, std::string_view value) {
  ByteReader key_reader(key);
  key_reader.Expect(kRejectedPrefix);
  ByteReader reader(value);
  Rejected rejected{ReadFixedOffset(key_reader), key_reader.Fixed32(), std::string(reader.Text()),
                    std::string(reader.Text())};
  if (!reader.done()) {
    rejected.entity = reader.Text();
    rejected.key = reader.Text();
  }
  return key_reader.done() ? Whole(reader, std::move(rejected), "rejection", value)
                           : Malformed("rejection", value);
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
  // Before the rest, which may be of another form there: that store is not damaged.
  if (reader.ok() && format > kStoreFormat) {
    return Error(StatusCode::kFailedPrecondition, "store_format_newer",
                 "the store has format {}, this program reads up to {}: use a newer program, or "
                 "delete the store so that it is built anew",
                 format, kStoreFormat);
  }
  StoreIdentity identity;
  identity.format = static_cast<uint32_t>(format);
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
  if (checkpoint.control.at != kNoOffset) {
    PutSigned(checkpoint.control.at.value(), &out);
    PutSigned(checkpoint.control.answers.value(), &out);
    PutText(checkpoint.control.id, &out);
  }
  return out;
}

absl::StatusOr<PartitionCheckpoint> DecodeCheckpoint(std::string_view bytes) {
  ByteReader reader(bytes);
  PartitionCheckpoint checkpoint{
      Offset(reader.Signed()), Offset(reader.Signed()), reader.Fixed64(), {}};
  if (reader.done()) {
    return checkpoint;
  }
  checkpoint.control.at = Offset(reader.Signed());
  checkpoint.control.answers = Offset(reader.Signed());
  checkpoint.control.id = std::string(reader.Text());
  return Whole(reader, std::move(checkpoint), "partition checkpoint", bytes);
}

std::string EncodeNoted(const NotedEvent& noted) {
  std::string out;
  PutSigned(noted.offset.value(), &out);
  PutFixed64(noted.event_hash, &out);
  return out;
}

absl::StatusOr<NotedEvent> DecodeNoted(std::string_view bytes) {
  ByteReader reader(bytes);
  return Whole(reader, NotedEvent{Offset(reader.Signed()), reader.Fixed64()}, "noted event", bytes);
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
  return Whole(
      reader,
      OrgRegistration{reader.Varint32(), PartitionId(static_cast<int32_t>(reader.Varint32())),
                      Offset(reader.Signed())},
      "organisation registration", bytes);
}

std::string EncodeFlushed(Offset offset) {
  std::string out;
  PutSigned(offset.value(), &out);
  return out;
}

absl::StatusOr<Offset> DecodeFlushed(std::string_view bytes) {
  ByteReader reader(bytes);
  return Whole(reader, Offset(reader.Signed()), "flushed position", bytes);
}

std::string EncodeClosedMark(const ClosedMark& mark) {
  std::string out;
  PutVarint(mark.incarnation, &out);
  PutSigned(mark.offset.value(), &out);
  return out;
}

absl::StatusOr<ClosedMark> DecodeClosedMark(std::string_view bytes) {
  ByteReader reader(bytes);
  return Whole(reader, ClosedMark{reader.Varint32(), Offset(reader.Signed())}, "closed mark",
               bytes);
}

}  // namespace sluice::projectors
