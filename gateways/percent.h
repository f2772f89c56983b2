#pragma once

#include <optional>
#include <string>
#include <string_view>

// %XX in URLs and forms (RFC 3986, section 2.1). Pure.
namespace sluice::gateways {

// Letters, digits and the characters of `plain` as they are, all other bytes as %XX. No copy of the
// text is left behind by growing: it may be a secret.
[[nodiscard]] std::string PercentEncode(std::string_view text, std::string_view plain);

// nullopt where a '%' is not followed by two hexadecimal digits.
[[nodiscard]] std::optional<std::string> PercentDecode(std::string_view text);

// Such a '%' stays as it is.
[[nodiscard]] std::string PercentDecodeLoosely(std::string_view text);

}  // namespace sluice::gateways
