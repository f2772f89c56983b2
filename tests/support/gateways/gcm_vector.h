#pragma once

#include <string>
#include <string_view>

namespace sluice::testing {

// Test case 16 of "The Galois/Counter Mode of Operation (GCM)" by McGrew and Viega: AES-256 with
// additional data and a text that ends within a block. `sealed` is the ciphertext and the tag.
struct GcmVector {
  std::string_view key;
  std::string_view nonce;
  std::string_view aad;
  std::string_view text;
  std::string_view sealed;
};
inline constexpr GcmVector kGcmVector = {
    "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
    "feedfacedeadbeeffeedfacedeadbeefabaddad2",
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
    "76fc6ece0f4e1768cddf8853bb2d551b"};

// The bytes of hex digits; other characters are passed over.
inline std::string FromHex(std::string_view hex) {
  std::string bytes;
  int high = -1;
  for (const char c : hex) {
    const size_t digit = std::string_view("0123456789abcdef").find(c);
    if (digit == std::string_view::npos) {
      continue;
    }
    if (high < 0) {
      high = static_cast<int>(digit);
    } else {
      bytes.push_back(static_cast<char>(high << 4 | static_cast<int>(digit)));
      high = -1;
    }
  }
  return bytes;
}

}  // namespace sluice::testing
