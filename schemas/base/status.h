#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Errors are absl::Status. What a program outside may rely on, the stable `code` of
// gateways/docs/api.md, travels as a payload beside the message, so that a gateway can answer with
// it whatever layer refused.
namespace sluice {

using absl::StatusCode;

// A status with the stable code `code` (such as "unknown_attribute"). `message` says what was
// wrong, with which value, where, and what to do; it may reach the caller, so it never holds a
// secret or another organisation's data.
[[nodiscard]] absl::Status Error(StatusCode kind, std::string_view code, std::string_view message);
// The same, with a message of fmt.
template <typename Arg, typename... Args>
[[nodiscard]] absl::Status Error(StatusCode kind, std::string_view code,
                                 fmt::format_string<Arg, Args...> message, Arg&& arg,
                                 Args&&... args) {
  return Error(kind, code, fmt::vformat(message, fmt::make_format_args(arg, args...)));
}

// An error of what was asked for or given: kInvalidArgument. `message` is fmt's, also alone.
template <typename... Args>
[[nodiscard]] absl::Status Invalid(std::string_view code, fmt::format_string<Args...> message,
                                   Args&&... args) {
  return Error(StatusCode::kInvalidArgument, code,
               fmt::vformat(message, fmt::make_format_args(args...)));
}

// A value that is none of its attribute's type: kInvalidArgument, code "type_mismatch". `reason`
// goes on from the attribute's name: "is not UTF-8".
template <typename... Args>
[[nodiscard]] absl::Status TypeMismatch(fmt::format_string<Args...> reason, Args&&... args) {
  return Invalid("type_mismatch", reason, std::forward<Args>(args)...);
}

// The stable code, or the default of the status's kind ("invalid_argument", "not_found",
// "internal", "unavailable", ...). Never empty for an error.
[[nodiscard]] std::string ErrorCode(const absl::Status& status);

// `status` with the place in a text that it is about: a column, from 1, counted in characters.
[[nodiscard]] absl::Status WithColumn(absl::Status status, uint32_t column);

// The column that WithColumn() gave it, nullopt for an error without one.
[[nodiscard]] std::optional<uint32_t> ErrorColumn(const absl::Status& status);

// The same kind, code and payloads, with "`context`: " before the message.
[[nodiscard]] absl::Status Annotate(const absl::Status& status, std::string_view context);
template <typename Arg, typename... Args>
[[nodiscard]] absl::Status Annotate(const absl::Status& status,
                                    fmt::format_string<Arg, Args...> context, Arg&& arg,
                                    Args&&... args) {
  return Annotate(status, fmt::vformat(context, fmt::make_format_args(arg, args...)));
}

// The message as a std::string_view (absl::string_view is a type of its own in the distribution).
[[nodiscard]] std::string_view Message(const absl::Status& status);

}  // namespace sluice

#define SLUICE_CONCAT_INNER(a, b) a##b
#define SLUICE_CONCAT(a, b) SLUICE_CONCAT_INNER(a, b)

// Returns from the enclosing function when `expr` is an error.
#define RETURN_IF_ERROR(expr)                           \
  do {                                                  \
    if (absl::Status status_ = (expr); !status_.ok()) { \
      return status_;                                   \
    }                                                   \
  } while (false)

// As above, with context before the message: RETURN_IF_ERROR_CTX(Open(path), "opening {}", path).
#define RETURN_IF_ERROR_CTX(expr, ...)                         \
  do {                                                         \
    if (const absl::Status& status_ = (expr); !status_.ok()) { \
      return ::sluice::Annotate(status_, __VA_ARGS__);         \
    }                                                          \
  } while (false)

// ASSIGN_OR_RETURN(auto value, Compute());
#define ASSIGN_OR_RETURN(lhs, expr) \
  SLUICE_ASSIGN_OR_RETURN_IMPL(SLUICE_CONCAT(status_or_, __LINE__), lhs, expr)
#define SLUICE_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  if (!tmp.ok()) {                                   \
    return std::move(tmp).status();                  \
  }                                                  \
  lhs = std::move(tmp).value()
