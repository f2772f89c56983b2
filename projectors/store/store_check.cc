#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "projectors/model/sync_rules.h"
#include "projectors/store/content_digest.h"
#include "projectors/store/rocks_snapshot.h"
#include "schemas/base/collect.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

// Deltas that are compared with their records together, and how many bytes of either.
constexpr size_t kDeltasPerLookup = 1024;
constexpr size_t kLookupBytes = size_t{8} << 20;

template <typename... Args>
absl::Status Differs(fmt::format_string<Args...> what, Args&&... args) {
  return Error(StatusCode::kDataLoss, "store_inconsistent",
               fmt::vformat(what, fmt::make_format_args(args...)));
}

DeltaOp Copy(const DeltaView& view) {
  return DeltaOp{view.put,     view.entity,  std::string(view.key), std::string(view.row),
                 view.entered, view.returned};
}

// Checks a store against itself: see StoreInspector::Verify.
class Verifier {
 public:
  explicit Verifier(const RocksSnapshot& snapshot)
      : snapshot_(snapshot), reader_(snapshot.reader()) {
    for (const auto& [name, schema] : snapshot.model()->entities()) {
      names_[schema->id()] = name;
    }
  }

  absl::Status Run() {
    RETURN_IF_ERROR(CheckRecords());
    RETURN_IF_ERROR(CheckPlaces());
    RETURN_IF_ERROR(CheckDeltas());
    RETURN_IF_ERROR(CheckBuckets());
    return CheckRelations();
  }

 private:
  struct Pending {
    BucketKey bucket;
    Position position;
    DeltaOp op;
  };

  bool Expired(bool live, Position position) const {
    return !live && position.offset <= snapshot_.applied().horizon;
  }

  absl::Status CheckRecords() {
    uint64_t live = 0;
    RETURN_IF_ERROR(reader_.ForEachRecord([&](const RecordKey& key, const Record& record) {
      live += record.deleted ? 0 : 1;
      for (const Membership& membership : record.memberships) {
        if (record.deleted && membership.member) {
          return Differs("deleted record {} \"{}\" is a member of bucket {}", key.entity.value(),
                         key.key, membership.bucket.ToHex());
        }
        memberships_ += Expired(membership.member, membership.position) ? 0 : 1;
      }
      AddRelations(key, record);
      return absl::OkStatus();
    }));
    if (live != snapshot_.applied().records) {
      return Differs("{} live records, but {} are counted", live, snapshot_.applied().records);
    }
    return absl::OkStatus();
  }

  // What a record has apart was counted and read with it: nothing but that may be there.
  absl::Status CheckPlaces() {
    std::optional<RecordKey> seen;
    return reader_.ForEachPlace([&](const RecordKey& key) {
      if (seen == key) {
        return absl::OkStatus();
      }
      seen = key;
      ASSIGN_OR_RETURN(const auto records, reader_.GetRecords({&key, 1}, SIZE_MAX));
      return records[0].has_value() && records[0]->apart
                 ? absl::OkStatus()
                 : Differs("record {} \"{}\" has none apart, but there are", key.entity.value(),
                           key.key);
    });
  }

  // A number for one thing that must be there so many times: sums of them are equal where the
  // things are, up to chance.
  static uint64_t Term(std::string_view what, uint64_t a, uint64_t b, std::string_view text,
                       std::string_view more = "") {
    const std::string bytes = fmt::format("{} {} {} {}:{} {}", what, a, b, text.size(), text, more);
    return XXH3_64bits(bytes.data(), bytes.size());
  }
  static uint64_t LinkTerm(const Link& link) {
    return Term("link", link.entity.value(), link.attribute.value(), link.value, link.child);
  }

  // What the row makes necessary in the index of references and as support of others, and what it
  // has of support itself.
  void AddRelations(const RecordKey& key, const Record& record) {
    for (const Support& support : record.support) {
      relations_ -= support.count * Term("support", support.rule, key.entity.value(), key.key,
                                         support.source.ToHex());
    }
    const RuleSet::Entity* rules = snapshot_.model()->rules().Find(key.entity);
    if (record.deleted || rules == nullptr) {
      return;
    }
    for (const AttributeId attribute : rules->links) {
      const std::string value = ReferencedKey(*rules->schema, attribute, record.row);
      relations_ += value.empty() ? 0 : LinkTerm({key.entity, attribute, value, key.key});
    }
    for (const SyncRule* feed : rules->feeds) {
      const std::string target =
          feed->down ? "" : ReferencedKey(*rules->schema, feed->attribute, record.row);
      for (const Membership& m : record.memberships) {
        if (!target.empty() && m.member && m.rule == feed->source) {
          relations_ +=
              Term("support", feed->number, feed->entity.value(), target, m.bucket.ToHex());
        }
      }
    }
  }

  absl::Status CheckRelations() {
    RETURN_IF_ERROR(reader_.ForEachLink([&](const Link& link) {
      relations_ -= LinkTerm(link);
      return absl::OkStatus();
    }));
    return relations_ == 0 ? absl::OkStatus()
                           : Differs(
                                 "the index of references, or the support that rows give one "
                                 "another, is not what the rows say");
  }

  absl::Status CheckDeltas() {
    std::vector<Pending> pending;
    size_t bytes = 0;
    RETURN_IF_ERROR(reader_.ForEachDelta([&](BucketKey bucket, const DeltaView& view) {
      if (!Expired(view.put, view.position)) {
        pending.push_back({bucket, view.position, Copy(view)});
        bytes += view.row.size();
      }
      if (pending.size() < kDeltasPerLookup && bytes < kLookupBytes) {
        return absl::OkStatus();
      }
      bytes = 0;
      return CheckPending(&pending);
    }));
    RETURN_IF_ERROR(CheckPending(&pending));
    // Each delta has its membership, so equal numbers mean that each membership has its delta.
    if (deltas_ != memberships_) {
      return Differs("{} operations in buckets, but records name {}", deltas_, memberships_);
    }
    return absl::OkStatus();
  }

  absl::Status CheckPending(std::vector<Pending>* pending) {
    const std::vector<RecordKey> keys = Collect(*pending, [](const Pending& delta) {
      return RecordKey{delta.op.entity, delta.op.key};
    });
    for (size_t begin = 0; begin < keys.size();) {
      ASSIGN_OR_RETURN(auto records,
                       reader_.GetRecords(std::span(keys).subspan(begin), kLookupBytes));
      for (std::optional<Record>& record : records) {
        const Pending& delta = (*pending)[begin];
        if (record.has_value() && record->apart) {
          ASSIGN_OR_RETURN(auto membership, reader_.GetMembership(keys[begin], delta.bucket));
          if (membership.has_value()) {
            record->memberships.push_back(*std::move(membership));
          }
        }
        RETURN_IF_ERROR(CheckDelta(delta, record));
        ++begin;
      }
    }
    pending->clear();
    return absl::OkStatus();
  }

  absl::Status CheckDelta(const Pending& delta, const std::optional<Record>& record) {
    const std::string what = fmt::format(
        "bucket {} at {}: {} of entity {} \"{}\"", delta.bucket.ToHex(), delta.position.ToString(),
        delta.op.put ? "put" : "remove", delta.op.entity.value(), delta.op.key);
    if (!record.has_value()) {
      return Differs("{} has no record", what);
    }
    const auto is_delta = [&](const Membership& m) {
      return m.bucket == delta.bucket && m.position == delta.position && m.member == delta.op.put &&
             m.first_entered() == delta.op.entered && m.earlier.empty() != delta.op.returned;
    };
    if (std::ranges::none_of(record->memberships, is_delta)) {
      return Differs("{} is not among its record's memberships", what);
    }
    if (delta.op.put && delta.op.row != record->row) {
      return Differs("{} holds another row than its record", what);
    }
    deltas_ += 1;
    if (delta.op.put) {
      const auto name = names_.find(delta.op.entity);
      if (name == names_.end()) {
        return Differs("{} is of an entity that there is not", what);
      }
      BucketState& sum = sums_[delta.bucket];
      sum.count += 1;
      sum.checksum += RowChecksum(name->second, delta.op.key, delta.position);
    }
    return absl::OkStatus();
  }

  absl::Status CheckBuckets() {
    RETURN_IF_ERROR(reader_.ForEachBucket([&](BucketKey bucket, const BucketState& state) {
      if (!IsKeptName(bucket, state.name)) {
        return Differs("bucket {} is named {}, which is another bucket's name", bucket.ToHex(),
                       state.name);
      }
      const auto node = sums_.extract(bucket);
      const BucketState sum = node.empty() ? BucketState{} : node.mapped();
      if (sum.count != state.count || sum.checksum != state.checksum) {
        return Differs(
            "bucket {} holds {} rows with checksum {:016x}, but its state says {} and {:016x}",
            bucket.ToHex(), sum.count, sum.checksum, state.count, state.checksum);
      }
      return absl::OkStatus();
    }));
    return sums_.empty() ? absl::OkStatus()
                         : Differs("bucket {} has rows but no state", sums_.begin()->first.ToHex());
  }

  const RocksSnapshot& snapshot_;
  RocksReader reader_;
  std::map<EntityId, std::string> names_;
  std::map<BucketKey, BucketState> sums_;
  uint64_t relations_ = 0;  // 0 where what is needed and what is there are the same
  uint64_t memberships_ = 0;
  uint64_t deltas_ = 0;
};

}  // namespace

absl::Status VerifySnapshot(const RocksSnapshot& snapshot) { return Verifier(snapshot).Run(); }

absl::StatusOr<std::string> DigestSnapshot(const RocksSnapshot& snapshot, int64_t dedup_window) {
  RocksReader reader = snapshot.reader();
  ContentDigest digest(dedup_window);
  digest.Applied(snapshot.applied());
  digest.Model(snapshot.model()->Serialize());
  RETURN_IF_ERROR(reader.ForEachRecord([&](const RecordKey& key, const Record& record) {
    digest.AddRecord(key, record);
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(reader.ForEachDelta([&](BucketKey bucket, const DeltaView& view) {
    digest.AddDelta(bucket, view.position, Copy(view));
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(reader.ForEachBucket([&](BucketKey bucket, const BucketState& state) {
    digest.AddBucket(bucket, state);
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(reader.ForEachChangeSet([&](std::string_view key, const AppliedSet& set) {
    digest.AddChangeSet(key, set);
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(
      reader.ForEachSource([&](const SourceStream& stream, const v1::SourceState& state) {
        digest.AddSource(stream, state);
        return absl::OkStatus();
      }));
  return digest.Hex();
}

}  // namespace sluice::projectors
