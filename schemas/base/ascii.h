#pragma once

#include <algorithm>
#include <string>
#include <string_view>

// Classes of characters, case and blanks of ASCII, whatever the locale.
namespace sluice {

[[nodiscard]] constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }
[[nodiscard]] constexpr bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
[[nodiscard]] constexpr bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || IsUpper(c); }
[[nodiscard]] constexpr bool IsLetterOrDigit(char c) { return IsLetter(c) || IsDigit(c); }

// Characters that are no letters, those beyond ASCII among them, stay as they are.
[[nodiscard]] constexpr char ToLower(char c) {
  return IsUpper(c) ? static_cast<char>(c - 'A' + 'a') : c;
}
[[nodiscard]] inline std::string ToLower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    c = ToLower(c);
  }
  return lower;
}
[[nodiscard]] constexpr bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return ToLower(x) == ToLower(y); });
}

// Without the `blanks` around it. Those that are given are no part of a header's value (RFC 9110,
// section 5.5) or of a list's item.
[[nodiscard]] constexpr std::string_view TrimBlanks(std::string_view text,
                                                    std::string_view blanks = " \t") {
  const size_t first = text.find_first_not_of(blanks);
  return first == std::string_view::npos
             ? std::string_view()
             : text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

}  // namespace sluice
