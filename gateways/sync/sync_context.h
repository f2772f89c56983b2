#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/auth/authenticator.h"
#include "gateways/http/http_types.h"
#include "gateways/http/thread_pool.h"
#include "gateways/sync/cursor.h"
#include "gateways/sync/sync_metrics.h"
#include "gateways/sync/sync_request.h"
#include "gateways/sync/sync_server.h"
#include "projectors/store/store_manager.h"

// What the parts of the sync listener share. Only for the .cc files of this folder.
namespace sluice::gateways {

namespace net = boost::asio;

// A request to the sync listener: what its handlers look at of the head, and the body.
struct HttpRequest {
  std::string method;
  Target target;
  std::string authorization;
  std::string accept;
  std::string request_id;
  std::string body;
  bool head = false;
  bool keep_alive = true;
  bool http11 = true;
};

struct SyncContext {
  SyncContext(SyncOptions sync_options, projectors::StoreManager& store_manager,
              Authenticator& sync_authenticator, const Clock& system_clock, size_t store_threads)
      : options(std::move(sync_options)),
        stores(store_manager),
        authenticator(sync_authenticator),
        clock(system_clock),
        codec(options.log_id, options.cursor_secret),
        metrics(options.registry, options.sessions_max, options.connections_max),
        pool(store_threads) {}

  const SyncOptions options;
  projectors::StoreManager& stores;
  Authenticator& authenticator;
  const Clock& clock;
  const CursorCodec codec;
  SyncMetrics metrics;
  ThreadPool pool;  // reads stores
  std::atomic<bool> stopping{false};
  std::atomic<size_t> sessions{0};
  std::atomic<size_t> connections{0};
};

// A place among the sessions, given back at the end.
class SessionSlot {
 public:
  explicit SessionSlot(SyncContext& context) : context_(context) {}
  SessionSlot(const SessionSlot&) = delete;
  SessionSlot& operator=(const SessionSlot&) = delete;
  ~SessionSlot();
  // kUnavailable "too_many_sessions" where none is left. Taking it again is nothing.
  [[nodiscard]] absl::Status Take();

 private:
  SyncContext& context_;
  bool taken_ = false;
};

// Runs `work` on a thread that may block and resumes the caller where it was. `work` does not
// throw.
template <typename Work>
net::awaitable<std::invoke_result_t<Work>> OnStoreThread(SyncContext& context, Work work) {
  co_return co_await net::co_spawn(
      context.pool,
      [](Work run) -> net::awaitable<std::invoke_result_t<Work>> {
        co_return run();
      }(std::move(work)),
      net::use_awaitable);
}

// Who asks, when the token is good for syncing `request.target.org`.
[[nodiscard]] net::awaitable<absl::StatusOr<std::shared_ptr<const Principal>>> Authorize(
    SyncContext& context, const HttpRequest& request);

// Has this process still to read the log to the end that it had at start?
[[nodiscard]] bool CatchingUp(const SyncContext& context);

// The store's snapshot, on a thread that may block. An organisation that is not here (yet) is
// kUnavailable "not_caught_up" until this process has read the log, and "org_not_found" then.
[[nodiscard]] absl::StatusOr<std::shared_ptr<const projectors::OrgSnapshot>> SnapshotOf(
    SyncContext& context, const OrgId& org);

[[nodiscard]] projectors::CallerClaims ClaimsOf(const Principal& principal);

}  // namespace sluice::gateways
