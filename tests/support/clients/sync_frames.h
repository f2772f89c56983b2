#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// The sync protocol's frames as a server writes them (gateways/docs/api.md, section 3.2), and what
// they make of a client, worked out without the client's code.
namespace sluice::testing {

// The rows that a bucket holds: (entity, key) -> position.
using BucketRows = std::map<std::pair<std::string, std::string>, std::string>;
using Buckets = std::map<std::string, BucketRows>;

[[nodiscard]] uint64_t ChecksumOf(const BucketRows& rows);

// `row` is a JSON object.
[[nodiscard]] std::string PutOp(std::string_view entity, std::string_view key,
                                std::string_view position, std::string_view row);
[[nodiscard]] std::string RemoveOp(std::string_view entity, std::string_view key,
                                   std::string_view position);

// `more`: further members, such as R"("history":"h1")".
[[nodiscard]] std::string CheckpointFrame(int64_t position, const Buckets& buckets,
                                          const std::vector<std::string>& removed = {},
                                          std::string_view more = {});
[[nodiscard]] std::string OpsFrame(std::string_view bucket, int64_t from, int64_t to,
                                   const std::vector<std::string>& ops);
[[nodiscard]] std::string ResetFrame(std::string_view bucket);
[[nodiscard]] std::string CompleteFrame(int64_t position);

}  // namespace sluice::testing
