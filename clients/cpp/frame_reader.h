#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "clients/cpp/frames.h"

namespace sluice::client {

// What a stream's frames do. Each is called as its frame is read; views live until it returns.
class FrameHandler {
 public:
  virtual ~FrameHandler() = default;
  virtual absl::Status OnCheckpoint(Checkpoint checkpoint) = 0;
  virtual absl::Status OnBucket(std::string_view bucket) = 0;  // the operations that follow are its
  virtual absl::Status OnPut(std::string_view entity, std::string_view key,
                             std::string_view position, const std::vector<RowValue>& row) = 0;
  virtual absl::Status OnRemove(std::string_view entity, std::string_view key) = 0;
  virtual absl::Status OnOpsDone(int64_t to) = 0;
  virtual absl::Status OnReset(std::string_view bucket) = 0;
  virtual absl::Status OnComplete(int64_t position) = 0;
};

// Cuts a stream of NDJSON into frames (gateways/docs/api.md, section 3.2) and hands them on. Frames
// of unknown names are skipped, so that newer servers can say more. What a frame may have is
// bounded, see clients/cpp/README.md; more is "malformed_frame". Not thread-safe.
class FrameReader {
 public:
  explicit FrameReader(FrameHandler& handler);
  ~FrameReader();

  // kDataLoss, code "malformed_frame", for what is no frame; a handler's error is returned as it
  // is. The reader goes on only after Restart() then.
  [[nodiscard]] absl::Status Feed(std::string_view bytes);
  // Forgets an unfinished line: a new connection begins.
  void Restart();

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;
  std::string partial_;
};

// The entities of `GET /v1/orgs/{org}/entities` on the sync listener. kDataLoss where it is
// malformed.
[[nodiscard]] absl::StatusOr<std::vector<ClientEntity>> ParseEntities(std::string_view json);

// What an error's body says (RFC 9457). Empty where it says nothing: a proxy may have answered.
struct Problem {
  std::string code;
  std::string detail;
  bool wipe = false;  // what the device holds of the organisation is no longer the caller's
};
[[nodiscard]] Problem ParseProblem(std::string_view json);

}  // namespace sluice::client
