#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "schemas/base/ids.h"

namespace sluice::gateways {

// Names the history of an organisation up to a position: AppliedState::history there. As text it
// comes with a stream's checkpoints and goes back with the next request; to clients it is opaque.
struct HistoryMark {
  Offset position = kNoOffset;
  uint64_t hash = 0;
  friend bool operator==(const HistoryMark&, const HistoryMark&) = default;

  // "1.1043.9f2c…": a version, the position, 16 hex digits. At most 38 characters.
  [[nodiscard]] std::string Text() const;
  // nullopt for what Text() did not write, such as that of another version.
  [[nodiscard]] static std::optional<HistoryMark> Parse(std::string_view text);
};

}  // namespace sluice::gateways
