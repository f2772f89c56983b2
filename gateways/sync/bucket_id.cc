#include "gateways/sync/bucket_id.h"

#include <absl/strings/escaping.h>
#include <fmt/format.h>

#include "gateways/sync/identity_hash.h"

namespace sluice::gateways {

std::string BucketIdText(std::string_view log_id, uint32_t incarnation,
                         const projectors::CallerBucket& bucket) {
  // Lengths before the two free texts keep different inputs different.
  const IdentityHash hash =
      HashIdentity(fmt::format("{}:{}|{}|{}:{}|{:016x}", log_id.size(), log_id, incarnation,
                               bucket.bucket.name.size(), bucket.bucket.name, bucket.columns));
  const std::string_view bytes = BytesOf(hash);
  return absl::WebSafeBase64Escape(absl::string_view(bytes.data(), bytes.size()));
}

}  // namespace sluice::gateways
