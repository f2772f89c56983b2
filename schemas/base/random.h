#pragma once

#include <cstdint>

namespace sluice {

// 64 random bits, for what has to be unique and may be guessed: where secrecy is needed, this is
// not it. Thread-safe.
[[nodiscard]] uint64_t RandomBits();

}  // namespace sluice
