#include "gateways/sync/bucket_id.h"

#include <absl/strings/escaping.h>
#include <fmt/format.h>
#include <xxhash.h>

namespace sluice::gateways {

std::string BucketIdText(std::string_view log_id, uint32_t incarnation,
                         const projectors::CallerBucket& bucket) {
  // Lengths before the two free texts keep different inputs different.
  const std::string input =
      fmt::format("{}:{}|{}|{}:{}|{:016x}", log_id.size(), log_id, incarnation,
                  bucket.bucket.name.size(), bucket.bucket.name, bucket.columns);
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, XXH3_128bits(input.data(), input.size()));
  return absl::WebSafeBase64Escape(
      absl::string_view(reinterpret_cast<const char*>(bytes.digest), sizeof(bytes.digest)));
}

}  // namespace sluice::gateways
