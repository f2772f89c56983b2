#include "clients/cpp/file_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "schemas/base/ascii.h"
#include "schemas/base/status.h"

namespace sluice::client {
namespace {

absl::Status NotRepresentable(const std::string& message) {
  return Error(absl::StatusCode::kFailedPrecondition, "name_not_representable", message);
}

// As in gateways/docs/api.md, section 0.
bool ValidName(std::string_view name) {
  return !name.empty() && name.size() <= 128 && !IsDigit(name[0]) &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return IsLetterOrDigit(c) || c == '_'; });
}

absl::Status CheckColumns(const ClientEntity& entity) {
  std::set<std::string_view> names;
  for (const ClientEntity::Column& column : entity.columns) {
    if (!ValidName(column.name)) {
      return NotRepresentable(
          fmt::format("\"{}\" of entity {} is no attribute's name", column.name, entity.name));
    }
    if (!names.insert(column.name).second) {
      return NotRepresentable(
          fmt::format("entity {} has two attributes \"{}\"", entity.name, column.name));
    }
  }
  return names.contains(entity.primary_key)
             ? absl::OkStatus()
             : NotRepresentable(fmt::format("entity {} has no attribute \"{}\", its key",
                                            entity.name, entity.primary_key));
}

}  // namespace

std::string_view SqlType(std::string_view type) {
  if (type == "int32" || type == "int64" || type == "bool") {
    return "INTEGER";
  }
  if (type == "double") {
    return "REAL";
  }
  if (type == "bytes") {
    return "BLOB";
  }
  return "TEXT";
}

std::string FoldedName(std::string_view name) { return ToLower(name); }

bool IsTakenTableName(std::string_view name) {
  const std::string folded = FoldedName(name);
  return folded.starts_with("sqlite_") || folded.starts_with("_sluice_");
}

std::string EscapedName(std::string_view name) {
  // No attribute's name has a "$", so none is called like an escaped one; and with one before each
  // capital, two names that differ in case only are escaped differently when they are folded.
  std::string escaped = "x$";
  for (const char c : name) {
    if (IsUpper(c)) {
      escaped += '$';
    }
    escaped += c;
  }
  return escaped;
}

absl::Status CheckNames(const std::vector<ClientEntity>& entities) {
  std::set<std::string_view> names;
  for (const ClientEntity& entity : entities) {
    if (!ValidName(entity.name) || !names.insert(entity.name).second) {
      return NotRepresentable(
          fmt::format("\"{}\" is no entity's name, or that of two", entity.name));
    }
    RETURN_IF_ERROR(CheckColumns(entity));
  }
  return absl::OkStatus();
}

std::map<std::string, std::string> ColumnNames(const ClientEntity& entity,
                                               const std::map<std::string, std::string>& kept) {
  std::map<std::string, std::string> names = kept;
  std::set<std::string> taken;
  for (const auto& [attribute, name] : kept) {
    taken.insert(FoldedName(name));
  }
  std::set<std::string_view> others;
  const auto choose = [&](const std::string& attribute) {
    if (!names.contains(attribute)) {
      const bool free = taken.insert(FoldedName(attribute)).second;
      names.emplace(attribute, free ? attribute : EscapedName(attribute));
    }
  };
  // The key first, then the others by their names: a file's columns are called the same whatever
  // order the server lists attributes in, and of two names that SQLite takes for one (it folds
  // case) the key keeps its own. Names that the file has already stay before all: its rows are
  // under them.
  choose(entity.primary_key);
  for (const ClientEntity::Column& column : entity.columns) {
    others.insert(column.name);
  }
  for (const std::string_view attribute : others) {
    choose(std::string(attribute));
  }
  return names;
}

}  // namespace sluice::client
