#pragma once

#include <simdjson.h>

#include <string>
#include <string_view>

#include "schemas/base/status.h"

// What those share who read JSON objects by simdjson, one member after the other.
namespace sluice::gateways {

// kInvalidArgument, code "invalid_json".
[[nodiscard]] inline absl::Status NotJson(simdjson::error_code error) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_json", simdjson::error_message(error));
}

// Returns from the enclosing function what `to_status` makes of simdjson's error that `expr` is.
#define RETURN_IF_JSON_ERROR(to_status, expr)              \
  do {                                                     \
    if (const simdjson::error_code json_error_ = (expr)) { \
      return to_status(json_error_);                       \
    }                                                      \
  } while (false)

// Calls `take` with each member's name and value, until it fails.
template <typename ToStatus, typename Take>
absl::Status ForEachMember(simdjson::ondemand::object object, ToStatus to_status, Take take) {
  for (auto member : object) {
    std::string_view name;
    RETURN_IF_JSON_ERROR(to_status, member.unescaped_key().get(name));
    simdjson::ondemand::value value;
    RETURN_IF_JSON_ERROR(to_status, member.value().get(value));
    RETURN_IF_ERROR(take(name, value));
  }
  return absl::OkStatus();
}

// A text, with the room behind it that simdjson reads. Holds buffers, so reuse it; not thread-safe.
class JsonText {
 public:
  // Begins to read `json`, of which a copy is kept. What is read of it lives until the next call.
  [[nodiscard]] simdjson::error_code Open(std::string_view json) {
    padded_.assign(json);
    padded_.append(simdjson::SIMDJSON_PADDING, ' ');
    return parser_.iterate(padded_.data(), json.size(), padded_.size()).get(document_);
  }
  [[nodiscard]] auto Object() { return document_.get_object(); }
  // Where simdjson stands: OUT_OF_BOUNDS behind all of it, SUCCESS where more follows.
  [[nodiscard]] simdjson::error_code Rest() {
    const char* rest = nullptr;
    return document_.current_location().get(rest);
  }

 private:
  simdjson::ondemand::parser parser_;
  std::string padded_;
  simdjson::ondemand::document document_;
};

}  // namespace sluice::gateways
