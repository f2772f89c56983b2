#include "tests/support/clients/sync_frames.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

namespace sluice::testing {

uint64_t ChecksumOf(const BucketRows& rows) {
  uint64_t sum = 0;
  for (const auto& [identity, position] : rows) {
    const std::string text =
        fmt::format("{}{}{}{}{}", identity.first, '\0', identity.second, '\0', position);
    sum += XXH64(text.data(), text.size(), 0);
  }
  return sum;
}

std::string PutOp(std::string_view entity, std::string_view key, std::string_view position,
                  std::string_view row) {
  return fmt::format(R"({{"op":"put","entity":"{}","key":"{}","position":"{}","row":{}}})", entity,
                     key, position, row);
}

std::string RemoveOp(std::string_view entity, std::string_view key, std::string_view position) {
  return fmt::format(R"({{"op":"remove","entity":"{}","key":"{}","position":"{}"}})", entity, key,
                     position);
}

std::string CheckpointFrame(int64_t position, const Buckets& buckets,
                            const std::vector<std::string>& removed, std::string_view more) {
  std::vector<std::string> list;
  for (const auto& [name, rows] : buckets) {
    list.push_back(fmt::format(R"({{"bucket":"{}","count":"{}","checksum":"{:016x}"}})", name,
                               rows.size(), ChecksumOf(rows)));
  }
  std::vector<std::string> gone;
  for (const std::string& name : removed) {
    gone.push_back('"' + name + '"');
  }
  return fmt::format(R"({{"checkpoint":{{"position":"{}","buckets":[{}],"removed":[{}]{}{}}}}})"
                     "\n",
                     position, fmt::join(list, ","), fmt::join(gone, ","), more.empty() ? "" : ",",
                     more);
}

std::string OpsFrame(std::string_view bucket, int64_t from, int64_t to,
                     const std::vector<std::string>& ops) {
  return fmt::format(R"({{"ops":{{"bucket":"{}","from":"{}","to":"{}","ops":[{}]}}}})"
                     "\n",
                     bucket, from, to, fmt::join(ops, ","));
}

std::string ResetFrame(std::string_view bucket) {
  return fmt::format("{{\"reset\":{{\"bucket\":\"{}\"}}}}\n", bucket);
}

std::string CompleteFrame(int64_t position) {
  return fmt::format("{{\"checkpoint_complete\":{{\"position\":\"{}\"}}}}\n", position);
}

}  // namespace sluice::testing
