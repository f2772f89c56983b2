#include "gateways/sync/identity_hash.h"

#include <algorithm>

#include "schemas/base/sha256.h"

namespace sluice::gateways {

IdentityHash HashIdentity(std::string_view text) {
  const Sha256Digest digest = Sha256(text);
  IdentityHash hash;
  std::copy_n(digest.begin(), hash.size(), hash.begin());
  return hash;
}

}  // namespace sluice::gateways
