#pragma once

#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/status.h"
#include "ops/program/command.h"

// What the server answered, on standard output: as it came for programs, in columns for people.
// Texts are made fit for a terminal (schemas/base/printable.h).
namespace sluice::ops {

// One row an object of `rows`; the columns are what most people look for.
void PrintTable(const nlohmann::json& rows, std::initializer_list<const char*> columns);
// A list as a table, another document as its fields.
absl::Status PrintAnswer(const Invocation& invocation, const std::string& body);

}  // namespace sluice::ops
