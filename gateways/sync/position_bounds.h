#pragma once

#include <cstdint>

#include "schemas/base/ids.h"

namespace sluice::gateways {

// Behind every operation of the event at `offset`.
[[nodiscard]] inline Position EndOf(Offset offset) { return {offset, UINT32_MAX}; }

// Behind every operation before `position`, and nothing else.
[[nodiscard]] inline Position Before(Position position) {
  return position.index == 0 ? EndOf(Offset(position.offset.value() - 1))
                             : Position{position.offset, position.index - 1};
}

// The last offset of which `position` has every operation.
[[nodiscard]] inline Offset WholeOffset(Position position) {
  return position.index == UINT32_MAX || position.offset == kNoOffset
             ? position.offset
             : Offset(position.offset.value() - 1);
}

}  // namespace sluice::gateways
