#include <cstdint>
#include <cstdlib>

#include "schemas/base/status.h"
#include "schemas/entity_schema.h"

// Any bytes as a definition: refused, or a schema whose own JSON gives the same schema again.

namespace {

using namespace sluice::schemas;

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto wanted = ParseEntityDefinition("e", {reinterpret_cast<const char*>(data), size});
  if (!wanted.ok()) {
    return 0;
  }
  const auto schema = EvolveSchema(nullptr, *wanted, EntityId(1));
  if (!schema.ok()) {
    return 0;
  }
  Require(EntitySchema::FromProto(*schema).ok());
  Require(!EntitySchemaToProtoFile(*schema, "p").empty());
  const auto again = ParseEntityDefinition("e", EntitySchemaToJson(*schema));
  Require(again.ok());
  const auto same = EvolveSchema(&*schema, *again, EntityId(2));
  Require(same.ok() && same->SerializeAsString() == schema->SerializeAsString());
  return 0;
}
