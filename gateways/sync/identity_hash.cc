#include "gateways/sync/identity_hash.h"

#include <openssl/sha.h>

#include <algorithm>

namespace sluice::gateways {

IdentityHash HashIdentity(std::string_view text) {
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  IdentityHash hash;
  std::copy_n(digest.begin(), hash.size(), hash.begin());
  return hash;
}

}  // namespace sluice::gateways
