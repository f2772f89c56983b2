#include "schemas/base/strict_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"

namespace sluice {
namespace {

// Counted before parsing, so that no parser's stack or memory decides.
bool DeeperThan(std::string_view json, int depth_max) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      i += c == '\\' ? 1 : 0;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > depth_max) {
        return true;
      }
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

}  // namespace

template <typename Json>
absl::StatusOr<Json> ParseStrictJson(std::string_view text, int depth_max) {
  if (DeeperThan(text, depth_max)) {
    return Invalid("invalid_json", "nested deeper than {}", depth_max);
  }
  std::vector<std::unordered_set<std::string>> names;  // of the objects that are open
  std::optional<std::string> twice;
  using ParseEvent = typename Json::parse_event_t;
  const auto watch = [&](int /*depth*/, ParseEvent event, Json& parsed) {
    if (event == ParseEvent::object_start) {
      names.emplace_back();
    } else if (event == ParseEvent::object_end) {
      names.pop_back();
    } else if (event == ParseEvent::key &&
               !names.back().insert(parsed.template get<std::string>()).second) {
      twice = parsed.template get<std::string>();
    }
    return true;
  };
  Json document;
  try {
    document = Json::parse(text.begin(), text.end(), watch);
  } catch (const typename Json::exception& error) {
    const std::string_view what = error.what();  // "[json.exception.parse_error.101] parse error…"
    // What it read last may be a part of a secret.
    return Invalid("invalid_json", "{}",
                   what.substr(0, what.find("; last read: "))
                       .substr(what.starts_with("[") ? what.find("] ") + 2 : 0));
  }
  if (twice.has_value()) {
    return Invalid("invalid_json", "the name {} comes twice in one object", QuoteForError(*twice));
  }
  return document;
}

template <typename Json>
absl::StatusOr<Json> ParseStrictObject(std::string_view text, int depth_max) {
  ASSIGN_OR_RETURN(Json document, ParseStrictJson<Json>(text, depth_max));
  if (!document.is_object()) {
    return Invalid("invalid_json", "it is JSON, but not an object");
  }
  return document;
}

template <typename Json>
absl::Status CheckMembers(const Json& object, std::string_view what,
                          std::initializer_list<std::string_view> known) {
  if (!object.is_object()) {
    return Invalid("invalid_argument", "{} must be an object", what);
  }
  for (const auto& [name, value] : object.items()) {
    if (std::ranges::find(known, std::string_view(name)) == known.end()) {
      return Invalid("invalid_argument", "{} has no member {}: known are {}", what,
                     QuoteForError(name), fmt::join(known, ", "));
    }
  }
  return absl::OkStatus();
}

template <typename Json>
absl::StatusOr<std::optional<std::string>> StringMember(const Json& object, std::string_view what,
                                                        std::string_view name) {
  const auto found = object.find(std::string(name));
  if (found == object.end()) {
    return std::nullopt;
  }
  if (!found->is_string()) {
    return Invalid("invalid_argument", "{}: \"{}\" must be a string", what, name);
  }
  return found->template get<std::string>();
}

using nlohmann::json;
using nlohmann::ordered_json;
using KnownNames = std::initializer_list<std::string_view>;
using OptionalText = absl::StatusOr<std::optional<std::string>>;
template absl::StatusOr<json> ParseStrictJson(std::string_view, int);
template absl::StatusOr<ordered_json> ParseStrictJson(std::string_view, int);
template absl::StatusOr<json> ParseStrictObject(std::string_view, int);
template absl::StatusOr<ordered_json> ParseStrictObject(std::string_view, int);
template absl::Status CheckMembers(const json&, std::string_view, KnownNames);
template absl::Status CheckMembers(const ordered_json&, std::string_view, KnownNames);
template OptionalText StringMember(const json&, std::string_view, std::string_view);
template OptionalText StringMember(const ordered_json&, std::string_view, std::string_view);

}  // namespace sluice
