#pragma once

#include <optional>
#include <string_view>

#include "gateways/sync/encoder.h"

// Content negotiation of streams (RFC 9110, section 12.5.1). Pure.
namespace sluice::gateways {

// The format that `accept`, the value of the header, likes best; NDJSON where it likes several
// alike or says nothing. nullopt where it takes none of ours. A part that cannot be read is passed
// over.
[[nodiscard]] std::optional<FrameFormat> FormatFor(std::string_view accept);

}  // namespace sluice::gateways
