#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/sync/identity_hash.h"
#include "schemas/base/ids.h"
#include "schemas/entity_schema.h"

// The cursor of `GET …/delta`: what its holder has been sent, so that any replica can go on. It
// gives no rights. The byte format, with a worked example, is in gateways/docs/sync.md.
namespace sluice::gateways {

// An entity of the buckets that a cursor names.
struct CursorEntity {
  schemas::EntityId id;
  uint64_t columns = 0;  // CallerBucket::columns
  std::string name;      // removals name it, also when the entity is gone
  friend bool operator==(const CursorEntity&, const CursorEntity&) = default;
};

struct CursorBucket {
  uint32_t entity = 0;  // index in Cursor::entities
  BucketKey key;
  friend bool operator==(const CursorBucket&, const CursorBucket&) = default;
};

// What is true of all buckets of a group; groups with one state are one group.
struct CursorGroupState {
  Position position{};               // all operations up to here were sent; kNoOffset: none
  Offset removed_after = kNoOffset;  // the holder knows no row that was removed at or before this
  bool lost = false;     // no longer the caller's: what the holder has of it is being removed
  bool at_base = false;  // was the caller's at Cursor::base, with the same columns
  bool kept_since_base = false;  // has been the caller's in every page since Cursor::base
  // Lost: the applied position of the last page before. Rows that entered later are not for the
  // holder to know.
  Offset lost_at = kNoOffset;
  // Lost and regained, the time away: rows that entered after `away_from`, the `lost_at` of then,
  // and were out again by `away_until`, the applied position of the page at which the buckets were
  // back, are not either.
  Offset away_from = kNoOffset;
  Offset away_until = kNoOffset;
  friend bool operator==(const CursorGroupState&, const CursorGroupState&) = default;
};

// Buckets that are read from one position on.
struct CursorGroup {
  CursorGroupState state;
  std::vector<CursorBucket> buckets;
  friend bool operator==(const CursorGroup&, const CursorGroup&) = default;
};

struct Cursor {
  uint32_t incarnation = 0;
  Offset seen = kNoOffset;  // the applied position of the newest page
  uint64_t history = 0;     // AppliedState::history there
  // Amid pages: the position at which the holder's rows were last the caller's, and the applied
  // position of the first page since. kNoOffset in a first load, and where no page is missing.
  Offset base = kNoOffset;
  Offset first = kNoOffset;
  std::vector<CursorEntity> entities;
  std::vector<CursorGroup> groups;
  friend bool operator==(const Cursor&, const Cursor&) = default;
};

// How many buckets of the caller's a cursor may name, and how many that the caller has lost.
inline constexpr size_t kCursorBucketsMax = 2'000;
// So many buckets it may name in all, and so many entities: one with the columns that the buckets
// had, of which the same entity may have had several. The text of 2,000 buckets has 46,000
// characters, and the longest 870,000, where each bucket is of another entity with a long name;
// more than some 1,400 do not fit the head of a request, and come as the body of a POST.
inline constexpr size_t kCursorEntriesMax = 2 * kCursorBucketsMax;

// Writes and reads cursors of one log. Thread-safe.
class CursorCodec {
 public:
  // `secret` keys the authenticator that keeps a caller from composing a cursor of its own (which
  // could ask for removals of buckets that were never its own); equal on every replica. Empty: the
  // log id serves, which clients do not see.
  CursorCodec(std::string_view log_id, std::string_view secret);

  [[nodiscard]] std::string Encode(std::string_view org, const Cursor& cursor) const;

  // kInvalidArgument "cursor_invalid" for what is no cursor of ours, kPermissionDenied
  // "cursor_other_org", kFailedPrecondition "cursor_other_log", and "cursor_expired" for one of an
  // older format.
  [[nodiscard]] absl::StatusOr<Cursor> Decode(std::string_view org, std::string_view text) const;

 private:
  std::string Authenticator(std::string_view bytes) const;

  IdentityHash log_hash_;
  std::string key_;
};

}  // namespace sluice::gateways
