#include "projectors/store/rocks_snapshot.h"

#include <fmt/format.h>
#include <rocksdb/db.h>

#include <algorithm>
#include <utility>

#include "projectors/store/place_codec.h"
#include "schemas/base/byte_codec.h"
#include "schemas/base/collect.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

// Point reads go in pieces: each value read pins its block in the cache until the piece is done.
constexpr size_t kMultiGetMax = 512;

std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

// The values of the first of `keys`, decoded, in their order: of all, unless these have more than
// `bytes_max` bytes together, and of one at least.
template <typename T, typename Decode>
absl::StatusOr<std::vector<std::optional<T>>> MultiGet(rocksdb::DB& db,
                                                       const rocksdb::ReadOptions& options,
                                                       rocksdb::ColumnFamilyHandle* family,
                                                       std::span<const std::string> keys,
                                                       const std::string& what, Decode decode,
                                                       size_t bytes_max = SIZE_MAX) {
  std::vector<std::optional<T>> found;
  found.reserve(keys.size());
  std::vector<rocksdb::Slice> slices;
  std::vector<rocksdb::PinnableSlice> values(std::min(keys.size(), kMultiGetMax));
  std::vector<rocksdb::Status> statuses(values.size());
  rocksdb::ReadOptions bounded = options;
  size_t piece = kMultiGetMax;
  for (size_t bytes = 0; found.size() < keys.size() && (found.empty() || bytes < bytes_max);) {
    const size_t begin = found.size();
    const size_t count = std::min(piece, keys.size() - begin);
    slices.assign(keys.begin() + begin, keys.begin() + begin + count);
    // Past it those that are left, in the order of their bytes, are refused.
    bounded.value_size_soft_limit = count == 1 ? SIZE_MAX : bytes_max - bytes;
    db.MultiGet(bounded, family, count, slices.data(), values.data(), statuses.data());
    for (size_t i = 0; i < count && piece > 1; ++i) {
      piece = statuses[i].IsAborted() ? 1 : piece;
    }
    for (size_t i = 0; i < count && !statuses[i].IsAborted(); ++i) {
      std::optional<T>& one = found.emplace_back();
      if (statuses[i].ok()) {
        auto value = decode(View(values[i]));
        if (!value.ok()) {
          return Annotate(value.status(), what);
        }
        bytes += values[i].size();
        one = *std::move(value);
      } else if (!statuses[i].IsNotFound()) {
        return FromRocks(statuses[i], what);
      }
    }
    std::ranges::for_each(values, [](rocksdb::PinnableSlice& value) { value.Reset(); });
  }
  return found;
}

}  // namespace

rocksdb::ReadOptions RocksReader::Options() const {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot_;
  return options;
}

std::string RocksReader::What(std::string_view family) const {
  return fmt::format("reading {} of store {}", family, db_.path());
}

absl::StatusOr<std::optional<std::string>> RocksReader::GetDefault(std::string_view key) const {
  std::string value;
  const rocksdb::Status status =
      db_.db().Get(Options(), db_.defaults(), rocksdb::Slice(key.data(), key.size()), &value);
  if (status.IsNotFound()) {
    return std::nullopt;
  }
  RETURN_IF_ERROR(FromRocks(status, What("state")));
  return value;
}

absl::StatusOr<std::vector<std::optional<Record>>> RocksReader::GetRecords(
    std::span<const RecordKey> keys, size_t bytes_max) {
  const auto encoded =
      Collect(keys, [](const RecordKey& key) { return EncodeRecordKey(key.entity, key.key); });
  return MultiGet<Record>(db_.db(), Options(), db_.records(), encoded, What("records"),
                          DecodeRecord, bytes_max);
}

absl::StatusOr<std::optional<Membership>> RocksReader::GetMembership(const RecordKey& key,
                                                                     BucketKey bucket) {
  ASSIGN_OR_RETURN(auto found, GetMemberships(key, {&bucket, 1}));
  return found.empty() ? std::nullopt : std::optional(std::move(found[0]));
}

absl::StatusOr<std::vector<Membership>> RocksReader::GetMemberships(
    const RecordKey& key, std::span<const BucketKey> buckets) const {
  const auto encoded =
      Collect(buckets, [&](BucketKey bucket) { return EncodeMembershipKey(key, bucket); });
  ASSIGN_OR_RETURN(auto found, MultiGet<Membership>(db_.db(), Options(), db_.places(), encoded,
                                                    What("memberships"), DecodeMembership));
  std::vector<Membership> memberships;
  for (std::optional<Membership>& membership : found) {
    if (membership.has_value()) {
      memberships.push_back(*std::move(membership));
    }
  }
  return memberships;
}

absl::Status RocksReader::ForEachPlace(
    absl::FunctionRef<absl::Status(const RecordKey&)> visit) const {
  return ForEach(Family::kPlaces, "", "", [&](std::string_view key, std::string_view) {
    ASSIGN_OR_RETURN(const RecordKey record_key, DecodePlaceKey(key));
    return visit(record_key);
  });
}

absl::StatusOr<uint64_t> RocksReader::GetSupport(const RecordKey& key, uint32_t rule,
                                                 BucketKey source) {
  const std::string encoded = EncodeSupportKey(key, rule, source);
  ASSIGN_OR_RETURN(const auto found,
                   MultiGet<Support>(db_.db(), Options(), db_.places(), {&encoded, 1},
                                     What("support"), DecodeSupport));
  return found[0].has_value() ? found[0]->count : 0;
}

template <typename T, typename Decode, typename KeyOf>
absl::Status RocksReader::ReadApart(const RecordKey& key, const std::string& prefix, Decode decode,
                                    KeyOf key_of, std::vector<T>* out) const {
  return ForEach(Family::kPlaces, prefix, PrefixEnd(prefix),
                 [&](std::string_view at, std::string_view value) {
                   ASSIGN_OR_RETURN(T one, decode(value));
                   if (at != key_of(one)) {
                     return Error(StatusCode::kDataLoss, "store_corrupt",
                                  "a row of `places` of record {} \"{}\" has another's key",
                                  key.entity.value(), key.key);
                   }
                   out->push_back(std::move(one));
                   return absl::OkStatus();
                 });
}

absl::Status RocksReader::Complete(const RecordKey& key, Record* record) {
  if (!record->apart) {
    return absl::OkStatus();
  }
  const uint64_t memberships = record->memberships_apart;
  const uint64_t support = record->support_apart;
  record->memberships.reserve(memberships);
  record->support.reserve(support);
  RETURN_IF_ERROR(ReadApart(
      key, EncodeMembershipPrefix(key), DecodeMembership,
      [&](const Membership& m) { return EncodeMembershipKey(key, m.bucket); },
      &record->memberships));
  RETURN_IF_ERROR(ReadApart(
      key, EncodeSupportPrefix(key), DecodeSupport,
      [&](const Support& s) { return EncodeSupportKey(key, s.rule, s.source); }, &record->support));
  if (record->memberships.size() != memberships || record->support.size() != support) {
    return Error(StatusCode::kDataLoss, "store_corrupt",
                 "record {} \"{}\" has {} memberships and {} support, but names {} and {}",
                 key.entity.value(), key.key, record->memberships.size(), record->support.size(),
                 memberships, support);
  }
  record->apart = false;
  record->memberships_apart = record->support_apart = 0;
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Record>> RocksReader::GetRecordIn(const RecordKey& key,
                                                               std::span<const BucketKey> buckets) {
  ASSIGN_OR_RETURN(auto records, GetRecords({&key, 1}, SIZE_MAX));
  std::optional<Record>& record = records[0];
  if (record.has_value() && record->apart) {
    if (buckets.size() >= record->memberships_apart) {
      RETURN_IF_ERROR(Complete(key, &*record));
    } else {
      ASSIGN_OR_RETURN(record->memberships, GetMemberships(key, buckets));
    }
  }
  return std::move(record);
}

absl::StatusOr<std::vector<std::optional<AppliedSet>>> RocksReader::GetChangeSets(
    std::span<const std::string> keys) {
  return MultiGet<AppliedSet>(db_.db(), Options(), db_.change_sets(), keys, What("change sets"),
                              DecodeChangeSet);
}

absl::StatusOr<std::vector<v1::SourceState>> RocksReader::GetSourceStates(
    std::span<const SourceStream> streams) {
  const auto encoded = Collect(streams, EncodeSourceKey);
  ASSIGN_OR_RETURN(auto found,
                   MultiGet<v1::SourceState>(db_.db(), Options(), db_.defaults(), encoded,
                                             What("sources"), DecodeSourceState));
  return Collect(found, [](std::optional<v1::SourceState>& state) {
    return std::move(state).value_or(v1::SourceState());
  });
}

absl::StatusOr<std::vector<std::optional<BucketState>>> RocksReader::GetBuckets(
    std::span<const BucketKey> keys) {
  const auto encoded = Collect(keys, EncodeBucketKey);
  return MultiGet<BucketState>(db_.db(), Options(), db_.defaults(), encoded, What("buckets"),
                               DecodeBucket);
}

absl::Status RocksReader::ForEach(
    Family family, const std::string& from, const std::string& until,
    absl::FunctionRef<absl::Status(std::string_view, std::string_view)> visit, size_t max,
    size_t bytes_max) const {
  rocksdb::ReadOptions options = Options();
  const rocksdb::Slice bound(until);
  if (!until.empty()) {
    options.iterate_upper_bound = &bound;
  }
  // Whole ranges are read once: they would only push out what is read often. Links are looked up.
  options.fill_cache = family == Family::kLinks || family == Family::kPlaces;
  options.total_order_seek = true;
  options.adaptive_readahead = true;
  const std::unique_ptr<rocksdb::Iterator> it(
      db_.db().NewIterator(options, db_.handles()[static_cast<size_t>(family)]));
  size_t bytes = 0;
  for (it->Seek(from); it->Valid() && max > 0 && bytes < bytes_max; it->Next(), --max) {
    bytes += it->value().size();
    RETURN_IF_ERROR(visit(View(it->key()), View(it->value())));
  }
  return FromRocks(it->status(), What("a range"));
}

absl::StatusOr<std::vector<std::pair<RecordKey, Record>>> RocksReader::ScanRecords(
    EntityId entity, std::string_view after, size_t max, size_t bytes_max) {
  std::string from = EncodeRecordKey(entity, after);
  if (!after.empty()) {
    from.push_back('\0');  // the key after
  }
  std::vector<std::pair<RecordKey, Record>> records;
  records.reserve(max);
  RETURN_IF_ERROR(ForEach(
      Family::kRecords, from, PrefixEnd(EncodeRecordKey(entity, "")),
      [&](std::string_view key, std::string_view value) {
        ASSIGN_OR_RETURN(RecordKey record_key, DecodeRecordKey(key));
        ASSIGN_OR_RETURN(Record record, DecodeRecord(value));
        records.emplace_back(std::move(record_key), std::move(record));
        return absl::OkStatus();
      },
      max, bytes_max));
  return records;
}

absl::StatusOr<std::vector<std::string>> RocksReader::ScanSuffixes(const std::string& prefix,
                                                                   const std::string& from,
                                                                   size_t max) const {
  std::vector<std::string> suffixes;
  RETURN_IF_ERROR(ForEach(
      Family::kLinks, from, PrefixEnd(prefix),
      [&](std::string_view key, std::string_view) {
        suffixes.emplace_back(key.substr(prefix.size()));
        return absl::OkStatus();
      },
      max));
  return suffixes;
}

absl::StatusOr<std::vector<std::string>> RocksReader::ScanLinks(EntityId entity,
                                                                AttributeId attribute,
                                                                std::string_view value,
                                                                std::string_view after,
                                                                size_t max) {
  const std::string prefix = EncodeLinkPrefix(entity, attribute, value);
  std::string from = prefix;
  if (!after.empty()) {
    from.append(after).push_back('\0');  // the key after
  }
  return ScanSuffixes(prefix, from, max);
}

absl::StatusOr<std::vector<std::string>> RocksReader::ScanWork(uint32_t round,
                                                               std::string_view from, size_t max) {
  return ScanSuffixes(EncodeWork(round, ""), EncodeWork(round, from), max);
}

absl::Status RocksReader::ForEachLink(absl::FunctionRef<absl::Status(const Link&)> visit) const {
  const std::string prefix(kLinkPrefix);
  return ForEach(Family::kLinks, prefix, PrefixEnd(prefix),
                 [&](std::string_view key, std::string_view) {
                   ASSIGN_OR_RETURN(const Link link, DecodeLink(key));
                   return visit(link);
                 });
}

absl::Status RocksReader::ForEachRecord(
    absl::FunctionRef<absl::Status(const RecordKey&, const Record&)> visit) {
  return ForEach(Family::kRecords, "", "", [&](std::string_view key, std::string_view value) {
    ASSIGN_OR_RETURN(const RecordKey record_key, DecodeRecordKey(key));
    ASSIGN_OR_RETURN(Record record, DecodeRecord(value));
    RETURN_IF_ERROR(Complete(record_key, &record));
    return visit(record_key, record);
  });
}

absl::Status RocksReader::ForEachDelta(
    absl::FunctionRef<absl::Status(BucketKey, const DeltaView&)> visit, const std::string& from,
    size_t max, size_t bytes_max) const {
  return ForEach(
      Family::kDeltas, from, "",
      [&](std::string_view key, std::string_view value) {
        ASSIGN_OR_RETURN(const DeltaKey delta_key, DecodeDeltaKey(key));
        DeltaView view;
        view.position = delta_key.position;
        RETURN_IF_ERROR(DecodeDelta(value, &view));
        return visit(delta_key.bucket, view);
      },
      max, bytes_max);
}

absl::Status RocksReader::ForEachBucket(
    absl::FunctionRef<absl::Status(BucketKey, const BucketState&)> visit) const {
  const std::string from(kBucketPrefix);
  const std::string until = PrefixEnd(from);
  return ForEach(Family::kDefault, from, until, [&](std::string_view key, std::string_view value) {
    ASSIGN_OR_RETURN(const BucketKey bucket, DecodeBucketKey(key));
    ASSIGN_OR_RETURN(const BucketState state, DecodeBucket(value));
    return visit(bucket, state);
  });
}

absl::Status RocksReader::ForEachChangeSet(
    absl::FunctionRef<absl::Status(std::string_view, const AppliedSet&)> visit) const {
  return ForEach(Family::kChangeSets, "", "", [&](std::string_view key, std::string_view value) {
    ASSIGN_OR_RETURN(const AppliedSet set, DecodeChangeSet(value));
    return visit(key, set);
  });
}

absl::Status RocksReader::ForEachSource(
    absl::FunctionRef<absl::Status(const SourceStream&, const v1::SourceState&)> visit) const {
  const std::string from(kSourcePrefix);
  const std::string until = PrefixEnd(from);
  return ForEach(Family::kDefault, from, until, [&](std::string_view key, std::string_view value) {
    ASSIGN_OR_RETURN(const SourceStream stream, DecodeSourceKey(key));
    ASSIGN_OR_RETURN(const v1::SourceState state, DecodeSourceState(value));
    return visit(stream, state);
  });
}

absl::StatusOr<std::vector<Rejected>> RocksReader::Rejections() const {
  const std::string from(kRejectedPrefix);
  const std::string until = PrefixEnd(from);
  std::vector<Rejected> rejections;
  RETURN_IF_ERROR(
      ForEach(Family::kDefault, from, until, [&](std::string_view key, std::string_view value) {
        ASSIGN_OR_RETURN(Rejected rejected, DecodeRejected(key, value));
        rejections.push_back(std::move(rejected));
        return absl::OkStatus();
      }));
  return rejections;
}

absl::StatusOr<std::optional<uint64_t>> RocksReader::GetHistory(Offset offset) const {
  std::optional<uint64_t> found;
  if (offset < Offset(0)) {
    return found;
  }
  // Commits are found by their last event.
  RETURN_IF_ERROR(ForEach(
      Family::kDefault, EncodeHistoryKey(offset), PrefixEnd(std::string(kHistoryPrefix)),
      [&](std::string_view key, std::string_view value) {
        ASSIGN_OR_RETURN(const HistoryEntries entries, DecodeHistory(key, value));
        for (const auto& [at, history] : entries) {
          if (at == offset) {
            found = history;
          }
        }
        return absl::OkStatus();
      },
      1));
  return found;
}

RocksSnapshot::RocksSnapshot(std::shared_ptr<OrgDb> db, AppliedState applied,
                             std::shared_ptr<const OrgModel> model)
    : db_(std::move(db)),
      snapshot_(db_->db().GetSnapshot()),
      applied_(applied),
      model_(std::move(model)) {
  db_->env().snapshots() += 1;
}

RocksSnapshot::~RocksSnapshot() {
  db_->db().ReleaseSnapshot(snapshot_);
  db_->env().snapshots() -= 1;
}

absl::StatusOr<BucketState> RocksSnapshot::Bucket(BucketKey bucket) const {
  const auto states = reader().GetBuckets({&bucket, 1});
  RETURN_IF_ERROR(db_->Note(states.status()));
  return (*states)[0].value_or(BucketState{});
}

absl::StatusOr<std::optional<Record>> RocksSnapshot::GetRecordIn(
    const RecordKey& key, std::span<const BucketKey> buckets) const {
  auto record = reader().GetRecordIn(key, buckets);
  RETURN_IF_ERROR(db_->Note(record.status()));
  return record;
}

absl::StatusOr<std::optional<uint64_t>> RocksSnapshot::HistoryAt(Offset offset) const {
  if (offset <= applied_.horizon) {
    return std::optional<uint64_t>();
  }
  auto history = reader().GetHistory(offset);
  RETURN_IF_ERROR(db_->Note(history.status()));
  return history;
}

}  // namespace sluice::projectors
