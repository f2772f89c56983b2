#include "ops/program/answer_printer.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "schemas/base/printable.h"

namespace sluice::ops {
namespace {

using Json = nlohmann::json;

std::string Text(const Json& value) {
  return Printable(value.is_string() ? value.get<std::string>() : value.dump());
}

// The one array of a list, nullptr for a definition: that has other members beside its arrays.
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

void PrintFields(const Json& object) {
  constexpr size_t kNameColumns = 14;
  for (const auto& [key, value] : object.items()) {
    fmt::print("{} {}\n", PadRight(Printable(key), kNameColumns), Text(value));
  }
}

}  // namespace

// The last column is as wide as each row's text: a display name may be long.
void PrintTable(const Json& rows, std::initializer_list<const char*> columns) {
  std::vector<std::vector<std::string>> lines = {{columns.begin(), columns.end()}};
  for (const Json& row : rows) {
    std::vector<std::string>& line = lines.emplace_back();
    for (const char* column : columns) {
      const auto it = row.find(column);
      line.push_back(it == row.end() ? std::string() : Text(*it));
    }
  }
  std::vector<size_t> widths(columns.size());
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) {
      widths[i] = std::max(widths[i], DisplayWidth(line[i]));
    }
  }
  for (const auto& line : lines) {
    std::string text;
    for (size_t i = 0; i + 1 < line.size(); ++i) {
      text += PadRight(line[i], widths[i]) + "  ";
    }
    fmt::print("{}\n", text + line.back());
  }
}

absl::Status PrintAnswer(const Invocation& invocation, const std::string& body) {
  const Json document = Json::parse(body, nullptr, false);
  if (invocation.json) {
    fmt::print("{}\n", PrintableJson(body));
  } else if (!document.is_object()) {
    fmt::print("{}\n", PrintableLines(body));
  } else if (const Json* rows = ListIn(document)) {
    PrintTable(*rows,
               document.contains("orgs")
                   ? std::initializer_list<const char*>{"org", "state", "applied", "display_name"}
                   : std::initializer_list<const char*>{"name"});
  } else {
    PrintFields(document);
  }
  return absl::OkStatus();
}

}  // namespace sluice::ops
