#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "schemas/named_type.h"

namespace sluice {

// A partition of a topic, from 0.
using PartitionId = NamedType<int32_t, struct PartitionIdTag>;
// A position in one partition, from 0. Offsets grow but may have gaps (Kafka's control records).
using Offset = NamedType<int64_t, struct OffsetTag>;
// 64-bit hash of a bucket's name (DESIGN section 4).
using BucketKey = NamedType<uint64_t, struct BucketKeyTag>;

// "Nothing yet": the applied position of an empty store.
inline constexpr Offset kNoOffset{-1};

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
