#pragma once

#include "absl/status/status.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::schemas {

// Limits of a definition.
inline constexpr int kAttributesMax = 1'000;
inline constexpr size_t kDefinitionSizeMax = 1 << 20;  // bytes of JSON
inline constexpr int kDefinitionDepthMax = 8;          // arrays and objects within each other

// Whether a definition can be a schema at all: names, types, duplicates, key and ownership.
// kInvalidArgument, code "invalid_argument". Requests come from a log that others can write to, so
// this is asked again where they are sequenced.
[[nodiscard]] absl::Status ValidateDefinition(const v1::ProvisioningRequest::PutEntity& wanted);

}  // namespace sluice::schemas
