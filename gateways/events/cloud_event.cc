#include "gateways/events/cloud_event.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "gateways/percent.h"
#include "schemas/base/datetime.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/base/strict_json.h"
#include "schemas/base/text_codec.h"

namespace sluice::gateways {
namespace {

using Json = nlohmann::ordered_json;
// By name, as the event has them, without the binding's prefix.
using Attributes = std::map<std::string, std::string, std::less<>>;

constexpr std::string_view kStructured = "application/cloudevents+json";
constexpr std::string_view kBatch = "application/cloudevents-batch+json";
constexpr std::string_view kAnyCloudEvents = "application/cloudevents";

template <typename... Args>
absl::Status Wrong(fmt::format_string<Args...> message, Args&&... args) {
  return Invalid("invalid_event", message, std::forward<Args>(args)...);
}

absl::Status TooLarge(size_t bytes, size_t max) {
  return Error(absl::StatusCode::kInvalidArgument, "too_large",
               fmt::format("the event has {} bytes, at most {} are taken", bytes, max));
}

struct MediaType {
  std::string name;  // lower case
  bool utf8 = true;  // no other charset is named
};

MediaType ParseMediaType(std::string_view text) {
  MediaType type;
  const size_t end = text.find(';');
  type.name = absl::AsciiStrToLower(
      absl::StripAsciiWhitespace(absl::string_view(text.data(), std::min(end, text.size()))));
  if (end == std::string_view::npos) {
    return type;
  }
  const std::string parameters = absl::AsciiStrToLower({text.data() + end, text.size() - end});
  const size_t at = parameters.find("charset=");
  if (at != std::string::npos) {
    std::string charset = parameters.substr(at + 8, parameters.find(';', at) - at - 8);
    std::erase_if(charset, [](char c) { return c == '"' || c == ' '; });
    type.utf8 = charset == "utf-8" || charset == "us-ascii";
  }
  return type;
}

// A name of an attribute: small letters and digits.
bool IsAttributeName(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](unsigned char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c);
  });
}

// The strings of CloudEvents hold no control characters; a NUL would also make the ids of two
// events one.
bool IsPlain(std::string_view text) {
  return IsValidUtf8(text) &&
         std::ranges::none_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; }) &&
         [text] {
           for (size_t i = 0; i + 1 < text.size(); ++i) {  // U+0080 to U+009F
             if (static_cast<unsigned char>(text[i]) == 0xc2 &&
                 static_cast<unsigned char>(text[i + 1]) < 0xa0) {
               return false;
             }
           }
           return true;
         }();
}

absl::Status AddAttribute(std::string_view name, std::string value, Attributes& attributes) {
  if (!IsAttributeName(name)) {
    return Wrong("{} is no name of an attribute: small letters and digits", QuoteForError(name));
  }
  if (value.size() > kEventAttributeBytesMax) {
    return Wrong("the attribute '{}' has {} bytes, at most {} are taken", name, value.size(),
                 kEventAttributeBytesMax);
  }
  if (!IsPlain(value)) {
    return Wrong("the attribute '{}' is not UTF-8, or holds a control character", name);
  }
  if (!attributes.emplace(name, std::move(value)).second) {
    return Wrong("the attribute '{}' comes twice", name);
  }
  if (attributes.size() > kEventAttributesMax) {
    return Wrong("the event has more than {} attributes", kEventAttributesMax);
  }
  return absl::OkStatus();
}

// Takes a required attribute out.
absl::Status Take(Attributes& attributes, std::string_view name, std::string* to) {
  const auto found = attributes.find(name);
  if (found == attributes.end() || found->second.empty()) {
    return Wrong("the event has no '{}'", name);
  }
  *to = std::move(found->second);
  return absl::OkStatus();
}

// Only JSON is understood here: what is called otherwise is somebody else's event.
absl::Status CheckDataType(std::string_view content_type) {
  if (content_type.empty()) {
    return absl::OkStatus();
  }
  const MediaType type = ParseMediaType(content_type);
  if (type.utf8 && (type.name == "application/json" || type.name == "text/json" ||
                    type.name.ends_with("+json"))) {
    return absl::OkStatus();
  }
  return Wrong("the data is {}; only application/json in UTF-8 is taken",
               QuoteForError(content_type));
}

absl::StatusOr<CloudEvent> MakeEvent(Attributes attributes, std::string data) {
  std::string version;
  RETURN_IF_ERROR(Take(attributes, "specversion", &version));
  if (version != "1.0") {
    return Wrong("specversion {} is not known: 1.0 is", QuoteForError(version));
  }
  CloudEvent event;
  RETURN_IF_ERROR(Take(attributes, "id", &event.id));
  RETURN_IF_ERROR(Take(attributes, "source", &event.source));
  RETURN_IF_ERROR(Take(attributes, "type", &event.type));
  if (event.source.find(' ') != std::string::npos) {
    return Wrong("the source {} is no URI reference", QuoteForError(event.source));
  }
  if (const auto subject = attributes.find("subject"); subject != attributes.end()) {
    event.subject = std::move(subject->second);
  }
  if (const auto time = attributes.find("time"); time != attributes.end()) {
    const absl::StatusOr<int64_t> micros = ParseDatetime(time->second);
    if (!micros.ok()) {
      return Wrong("the time {} is none as RFC 3339 has it", QuoteForError(time->second));
    }
    event.time = SystemTime(std::chrono::microseconds(*micros));
  }
  if (const auto type = attributes.find("datacontenttype"); type != attributes.end()) {
    RETURN_IF_ERROR(CheckDataType(type->second));
  }
  if (data.size() > kEventBytesMax) {
    return TooLarge(data.size(), kEventBytesMax);
  }
  event.data = std::move(data);
  return event;
}

absl::StatusOr<std::string> AttributeText(const std::string& name, const Json& value) {
  if (value.is_string()) {
    return value.get<std::string>();
  }
  if (value.is_boolean()) {
    return std::string(value.get<bool>() ? "true" : "false");
  }
  if (value.is_number_integer()) {
    return value.dump();
  }
  return Wrong("the attribute {} is a string, an integer or a truth value", QuoteForError(name));
}

absl::StatusOr<CloudEvent> FromJson(const Json& json) {
  if (!json.is_object()) {
    return Wrong("an event is an object");
  }
  Attributes attributes;
  std::string data;
  bool has_data = false;
  for (const auto& [name, value] : json.items()) {
    if (value.is_null() && name != "data") {
      continue;  // an attribute that is null is one that is not there
    }
    if (name != "data" && name != "data_base64") {
      ASSIGN_OR_RETURN(std::string text, AttributeText(name, value));
      RETURN_IF_ERROR(AddAttribute(name, std::move(text), attributes));
      continue;
    }
    if (std::exchange(has_data, true)) {
      return Wrong("the event has 'data' and 'data_base64'");
    }
    if (name == "data") {
      data = value.dump();
      continue;
    }
    std::optional<std::string> decoded =
        value.is_string() ? DecodeBase64(value.get<std::string>()) : std::nullopt;
    if (!decoded.has_value()) {
      return Wrong("'data_base64' is no base64");
    }
    data = *std::move(decoded);
  }
  return MakeEvent(std::move(attributes), std::move(data));
}

absl::StatusOr<CloudEvents> ReadBatch(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, ParseStrictJson<Json>(body));
  if (!json.is_array()) {
    return Wrong("a batch is a list of events");
  }
  if (json.size() > kEventsPerBatchMax) {
    return Error(absl::StatusCode::kInvalidArgument, "too_large",
                 fmt::format("the batch has {} events, at most {} are taken", json.size(),
                             kEventsPerBatchMax));
  }
  CloudEvents read{.batch = true, .events = {}};
  for (const Json& one : json) {
    read.events.push_back(FromJson(one));
  }
  return read;
}

// As the HTTP binding says, section 3.1.3.2: what stands in quotation marks is unescaped first,
// then %XX is decoded.
absl::StatusOr<std::string> HeaderText(std::string_view name, std::string_view value) {
  std::string text(value);
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
    text.clear();
    for (size_t i = 1; i + 1 < value.size(); ++i) {
      i += value[i] == '\\' && i + 2 < value.size() ? 1 : 0;
      text.push_back(value[i]);
    }
  }
  std::optional<std::string> decoded = PercentDecode(text);
  if (!decoded.has_value()) {
    return Wrong("the header 'ce-{}' has a '%' that is not followed by two hexadecimal digits",
                 name);
  }
  return *std::move(decoded);
}

absl::Status CheckUtf8(const MediaType& type) {
  return type.utf8 ? absl::OkStatus() : Wrong("events in JSON are UTF-8");
}

}  // namespace

absl::StatusOr<CloudEvent> ReadJsonEvent(std::string_view json) {
  if (json.size() > kEventBytesMax) {
    return TooLarge(json.size(), kEventBytesMax);
  }
  ASSIGN_OR_RETURN(const Json parsed, ParseStrictJson<Json>(json));
  return FromJson(parsed);
}

absl::StatusOr<CloudEvents> ReadHttpEvents(const HttpHead& head, std::string_view body) {
  std::optional<std::string_view> content_type;
  Attributes attributes;
  for (const auto& [name, value] : head.headers) {
    const std::string lower = absl::AsciiStrToLower(name);
    if (lower == "content-type") {
      // Of two, one reader takes the first and another the last.
      if (std::exchange(content_type, value).has_value()) {
        return Wrong("the header Content-Type comes twice");
      }
    } else if (lower.starts_with("ce-")) {
      const std::string attribute = lower.substr(3);
      ASSIGN_OR_RETURN(std::string text, HeaderText(attribute, value));
      RETURN_IF_ERROR(AddAttribute(attribute, std::move(text), attributes));
    }
  }
  const MediaType type = ParseMediaType(content_type.value_or(""));
  if (type.name == kBatch) {
    RETURN_IF_ERROR(CheckUtf8(type));
    return ReadBatch(body);
  }
  CloudEvents read;
  if (type.name == kStructured) {
    RETURN_IF_ERROR(CheckUtf8(type));
    ASSIGN_OR_RETURN(CloudEvent event, ReadJsonEvent(body));
    read.events.emplace_back(std::move(event));
    return read;
  }
  if (type.name.starts_with(kAnyCloudEvents) || attributes.empty()) {
    return Wrong(
        "no event: send {} or {}, or the headers ce-specversion, ce-id, ce-source and "
        "ce-type",
        kStructured, kBatch);
  }
  if (attributes.contains("datacontenttype")) {
    return Wrong("in the binary mode Content-Type says what the data is, not ce-datacontenttype");
  }
  RETURN_IF_ERROR(CheckDataType(content_type.value_or("")));
  ASSIGN_OR_RETURN(CloudEvent event, MakeEvent(std::move(attributes), std::string(body)));
  read.events.emplace_back(std::move(event));
  return read;
}

absl::StatusOr<CloudEvent> ReadKafkaEvent(const eventlog::Record& record) {
  std::optional<std::string_view> content_type;
  Attributes attributes;
  for (const auto& [name, value] : record.headers) {
    if (absl::EqualsIgnoreCase(name, "content-type")) {
      if (std::exchange(content_type, value).has_value()) {
        return Wrong("the header content-type comes twice");
      }
    } else if (name.starts_with("ce_")) {
      RETURN_IF_ERROR(AddAttribute(name.substr(3), value, attributes));
    }
  }
  const std::string_view value = record.value.has_value() ? *record.value : std::string_view();
  const MediaType type = ParseMediaType(content_type.value_or(""));
  if (type.name == kStructured) {
    RETURN_IF_ERROR(CheckUtf8(type));
    return ReadJsonEvent(value);
  }
  if (type.name.starts_with(kAnyCloudEvents) || attributes.empty()) {
    return Wrong(
        "no event: a record has the header content-type {}, or the headers "
        "ce_specversion, ce_id, ce_source and ce_type",
        kStructured);
  }
  if (attributes.contains("datacontenttype")) {
    return Wrong("in the binary mode content-type says what the data is, not ce_datacontenttype");
  }
  RETURN_IF_ERROR(CheckDataType(content_type.value_or("")));
  return MakeEvent(std::move(attributes), std::string(value));
}

}  // namespace sluice::gateways
