#include "gateways/ingest/json_split.h"

#include <fmt/format.h>
#include <simdjson.h>

#include "schemas/base/ascii.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr std::string_view kWhiteSpace = " \t\r\n";

}  // namespace

void LineSplitter::Emit(std::string_view line, Sink sink) {
  if (dropping_ || line.size() > line_bytes_max_) {
    dropping_ = false;
    sink({}, true);
  } else if (const std::string_view trimmed = TrimBlanks(line, kWhiteSpace); !trimmed.empty()) {
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

absl::StatusOr<JsonShape> CheckJson(std::string_view json) {
  constexpr size_t kDepthMax = 64;
  simdjson::dom::parser parser;
  simdjson::error_code error = parser.allocate(json.size() + 1, kDepthMax);
  simdjson::dom::element element;
  if (!error) {
    error = parser.parse(json.data(), json.size()).get(element);
  }
  if (error) {
    return Error(absl::StatusCode::kInvalidArgument, "invalid_json",
                 fmt::format("the body is not JSON: {}", simdjson::error_message(error)));
  }
  if (element.is_object()) {
    return JsonShape::kObject;
  }
  if (element.is_array()) {
    return JsonShape::kArray;
  }
  return absl::InvalidArgumentError("the body must be a change set or an array of them");
}

void ForEachArrayElement(std::string_view json, absl::FunctionRef<bool(std::string_view)> element) {
  const std::string_view text = TrimBlanks(json, kWhiteSpace);
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
      const std::string_view found = TrimBlanks(text.substr(begin, i - begin), kWhiteSpace);
      if (!found.empty() && !element(found)) {
        return;
      }
      begin = i + 1;
    }
  }
}

}  // namespace sluice::gateways
