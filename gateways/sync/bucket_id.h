#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "projectors/staging/org_model.h"

// What a bucket is to a client: the stored bucket, and the columns of it that the client sees.
namespace sluice::gateways {

// Names the columns that a caller does not see: XXH64 (seed 0) over their ids, each as 32 bits
// big-endian; 0 where none is denied.
[[nodiscard]] uint64_t ColumnsHash(std::span<const schemas::AttributeId> denied);

// The id of `bucket` in the stream protocol: base64url of the XXH3 (128 bits) over log id,
// incarnation, the bucket's name and its hidden columns. 22 characters, opaque to clients; it gives
// no rights, so guessing one is of no use.
[[nodiscard]] std::string BucketIdText(std::string_view log_id, uint32_t incarnation,
                                       const projectors::CallerBucket& bucket);

}  // namespace sluice::gateways
