#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/log.h"
#include "gateways/auth/authenticator.h"
#include "gateways/http/http_types.h"
#include "gateways/ingest/ingest_service.h"
#include "projectors/provisioning/provisioning.h"
#include "projectors/store/store_reader.h"

namespace sluice::gateways {

class EventIntake;
class SourceService;

struct AdminServerOptions {
  std::string listen = "127.0.0.1:8470";  // host:port, [v6]:port; port 0 takes a free one
  bool administration = true;      // false: only health, metrics and openapi.json; the rest is 404
  size_t connections_max = 4'096;  // past it the longest silent makes room, or 503
  size_t descriptors_max = 0;      // connections take no more descriptors than this; 0: no limit
  size_t io_threads = 2;           // that read and write
  size_t threads = 16;             // that reading organisations and definitions blocks
  size_t definition_threads = 16;  // that appending them blocks; one organisation has a quarter
  size_t ingest_threads = 64;      // that ingest blocks
  size_t requests_max = 1'024;     // running and waiting for a thread, of each kind; then 503
  size_t request_bytes_max = size_t{256} << 20;   // bodies held at once, of all requests
  size_t body_bytes_max = size_t{1} << 30;        // of an ingest body
  size_t definition_bytes_max = size_t{1} << 20;  // of an entity, a profile or a role
  IngestOptions ingest{};
  std::chrono::milliseconds provisioning_timeout{15'000};
  std::chrono::milliseconds idle_timeout{60'000};  // until a connection's next request begins
  std::chrono::milliseconds head_timeout{10'000};  // from a head's first byte to its last
  std::chrono::milliseconds silent_min{1'000};     // a connection silent for less makes no room
  std::chrono::milliseconds stop_grace{10'000};
};

// What the admin gateway works with. All references must outlive it.
struct AdminServerDeps {
  eventlog::Log& log;
  projectors::DirectoryFollower& directory;
  Authenticator& authenticator;
  const Clock& clock;
  projectors::StoreReader* stores = nullptr;  // none in a process without stores
  // How far the node that serves an organisation has applied it; for processes without its store.
  std::function<std::optional<Offset>(const OrgId&)> remote_applied;
  // Whether this process may speak for an organisation's rows (codes not_served_here,
  // not_caught_up, ...), and the admin URL of a node that may: of one with the role admin, which
  // callers are told of, and of one to which sets are relayed, whatever its roles. Each may be
  // empty.
  std::function<absl::Status(const OrgId&)> may_serve{};
  std::function<std::optional<std::string>(const OrgId&)> served_at{};
  std::function<std::optional<std::string>(const OrgId&)> relay_to{};
  // What /readyz asks, by name; each thread-safe, and from memory: it is called on an I/O thread.
  std::vector<std::pair<std::string, std::function<absl::Status()>>> health;
  // Which organisations /readyz tells of as not served, likewise; may be empty.
  std::function<std::vector<TroubledOrgs>()> troubled{};
  EventIntake* events = nullptr;     // nullptr: there is nothing at the path of events
  SourceService* sources = nullptr;  // nullptr: there is nothing at the paths of sources
  std::shared_ptr<prometheus::Registry> registry;
  // Called before the registry is collected; cheap. May be empty.
  std::function<void()> refresh_metrics{};
};

// gateways/docs/api.md, sections 1, 2 and 5, over HTTP. Start and Stop by one thread.
class AdminServer {
 public:
  AdminServer(AdminServerOptions options, AdminServerDeps deps);
  ~AdminServer();

  // Binds and serves; returns the port. kInvalidArgument for an address that is none, kUnavailable,
  // code "address_in_use", where it can't listen, kResourceExhausted where a thread can't be made.
  [[nodiscard]] absl::StatusOr<int> Start();
  // Takes no more requests and finishes those under way.
  void Stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::gateways
