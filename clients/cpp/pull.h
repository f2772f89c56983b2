#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// The client: brings a caller's rows into a SQLite file and keeps them current.
// clients/cpp/README.md shows how to use it; clients/cpp/sluice_client.h is the same for C and for
// other languages.
namespace sluice::client {

struct PullOptions {
  // Of the sync listener, such as http://127.0.0.1:8471. Where it names another node of the service
  // (307, 308), that one is asked, with the same token; never by http after https.
  std::string url;
  std::string org;
  std::string db_path;  // SQLite file; made when missing
  // The bearer token for the next request; asked anew for each connection, so it may be refreshed.
  std::function<absl::StatusOr<std::string>()> token;
  std::string ca_file;  // PEM of the authorities for https; empty: the system's
  // Connections that fail in a row before Pull() gives up; each waits longer, with jitter.
  int attempts_max = 8;
  std::chrono::milliseconds backoff_first{200};
  std::chrono::milliseconds backoff_max{30'000};
  // No byte for this long ends the connection (a live stream has a heartbeat every 20 s).
  std::chrono::milliseconds silence_max{60'000};
};

// What one checkpoint (or one Pull, several) brought.
struct PullResult {
  int64_t position = -1;  // of the last complete checkpoint
  uint64_t checkpoints = 0;
  // Of the entities' tables, whatever number of buckets holds a row: those that complete
  // checkpoints inserted or changed, and those that they took away. `rows` is what the tables have
  // now.
  uint64_t rows = 0;
  uint64_t rows_put = 0;
  uint64_t rows_removed = 0;
  uint64_t bytes_received = 0;  // of streams' bodies; they are asked for uncompressed
  uint64_t buckets = 0;
  uint64_t buckets_reset = 0;     // sent anew because the server said so
  uint64_t buckets_reloaded = 0;  // loaded anew because they were not what the server announced
  uint64_t reconnects = 0;
};

// How far a load is: the rows that the announced buckets hold, and those that are here.
struct PullProgress {
  uint64_t rows_done = 0;
  uint64_t rows_total = 0;
  uint64_t bytes_received = 0;
};

// Whether the refusal is for good and the server says that what the file holds of the organisation
// is no longer the caller's: the role gone, the organisation deleted. Wipe() is the application's
// choice; nothing is deleted without it.
[[nodiscard]] bool WipeDemanded(const absl::Status& status);

// One local database and its connection to the server. Used by one thread at a time, but for
// Cancel(). A second process on the same file is refused (kFailedPrecondition, "database_in_use").
class Puller {
 public:
  // kFailedPrecondition, code "database_of_other_org", for a file of another organisation. (What a
  // file holds of another server of the same organisation goes with the first checkpoint.) A file
  // with a second name (a hard link) is opened for Wipe() alone: Pull() and Follow() ask the
  // server, and return its refusal where WipeDemanded(), else "database_unwritable".
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Puller>> Open(PullOptions options);
  virtual ~Puller() = default;

  // Brings the database to the server's newest checkpoint. A load that breaks goes on where it was,
  // in this call or, after a crash, in the next. Readers of the file see complete checkpoints only.
  // Errors keep what the last complete checkpoint brought. kPermissionDenied and kUnauthenticated
  // are the server's refusals with its code (see WipeDemanded()); "checksum_mismatch" (kDataLoss)
  // where a bucket still differs after it was loaded anew.
  [[nodiscard]] virtual absl::StatusOr<PullResult> Pull() = 0;

  // Pulls, then follows the live stream; calls `on_checkpoint` after each complete checkpoint, with
  // the totals so far. Reconnects for ever, until Cancel() (returns OK) or a refusal.
  [[nodiscard]] virtual absl::Status Follow(
      std::function<void(const PullResult&)> on_checkpoint) = 0;

  // Deletes the organisation's rows and all of the client's own state, overwrites what was there,
  // and closes the file; what an application has added under other names stays. Every later call is
  // kInvalidArgument. "database_in_use" (kFailedPrecondition) where a reader still sees the rows:
  // they are gone for all who look after it, and a second call overwrites the rest. In a file with
  // a second name it is overwritten in place, for both; a log that is beside the other name stays.
  [[nodiscard]] virtual absl::Status Wipe() = 0;

  // Ends a running Pull or Follow soon, and all later ones at once (Pull: kCancelled). Any thread,
  // also from a callback.
  virtual void Cancel() = 0;

  // Whether the file holds anything of the organisation, of a load that is not complete too.
  [[nodiscard]] virtual bool HoldsRows() const = 0;

  // Called now and then while a load runs, on the pulling thread.
  virtual void OnProgress(std::function<void(const PullProgress&)> callback) = 0;
};

}  // namespace sluice::client
