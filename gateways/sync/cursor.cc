#include "gateways/sync/cursor.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <xxhash.h>

#include <limits>
#include <optional>

#include "schemas/base/byte_codec.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"

namespace sluice::gateways {
namespace {

constexpr uint8_t kFormat = 3;
constexpr size_t kAuthenticatorBytes = 16;
constexpr size_t kChecksumBytes = 8;
constexpr size_t kHashBytes = sizeof(IdentityHash);
constexpr size_t kNameMax = 128;
constexpr size_t kGroupsMax = 64;
// A cursor that is given is one that is taken: what the most buckets come to, each of an entity of
// its own with the longest name.
constexpr size_t kEntityBytesMax = 5 + 8 + 2 + kNameMax;
constexpr size_t kBucketBytesMax = 2 + sizeof(BucketKey);
constexpr size_t kOtherBytesMax = size_t{8} << 10;  // of the header, the groups' states and the end
constexpr size_t kBytesMax =
    kCursorEntriesMax * (kEntityBytesMax + kBucketBytesMax) + kOtherBytesMax;
constexpr size_t kTextMax = (kBytesMax + 2) / 3 * 4;
// Flags of a group.
constexpr uint8_t kLost = 1;
constexpr uint8_t kAtBase = 2;
constexpr uint8_t kKeptSinceBase = 4;
constexpr uint8_t kAway = 8;  // `away_from` and `away_until` follow

absl::Status Invalid(std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "cursor_invalid",
               std::string("the cursor cannot be read (") + std::string(why) +
                   "): pass one that this server gave, unchanged, or start without");
}

// Finds damage; the authenticator finds malice.
uint64_t Checksum(std::string_view bytes) { return XXH64(bytes.data(), bytes.size(), 0); }

void PutKey(BucketKey key, std::string* out) {
  PutFixed64(key.high, out);
  PutFixed64(key.low, out);
}

// kNoOffset is -1, so that offsets are written as one more.
void PutOffset(Offset offset, std::string* out) {
  PutVarint(static_cast<uint64_t>(offset.value() + 1), out);
}

BucketKey ReadKey(ByteReader& reader) {
  const uint64_t high = reader.Fixed64();
  return {high, reader.Fixed64()};
}

Offset ReadOffset(ByteReader& reader) {
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  return Offset(static_cast<int64_t>(reader.Varint(kMax)) - 1);
}

void PutGroup(const CursorGroup& group, std::string* out) {
  const CursorGroupState& state = group.state;
  const bool away = state.away_from != kNoOffset || state.away_until != kNoOffset;
  out->push_back(static_cast<char>((state.lost ? kLost : 0) | (state.at_base ? kAtBase : 0) |
                                   (state.kept_since_base ? kKeptSinceBase : 0) |
                                   (away ? kAway : 0)));
  PutOffset(state.position.offset, out);
  PutVarint(state.position.index, out);
  PutOffset(state.removed_after, out);
  if (state.lost) {
    PutOffset(state.lost_at, out);
  }
  if (away) {
    PutOffset(state.away_from, out);
    PutOffset(state.away_until, out);
  }
  PutVarint(group.buckets.size(), out);
  for (const CursorBucket& bucket : group.buckets) {
    PutVarint(bucket.entity, out);
    PutKey(bucket.key, out);
  }
}

bool ReadGroup(ByteReader& reader, size_t entities, size_t* buckets_left, CursorGroup* group) {
  CursorGroupState& state = group->state;
  const uint64_t flags = reader.Varint(kLost | kAtBase | kKeptSinceBase | kAway);
  state.lost = (flags & kLost) != 0;
  state.at_base = (flags & kAtBase) != 0;
  state.kept_since_base = (flags & kKeptSinceBase) != 0;
  state.position.offset = ReadOffset(reader);
  state.position.index = reader.Varint32();
  state.removed_after = ReadOffset(reader);
  if (state.lost) {
    state.lost_at = ReadOffset(reader);
  }
  if ((flags & kAway) != 0) {
    state.away_from = ReadOffset(reader);
    state.away_until = ReadOffset(reader);
  }
  const size_t count = reader.Varint(*buckets_left);
  *buckets_left -= count;
  for (size_t i = 0; i < count && reader.ok(); ++i) {
    const auto entity = static_cast<uint32_t>(reader.Varint(kCursorEntriesMax));
    group->buckets.push_back({entity, ReadKey(reader)});
    if (entity >= entities) {
      return false;
    }
  }
  return reader.ok();
}

std::string Body(const Cursor& cursor) {
  std::string bytes;
  PutVarint(cursor.incarnation, &bytes);
  PutOffset(cursor.seen, &bytes);
  PutFixed64(cursor.history, &bytes);
  PutOffset(cursor.base, &bytes);
  PutOffset(cursor.first, &bytes);
  PutVarint(cursor.entities.size(), &bytes);
  for (const CursorEntity& entity : cursor.entities) {
    PutVarint(entity.id.value(), &bytes);
    PutFixed64(entity.columns, &bytes);
    PutText(entity.name, &bytes);
  }
  PutVarint(cursor.groups.size(), &bytes);
  for (const CursorGroup& group : cursor.groups) {
    PutGroup(group, &bytes);
  }
  return bytes;
}

bool ReadBody(std::string_view bytes, Cursor* cursor) {
  ByteReader reader(bytes);
  cursor->incarnation = reader.Varint32();
  cursor->seen = ReadOffset(reader);
  cursor->history = reader.Fixed64();
  cursor->base = ReadOffset(reader);
  cursor->first = ReadOffset(reader);
  const size_t entities = reader.Varint(kCursorEntriesMax);
  for (size_t i = 0; i < entities && reader.ok(); ++i) {
    CursorEntity entity;
    entity.id = schemas::EntityId(reader.Varint32());
    entity.columns = reader.Fixed64();
    entity.name = reader.Take(reader.Varint(kNameMax));
    cursor->entities.push_back(std::move(entity));
  }
  const size_t groups = reader.Varint(kGroupsMax);
  size_t buckets_left = kCursorEntriesMax;
  for (size_t i = 0; i < groups && reader.ok(); ++i) {
    CursorGroup& group = cursor->groups.emplace_back();
    if (!ReadGroup(reader, cursor->entities.size(), &buckets_left, &group)) {
      return false;
    }
  }
  return reader.done();
}

}  // namespace

CursorCodec::CursorCodec(std::string_view log_id, std::string_view secret)
    : log_hash_(HashIdentity(log_id)), key_("sluice delta cursor 3 ") {
  key_ += secret.empty() ? log_id : secret;
}

std::string CursorCodec::Authenticator(std::string_view bytes) const {
  unsigned char digest[EVP_MAX_MD_SIZE] = {};
  unsigned int size = 0;
  HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()),
       reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest, &size);
  return std::string(reinterpret_cast<const char*>(digest), kAuthenticatorBytes);
}

std::string CursorCodec::Encode(std::string_view org, const Cursor& cursor) const {
  std::string bytes(1, static_cast<char>(kFormat));
  bytes += BytesOf(log_hash_);
  bytes += BytesOf(HashIdentity(org));
  bytes += Body(cursor);
  bytes += Authenticator(bytes);
  PutFixed64(Checksum(bytes), &bytes);
  return EncodeBase64Url(bytes);
}

absl::StatusOr<Cursor> CursorCodec::Decode(std::string_view org, std::string_view text) const {
  const auto decoded = text.size() > kTextMax ? std::nullopt : DecodeBase64Url(text);
  if (!decoded.has_value()) {
    return Invalid("it is not base64url");
  }
  const std::string& bytes = *decoded;
  if (bytes.size() < 1 + kAuthenticatorBytes + kChecksumBytes) {
    return Invalid("it is cut short");
  }
  const std::string_view checked(bytes.data(), bytes.size() - kChecksumBytes);
  if (ByteReader(std::string_view(bytes).substr(checked.size())).Fixed64() != Checksum(checked)) {
    return Invalid("its checksum differs");
  }
  ByteReader header(checked);
  const uint8_t format = header.Byte();
  if (format == 0 || format > kFormat) {
    return Invalid("its format is unknown");
  }
  if (format < kFormat) {
    return Error(absl::StatusCode::kFailedPrecondition, "cursor_expired",
                 "the cursor is of an older format: start without a cursor");
  }
  const std::string_view log_hash = header.Take(kHashBytes);
  const std::string_view org_hash = header.Take(kHashBytes);
  if (!header.ok()) {
    return Invalid("it is cut short");
  }
  if (org_hash != BytesOf(HashIdentity(org))) {
    return Error(absl::StatusCode::kPermissionDenied, "cursor_other_org",
                 "the cursor belongs to another organisation");
  }
  if (log_hash != BytesOf(log_hash_)) {
    return Error(absl::StatusCode::kFailedPrecondition, "cursor_other_log",
                 "the cursor is of another log than this server reads: start without a cursor");
  }
  if (checked.size() < 1 + 2 * kHashBytes + kAuthenticatorBytes) {
    return Invalid("it is cut short");
  }
  const std::string_view signed_bytes = checked.substr(0, checked.size() - kAuthenticatorBytes);
  const std::string expected = Authenticator(signed_bytes);
  if (CRYPTO_memcmp(expected.data(), checked.data() + signed_bytes.size(), kAuthenticatorBytes) !=
      0) {
    return Invalid("its authenticator differs");
  }
  Cursor cursor;
  if (!ReadBody(signed_bytes.substr(1 + 2 * kHashBytes), &cursor)) {
    return Invalid("its content is malformed");
  }
  return cursor;
}

}  // namespace sluice::gateways
