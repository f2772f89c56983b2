#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "clients/cpp/frames.h"

// The client's side of the sync protocol without a file and without a network: frames in, actions
// out. Puller feeds it and does what it says to the file.
namespace sluice::client {

// What a file holds when a connection begins.
struct HeldState {
  int64_t position = -1;                                // of the last complete checkpoint, -1: none
  int64_t newest = -1;                                  // that rows may be from
  std::string history;                                  // that the rows come from, empty: not known
  std::map<std::string, int64_t, std::less<>> buckets;  // up to where each is loaded, -1: nothing
};

// The actions. Everything from BeginCheckpoint to CompleteCheckpoint is one transaction.
struct BeginCheckpoint {};
// The buckets are not the caller's any more, or have to come from their start: they go, with the
// rows that no other bucket holds.
struct DropBuckets {
  std::vector<std::string> buckets;
};
// Rows from now on are as at `position`.
struct AnnouncePosition {
  int64_t position = -1;
};
// What is here is of this history, from now on also where a first load breaks off.
struct KeepHistory {
  std::string history;
};
// The tables become these. What it takes of buckets is told by CheckpointState::Dropped().
struct MirrorColumns {
  std::vector<ClientEntity> entities;
};
// The columns may be others by now: they have to be asked for, where the server does not send them.
struct AskForColumns {};
// Makes those of the buckets that are not here yet, empty.
struct HoldBuckets {
  std::vector<std::string> buckets;
};
// The operations that follow are this bucket's.
struct SelectBucket {
  std::string bucket;
};
// The bucket is sent from its start: what is here of it goes first.
struct ResetBucket {
  std::string bucket;
};
// The operations of the selected bucket are whole up to `to`.
struct EndOperations {
  int64_t to = -1;
};
// What is here is to be compared with `buckets`; the answer goes to CheckpointState::Compared().
struct CompareBuckets {
  std::vector<BucketSummary> buckets;
};
// Shows the rows to readers; CheckpointState::Completed() is told of it.
struct CompleteCheckpoint {
  int64_t position = -1;
  std::string history;
};
// The buckets are not what was announced: they go, and are loaded anew.
struct ReloadBuckets {
  std::vector<std::string> buckets;
};
// Gives up everything since the last complete checkpoint.
struct RollBack {};
// Ends this connection and asks anew at once.
struct Reconnect {};
// Ends the pull.
struct Fail {
  absl::Status status;
};
using Action =
    std::variant<BeginCheckpoint, DropBuckets, AnnouncePosition, KeepHistory, MirrorColumns,
                 AskForColumns, HoldBuckets, SelectBucket, ResetBucket, EndOperations,
                 CompareBuckets, CompleteCheckpoint, ReloadBuckets, RollBack, Reconnect, Fail>;
using Actions = std::vector<Action>;

// What the frames of a pull's connections do to the file. The caller does the actions of a frame in
// their order before it gives the next frame; where one fails it ends the connection and begins
// another with Connect(), since this state is ahead of the file then. Pure; not thread-safe.
class CheckpointState {
 public:
  // A pull begins: each bucket may be loaded anew once more.
  void Restart() { reloaded_.clear(); }
  // A connection begins. What came before it in an unfinished checkpoint is part of `held`.
  void Connect(HeldState held);
  // The body of the connection's stream request. Of use between Connect() and the first frame.
  [[nodiscard]] std::string Request(bool live) const;

  // A checkpoint drops what it no longer lists. Where it is of a position before what rows here may
  // be from (a replica that is behind), buckets beyond it are dropped, since they are sent anew; if
  // others are here the load starts over, from the last complete checkpoint or from nothing.
  [[nodiscard]] Actions OnCheckpoint(Checkpoint frame);
  // Operations of `bucket` follow, up to OnOperationsEnd(). Fail, "malformed_frame", outside of a
  // checkpoint, or of a bucket that it did not announce: nobody would verify or ever drop it.
  [[nodiscard]] Actions OnOperations(std::string_view bucket);
  [[nodiscard]] Actions OnOperationsEnd(int64_t to);
  // Fail as OnOperations().
  [[nodiscard]] Actions OnReset(std::string_view bucket);
  // Fail, "malformed_frame", where it is not the end of the checkpoint that began.
  [[nodiscard]] Actions OnComplete(int64_t position);

  // Of MirrorColumns: buckets that held rows of an entity that is another now.
  void Dropped(const std::vector<std::string>& buckets);
  // Of CompareBuckets: the buckets that are not as announced. Each is loaded anew once; Fail,
  // "checksum_mismatch", where one of them was already.
  [[nodiscard]] Actions Compared(const std::vector<std::string>& differing);
  // Of CompleteCheckpoint: it was done.
  void Completed();

  // Over the buckets of the checkpoint that is being loaded, as the server announced it.
  uint64_t rows_announced() const;
  size_t buckets_announced() const { return announced_.size(); }

 private:
  Actions CheckAnnounced(std::string_view bucket) const;
  void StartFromHere();
  void Forget(const std::vector<std::string>& buckets);
  void SetHistory(const std::string& history, Actions* actions);
  bool DropBeyond(DropBuckets* drop);
  Actions StartOver(DropBuckets drop) const;

  HeldState held_;
  std::vector<BucketSummary> announced_;     // of the checkpoint that is being loaded
  std::string announced_history_;            // its
  int64_t announced_position_ = -1;          // its
  std::set<std::string, std::less<>> mine_;  // names in announced_
  bool in_checkpoint_ = false;
  std::string selected_;
  std::string base_history_;  // of what was here as the connection began
  bool resets_seen_ = false;  // on this connection, since the last complete checkpoint
  bool goes_on_ = false;      // it is certain that the checkpoint goes on from what was here
  std::set<std::string, std::less<>> from_before_;  // buckets with something from before then
  std::set<std::string> reloaded_;                  // since the last complete checkpoint
};

}  // namespace sluice::client
