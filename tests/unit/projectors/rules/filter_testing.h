#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "projectors/rules/filter.h"
#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "tests/support/schemas/test_schema.h"

namespace sluice::projectors::testing {

using schemas::testing::ValueOrDie;

// Every type, some twice. Named as the canonical text names them, so that it can be parsed again.
inline const EntitySchema& FilterSchema() {
  static const auto* const schema = new std::shared_ptr<const EntitySchema>(
      schemas::testing::MakeSchema("thing", R"({"primary_key":"a1","attributes":[
        {"name":"a1","type":"string"},   {"name":"a2","type":"int32"},
        {"name":"a3","type":"int64"},    {"name":"a4","type":"double"},
        {"name":"a5","type":"decimal"},  {"name":"a6","type":"bool"},
        {"name":"a7","type":"datetime"}, {"name":"a8","type":"uuid"},
        {"name":"a9","type":"bytes"},    {"name":"a10","type":"string"},
        {"name":"a11","type":"bool"},    {"name":"a12","type":"double"},
        {"name":"a13","type":"datetime"},{"name":"a14","type":"uuid"},
        {"name":"a15","type":"bytes"},   {"name":"a16","type":"decimal"},
        {"name":"a17","type":"date"},    {"name":"a18","type":"time"},
        {"name":"a19","type":"date"},    {"name":"a20","type":"time"}]})"));
  return **schema;
}

inline std::shared_ptr<const Filter> MustParse(std::string_view where) {
  return ValueOrDie(Filter::Parse(where, FilterSchema()));
}

// The canonical texts of the alternatives.
inline std::vector<std::string> CanonicalOf(std::string_view where) {
  std::vector<std::string> texts;
  const auto filter = MustParse(where);
  for (const FilterAlternative& alternative : filter->alternatives()) {
    texts.push_back(alternative.canonical);
  }
  return texts;
}

inline std::string RowOf(std::string_view json) {
  schemas::RowEncoder encoder;
  return ValueOrDie(encoder.Encode(FilterSchema(), json)).bytes;
}

}  // namespace sluice::projectors::testing
