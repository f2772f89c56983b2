#include "projectors/store/content_digest.h"

#include <fmt/format.h>

#define XXH_STATIC_LINKING_ONLY  // for the state on the stack
#include <xxhash.h>

#include "projectors/model/sync_rules.h"
#include "projectors/store/record_codec.h"
#include "schemas/base/byte_codec.h"

namespace sluice::projectors {

struct ContentDigest::State {
  XXH3_state_t hash;
};

ContentDigest::ContentDigest(int64_t dedup_window)
    : dedup_window_(dedup_window), state_(std::make_unique<State>()) {
  XXH3_128bits_reset(&state_->hash);
}

ContentDigest::~ContentDigest() = default;

void ContentDigest::Add(char kind, std::string_view key, std::string_view value) {
  std::string head(1, kind);
  PutVarint(key.size(), &head);
  PutVarint(value.size(), &head);
  XXH3_128bits_update(&state_->hash, head.data(), head.size());
  XXH3_128bits_update(&state_->hash, key.data(), key.size());
  XXH3_128bits_update(&state_->hash, value.data(), value.size());
}

void ContentDigest::Applied(const AppliedState& applied) {
  applied_ = applied;
  Add('a', "", EncodeApplied(applied));
}

void ContentDigest::Model(std::string_view serialized) { Add('m', "", serialized); }

void ContentDigest::AddRecord(const RecordKey& key, const Record& record) {
  Record live = record;
  std::erase_if(live.memberships, [&](const Membership& m) {
    return !m.member && m.position.offset <= applied_.horizon;
  });
  for (Membership& membership : live.memberships) {
    ForgetStays(applied_.horizon, &membership);
  }
  if (live.deleted && !live.version.has_value() && live.memberships.empty()) {
    if (live.support.empty()) {
      return;  // it remembers nothing that counts any more
    }
    live.last = Position();
  }
  Add('r', EncodeRecordKey(key.entity, key.key), EncodeRecord(live));
}

void ContentDigest::AddDelta(BucketKey bucket, Position position, const DeltaOp& op) {
  if (op.put || position.offset > applied_.horizon) {
    Add('d', EncodeDeltaKey(bucket, position), EncodeDelta(op, position));
  }
}

void ContentDigest::AddBucket(BucketKey bucket, const BucketState& state) {
  const bool passed = state.changed <= applied_.horizon;
  if (state.count != 0 || state.checksum != 0 || !passed) {
    BucketState known = state;
    known.changed = passed ? kNoOffset : state.changed;
    known.name = KeptName(bucket, state.name);  // an earlier program kept all of it
    Add('b', EncodeBucketKey(bucket), EncodeBucket(known));
  }
}

void ContentDigest::AddChangeSet(std::string_view key, const AppliedSet& set) {
  if (applied_.events - set.ordinal <= static_cast<uint64_t>(dedup_window_)) {
    Add('c', key, EncodeChangeSet(set));
  }
}

void ContentDigest::AddSource(const SourceStream& stream, const v1::SourceState& state) {
  Add('s', EncodeSourceKey(stream), EncodeSourceState(state));
}

std::string ContentDigest::Hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(&state_->hash);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace sluice::projectors
