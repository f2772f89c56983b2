#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "ops/program/command.h"

namespace sluice::ops {

// The admin endpoint's answer as a person reads it: a list is a table, an object has a line for
// each member, and a table behind these for each member that is a list of objects or names them.
// Where rows differ in what they have, the table has all of it that is no object. What is no JSON
// object is shown as it is. Nothing in it moves a terminal's cursor (printable.h). Ends with a line
// end.
[[nodiscard]] std::string AnswerText(std::string_view body);

// That on standard output; with --output json the answer as it came.
absl::Status PrintAnswer(const Invocation& invocation, std::string_view body);

}  // namespace sluice::ops
