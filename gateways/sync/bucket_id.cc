#include "gateways/sync/bucket_id.h"

#include <fmt/format.h>

#include "gateways/sync/identity_hash.h"
#include "schemas/base/text_codec.h"

namespace sluice::gateways {

std::string BucketIdText(std::string_view log_id, uint32_t incarnation,
                         const projectors::CallerBucket& bucket) {
  // Lengths before the two free texts keep different inputs different.
  const IdentityHash hash =
      HashIdentity(fmt::format("{}:{}|{}|{}:{}|{:016x}", log_id.size(), log_id, incarnation,
                               bucket.bucket.name.size(), bucket.bucket.name, bucket.columns));
  return EncodeBase64Url(BytesOf(hash));
}

}  // namespace sluice::gateways
