#include "ops/program/answer_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "schemas/base/printable.h"

namespace sluice::ops {
namespace {

using Json = nlohmann::json;

constexpr size_t kNameColumns = 14;

// What most people look for; other members are for programs, which read JSON.
constexpr std::array kOrgColumns = {"org", "state", "applied", "display_name"};
constexpr std::array kNameAlone = {"name"};
constexpr std::array kSourceColumns = {"name", "kind", "entities", "failing", "rows", "url"};
constexpr std::array kLetterColumns = {"id", "at", "topic", "entity", "key", "code", "reason"};
constexpr std::array kColumns = {
    "name",           "state",   "primary_key", "attributes", "rows",      "loaded",
    "total",          "percent", "lag_s",       "rejected",   "last_run",  "next_run",
    "tracks_changes", "refused", "code",        "reason",     "last_error"};

// `shorten`: a list is told by its length, an error by its code and what it says.
std::string Text(const Json& value, bool shorten = false) {
  if (shorten && value.is_array()) {
    return fmt::format("{}", value.size());
  }
  if (shorten && value.is_object() && value.contains("code")) {
    return Printable(fmt::format("{}: {}", value.value("code", ""), value.value("detail", "")));
  }
  return Printable(value.is_string() ? value.get<std::string>() : value.dump());
}

// The last column is as wide as each row's text: a display name may be long.
std::string Table(const Json& rows, const std::vector<std::string>& columns) {
  std::vector<std::vector<std::string>> lines = {columns};
  for (const Json& row : rows) {
    std::vector<std::string>& line = lines.emplace_back();
    for (const std::string& column : columns) {
      const auto it = row.find(column);
      line.push_back(it == row.end() ? std::string() : Text(*it, /*shorten=*/true));
    }
  }
  std::vector<size_t> widths(columns.size());
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) {
      widths[i] = std::max(widths[i], DisplayWidth(line[i]));
    }
  }
  std::string text;
  for (const auto& line : lines) {
    for (size_t i = 0; i + 1 < line.size(); ++i) {
      text += PadRight(line[i], widths[i]) + "  ";
    }
    text += line.back() + "\n";
  }
  return text;
}

// Of `rows` what some of them have.
std::string Table(const Json& rows) {
  std::vector<std::string> columns;
  for (const char* column : kColumns) {
    if (std::ranges::any_of(rows, [&](const Json& row) { return row.contains(column); })) {
      columns.emplace_back(column);
    }
  }
  return Table(rows, columns);
}

// The one list of an answer, nullptr for a definition: that has other members beside its lists.
const Json* ListIn(const Json& document) {
  const Json* list = nullptr;
  for (const auto& [name, value] : document.items()) {
    if (name == "next_page_token") {
      continue;
    }
    if (list != nullptr || !value.is_array()) {
      return nullptr;
    }
    list = &value;
  }
  return list;
}

// A source on one line: how many entities it has, how many of these fail, and their rows.
Json SourceRow(const Json& source) {
  Json row = {{"name", source.value("name", "")},
              {"kind", source.value("kind", "")},
              {"url", source.value("url", source.value("brokers", ""))}};
  size_t failing = 0;
  uint64_t rows = 0;
  const auto count = [&](const Json& stream) {
    failing += stream.value("state", "") == "failing" ? 1 : 0;
    rows += stream.value("rows", uint64_t{0});
  };
  const Json entities = source.value("entities", Json::object());
  std::ranges::for_each(entities, count);
  if (source.contains("source")) {
    count(source["source"]);
  }
  row["entities"] = entities.size();
  row["failing"] = failing;
  row["rows"] = rows;
  return row;
}

std::string ListText(const Json& document, const Json& list) {
  const auto table = [&](const auto& columns) {
    return Table(list, {columns.begin(), columns.end()});
  };
  if (document.contains("orgs")) {
    return table(kOrgColumns);
  }
  if (document.contains("sources")) {
    Json rows = Json::array();
    std::ranges::transform(list, std::back_inserter(rows), SourceRow);
    return Table(rows, {kSourceColumns.begin(), kSourceColumns.end()});
  }
  return document.contains("deadletters") ? table(kLetterColumns) : table(kNameAlone);
}

// Whether the members of `value`, or its elements, are what a table shows: streams of a source, or
// what a source offers and refuses.
bool IsTable(const Json& value) {
  return !value.empty() && value.is_structured() && std::ranges::all_of(value, [](const Json& row) {
    return row.is_object() &&
           (row.contains("state") || row.contains("code") || row.contains("primary_key"));
  });
}

Json RowsOf(const Json& value) {
  if (value.is_array()) {
    return value;
  }
  Json rows = Json::array();
  for (const auto& [name, row] : value.items()) {
    rows.push_back(row);
    rows.back()["name"] = name;
  }
  return rows;
}

// What a source refuses of its entities stands with what it refuses of itself.
void GatherRefused(Json& offer) {
  if (!offer.contains("refused") || !offer.contains("entities")) {
    return;
  }
  for (const auto& [entity, of_entity] : offer["entities"].items()) {
    for (Json refused : of_entity.value("refused", Json::array())) {
      refused["name"] = fmt::format("{}.{}", entity, refused.value("name", ""));
      offer["refused"].push_back(std::move(refused));
    }
  }
}

std::string ObjectText(const Json& document) {
  if (const Json* list = ListIn(document); list != nullptr) {
    return ListText(document, *list);
  }
  std::string fields;
  std::string tables;
  for (const auto& [key, value] : document.items()) {
    if (IsTable(value)) {
      tables += fmt::format("\n{}\n{}", Printable(key), Table(RowsOf(value)));
    } else {
      fields += fmt::format("{} {}\n", PadRight(Printable(key), kNameColumns), Text(value));
    }
  }
  return fields + tables;
}

}  // namespace

std::string AnswerText(std::string_view body) {
  Json document = Json::parse(body, nullptr, false);
  if (document.is_object()) {
    try {
      GatherRefused(document);
      return ObjectText(document);
    } catch (const Json::exception&) {
      // A member is of another type than ours is.
    }
  }
  return PrintableLines(body) + "\n";
}

absl::Status PrintAnswer(const Invocation& invocation, std::string_view body) {
  fmt::print("{}", invocation.json ? PrintableJson(body) + "\n" : AnswerText(body));
  return absl::OkStatus();
}

}  // namespace sluice::ops
