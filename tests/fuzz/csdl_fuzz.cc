// Any bytes as a service's metadata: an error, or entities whose definitions are valid and whose
// keys are columns. A first byte '{' makes it CSDL JSON, everything else is XML, in two pieces.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "gateways/odata/csdl_json.h"
#include "gateways/odata/csdl_xml.h"
#include "gateways/odata/entity_mapper.h"
#include "gateways/odata/odata_row.h"
#include "schemas/entity_definition.h"

namespace {

using sluice::gateways::Csdl;

absl::StatusOr<Csdl> Read(std::string_view text) {
  if (text.starts_with('{')) {
    return sluice::gateways::ParseCsdlJson(text);
  }
  sluice::gateways::CsdlXmlReader reader;
  for (const std::string_view piece :
       {text.substr(0, text.size() / 2), text.substr(text.size() / 2)}) {
    if (absl::Status status = reader.Feed(piece); !status.ok()) {
      return status;
    }
  }
  return reader.Finish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto csdl = Read(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!csdl.ok()) {
    return 0;
  }
  for (const auto& entity : sluice::gateways::MapEntities(*csdl, {}).entities) {
    if (!sluice::schemas::ValidateDefinition(entity.definition).ok() || entity.key.empty() ||
        entity.key_is_composed != (entity.key.size() > 1)) {
      std::abort();
    }
    // What is defined by it is what its rows are read with.
    const auto schema =
        sluice::schemas::EvolveSchema(nullptr, entity.definition, sluice::schemas::EntityId(1));
    if (!schema.ok() || !sluice::gateways::ODataRowReader::Create(
                             entity, *sluice::schemas::EntitySchema::FromProto(*schema))
                             .ok()) {
      std::abort();
    }
  }
  return 0;
}
