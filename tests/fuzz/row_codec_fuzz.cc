#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "tests/support/schemas/test_schema.h"

// Any bytes as a row: nothing crashes, and what ValidateRow() accepts is the one encoding of its
// JSON.

namespace {

using namespace sluice::schemas;

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const schema =
      new std::shared_ptr<const EntitySchema>(sluice::schemas::testing::EveryType());
  static auto* const encoder = new RowEncoder();
  const EntitySchema& every = **schema;
  const std::string_view row(reinterpret_cast<const char*>(data), size);
  const std::vector<AttributeId> some = {AttributeId(2), AttributeId(5), AttributeId(6)};

  std::string json = "x";
  const bool written = AppendRowJson(every, row, {}, &json).ok();
  Require(written || json == "x");
  const auto patched = PatchRow(row, row, some);
  const bool valid = ValidateRow(every, row).ok();
  for (const Attribute& attribute : every.attributes()) {
    const auto text = AttributeText(attribute, row);
    Require(!valid || text.ok());
  }
  if (!valid) {
    return 0;
  }
  Require(written);
  Require(patched.ok() && *patched == row);
  const auto again = encoder->Encode(every, std::string_view(json).substr(1));
  Require(again.ok() && again->bytes == row);
  return 0;
}
