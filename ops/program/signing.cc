#include "ops/program/signing.h"

#include <fmt/format.h>

#include "gateways/auth/dev_key.h"
#include "schemas/base/clock.h"
#include "schemas/base/status.h"

namespace sluice::ops {

absl::StatusOr<std::string> SignWithKeyFile(const std::string& path,
                                            const gateways::TokenSpec& spec) {
  ASSIGN_OR_RETURN(const std::string jwk, gateways::ReadPrivateJwk(path));
  return gateways::SignToken(spec, jwk, RealClock().Now());
}

absl::StatusOr<std::string> SignWithDevelopmentKey(const std::string& data_dir,
                                                   const gateways::TokenSpec& spec) {
  const auto jwk = gateways::ReadPrivateJwk(data_dir + "/" + gateways::kDevKeyFile);
  if (!jwk.ok()) {
    return Annotate(
        jwk.status(),
        fmt::format("no development key in {} (name the server's with --data-dir)", data_dir));
  }
  return gateways::SignToken(spec, *jwk, RealClock().Now());
}

}  // namespace sluice::ops
