#include "ops/program/ingest_set.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "schemas/base/json_writer.h"

namespace sluice::ops {
namespace {

using nlohmann::json;

// As the server has it where it is not configured, and what an id of ours may take of it.
constexpr size_t kUsualLineBytes = 1 << 20;
constexpr size_t kIdBytes = 128;

constexpr std::string_view kBlanks = " \t\r";

// Where the value of the object's member "id" is, both 0 where it has none. Not parsed into a tree
// and written again, which would change numbers and spaces that are the sender's.
struct Place {
  size_t begin = 0;
  size_t end = 0;
};

// The end of the string that begins at `at`.
size_t StringEnd(std::string_view text, size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    at += text[at] == '\\' ? 1 : 0;
  }
  return std::min(at + 1, text.size());
}

Place PlaceOfId(std::string_view line) {
  int depth = 0;
  bool is_name = false;  // the next string of the outermost object
  for (size_t at = 0; at < line.size();) {
    const char c = line[at];
    if (c != '"') {
      depth += c == '{' || c == '[' ? 1 : 0;
      depth -= c == '}' || c == ']' ? 1 : 0;
      is_name = depth == 1 && (c == '{' || c == ',' || (is_name && c != ':'));
      ++at;
      continue;
    }
    const size_t end = StringEnd(line, at);
    if (!is_name || line.substr(at, end - at) != "\"id\"") {
      at = end;
      continue;
    }
    const size_t begin = line.find_first_not_of(" \t\r:", end);
    if (begin == std::string_view::npos) {
      return {};
    }
    const size_t after =
        line[begin] == '"' ? StringEnd(line, begin) : line.find_first_of(",} \t\r", begin);
    return after == std::string_view::npos ? Place{} : Place{begin, after};
  }
  return {};
}

}  // namespace

std::string TextMember(const json& value, const char* name) {
  const auto it = value.find(name);
  return it != value.end() && it->is_string() ? it->get<std::string>() : std::string();
}

bool NeedsId(std::string_view line) {
  const bool just_fits = line.size() <= kUsualLineBytes && line.size() > kUsualLineBytes - kIdBytes;
  if (just_fits || line[line.find_first_not_of(kBlanks)] != '{') {
    return false;
  }
  const Place place = PlaceOfId(line);
  const std::string_view value = line.substr(place.begin, place.end - place.begin);
  return value.empty() || value == "null" || value == "\"\"";
}

std::string WithId(std::string_view line, std::string_view id) {
  std::string quoted;
  AppendJsonString(id, &quoted);
  const Place place = PlaceOfId(line);
  if (place.end > 0) {
    return fmt::format("{}{}{}", line.substr(0, place.begin), quoted, line.substr(place.end));
  }
  const size_t brace = line.find('{') + 1;
  const size_t next = line.find_first_not_of(kBlanks, brace);
  const bool empty = next == std::string_view::npos || line[next] == '}';
  return fmt::format("{}\"id\":{}{}{}", line.substr(0, brace), quoted, empty ? "" : ",",
                     line.substr(brace));
}

SetAnswer ReadSetAnswer(std::string_view line) {
  constexpr int kServerError = 500;
  const json answer = json::parse(line.begin(), line.end(), nullptr, false);
  if (!answer.is_object()) {
    return {.status = kServerError, .reason = "the server's answer can't be read"};
  }
  const bool names_set = answer.contains("id");
  const auto error = answer.find("error");
  if (error == answer.end()) {
    return {.position = TextMember(answer, "position"), .names_set = names_set};
  }
  const auto status = error->find("status");
  return {
      .status =
          status != error->end() && status->is_number_integer() ? status->get<int>() : kServerError,
      .reason = fmt::format("{} ({})", TextMember(*error, "detail"), TextMember(*error, "code")),
      .names_set = names_set};
}

}  // namespace sluice::ops
