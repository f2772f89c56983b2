#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice::projectors {

// An error about the place `offset` (in bytes) of the filter `text`: kInvalidArgument with the
// column, which the message tells as well.
[[nodiscard]] absl::Status FilterErrorOf(std::string_view code, std::string_view text,
                                         size_t offset, std::string_view reason);
// Code "invalid_filter"; `reason` is fmt's.
template <typename... Args>
[[nodiscard]] absl::Status FilterError(std::string_view text, size_t offset,
                                       fmt::format_string<Args...> reason, Args&&... args) {
  return FilterErrorOf("invalid_filter", text, offset,
                       fmt::vformat(reason, fmt::make_format_args(args...)));
}

struct FilterToken {
  enum class Kind : uint8_t {
    kEnd,
    kWord,       // a name or a keyword
    kParameter,  // "@user"
    kNumber,     // as JSON writes one, or -INF
    kString,     // `value`: what it says
    kBinary,     // `value`: its bytes
    kUuid,       // `value`: its 16 bytes
    kDatetime,   // `scalar`: microseconds since 1970 UTC
    kDate,       // `scalar`: days since 1970-01-01
    kTime,       // `scalar`: microseconds since midnight
    kOpen,
    kClose,
    kComma,
  };
  Kind kind = Kind::kEnd;
  size_t offset = 0;
  std::string_view text;  // as it is written
  std::string value;
  int64_t scalar = 0;
};

// Cuts a filter's text into tokens. `text` must be UTF-8 and outlive the lexer and its tokens.
class FilterLexer {
 public:
  explicit FilterLexer(std::string_view text) : text_(text) {}

  // The next token, again and again kEnd at the end. Code "invalid_filter" for what is none.
  [[nodiscard]] absl::StatusOr<FilterToken> Next();

 private:
  FilterToken Take(FilterToken::Kind kind, size_t size);
  absl::StatusOr<FilterToken> Word();
  absl::StatusOr<FilterToken> Numeric();
  absl::StatusOr<FilterToken> Quoted();
  absl::StatusOr<FilterToken> Binary();
  bool IsUuid() const;

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace sluice::projectors
