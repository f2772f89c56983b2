#pragma once

// Classes of characters, whatever the locale.
namespace sluice {

[[nodiscard]] constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace sluice
