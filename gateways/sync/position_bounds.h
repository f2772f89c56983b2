#pragma once

#include <cstdint>

#include "schemas/base/ids.h"

namespace sluice::gateways {

// Behind every operation of the event at `offset`.
[[nodiscard]] inline Position EndOf(Offset offset) { return {offset, UINT32_MAX}; }

// The last offset of which `position` has every operation.
[[nodiscard]] inline Offset WholeOffset(Position position) {
  return position.index == UINT32_MAX || position.offset == kNoOffset
             ? position.offset
             : Offset(position.offset.value() - 1);
}

}  // namespace sluice::gateways
