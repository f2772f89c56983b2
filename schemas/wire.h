#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

#include "schemas/base/byte_codec.h"
#include "schemas/row_codec.h"

// Protobuf's wire format, as far as rows need it (protobuf.dev/programming-guides/encoding).
namespace sluice::schemas::wire {

static_assert(std::endian::native == std::endian::little, "fixed64 is copied as it lies in memory");

inline constexpr uint8_t kVarint = 0;
inline constexpr uint8_t kFixed64 = 1;
inline constexpr uint8_t kBytes = 2;
inline constexpr uint8_t kFixed32 = 5;

inline size_t VarintSize(uint64_t value) {
  return static_cast<size_t>(std::bit_width(value | 1) + 6) / 7;
}

inline void AppendTag(AttributeId id, uint8_t wire_type, std::string* out) {
  PutVarint(static_cast<uint64_t>(id.value()) << 3 | wire_type, out);
}

inline void AppendFixed64(uint64_t value, std::string* out) {
  char bytes[8];
  std::memcpy(bytes, &value, 8);
  out->append(bytes, 8);
}

// Reads the field at `p` (p < end) into `field`; the byte after it, or nullptr where malformed or
// where its id is not above `previous`.
inline const char* ReadField(const char* p, const char* end, uint32_t previous, FieldView* field) {
  const char* const start = p;
  uint64_t tag = 0;
  p = ReadVarint(p, end, &tag);
  if (p == nullptr || tag >> 3 <= previous || tag >> 3 > 0x1fffffff) {
    return nullptr;
  }
  field->id = AttributeId(static_cast<uint32_t>(tag >> 3));
  field->wire_type = static_cast<uint8_t>(tag & 7);
  field->scalar = 0;
  field->payload = {};
  if (field->wire_type == kBytes) {
    uint64_t size = 0;
    p = ReadVarint(p, end, &size);
    if (p == nullptr || size > static_cast<uint64_t>(end - p)) {
      return nullptr;
    }
    field->payload = {p, size};
    p += size;
  } else if (field->wire_type == kVarint) {
    p = ReadVarint(p, end, &field->scalar);
    if (p == nullptr) {
      return nullptr;
    }
  } else if (field->wire_type == kFixed64 || field->wire_type == kFixed32) {
    const size_t size = field->wire_type == kFixed64 ? 8 : 4;
    if (static_cast<size_t>(end - p) < size) {
      return nullptr;
    }
    std::memcpy(&field->scalar, p, size);
    p += size;
  } else {
    return nullptr;
  }
  field->raw = {start, static_cast<size_t>(p - start)};
  return p;
}

// The error for bytes that are not a row: kDataLoss, code "malformed_row".
[[nodiscard]] absl::Status MalformedRow(std::string_view reason);

}  // namespace sluice::schemas::wire
