#include "projectors/store/place_codec.h"

#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

// Tags of a membership.
constexpr uint8_t kRemoved = 1;      // the operation is a removal
constexpr uint8_t kOwnPosition = 2;  // the position follows; otherwise it is the record's `last`
constexpr uint8_t kHasRule = 4;      // the rule's number follows
constexpr uint8_t kEntered = 8;      // `entered` follows; otherwise it is the position's offset
constexpr uint8_t kEarlier = 16;     // earlier stays follow
constexpr uint8_t kByDefinition = 32;

// The newest first, each as its distance to what came after it.
void PutStays(const Membership& membership, std::string* out) {
  PutVarint(membership.earlier.size() << 1 | (membership.vague ? 1 : 0), out);
  Offset after = membership.entered;
  for (auto stay = membership.earlier.rbegin(); stay != membership.earlier.rend(); ++stay) {
    PutVarint(Distance(stay->until, after) << 1 | (stay->by_definition ? 1 : 0), out);
    PutVarint(Distance(stay->from, stay->until), out);
    after = stay->from;
  }
}

// False where there cannot be so many.
bool ReadStays(ByteReader& reader, Membership* membership) {
  const uint64_t head = reader.Varint();
  const uint64_t count = head >> 1;
  if (count == 0 || count > kStaysMax) {
    return false;
  }
  membership->vague = (head & 1) != 0;
  membership->earlier.resize(count);
  Offset after = membership->entered;
  for (auto stay = membership->earlier.rbegin(); stay != membership->earlier.rend(); ++stay) {
    const uint64_t distance = reader.Varint();
    stay->by_definition = (distance & 1) != 0;
    stay->until = Before(after, distance >> 1);
    stay->from = Before(stay->until, reader.Varint());
    after = stay->from;
  }
  return true;
}

void PutOneSupport(const Support& support, std::string* out) {
  PutVarint(support.rule, out);
  PutBucket(support.source, out);
  PutVarint(support.count, out);
}

Support ReadOneSupport(ByteReader& reader) {
  return {reader.Varint32(), ReadBucket(reader), reader.Varint()};
}

constexpr char kMembershipKind = 'm';
constexpr char kSupportKind = 's';
constexpr Position kAlone{Offset(0), 0};  // of the record that a membership apart is not beside

std::string ApartPrefix(char kind, const RecordKey& key) {
  std::string out(1, kind);
  out.reserve(30 + key.key.size());
  PutFixed32(key.entity.value(), &out);
  PutText(key.key, &out);
  return out;
}

}  // namespace

absl::Status Malformed(std::string_view what, std::string_view bytes) {
  return Error(StatusCode::kDataLoss, "store_corrupt", "{} of {} bytes is malformed", what,
               bytes.size());
}

void PutBucket(BucketKey bucket, std::string* out) {
  PutFixed64(bucket.high, out);
  PutFixed64(bucket.low, out);
}

BucketKey ReadBucket(ByteReader& reader) { return {reader.Fixed64(), reader.Fixed64()}; }

// `entered` is written as its distance to the position; kNoOffset stands for the position itself.
bool HasEntered(Offset entered, Position position) {
  return entered != kNoOffset && entered < position.offset;
}

void PutEntered(Offset entered, Position position, std::string* out) {
  PutVarint(Distance(entered, position.offset), out);
}

Offset ReadEntered(Position position, ByteReader& reader) {
  return Before(position.offset, reader.Varint());
}

void PutMembership(const Membership& membership, Position last, std::string* out) {
  PutBucket(membership.bucket, out);
  const bool own = membership.position != last;
  const bool entered = HasEntered(membership.entered, membership.position);
  out->push_back(static_cast<char>((membership.member ? 0 : kRemoved) | (own ? kOwnPosition : 0) |
                                   (membership.rule != 0 ? kHasRule : 0) |
                                   (entered ? kEntered : 0) |
                                   (membership.earlier.empty() ? 0 : kEarlier) |
                                   (membership.by_definition ? kByDefinition : 0)));
  if (own) {
    PutSigned(membership.position.offset.value() - last.offset.value(), out);
    PutVarint(membership.position.index, out);
  }
  if (membership.rule != 0) {
    PutVarint(membership.rule, out);
  }
  if (entered) {
    PutEntered(membership.entered, membership.position, out);
  }
  if (!membership.earlier.empty()) {
    PutStays(membership, out);
  }
}

// False where the tag is none of ours, or the stays are.
bool ReadMembership(Position last, ByteReader& reader, Membership* membership) {
  membership->bucket = ReadBucket(reader);
  const uint8_t tag = reader.Byte();
  membership->member = (tag & kRemoved) == 0;
  membership->position = last;
  if ((tag & kOwnPosition) != 0) {
    membership->position.offset = Offset(static_cast<int64_t>(
        static_cast<uint64_t>(last.offset.value()) + static_cast<uint64_t>(reader.Signed())));
    membership->position.index = reader.Varint32();
  }
  membership->rule = (tag & kHasRule) != 0 ? reader.Varint32() : 0;
  membership->entered = (tag & kEntered) != 0 ? ReadEntered(membership->position, reader)
                                              : membership->position.offset;
  membership->by_definition = (tag & kByDefinition) != 0;
  return tag <= (kRemoved | kOwnPosition | kHasRule | kEntered | kEarlier | kByDefinition) &&
         ((tag & kEarlier) == 0 || ReadStays(reader, membership));
}

void PutSupport(const std::vector<Support>& support, std::string* out) {
  PutVarint(support.size(), out);
  for (const Support& s : support) {
    PutOneSupport(s, out);
  }
}

// False where there cannot be so many.
bool ReadSupport(ByteReader& reader, std::vector<Support>* support) {
  const uint64_t count = reader.Varint();
  if (count > reader.rest().size() / 18) {
    return false;
  }
  support->resize(count);
  for (Support& s : *support) {
    s = ReadOneSupport(reader);
  }
  return true;
}

absl::StatusOr<RecordKey> DecodePlaceKey(std::string_view bytes) {
  ByteReader reader(bytes);
  const auto kind = static_cast<char>(reader.Byte());
  RecordKey key{EntityId(reader.Fixed32()), {}};
  key.key = reader.Text();
  if (kind == kSupportKind) {
    (void)reader.Fixed32();
  }
  (void)ReadBucket(reader);
  if (!reader.done() || (kind != kMembershipKind && kind != kSupportKind)) {
    return Malformed("key of places", bytes);
  }
  return key;
}

std::string EncodeMembershipPrefix(const RecordKey& key) {
  return ApartPrefix(kMembershipKind, key);
}

std::string EncodeMembershipKey(const RecordKey& key, BucketKey bucket) {
  std::string out = EncodeMembershipPrefix(key);
  PutBucket(bucket, &out);
  return out;
}

std::string EncodeMembership(const Membership& membership) {
  std::string out;
  PutMembership(membership, kAlone, &out);
  return out;
}

absl::StatusOr<Membership> DecodeMembership(std::string_view bytes) {
  ByteReader reader(bytes);
  Membership membership;
  if (!ReadMembership(kAlone, reader, &membership) || !reader.done()) {
    return Malformed("membership", bytes);
  }
  return membership;
}

std::string EncodeSupportPrefix(const RecordKey& key) { return ApartPrefix(kSupportKind, key); }

std::string EncodeSupportKey(const RecordKey& key, uint32_t rule, BucketKey source) {
  std::string out = EncodeSupportPrefix(key);
  PutFixed32(rule, &out);
  PutBucket(source, &out);
  return out;
}

std::string EncodeSupport(const Support& support) {
  std::string out;
  PutOneSupport(support, &out);
  return out;
}

absl::StatusOr<Support> DecodeSupport(std::string_view bytes) {
  ByteReader reader(bytes);
  return Whole(reader, ReadOneSupport(reader), "support", bytes);
}

}  // namespace sluice::projectors
