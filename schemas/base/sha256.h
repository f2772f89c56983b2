#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace sluice {

using Sha256Digest = std::array<uint8_t, 32>;

// SHA-256 (FIPS 180-4) of `bytes`, and `more` behind them, by OpenSSL. Thread-safe: each thread has
// a context of its own, so that a short text costs its one or two blocks and no set-up. Ends the
// process where OpenSSL has no SHA-256, which no configuration that can do TLS lacks.
[[nodiscard]] Sha256Digest Sha256(std::string_view bytes, std::string_view more = {});

// The eight bytes from `at` on as a big-endian number.
[[nodiscard]] inline uint64_t DigestWord(const Sha256Digest& digest, size_t at) {
  uint64_t word = 0;
  for (size_t i = 0; i < 8; ++i) {
    word = word << 8 | digest[at + i];
  }
  return word;
}

}  // namespace sluice
