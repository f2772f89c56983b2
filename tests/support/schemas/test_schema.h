#pragma once

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>

#include "schemas/base/status.h"
#include "schemas/entity_schema.h"

// Schemas for tests, from the JSON that administrators write.
namespace sluice::schemas::testing {

// The value, or the end of the test program with the reason.
template <typename T>
T ValueOrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::cerr << value.status() << std::endl;
    std::abort();
  }
  return std::move(value).value();
}

// The schema with entity id 1 and attribute ids from 1 in the order of `definition`.
inline v1::EntitySchema MakeProto(std::string_view name, std::string_view definition) {
  return ValueOrDie(
      EvolveSchema(nullptr, ValueOrDie(ParseEntityDefinition(name, definition)), EntityId(1)));
}

inline std::shared_ptr<const EntitySchema> MakeSchema(std::string_view name,
                                                      std::string_view definition) {
  return ValueOrDie(EntitySchema::FromProto(MakeProto(name, definition)));
}

// One attribute of each type, ids 1 to 11 in the order of the names; `s` is the key.
inline constexpr std::string_view kEveryType = R"({"primary_key":"s","attributes":[
  {"name":"s","type":"string"},{"name":"i","type":"int32"},{"name":"l","type":"int64"},
  {"name":"f","type":"double"},{"name":"d","type":"decimal"},{"name":"b","type":"bool"},
  {"name":"t","type":"datetime"},{"name":"u","type":"uuid"},{"name":"x","type":"bytes"},
  {"name":"da","type":"date"},{"name":"ti","type":"time"}]})";

inline std::shared_ptr<const EntitySchema> EveryType() { return MakeSchema("every", kEveryType); }

}  // namespace sluice::schemas::testing
