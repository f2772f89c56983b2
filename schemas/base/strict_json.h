#pragma once

#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// JSON that somebody wrote and that two readers must not understand differently: parsers disagree
// about which of two equal names counts (RFC 8725, section 2.6).
namespace sluice {

// Arrays and objects within each other, in documents that say nothing else.
inline constexpr int kJsonDepthMax = 16;

// The document in `text`. kInvalidArgument, code "invalid_json", where it is no JSON, is not UTF-8,
// is nested deeper than `depth_max`, or names a member twice in one object, anywhere. `Json` is
// nlohmann::json, or nlohmann::ordered_json where the order of members counts. Thread-safe.
template <typename Json = nlohmann::json>
[[nodiscard]] absl::StatusOr<Json> ParseStrictJson(std::string_view text,
                                                   int depth_max = kJsonDepthMax);

// The same of an object: anything else is refused too.
template <typename Json = nlohmann::json>
[[nodiscard]] absl::StatusOr<Json> ParseStrictObject(std::string_view text,
                                                     int depth_max = kJsonDepthMax);

// Of what a document says, in one wording: kInvalidArgument, code "invalid_argument". `what` names
// the object in it. Thread-safe.
//
// That it is an object, and has no member but `known`: one that is misspelt must not be passed
// over, as a grant whose `deny_columns` is not read shows every column.
template <typename Json>
[[nodiscard]] absl::Status CheckMembers(const Json& object, std::string_view what,
                                        std::initializer_list<std::string_view> known);
// The string member `name` of an object; nullopt where there is none.
template <typename Json>
[[nodiscard]] absl::StatusOr<std::optional<std::string>> StringMember(const Json& object,
                                                                      std::string_view what,
                                                                      std::string_view name);

}  // namespace sluice
