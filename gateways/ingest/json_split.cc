#include "gateways/ingest/json_split.h"


namespace sluice::gateways {
namespace {

constexpr std::string_view kWhiteSpace = " \t\r\n";

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(kWhiteSpace);
  if (begin == std::string_view::npos) {
    return {};
  }
  return text.substr(begin, text.find_last_not_of(kWhiteSpace) - begin + 1);
}

}  // namespace

void LineSplitter::Emit(std::string_view line, Sink sink) {
  if (dropping_ || line.size() > line_bytes_max_) {
    dropping_ = false;
    sink({}, true);
  } else if (const std::string_view trimmed = Trim(line); !trimmed.empty()) {
    sink(trimmed, false);
  }
}

void LineSplitter::Feed(std::string_view piece, Sink sink) {
  while (!piece.empty()) {
    const size_t end = piece.find('\n');
    const std::string_view head = piece.substr(0, end);
    if (end == std::string_view::npos) {
      if (!dropping_) {
        partial_.append(head);
        if (partial_.size() > line_bytes_max_) {
          partial_.clear();
          dropping_ = true;
        }
      }
      return;
    }
    piece.remove_prefix(end + 1);
    if (partial_.empty()) {
      Emit(head, sink);
    } else {
      partial_.append(head);
      Emit(partial_, sink);
      partial_.clear();
    }
  }
}

void LineSplitter::Finish(Sink sink) {
  if (dropping_ || !partial_.empty()) {
    Emit(partial_, sink);
    partial_.clear();
  }
}

void ForEachArrayElement(std::string_view json, absl::FunctionRef<bool(std::string_view)> element) {
  const std::string_view text = Trim(json);
  size_t depth = 0;
  size_t begin = 1;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (c == ']' || c == '}') {
      --depth;
    }
    if (!in_string && ((c == ',' && depth == 1) || (c == ']' && depth == 0))) {
      const std::string_view found = Trim(text.substr(begin, i - begin));
      if (!found.empty() && !element(found)) {
        return;
      }
      begin = i + 1;
    }
  }
}

}  // namespace sluice::gateways
