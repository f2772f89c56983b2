#include "ops/program/line_reader.h"

#include <algorithm>

namespace sluice::ops {
namespace {

constexpr size_t kReadBytes = 1 << 18;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

LineReader::LineReader(std::istream& in, size_t bytes_max) : in_(in), bytes_max_(bytes_max) {}

bool LineReader::Fill() {
  buffer_.resize(kReadBytes);
  in_.read(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
  buffer_.resize(static_cast<size_t>(in_.gcount()));
  position_ = 0;
  return !buffer_.empty();
}

bool LineReader::Take(InputLine* line) {
  while (position_ < buffer_.size() || Fill()) {
    const size_t end = std::min(buffer_.find('\n', position_), buffer_.size());
    const size_t size = end - position_;
    line->too_long = line->too_long || line->text.size() + size > bytes_max_;
    if (line->too_long) {
      line->text = {};
    } else {
      line->text.append(buffer_, position_, size);
    }
    const bool whole = end < buffer_.size();
    bytes_read_ += size + (whole ? 1 : 0);
    position_ = end + (whole ? 1 : 0);
    if (whole) {
      return true;
    }
  }
  return false;
}

std::optional<InputLine> LineReader::Next() {
  bool more = true;
  while (more) {
    InputLine line{.number = ++number_};
    more = Take(&line);
    if (line.number == 1 && line.text.starts_with(kByteOrderMark)) {
      line.text.erase(0, kByteOrderMark.size());
    }
    if (line.text.ends_with('\r')) {
      line.text.pop_back();
    }
    if (line.too_long || line.text.find_first_not_of(" \t\r") != std::string::npos) {
      return line;
    }
  }
  return std::nullopt;
}

}  // namespace sluice::ops
