#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gateways/sync/encoder.h"
#include "gateways/sync/frame_buffer.h"
#include "gateways/sync/piece_reader.h"
#include "gateways/sync/stream_plan.h"

// One session of `POST …/stream`, apart from its connection: StreamPlan says what comes next, a
// PieceReader has the operations of it, an encoder writes it.
namespace sluice::gateways {

// Begin() with a snapshot, WriteCheckpoint() and then Fill() until it is sent, then Begin() with
// the next one, also before the end of the one before, but not amid its checkpoint. Pure: no I/O
// but the snapshot's. Not thread-safe.
class StreamState {
 public:
  // `columns` and `pieces` must outlive the object.
  StreamState(StreamOptions options, CallerColumnsTable& columns, PieceCache& pieces,
              projectors::CallerClaims caller, StreamRequest request, FrameFormat format)
      : plan_(std::move(options), columns, std::move(caller), std::move(request)),
        encoder_(EncoderFor(format)),
        pieces_(pieces) {}

  // The highest position that the client has, kNoOffset for none.
  Offset client_position() const { return plan_.client_position(); }
  // What the client said of the history of its rows; nullopt where it said nothing, or nothing that
  // this version knows: then all that it has is void.
  const std::optional<HistoryMark>& client_history() const { return plan_.client_history(); }
  // Before the first Begin(): the client's rows are of a history that is not this log's, so all
  // that it has is void.
  void ResetAll() { plan_.ResetAll(); }
  bool resets_all() const { return plan_.resets_all(); }
  bool begun() const { return plan_.begun(); }

  // Goes on from a newer snapshot. True where there is a checkpoint to write; false where nothing
  // of the caller's has changed since the last one. Looks at the buckets that `touched` names, and
  // at those that are still to be sent; at all of them at first, and where the organisation's
  // definitions are others. Errors as OrgModel::BucketsOf, after which only a new state can go on;
  // so after kUnavailable "log_diverged", for a snapshot of another history than the last.
  // kUnavailable "not_caught_up" for one that is older than the last: a later call may bring a
  // newer one, and must name what this one did.
  [[nodiscard]] absl::StatusOr<bool> Begin(std::shared_ptr<const projectors::OrgSnapshot> snapshot,
                                           const Touched& touched = {});

  // Appends the checkpoint and the resets until `out` has about `bytes`, or all of them: an
  // organisation's columns may have some 30 MB as text. No other frame may be sent amid them, and
  // nothing but this be called.
  void WriteCheckpoint(size_t bytes, std::string* out);
  bool amid_checkpoint() const { return checkpoint_ != nullptr; }

  // Nothing of the caller's has changed up to `position`.
  void SetQuiet(Offset position) { plan_.SetQuiet(position); }

  // The buckets that the last Begin() found, ascending.
  [[nodiscard]] std::vector<BucketKey> Keys() const { return plan_.Keys(); }
  size_t buckets() const { return plan_.buckets(); }

  // Is there more to send of the snapshot?
  bool sending() const { return plan_.snapshot() != nullptr; }

  // What one Fill() passes over at most: some 5 ms. A bucket may hold very many removals, of which
  // a client that begins is sent none.
  static constexpr size_t kPassedMax = 10'000;
  // As much as most changes need. Pieces are of this length or of a frame's, so that sessions which
  // may have more or less at a time ask for the same ones.
  static constexpr size_t kChangeBytes = size_t{8} << 10;

  // Appends frames until there are about `bytes`, kPassedMax operations were passed over, or the
  // checkpoint is complete; then the snapshot is given back. No frame is larger than that either,
  // but for its last operation.
  [[nodiscard]] absl::Status Fill(size_t bytes, FrameBuffer* out);

  // Gives the snapshot back, whatever is still to be sent of it: the session is over.
  void LetGo();

  // Everything of the caller's up to here was sent.
  Offset position() const { return plan_.position(); }
  uint64_t ops_sent() const { return ops_sent_; }
  const FrameEncoder& encoder() const { return encoder_; }

 private:
  StreamPlan plan_;
  const FrameEncoder& encoder_;
  std::unique_ptr<CheckpointWriter> checkpoint_;  // until it is written
  PieceReader pieces_;                            // of plan_'s snapshot
  uint64_t ops_sent_ = 0;
};

}  // namespace sluice::gateways
