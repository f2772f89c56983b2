#include "gateways/ingest/json_check.h"

#include <fmt/format.h>
#include <simdjson.h>

#include "schemas/base/status.h"

namespace sluice::gateways {

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

}  // namespace sluice::gateways
