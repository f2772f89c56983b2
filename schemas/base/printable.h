#pragma once

#include <cstddef>
#include <string>
#include <string_view>

// Text from data, made fit for a terminal or a log: whoever names an organisation must not be able
// to move the cursor, set colours or turn the reading direction of the person who lists it. All
// functions are pure and thread-safe.
namespace sluice {

// `text` on one line. Control characters (C0, DEL and C1), bidirectional controls and the two
// Unicode line separators become \u and four hex digits, bytes that are no UTF-8 \x and two.
[[nodiscard]] std::string Printable(std::string_view text);

// The same for a text of several lines: line ends and tabs stay.
[[nodiscard]] std::string PrintableLines(std::string_view text);

// A JSON text with the same meaning and none of those characters: JSON's own escapes stand for
// them. Line ends and tabs stay, which JSON has only between values.
[[nodiscard]] std::string PrintableJson(std::string_view json);

// What another program says, for an error's message: as Printable(), but control characters of
// ASCII become \x and two hex digits, byte-order marks are shown too, and what is beyond
// `bytes_max` (of the result, at least) is "…".
[[nodiscard]] std::string PrintableMessage(std::string_view text, size_t bytes_max = 4096);

// The longest begin of `text` within `bytes_max` that does not end amid a character: what was UTF-8
// stays UTF-8.
[[nodiscard]] std::string_view CutText(std::string_view text, size_t bytes_max);

// Columns that `text` takes on a terminal: 2 for a wide East Asian character or an emoji, 0 for a
// mark that combines with the one before. `text` is what Printable() returned.
[[nodiscard]] size_t DisplayWidth(std::string_view text);

// `text` with spaces after it, up to `width` columns.
[[nodiscard]] std::string PadRight(std::string_view text, size_t width);

}  // namespace sluice
