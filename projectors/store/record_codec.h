#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "projectors/fold/fold.h"
#include "projectors/fold/record.h"
#include "projectors/model/source_chain.h"
#include "projectors/store/org_snapshot.h"

// The bytes of a staging store's keys and values, described with a worked example in
// projectors/docs/store-format.md. All functions are pure. Decoding checks everything: kDataLoss,
// code "store_corrupt", for bytes that the encoder cannot have written.
namespace sluice::projectors {

// The version of these formats; a store of a newer one is refused, and one of an older one than the
// oldest that is read is built anew. Format 4 is 5 without the states of sources.
inline constexpr uint32_t kStoreFormat = 5;
inline constexpr uint32_t kStoreFormatOldest = 4;

// Column family `records`: entity u32 | key.
[[nodiscard]] std::string EncodeRecordKey(EntityId entity, std::string_view key);
[[nodiscard]] absl::StatusOr<RecordKey> DecodeRecordKey(std::string_view bytes);
[[nodiscard]] std::string EncodeRecord(const Record& record);
[[nodiscard]] absl::StatusOr<Record> DecodeRecord(std::string_view bytes);

// Column family `deltas`: bucket 16 bytes | offset u64 | index u32.
[[nodiscard]] std::string EncodeDeltaKey(BucketKey bucket, Position position);
struct DeltaKey {
  BucketKey bucket;
  Position position;
};
[[nodiscard]] absl::StatusOr<DeltaKey> DecodeDeltaKey(std::string_view bytes);
[[nodiscard]] std::string EncodeDelta(const DeltaOp& op, Position position);
// Fills all of `view` but the position, which must be there; the views point into `bytes`.
[[nodiscard]] absl::Status DecodeDelta(std::string_view bytes, DeltaView* view);

// Column family `changesets`: source 0x00 id -> offset, ordinal.
[[nodiscard]] std::string EncodeChangeSet(const AppliedSet& set);
[[nodiscard]] absl::StatusOr<AppliedSet> DecodeChangeSet(std::string_view bytes);

// Column family `links`: 'l' entity u32 | attribute u32 | value text | child key, without a value;
// and while a large event is applied 'w' round u8 | item.
[[nodiscard]] std::string EncodeLinkPrefix(EntityId entity, AttributeId attribute);
// What all links of one value begin with.
[[nodiscard]] std::string EncodeLinkPrefix(EntityId entity, AttributeId attribute,
                                           std::string_view value);
[[nodiscard]] std::string EncodeLink(const Link& link);
[[nodiscard]] absl::StatusOr<Link> DecodeLink(std::string_view bytes);
inline constexpr std::string_view kLinkPrefix = "l";
inline constexpr std::string_view kWorkPrefix = "w";
[[nodiscard]] std::string EncodeWork(uint32_t round, std::string_view item);

// Column family `default`.
inline constexpr std::string_view kAppliedKey = "applied";
inline constexpr std::string_view kIdentityKey = "identity";
inline constexpr std::string_view kModelKey = "model";
inline constexpr std::string_view kBucketPrefix = "b/";    // bucket 16 bytes
inline constexpr std::string_view kHistoryPrefix = "h/";   // offset u64 of a commit's last event
inline constexpr std::string_view kRejectedPrefix = "r/";  // offset u64 | op index u32
inline constexpr std::string_view kSourcePrefix = "s/";    // source 0x00 stream
[[nodiscard]] std::string EncodeBucketKey(BucketKey bucket);
[[nodiscard]] absl::StatusOr<BucketKey> DecodeBucketKey(std::string_view bytes);
[[nodiscard]] std::string EncodeBucket(const BucketState& state);
[[nodiscard]] absl::StatusOr<BucketState> DecodeBucket(std::string_view bytes);
[[nodiscard]] std::string EncodeApplied(const AppliedState& applied);
[[nodiscard]] absl::StatusOr<AppliedState> DecodeApplied(std::string_view bytes);
// The history after each event of one commit, ascending, not empty.
using HistoryEntries = std::vector<std::pair<Offset, uint64_t>>;
[[nodiscard]] std::string EncodeHistoryKey(Offset last);
[[nodiscard]] std::string EncodeHistory(const HistoryEntries& entries);
[[nodiscard]] absl::StatusOr<HistoryEntries> DecodeHistory(std::string_view key,
                                                           std::string_view value);
[[nodiscard]] std::string EncodeSourceKey(const SourceStream& stream);
[[nodiscard]] absl::StatusOr<SourceStream> DecodeSourceKey(std::string_view bytes);
[[nodiscard]] std::string EncodeSourceState(const v1::SourceState& state);
[[nodiscard]] absl::StatusOr<v1::SourceState> DecodeSourceState(std::string_view bytes);
[[nodiscard]] std::string EncodeRejectedKey(Offset offset, uint32_t op_index);
[[nodiscard]] std::string EncodeRejected(const Rejected& rejected);
[[nodiscard]] absl::StatusOr<Rejected> DecodeRejected(std::string_view key, std::string_view value);

// Whose store a folder is, so that a moved folder is noticed.
struct StoreIdentity {
  std::string log_id;
  std::string org;
  uint32_t incarnation = 0;
  uint32_t format = kStoreFormat;
  friend bool operator==(const StoreIdentity&, const StoreIdentity&) = default;
};
// With today's format, whatever `format` says.
[[nodiscard]] std::string EncodeIdentity(const StoreIdentity& identity);
// kFailedPrecondition, code "store_format_newer", for a newer format.
[[nodiscard]] absl::StatusOr<StoreIdentity> DecodeIdentity(std::string_view bytes);

// Node store.
struct PartitionCheckpoint {
  Offset next{0};              // reading starts here
  Offset applied = kNoOffset;  // the last event before it; kNoOffset where it is not known
  uint64_t event_hash = 0;     // eventlog::EventHash of that event
  ControlMark control;         // of the control events before it
  friend bool operator==(const PartitionCheckpoint&, const PartitionCheckpoint&) = default;
};
[[nodiscard]] std::string EncodeCheckpoint(const PartitionCheckpoint& checkpoint);
[[nodiscard]] absl::StatusOr<PartitionCheckpoint> DecodeCheckpoint(std::string_view bytes);

// The newest event of a partition by which a store was made or removed: both are remembered at
// once, whatever the checkpoint, and no store tells of them.
struct NotedEvent {
  Offset offset = kNoOffset;
  uint64_t event_hash = 0;
  friend bool operator==(const NotedEvent&, const NotedEvent&) = default;
};
[[nodiscard]] std::string EncodeNoted(const NotedEvent& noted);
[[nodiscard]] absl::StatusOr<NotedEvent> DecodeNoted(std::string_view bytes);

// A store that there should be.
struct OrgRegistration {
  uint32_t incarnation = 0;
  PartitionId partition;
  Offset opened;  // its OrgOpened: where a rebuild of this store alone has to start
  friend bool operator==(const OrgRegistration&, const OrgRegistration&) = default;
};
[[nodiscard]] std::string EncodeRegistration(const OrgRegistration& registration);
[[nodiscard]] absl::StatusOr<OrgRegistration> DecodeRegistration(std::string_view bytes);

// Up to where a store was on disk at a checkpoint: one that holds less has lost something.
[[nodiscard]] std::string EncodeFlushed(Offset offset);
[[nodiscard]] absl::StatusOr<Offset> DecodeFlushed(std::string_view bytes);

// An organisation's last OrgClosed: its events up to there belong to no store any more.
struct ClosedMark {
  uint32_t incarnation = 0;
  Offset offset = kNoOffset;
  friend bool operator==(const ClosedMark&, const ClosedMark&) = default;
};
[[nodiscard]] std::string EncodeClosedMark(const ClosedMark& mark);
[[nodiscard]] absl::StatusOr<ClosedMark> DecodeClosedMark(std::string_view bytes);

}  // namespace sluice::projectors
