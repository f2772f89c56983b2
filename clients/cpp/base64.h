#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::client {

// The bytes of standard base64 (RFC 4648, section 4, padded), nullopt where it is none.
[[nodiscard]] std::optional<std::string> DecodeBase64(std::string_view text);

}  // namespace sluice::client
