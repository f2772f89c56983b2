#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "clients/cpp/frames.h"

// What entities and attributes are called in the file: as they are, but where SQLite can't have it
// (clients/docs/local-database.md, "Names"). All functions are pure.
namespace sluice::client {

// How a type of gateways/docs/api.md, section 1 is declared in SQLite: decimals, dates and uuids as
// text, since SQLite has no exact type for them.
[[nodiscard]] std::string_view SqlType(std::string_view type);

// kFailedPrecondition, code "name_not_representable", for what is no entity with a key as API
// section 0 and 1 have it.
[[nodiscard]] absl::Status CheckNames(const std::vector<ClientEntity>& entities);

// `name` as SQLite compares it: "Order" and "order" are one name.
[[nodiscard]] std::string FoldedName(std::string_view name);

// Names that begin with sqlite_ are SQLite's, those with _sluice_ the client's.
[[nodiscard]] bool IsTakenTableName(std::string_view name);

// What stands in the file for an entity or attribute whose name can't: x$ and the name, with a $
// before each capital letter. No two names share one, also as SQLite compares them, and no name of
// gateways/docs/api.md, section 0 is one.
[[nodiscard]] std::string EscapedName(std::string_view name);

// What the entity's columns are called, by attribute: as in `kept`, else as the attribute, else
// escaped. The key first, then in the order of their names, so that every file has it alike.
[[nodiscard]] std::map<std::string, std::string> ColumnNames(
    const ClientEntity& entity, const std::map<std::string, std::string>& kept);

}  // namespace sluice::client
