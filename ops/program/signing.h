#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "gateways/auth/token_signer.h"

namespace sluice::ops {

// A token signed now with the development key that `sluice serve` made in `data_dir`.
[[nodiscard]] absl::StatusOr<std::string> SignWithDevelopmentKey(const std::string& data_dir,
                                                                 const gateways::TokenSpec& spec);

// A token signed now with the private JWK in `path`.
[[nodiscard]] absl::StatusOr<std::string> SignWithKeyFile(const std::string& path,
                                                          const gateways::TokenSpec& spec);

}  // namespace sluice::ops
