#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "ops/program/line_reader.h"

namespace sluice::ops {

// A change set on its way to the server: one line that is one, or lines that are its rows.
struct IngestSet {
  std::vector<InputLine> lines;
  size_t bytes = 0;  // of the lines
  std::string id{};  // given here; empty: the line's own, or none
};

// Whether the line, which is a change set, needs an id to be recognised when it is sent again: it
// has none, and room for one. A line that just fits the server's usual limit is left as it is.
[[nodiscard]] bool NeedsId(std::string_view line);

// The change set in `line` with that id, in the place of its own where it has one.
[[nodiscard]] std::string WithId(std::string_view line, std::string_view id);

// What the server said of one set.
struct SetAnswer {
  int status = 200;
  std::string position{};
  std::string reason{};    // of a refusal
  bool names_set = false;  // it has the id of a set
};

// A string member; empty where there is none, or `value` is no object.
[[nodiscard]] std::string TextMember(const nlohmann::json& value, const char* name);

// Reads one line of the answer to an ingest.
[[nodiscard]] SetAnswer ReadSetAnswer(std::string_view line);

}  // namespace sluice::ops
