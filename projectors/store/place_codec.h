#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "projectors/fold/record.h"
#include "schemas/base/byte_codec.h"

// The bytes of memberships and support, beside their record and apart from it: see record_codec.h.
namespace sluice::projectors {

// Column family `places`, of records that have these apart: 'm' entity u32 | key text | bucket 16
// bytes -> membership; 's' entity u32 | key text | rule u32 | source 16 bytes -> support.
[[nodiscard]] absl::StatusOr<RecordKey> DecodePlaceKey(std::string_view bytes);
[[nodiscard]] std::string EncodeMembershipPrefix(const RecordKey& key);
[[nodiscard]] std::string EncodeMembershipKey(const RecordKey& key, BucketKey bucket);
[[nodiscard]] std::string EncodeMembership(const Membership& membership);
[[nodiscard]] absl::StatusOr<Membership> DecodeMembership(std::string_view bytes);
[[nodiscard]] std::string EncodeSupportPrefix(const RecordKey& key);
[[nodiscard]] std::string EncodeSupportKey(const RecordKey& key, uint32_t rule, BucketKey source);
[[nodiscard]] std::string EncodeSupport(const Support& support);
[[nodiscard]] absl::StatusOr<Support> DecodeSupport(std::string_view bytes);

// Parts of values, for record_codec.cc. Those that read let `reader` fail where bytes are
// missing.
[[nodiscard]] absl::Status Malformed(std::string_view what, std::string_view bytes);
// `value`, where the reader that it came from has read all of `bytes`.
template <typename T>
absl::StatusOr<T> Whole(const ByteReader& reader, T value, std::string_view what,
                        std::string_view bytes) {
  return reader.done() ? absl::StatusOr<T>(std::move(value)) : Malformed(what, bytes);
}
void PutBucket(BucketKey bucket, std::string* out);
[[nodiscard]] BucketKey ReadBucket(ByteReader& reader);
[[nodiscard]] inline uint64_t Distance(Offset from, Offset to) {
  return static_cast<uint64_t>(to.value() - from.value());
}
// Unsigned, so that malformed numbers wrap round instead of overflowing.
[[nodiscard]] inline Offset Before(Offset offset, uint64_t distance) {
  return Offset(static_cast<int64_t>(static_cast<uint64_t>(offset.value()) - distance));
}
[[nodiscard]] bool HasEntered(Offset entered, Position position);
void PutEntered(Offset entered, Position position, std::string* out);
[[nodiscard]] Offset ReadEntered(Position position, ByteReader& reader);
// `last` is the record's position.
void PutMembership(const Membership& membership, Position last, std::string* out);
// False where the tag is none of ours, or the stays are.
[[nodiscard]] bool ReadMembership(Position last, ByteReader& reader, Membership* membership);
void PutSupport(const std::vector<Support>& support, std::string* out);
// False where there cannot be so many.
[[nodiscard]] bool ReadSupport(ByteReader& reader, std::vector<Support>* support);

}  // namespace sluice::projectors
