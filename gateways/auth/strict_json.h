#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>

namespace sluice::gateways {

// The JSON object in `text`; nullopt when it is no object, not valid UTF-8, nested deeper than 16,
// or names a member twice anywhere. Two readers of one signed text must not see two different
// values (RFC 8725, section 2.6), and parsers disagree about which of two equal names counts.
std::optional<nlohmann::json> ParseStrictObject(std::string_view text);

}  // namespace sluice::gateways
