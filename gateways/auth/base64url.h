#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::gateways {

// base64url without padding (RFC 7515, section 2).
std::string Base64UrlEncode(std::string_view bytes);

// The bytes; nullopt for anything but the one canonical encoding: padding, white space, characters
// of plain base64, a truncated last group and non-zero unused bits are all refused, so that a
// signed text has exactly one form.
std::optional<std::string> Base64UrlDecode(std::string_view text);

}  // namespace sluice::gateways
