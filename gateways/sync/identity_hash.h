#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::gateways {

// The first 128 bits of SHA-256: a name for texts of which people choose parts.
using IdentityHash = std::array<uint8_t, 16>;
[[nodiscard]] IdentityHash HashIdentity(std::string_view text);

[[nodiscard]] inline std::string_view BytesOf(const IdentityHash& hash) {
  return {reinterpret_cast<const char*>(hash.data()), hash.size()};
}

}  // namespace sluice::gateways
