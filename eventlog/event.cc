#include "eventlog/event.h"

#define XXH_STATIC_LINKING_ONLY  // for the state on the stack
#include <xxhash.h>

#include <array>
#include <string_view>

namespace sluice::eventlog {

uint64_t EventHash(const Event& event) {
  XXH64_state_t state;
  XXH64_reset(&state, 0);
  for (const std::string_view part : {std::string_view(event.id), std::string_view(event.type),
                                      std::string_view(event.key), std::string_view(event.value)}) {
    const auto size = static_cast<uint32_t>(part.size());
    const std::array<uint8_t, 4> length = {
        static_cast<uint8_t>(size), static_cast<uint8_t>(size >> 8),
        static_cast<uint8_t>(size >> 16), static_cast<uint8_t>(size >> 24)};
    XXH64_update(&state, length.data(), length.size());
    XXH64_update(&state, part.data(), part.size());
  }
  return XXH64_digest(&state);
}

}  // namespace sluice::eventlog
