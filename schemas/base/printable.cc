#include "schemas/base/printable.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>

#include "schemas/base/text_codec.h"

namespace sluice {
namespace {

// The code point of the sequence of `size` bytes at the start of `text`, which is well-formed.
char32_t CodePoint(std::string_view text, size_t size) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (size == 1) {
    return lead;
  }
  char32_t code = lead & (0xFFU >> (size + 1));
  for (size_t i = 1; i < size; ++i) {
    code = (code << 6) | (static_cast<unsigned char>(text[i]) & 0x3FU);
  }
  return code;
}

bool IsControl(char32_t c) { return c < 0x20 || (c >= 0x7F && c <= 0x9F); }

// What turns the reading direction (Unicode's Bidi_Control) or ends a line.
bool TurnsOrBreaks(char32_t c) {
  return c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x2028 && c <= 0x202E) ||
         (c >= 0x2066 && c <= 0x2069);
}

// Nearly every text is plain ASCII, and is returned as it is.
bool IsPlain(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
}

enum class Form { kLine, kLines, kJson, kMessage };

// A carriage return alone draws over the line that it ends, and is only white space in JSON.
bool IsEscaped(char32_t c, Form form) {
  if ((form == Form::kLines || form == Form::kJson) && (c == '\n' || c == '\t')) {
    return false;
  }
  return IsControl(c) || TurnsOrBreaks(c) || (form == Form::kMessage && c == 0xFEFF);
}

std::string Escape(std::string_view text, Form form,
                   size_t bytes_max = std::numeric_limits<size_t>::max()) {
  if (text.size() <= bytes_max && IsPlain(text)) {
    return std::string(text);
  }
  std::string out;
  out.reserve(std::min(text.size(), bytes_max));
  while (!text.empty()) {
    if (out.size() >= bytes_max) {
      return out + "…";
    }
    const size_t size = Utf8SequenceSize(text);
    if (size == 0) {
      out += form == Form::kJson ? "\\ufffd"
                                 : fmt::format("\\x{:02x}", static_cast<unsigned char>(text[0]));
      text.remove_prefix(1);
      continue;
    }
    const char32_t c = CodePoint(text, size);
    if (form == Form::kJson && c == '\r') {
      out += ' ';
    } else if (IsEscaped(c, form)) {
      const auto code = static_cast<uint32_t>(c);
      out += form == Form::kMessage && size == 1 ? fmt::format("\\x{:02x}", code)
                                                 : fmt::format("\\u{:04x}", code);
    } else {
      out += text.substr(0, size);
    }
    text.remove_prefix(size);
  }
  return out;
}

struct Span {
  char32_t first;
  char32_t last;
};

// East Asian Wide and Fullwidth, and the emoji, in the coarse blocks that fmt and wcwidth use.
constexpr Span kWide[] = {{0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0xA4CF},
                          {0xA960, 0xA97F},   {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},
                          {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},
                          {0x1F300, 0x1F64F}, {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD}};
// Combining marks, zero-width characters and variation selectors.
constexpr Span kZero[] = {{0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD}, {0x064B, 0x065F},
                          {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x200B, 0x200D}, {0x20D0, 0x20FF},
                          {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0xFEFF, 0xFEFF}};

template <size_t kSize>
bool IsIn(const Span (&spans)[kSize], char32_t c) {
  return std::any_of(std::begin(spans), std::end(spans),
                     [c](const Span& span) { return c >= span.first && c <= span.last; });
}

}  // namespace

std::string Printable(std::string_view text) { return Escape(text, Form::kLine); }

std::string PrintableLines(std::string_view text) { return Escape(text, Form::kLines); }

// Outside of its strings JSON has only ASCII, so that an escape can only fall into a string; a bare
// control character in one is no JSON, and comes out as the escape that was meant.
std::string PrintableJson(std::string_view json) { return Escape(json, Form::kJson); }

std::string PrintableMessage(std::string_view text, size_t bytes_max) {
  return Escape(text, Form::kMessage, bytes_max);
}

std::string_view CutText(std::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) {
    return text;
  }
  const auto goes_on = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; };
  constexpr size_t kCharacterBytesMax = 4;
  size_t end = bytes_max;
  while (end > 0 && bytes_max - end < kCharacterBytesMax && goes_on(text[end])) {
    --end;
  }
  // So many in a row are no character's: the text is none, wherever it is cut.
  return text.substr(0, goes_on(text[end]) ? bytes_max : end);
}

size_t DisplayWidth(std::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    const size_t size = std::max<size_t>(Utf8SequenceSize(text), 1);
    const char32_t c = CodePoint(text, size);
    width += IsIn(kZero, c) ? 0 : IsIn(kWide, c) ? 2 : 1;
    text.remove_prefix(size);
  }
  return width;
}

std::string PadRight(std::string_view text, size_t width) {
  std::string out(text);
  const size_t have = DisplayWidth(text);
  out.append(width > have ? width - have : 0, ' ');
  return out;
}

}  // namespace sluice
