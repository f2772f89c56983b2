#pragma once

#include <memory>

#include "gateways/secrets/sealing_key.h"

namespace sluice::gateways {

// A key that this process holds, by OpenSSL. `key` is of kSealingKeyBytes (else kInvalidArgument).
[[nodiscard]] absl::StatusOr<std::unique_ptr<SealingKey>> MakeMemoryKey(SecretText key);

}  // namespace sluice::gateways
