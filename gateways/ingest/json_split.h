#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

namespace sluice::gateways {

// Cuts a stream into lines. A line longer than the limit is dropped as it comes and told as such.
class LineSplitter {
 public:
  explicit LineSplitter(size_t line_bytes_max) : line_bytes_max_(line_bytes_max) {}

  // `line` is without its end; `too_long`: it was longer than the limit, and `line` is empty. Lines
  // of white space alone are left out.
  using Sink = absl::FunctionRef<void(std::string_view line, bool too_long)>;
  void Feed(std::string_view piece, Sink sink);
  // The last line, where the stream ended without an end of line.
  void Finish(Sink sink);

 private:
  void Emit(std::string_view line, Sink sink);

  const size_t line_bytes_max_;
  std::string partial_;
  bool dropping_ = false;
};

enum class JsonShape { kObject, kArray };

// Is `json` one valid JSON object or array, wholly? kInvalidArgument: code "invalid_json" where it
// is not JSON (or nested deeper than 64), "invalid_argument" where it is another value.
[[nodiscard]] absl::StatusOr<JsonShape> CheckJson(std::string_view json);

// Calls `element` for the text of each element of the JSON array `json`, which must be valid JSON,
// until it returns false.
void ForEachArrayElement(std::string_view json, absl::FunctionRef<bool(std::string_view)> element);

}  // namespace sluice::gateways
