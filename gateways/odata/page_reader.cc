#include "gateways/odata/page_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "gateways/outbound/url.h"
#include "schemas/base/ascii.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr size_t kPageDepthMax = 64;
constexpr size_t kMemberBytesMax = kUrlBytesMax + 2;  // of a name, and of a value that is kept

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// A JSON value of a link or a count; null where it is neither a string nor a number.
nlohmann::json Scalar(const std::string& text) {
  nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  return value.is_string() || value.is_number() ? value : nlohmann::json();
}

// Control information in either spelling.
bool IsControl(std::string_view member, std::string_view name) {
  if (!member.starts_with('@')) {
    return false;
  }
  member.remove_prefix(1);
  constexpr std::string_view kPrefix = "odata.";
  return (member.starts_with(kPrefix) ? member.substr(kPrefix.size()) : member) == name;
}

std::optional<std::string> StringOf(const nlohmann::json& value) {
  return value.is_string() ? std::optional(value.get<std::string>()) : std::nullopt;
}

// By IEEE754Compatible it is a string.
std::optional<uint64_t> CountOf(const nlohmann::json& value) {
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(count)
                                                                  : std::nullopt;
}

}  // namespace

bool IsJsonContentType(std::string_view content_type) {
  std::string type = ToLower(content_type.substr(0, content_type.find(';')));
  type.erase(type.find_last_not_of(" \t") + 1);
  return type == "application/json" ||
         (type.find('/') != std::string::npos && type.ends_with("+json"));
}

absl::Status PageReader::Invalid(std::string_view why) const {
  return Error(
      absl::StatusCode::kUnavailable, "source_answer_invalid",
      fmt::format("the page is none of an OData service: {} (after {} rows)", why, end_.rows));
}

absl::Status PageReader::Feed(std::string_view piece, OnRow on_row) {
  const char* at = piece.data();
  const char* const end = at + piece.size();
  while (at != end) {
    RETURN_IF_ERROR(Step(at, end, on_row));
  }
  return absl::OkStatus();
}

absl::StatusOr<PageEnd> PageReader::Finish() {
  if (state_ != State::kEnd) {
    return Invalid("it ends amid its JSON");
  }
  if (!has_value_) {
    return Invalid("it has no array \"value\"");
  }
  return std::move(end_);
}

absl::Status PageReader::Step(const char*& at, const char* end, OnRow on_row) {
  const bool in_value =
      state_ == State::kName || state_ == State::kInMemberValue || state_ == State::kInRow;
  if (!in_value) {
    if (IsBlank(*at)) {
      ++at;
      return absl::OkStatus();
    }
    return StepBetween(at);
  }
  const char* const from = at;
  bool ended = false;
  RETURN_IF_ERROR(Scan(at, end, ended));
  const size_t max = state_ == State::kInRow ? row_bytes_max_ : kMemberBytesMax;
  const auto size = static_cast<size_t>(at - from);
  const size_t room = max - text_.size();
  text_.append(from, std::min(size, room));
  text_cut_ = text_cut_ || size > room;
  return ended ? EndValue(on_row) : absl::OkStatus();
}

void PageReader::Begin(State state) {
  state_ = state;
  closers_.clear();
  in_string_ = false;
  escaped_ = false;
  text_.clear();
  text_cut_ = false;
}

absl::Status PageReader::StepBetween(const char*& at) {
  const char c = *at;
  const auto next = [&](State state) {
    state_ = state;
    ++at;
    return absl::OkStatus();
  };
  switch (state_) {
    case State::kStart:
      if (c == '{') {
        return next(State::kMemberOrEnd);
      }
      // The mark of UTF-8, with which some services begin.
      return c == '\xef' || c == '\xbb' || c == '\xbf' ? next(State::kStart)
                                                       : Invalid("it begins with no {");
    case State::kMemberOrEnd:
    case State::kMember:
      if (c == '"') {
        Begin(State::kName);
        in_string_ = true;
        return next(State::kName);
      }
      return c == '}' && state_ == State::kMemberOrEnd ? next(State::kEnd)
                                                       : Invalid("a member has no name");
    case State::kColon:
      return c == ':' ? next(State::kMemberValue) : Invalid("a name has no colon behind it");
    case State::kMemberValue:
      return BeginValue(at);
    case State::kAfterMember:
      return c == ','   ? next(State::kMember)
             : c == '}' ? next(State::kEnd)
                        : Invalid("there is no comma between members");
    case State::kRowOrEnd:
    case State::kRow:
      if (c == '{') {
        Begin(State::kInRow);
        return absl::OkStatus();
      }
      return c == ']' && state_ == State::kRowOrEnd
                 ? next(State::kAfterMember)
                 : Invalid("an element of \"value\" is no object");
    case State::kAfterRow:
      return c == ','   ? next(State::kRow)
             : c == ']' ? next(State::kAfterMember)
                        : Invalid("there is no comma between rows");
    default:
      return Invalid("there is more behind it");
  }
}

absl::Status PageReader::BeginValue(const char*& at) {
  if (name_ != "value") {
    Begin(State::kInMemberValue);
    return absl::OkStatus();
  }
  if (*at != '[' || has_value_) {
    return Invalid("\"value\" is no array, or there are two");
  }
  has_value_ = true;
  state_ = State::kRowOrEnd;
  ++at;
  return absl::OkStatus();
}

absl::Status PageReader::Scan(const char*& at, const char* end, bool& ended) {
  for (; at != end; ++at) {
    const char c = *at;
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
        if (closers_.empty()) {
          ++at;
          ended = true;
          return absl::OkStatus();
        }
      }
      continue;
    }
    switch (c) {
      case '"':
        in_string_ = true;
        break;
      case '{':
      case '[':
        if (closers_.size() == kPageDepthMax) {
          return Invalid(fmt::format("it is nested deeper than {}", kPageDepthMax));
        }
        closers_.push_back(c == '{' ? '}' : ']');
        break;
      case '}':
      case ']':
        if (closers_.empty()) {
          ended = true;  // a number or a word, and this is behind it
          return absl::OkStatus();
        }
        if (closers_.back() != c) {
          return Invalid("its brackets do not match");
        }
        closers_.pop_back();
        if (closers_.empty()) {
          ++at;
          ended = true;
          return absl::OkStatus();
        }
        break;
      case ',':
      case ' ':
      case '\t':
      case '\r':
      case '\n':
        if (closers_.empty()) {
          ended = true;
          return absl::OkStatus();
        }
        break;
      default:
        break;
    }
  }
  return absl::OkStatus();
}

absl::Status PageReader::EndValue(OnRow on_row) {
  switch (state_) {
    case State::kName: {
      const auto name = text_cut_ ? std::nullopt : StringOf(Scalar("\"" + text_));
      if (!name.has_value()) {
        return Invalid("a member's name is no JSON string, or too long");
      }
      name_ = *name;
      state_ = State::kColon;
      return absl::OkStatus();
    }
    case State::kInMemberValue:
      state_ = State::kAfterMember;
      return EndMember();
    default:
      state_ = State::kAfterRow;
      ++end_.rows;
      return on_row(text_, text_cut_);
  }
}

absl::Status PageReader::EndMember() {
  const bool next = IsControl(name_, "nextLink");
  const bool delta = IsControl(name_, "deltaLink");
  if (name_ == "error") {
    return Invalid("the service reports an error amid it");
  }
  if (text_.empty()) {
    return Invalid("a member has no value");
  }
  if ((next || delta) && text_cut_) {
    return Invalid("a link is too long");
  }
  if (next || delta) {
    // Null is none. A link that can't be read must not pass for none: the load would end here, and
    // what lies behind it would be swept.
    auto link = StringOf(Scalar(text_));
    if (!link.has_value() && text_ != "null") {
      return Invalid("a link is no string");
    }
    if (link.has_value()) {
      (next ? end_.next_link : end_.delta_link) = std::move(link);
    }
  } else if (IsControl(name_, "count")) {
    end_.count = CountOf(Scalar(text_));
  }
  return absl::OkStatus();
}

}  // namespace sluice::gateways
