#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "projectors/model/org_model.h"

// What a bucket is to a client: the stored bucket, and the columns of it that the client sees.
namespace sluice::gateways {

// The id of `bucket` in the stream protocol: base64url of the first 128 bits of the SHA-256 over
// log id, incarnation, the bucket's name and its columns. 22 characters, opaque to clients; it
// gives no rights, so guessing one is of no use, and nobody can choose values that give two buckets
// one id.
[[nodiscard]] std::string BucketIdText(std::string_view log_id, uint32_t incarnation,
                                       const projectors::CallerBucket& bucket);

}  // namespace sluice::gateways
