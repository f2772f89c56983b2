#include "gateways/sync/bucket_id.h"

#include <absl/strings/escaping.h>
#include <fmt/format.h>
#include <xxhash.h>

namespace sluice::gateways {

uint64_t ColumnsHash(std::span<const schemas::AttributeId> denied) {
  if (denied.empty()) {
    return 0;
  }
  std::string bytes;
  for (const schemas::AttributeId id : denied) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      bytes.push_back(static_cast<char>(id.value() >> shift));
    }
  }
  return XXH64(bytes.data(), bytes.size(), 0);
}

std::string BucketIdText(std::string_view log_id, uint32_t incarnation,
                         const projectors::CallerBucket& bucket) {
  // Lengths before the two free texts keep different inputs different.
  const std::string input =
      fmt::format("{}:{}|{}|{}:{}|{:016x}", log_id.size(), log_id, incarnation,
                  bucket.bucket.name.size(), bucket.bucket.name, ColumnsHash(bucket.denied));
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, XXH3_128bits(input.data(), input.size()));
  return absl::WebSafeBase64Escape(
      absl::string_view(reinterpret_cast<const char*>(bytes.digest), sizeof(bytes.digest)));
}

}  // namespace sluice::gateways
