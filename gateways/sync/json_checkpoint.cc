#include "gateways/sync/json_checkpoint.h"

#include <fmt/format.h>

#include <iterator>
#include <span>
#include <utility>

namespace sluice::gateways {
namespace {

std::span<const projectors::CallerEntity> EntitiesOf(
    const std::shared_ptr<const CallerColumns>& columns) {
  return columns != nullptr ? std::span(columns->entities)
                            : std::span<const projectors::CallerEntity>();
}

}  // namespace

JsonCheckpoint::JsonCheckpoint(const JsonFrames& frames, Checkpoint content)
    : frames_(frames), content_(std::move(content)), columns_(EntitiesOf(content_.columns)) {}

bool JsonCheckpoint::Write(size_t bytes, std::string* out) {
  const auto to = std::back_inserter(*out);
  while (next_ != Next::kNothing && out->size() < bytes) {
    const std::string_view comma = at_ == 0 ? "" : ",";
    if (next_ == Next::kHead) {
      frames_.Begin("checkpoint", out);
      AppendJsonOffset("position", content_.position, out);
      fmt::format_to(to, R"(,"history":"{}","buckets":[)", content_.history);
      Go(Next::kBucket);
    } else if (next_ == Next::kBucket && at_ == content_.buckets.size()) {
      *out += R"(],"removed":[)";
      Go(Next::kRemoved);
    } else if (next_ == Next::kBucket) {
      const BucketSummary& bucket = content_.buckets[at_++];
      fmt::format_to(to, R"({}{{"bucket":"{}","count":"{}","checksum":"{:016x}"}})", comma,
                     bucket.id, bucket.count, bucket.checksum);
    } else if (next_ == Next::kRemoved && at_ == content_.removed.size()) {
      *out += content_.columns != nullptr ? R"(],"entities":)" : "]";
      Go(content_.columns != nullptr ? Next::kColumns : Next::kEnd);
    } else if (next_ == Next::kRemoved) {
      fmt::format_to(to, R"({}"{}")", comma, content_.removed[at_++]);
    } else if (next_ == Next::kColumns) {
      Go(columns_.Write(bytes, out) ? Next::kEnd : Next::kColumns);
    } else if (next_ == Next::kEnd) {
      frames_.End(out);
      Go(Next::kReset);
    } else if (at_ < content_.resets.size()) {
      frames_.Reset(content_.resets[at_++], out);
    } else {
      Go(Next::kNothing);
    }
  }
  return next_ == Next::kNothing;
}

}  // namespace sluice::gateways
