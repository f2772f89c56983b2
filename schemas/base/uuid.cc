#include "schemas/base/uuid.h"

#include <fmt/format.h>

#include "schemas/base/random.h"

namespace sluice {

std::string NewUuid7(const Clock& clock) {
  const auto ms = static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(clock.Now().time_since_epoch())
          .count());
  const uint64_t a = RandomBits();
  const uint64_t b = RandomBits();
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", (ms >> 16) & 0xffffffff, ms & 0xffff,
                     0x7000 | (a & 0x0fff), 0x8000 | ((a >> 16) & 0x3fff), b & 0xffffffffffff);
}

}  // namespace sluice
