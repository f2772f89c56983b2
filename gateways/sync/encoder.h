#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "gateways/sync/caller_columns.h"
#include "schemas/base/ids.h"
#include "schemas/entity_schema.h"

// From what delta and stream have decided to send to the bytes of it (gateways/docs/api.md, section
// 3). What is sent is decided without looking here; an encoding is one implementation of what
// follows, in a file of its own, and a case of EncoderFor().
namespace sluice::gateways {

// An operation that goes to a client. Views are valid until the iterator that gave it moves on.
struct OperationView {
  bool put = true;
  std::string_view entity;  // its name
  std::string_view key;
  Position position;
  // Of a put alone.
  const schemas::EntitySchema* schema = nullptr;
  std::span<const schemas::AttributeId> denied{};  // columns that are left out, ascending
  std::string_view row{};                          // row bytes
};

// The operations of delta and stream, and a page of delta, which holds little else. There is one
// object of an encoding, and what it writes depends on the arguments alone: so operations that one
// session had encoded serve every other one with the same encoder. Stateless, thread-safe.
class OperationEncoder {
 public:
  virtual ~OperationEncoder() = default;

  // Appends `op` to `ops`; `first`: nothing is before it there. kDataLoss for row bytes that are
  // malformed; `ops` is then cut back.
  [[nodiscard]] virtual absl::Status Append(const OperationView& op, bool first,
                                            std::string* ops) const = 0;
  // Appends to `out` the operations that Append() wrote to `ops`.
  virtual void AppendAll(std::string_view ops, bool first, std::string* out) const = 0;

  // A page: its begin, operations, its end.
  virtual void BeginPage(std::string* out) const = 0;
  virtual void EndPage(std::string_view cursor, Offset position, bool more,
                       std::string* out) const = 0;
};

struct BucketSummary {
  std::string_view id;
  uint64_t count = 0;
  uint64_t checksum = 0;
};

// A checkpoint, and the resets behind it.
struct Checkpoint {
  Offset position;
  std::string history;
  std::vector<BucketSummary> buckets;            // their ids must outlive it
  std::vector<std::string> removed;              // ids of buckets
  std::vector<std::string> resets;               // likewise
  std::shared_ptr<const CallerColumns> columns;  // left out where nullptr
};

// Writes one checkpoint in pieces: what a session holds of it is no more than a piece, however many
// buckets and columns there are. Not thread-safe.
class CheckpointWriter {
 public:
  virtual ~CheckpointWriter() = default;
  // Appends until `out` has `bytes`, which one bucket or column may go past, or all is written:
  // then true, and nothing more is appended.
  virtual bool Write(size_t bytes, std::string* out) = 0;
};

// How the frames of a stream are written and told apart.
enum class FrameFormat {
  kNdjson,  // one JSON object a line
  kSse,     // the same JSON as `data:`, the frame's name as `event:`
};

// The frames of `POST …/stream`; each function but those of ops appends a whole one to `out`.
// Stateless, thread-safe.
class FrameEncoder {
 public:
  virtual ~FrameEncoder() = default;

  virtual std::string_view content_type() const = 0;
  // What Ops() takes is of this.
  virtual const OperationEncoder& operations() const = 0;

  virtual std::unique_ptr<CheckpointWriter> Write(Checkpoint checkpoint) const = 0;
  // What Append() wrote stands between these two, in bytes that others may have, too.
  virtual void BeginOps(std::string_view bucket, Offset from, Offset to,
                        std::string* out) const = 0;
  virtual void EndOps(std::string* out) const = 0;
  virtual void CheckpointComplete(Offset position, std::string* out) const = 0;
  virtual void Heartbeat(Offset position, std::string* out) const = 0;
  virtual void TokenExpires(int64_t in_s, std::string* out) const = 0;
};

// Lives as long as the program.
[[nodiscard]] const FrameEncoder& EncoderFor(FrameFormat format);

}  // namespace sluice::gateways
