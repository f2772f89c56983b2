#pragma once

#include <string_view>

namespace sluice::gateways {

// Without the blanks and tabs around it, which are no part of a header's value (RFC 9110, section
// 5.5) or of a list's item.
[[nodiscard]] constexpr std::string_view TrimBlanks(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  return first == std::string_view::npos
             ? std::string_view()
             : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

}  // namespace sluice::gateways
