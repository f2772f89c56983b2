#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

// Fixed-width big-endian integers (keys, so that they sort as numbers) and LEB128 varints.
namespace sluice {

inline void PutFixed32(uint32_t v, std::string* out) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(v >> shift));
  }
}

inline void PutFixed64(uint64_t v, std::string* out) {
  for (int shift = 56; shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(v >> shift));
  }
}

inline void PutVarint(uint64_t v, std::string* out) {
  char bytes[10];
  size_t size = 0;
  while (v >= 0x80) {
    bytes[size++] = static_cast<char>(v | 0x80);
    v >>= 7;
  }
  bytes[size++] = static_cast<char>(v);
  out->append(bytes, size);
}

// Reads a varint at `p`; the byte after it, or nullptr where there is none within `end` or it does
// not fit 64 bits. A form longer than the value needs is read: who compares or authenticates bytes
// refuses or keeps it.
inline const char* ReadVarint(const char* p, const char* end, uint64_t* value) {
  if (p < end && static_cast<uint8_t>(*p) < 0x80) {
    *value = static_cast<uint8_t>(*p);
    return p + 1;
  }
  uint64_t result = 0;
  for (unsigned shift = 0; shift < 64 && p < end; shift += 7) {
    const auto byte = static_cast<uint8_t>(*p++);
    if (shift == 63 && byte > 1) {
      return nullptr;
    }
    result |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *value = result;
      return p;
    }
  }
  return nullptr;
}

// Zigzag, so that small negative numbers are short too.
inline void PutSigned(int64_t v, std::string* out) {
  PutVarint((static_cast<uint64_t>(v) << 1) ^ static_cast<uint64_t>(v >> 63), out);
}

// The number that PutSigned() wrote as the varint `v`.
constexpr int64_t FromZigzag(uint64_t v) {
  return static_cast<int64_t>(v >> 1) ^ -static_cast<int64_t>(v & 1);
}

inline void PutText(std::string_view text, std::string* out) {
  PutVarint(text.size(), out);
  out->append(text);
}

// The first text after all that begin with `prefix`; "" where there is none.
inline std::string PrefixEnd(std::string prefix) {
  while (!prefix.empty() && static_cast<uint8_t>(prefix.back()) == 0xff) {
    prefix.pop_back();
  }
  if (!prefix.empty()) {
    prefix.back() = static_cast<char>(static_cast<uint8_t>(prefix.back()) + 1);
  }
  return prefix;
}

// Takes values off the front of bytes. After a failure every further read gives zero or nothing and
// ok() stays false, so one check at the end is enough.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }
  // Read all of it, and nothing was missing.
  bool done() const { return ok_ && rest_.empty(); }
  std::string_view rest() const { return rest_; }

  uint8_t Byte() {
    const std::string_view taken = Take(1);
    return taken.empty() ? 0 : static_cast<uint8_t>(taken[0]);
  }
  uint32_t Fixed32() { return static_cast<uint32_t>(BigEndian(4)); }
  uint64_t Fixed64() { return BigEndian(8); }

  // A varint of `max` at most.
  uint64_t Varint(uint64_t max = UINT64_MAX) {
    uint64_t value = 0;
    const char* const after = ReadVarint(rest_.data(), rest_.data() + rest_.size(), &value);
    if (after == nullptr || value > max) {
      Fail();
      return 0;
    }
    rest_.remove_prefix(static_cast<size_t>(after - rest_.data()));
    return value;
  }
  uint32_t Varint32() { return static_cast<uint32_t>(Varint(UINT32_MAX)); }

  int64_t Signed() { return FromZigzag(Varint()); }

  std::string_view Text() { return Take(Varint()); }

  // Fails where the next bytes are others.
  void Expect(std::string_view bytes) {
    if (Take(bytes.size()) != bytes) {
      Fail();
    }
  }

  std::string_view Take(uint64_t size) {
    if (!ok_ || size > rest_.size()) {
      Fail();
      return {};
    }
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

 private:
  void Fail() {
    ok_ = false;
    rest_ = {};
  }
  uint64_t BigEndian(size_t size) {
    uint64_t value = 0;
    for (const char c : Take(size)) {
      value = (value << 8) | static_cast<uint8_t>(c);
    }
    return value;
  }

  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace sluice
