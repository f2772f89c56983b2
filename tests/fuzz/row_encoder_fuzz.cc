#include <cstdint>
#include <cstdlib>
#include <string>

#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "tests/support/schemas/test_schema.h"

// Any bytes as a row's JSON: refused with one of the documented codes, or encoded to a row that is
// valid and comes back the same from its own JSON.

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
  const auto row = encoder->Encode(every, {reinterpret_cast<const char*>(data), size});
  if (!row.ok()) {
    const std::string code = sluice::ErrorCode(row.status());
    Require(code == "invalid_json" || code == "unknown_attribute" || code == "type_mismatch" ||
            code == "invalid_key");
    return 0;
  }
  Require(ValidateRow(every, row->bytes).ok());
  std::string json;
  Require(AppendRowJson(every, row->bytes, {}, &json).ok());
  const auto again = encoder->Encode(every, json);
  Require(again.ok() && again->bytes == row->bytes && again->key == row->key);
  return 0;
}
