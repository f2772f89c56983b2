#include "gateways/percent.h"

#include <fmt/format.h>

#include <charconv>
#include <iterator>

#include "schemas/base/ascii.h"

namespace sluice::gateways {
namespace {

// The byte of the %XX that `text` begins with; -1 where it begins with none.
int EscapedByte(std::string_view text) {
  unsigned byte = 0;
  return text.size() >= 3 && text[0] == '%' &&
                 std::from_chars(text.data() + 1, text.data() + 3, byte, 16).ptr == text.data() + 3
             ? static_cast<int>(byte)
             : -1;
}

}  // namespace

std::string PercentEncode(std::string_view text, std::string_view plain) {
  std::string out;
  out.reserve(text.size() * 3);
  for (const char c : text) {
    if (IsLetterOrDigit(c) || plain.find(c) != std::string_view::npos) {
      out.push_back(c);
    } else {
      fmt::format_to(std::back_inserter(out), "%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

std::optional<std::string> PercentDecode(std::string_view text) {
  for (size_t at = text.find('%'); at != std::string_view::npos; at = text.find('%', at + 1)) {
    if (EscapedByte(text.substr(at)) < 0) {
      return std::nullopt;
    }
  }
  return PercentDecodeLoosely(text);
}

std::string PercentDecodeLoosely(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const int byte = EscapedByte(text);
    out.push_back(byte < 0 ? text[0] : static_cast<char>(byte));
    text.remove_prefix(byte < 0 ? 1 : 3);
  }
  return out;
}

}  // namespace sluice::gateways
