#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/http/http_types.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"

namespace prometheus {
class Registry;
}
namespace sluice::projectors {
class StoreReader;
}

namespace sluice::gateways {

class Authenticator;

// None of these is kept in data: all may change between starts.
struct SyncOptions {
  std::string host = "127.0.0.1";  // IPv4 or IPv6 address to listen on
  uint16_t port = 8471;            // 0 takes a free one
  std::string log_id;              // eventlog::Log::id()
  std::string cursor_secret;       // the same on all replicas; empty: derived from the log's id
  size_t threads = 0;              // of I/O; 0: as many as the machine has
  size_t store_threads = 0;        // that read stores; 0: as many as the machine has

  size_t header_bytes_max = size_t{32} << 10;
  size_t body_bytes_max = size_t{1} << 20;
  size_t connections_max = 25'000;  // past it the longest silent makes room, or 503
  size_t descriptors_max = 0;       // connections take no more descriptors than this; 0: no limit
  // Places of streams and waiting deltas: one each, and another for each 64 buckets. Past it 503
  // too_many_sessions.
  size_t sessions_max = 20'000;
  size_t buckets_per_caller = 1'000;
  size_t page_bytes_max = size_t{4} << 20;  // of a delta page; one row more may start below it

  std::chrono::milliseconds idle_timeout{75'000};   // for the next request to begin
  std::chrono::milliseconds head_timeout{10'000};   // from a head's first byte to its last
  std::chrono::milliseconds body_timeout{30'000};   // silence in the middle of a body
  std::chrono::milliseconds write_timeout{60'000};  // for 64 KiB to be taken by the client
  std::chrono::milliseconds heartbeat{20'000};
  std::chrono::milliseconds snapshot_age_max{60'000};  // then a load goes on from a newer one
  std::chrono::milliseconds catch_up_wait{3'000};      // for a stream's client that is ahead of us
  std::chrono::milliseconds token_warning{30'000};     // before a stream's token expires
  std::chrono::milliseconds stop_grace{10'000};        // for requests under way in Stop()
  size_t answer_bytes_max = size_t{256} << 20;         // built or being sent; see FairBudget
  std::chrono::milliseconds answer_wait{5'000};        // for a share of it; then 503
  bool access_log = true;

  // Whether this process may answer for an organisation now (StagingProjector::MayServe): OK, or
  // kUnavailable "not_served_here", "not_caught_up", "log_truncated" or "log_diverged". Cheap and
  // thread-safe; empty: always. ServingChanged() makes what waits ask again.
  std::function<absl::Status(const OrgId&)> may_serve;
  // The base URL of the sync listener of a node that serves it; nullopt where none is known.
  std::function<std::optional<std::string>(const OrgId&)> served_at;
  // The end of the organisation's partition in the log, as of an answer that was asked for no
  // longer ago than that; nullopt while it is being asked for (StagingProjector::EndSince). Cheap
  // and thread-safe. Empty: not known, and a client that is ahead of this process is taken to have
  // another log's position once it has waited.
  std::function<std::optional<absl::StatusOr<Offset>>(const OrgId&, SteadyTime::duration)> log_end;
  // Whether a client that has been at `position` has been in another history, where `log_end` tells
  // `end`: a broker that leads no more may tell an old one, and its word costs the client all that
  // it has. Cheap and thread-safe. Empty: where the end is not beyond the position.
  std::function<bool(const OrgId&, Offset position, Offset end)> is_lost;
  // The offset below which this process has folded whatever the log has of the organisation. Cheap
  // and thread-safe. Empty: not known, and what the store says counts as the last word.
  std::function<Offset(const OrgId&)> folded_until;
  // Does `provisioning` say that there is such an organisation: made, and not deleted since?
  // kUnavailable where that is not known yet. Empty: the stores alone say.
  std::function<absl::StatusOr<bool>(const OrgId&)> exists;

  // Reasons why this process cannot serve yet, for /readyz; empty function: always ready.
  std::function<std::vector<std::string>()> not_ready;
  // Organisations that it tells of as not served; may be empty.
  std::function<std::vector<TroubledOrgs>()> troubled;
  std::shared_ptr<prometheus::Registry> registry;  // nullptr: metrics are not exported
};

// The sync listener (gateways/docs/api.md, section 3). I/O threads never block: whatever reads a
// store runs on threads of its own, a bounded piece at a time, at most one for each connection. A
// caller's body is read once its token is known to be good for the organisation.
class SyncServer {
 public:
  // All must outlive the server.
  SyncServer(SyncOptions options, projectors::StoreReader& stores, Authenticator& authenticator,
             const Clock& clock);
  ~SyncServer();
  SyncServer(const SyncServer&) = delete;
  SyncServer& operator=(const SyncServer&) = delete;

  // Listens and serves; returns the port. kUnavailable where the address cannot be had,
  // kResourceExhausted where a thread can't be made.
  [[nodiscard]] absl::StatusOr<uint16_t> Start();

  // Accepts nothing more, ends streams at a frame's end, answers what waits, and closes what is
  // left after `stop_grace`. Safe to call twice.
  void Stop();

  // Makes every live stream and waiting delta look at `may_serve` again. Thread-safe.
  void ServingChanged();

  // Places that streams and waiting deltas have at this moment.
  [[nodiscard]] size_t sessions() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::gateways
