#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "schemas/base/named_type.h"

namespace sluice {

// A partition of a topic, from 0.
using PartitionId = NamedType<int32_t, struct PartitionIdTag>;
// A position in one partition, from 0. Offsets grow but may have gaps (Kafka's control records).
using Offset = NamedType<int64_t, struct OffsetTag>;

// "Nothing yet": the applied position of an empty store.
inline constexpr Offset kNoOffset{-1};

// What a bucket is found by: the first 128 bits of SHA-256 of its full name
// (projectors/docs/fold.md), as two big-endian numbers. Names hold values that users choose, so no
// two may be found that share a key.
struct BucketKey {
  uint64_t high = 0;
  uint64_t low = 0;

  [[nodiscard]] static BucketKey OfName(std::string_view name);
  // 32 hex digits.
  [[nodiscard]] std::string ToHex() const;
  friend auto operator<=>(const BucketKey&, const BucketKey&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const BucketKey& k) {
    return H::combine(std::move(h), k.high, k.low);
  }
};

// An organisation's name: a DNS label, [a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?.
class OrgId {
 public:
  OrgId() = default;
  // kInvalidArgument, code "invalid_argument", where `text` is not such a label.
  [[nodiscard]] static absl::StatusOr<OrgId> Parse(std::string_view text);
  const std::string& value() const { return value_; }
  friend auto operator<=>(const OrgId&, const OrgId&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const OrgId& v) {
    return H::combine(std::move(h), v.value_);
  }

 private:
  explicit OrgId(std::string_view text) : value_(text) {}
  std::string value_;
};

// The place of one operation in its organisation's history: the event's offset in `changes`, and
// the operation's index in the event. Text form "1042.0".
struct Position {
  Offset offset = kNoOffset;
  uint32_t index = 0;

  friend auto operator<=>(const Position&, const Position&) = default;
  [[nodiscard]] std::string ToString() const;
};

}  // namespace sluice

template <>
struct std::hash<sluice::BucketKey> {
  // Any part of a cryptographic hash is one.
  std::size_t operator()(const sluice::BucketKey& k) const { return k.low ^ k.high; }
};
