#include "schemas/base/uuid.h"

#include <fmt/format.h>

#include <random>

namespace sluice {

std::string NewUuid7(const Clock& clock) {
  // Uniqueness is what is needed of the random bits, not secrecy.
  thread_local std::mt19937_64 random = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  const auto ms = static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(clock.Now().time_since_epoch())
          .count());
  const uint64_t a = random();
  const uint64_t b = random();
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", (ms >> 16) & 0xffffffff, ms & 0xffff,
                     0x7000 | (a & 0x0fff), 0x8000 | ((a >> 16) & 0x3fff), b & 0xffffffffffff);
}

}  // namespace sluice
