#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "gateways/auth/authenticator.h"
#include "gateways/http/fair_budget.h"
#include "gateways/http/fair_places.h"
#include "gateways/http/http_types.h"
#include "gateways/http/listener_account.h"
#include "gateways/http/thread_pool.h"
#include "gateways/sync/caller_columns.h"
#include "gateways/sync/cursor.h"
#include "gateways/sync/encoder.h"
#include "gateways/sync/piece_cache.h"
#include "gateways/sync/sync_metrics.h"
#include "gateways/sync/sync_request.h"
#include "gateways/sync/sync_server.h"
#include "projectors/store/store_reader.h"
#include "schemas/base/status.h"

// What the parts of the sync listener share. Only for the .cc files of this folder.
namespace sluice::gateways {

namespace net = boost::asio;

// A request to the sync listener on its way.
struct SyncRequest {
  HttpHead& http;  // without its headers once it is admitted
  SyncRouteMatch match{};
  std::optional<FrameFormat> format{};  // of a stream; nullopt: its client takes none of ours
  // Who asks, with a token that is good for syncing `match.org`; nullptr on open routes.
  std::shared_ptr<const Principal> principal{};
  std::string body{};
};

inline constexpr std::string_view kSyncAccessLine =
    "sync_request route={operation} org={org} subject={subject} status={status} code={code} "
    "ms={ms:.1f} request_id={request_id}";

struct SyncContext {
  SyncContext(SyncOptions sync_options, projectors::StoreReader& store_manager,
              Authenticator& sync_authenticator, const Clock& system_clock, size_t store_threads)
      : options(std::move(sync_options)),
        stores(store_manager),
        authenticator(sync_authenticator),
        clock(system_clock),
        codec(options.log_id, options.cursor_secret),
        account({.listener = "sync",
                 .operation_label = "route",
                 .refused_name = "sluice_sync_refused_total",
                 .refused_label = "limit",
                 .connections_max = options.connections_max,
                 .line = kSyncAccessLine},
                options.registry),
        metrics(options.registry, options.sessions_max, options.answer_bytes_max),
        columns([this] { metrics.ColumnsMade(); }),
        pieces({.bytes_max = options.answer_bytes_max / 8,
                .on_find = [this](bool hit) { metrics.PieceFound(hit); },
                .on_change = [this](size_t bytes,
                                    size_t evicted) { metrics.PiecesKept(bytes, evicted); }}),
        budget({.units_max = options.answer_bytes_max,
                .waiting_max = options.connections_max,
                .refusal = Error(absl::StatusCode::kUnavailable, "answers_queue_full",
                                 "as many answers are being sent as may be: try again"),
                .on_change = [this](size_t bytes, size_t) { metrics.AnswerBytes(bytes); },
                .on_refused = [this] { account.Refused("answers"); }}),
        sessions(options.sessions_max),
        turns({.units_max = store_threads,
               .org_part = 1,  // one that is alone has all of them
               .caller_part = 1,
               .refusal = Error(absl::StatusCode::kUnavailable, "too_busy",
                                "as much is being read as may be: try again")}),
        pool(store_threads) {}

  const SyncOptions options;
  projectors::StoreReader& stores;
  Authenticator& authenticator;
  const Clock& clock;
  const CursorCodec codec;
  ListenerAccount account;
  SyncMetrics metrics;
  CallerColumnsTable columns;
  PieceCache pieces;
  FairBudget budget;  // bytes of answers that are built or being sent
  FairPlaces sessions;
  FairBudget turns;  // of `pool`'s threads
  ThreadPool pool;   // reads stores
  std::atomic<bool> stopping{false};
  std::atomic<size_t> connections{0};
};

// A session's places among all, given back at the end: one, and another for each kBucketsPerPlace
// of its buckets, which take about as much memory as the session itself.
class SessionSlot {
 public:
  explicit SessionSlot(SyncContext& context) : context_(context) {}
  SessionSlot(const SessionSlot&) = delete;
  SessionSlot& operator=(const SessionSlot&) = delete;
  ~SessionSlot();
  static constexpr size_t kBucketsPerPlace = 64;
  // Of a session of so many buckets, whether it has places already or not. kUnavailable
  // "too_many_sessions" where the caller does not get them: then those that it has stay.
  [[nodiscard]] absl::Status Take(const Principal& principal, size_t buckets);

 private:
  SyncContext& context_;
  std::optional<Owner> owner_;
  size_t taken_ = 0;
};

// Runs `work` on a thread that may block and resumes the caller where it was. `work` does not
// throw.
template <typename Work>
net::awaitable<std::invoke_result_t<Work>> OnThread(ThreadPool& pool, Work work) {
  co_return co_await net::co_spawn(
      pool,
      [](Work run) -> net::awaitable<std::invoke_result_t<Work>> {
        co_return run();
      }(std::move(work)),
      net::use_awaitable);
}

// Runs one step of a request, which is to be a short one, on a thread that reads stores.
// Organisations take turns, and within one its callers: whatever one of them asks for, another
// waits for a step of each. However many wait: they hold a share of the answers.
template <typename Work>
net::awaitable<std::invoke_result_t<Work>> OnStoreThread(SyncContext& context, const OrgId& org,
                                                         const std::string& caller, Work work) {
  absl::StatusOr<FairBudget::Share> turn =
      co_await context.turns.Take(org.value(), caller, 1, SteadyTime::max(), /*admitted=*/true);
  if (!turn.ok()) {
    co_return turn.status();
  }
  // Given back on the thread: the caller may be resumed late.
  auto step = [run = std::move(work), share = *std::move(turn)]() mutable {
    std::invoke_result_t<Work> done = run();
    share.Keep(0);
    return done;
  };
  std::invoke_result_t<Work> result = co_await OnThread(context.pool, std::move(step));
  co_return result;
}

// Has this process still to read the log to the end that it had at start?
[[nodiscard]] bool CatchingUp(const SyncContext& context);

// Whether this process may answer for `org` now; asked before a store is read, and again before
// what was read goes out, because the process may have been paused in between.
[[nodiscard]] absl::Status MayServe(const SyncContext& context, const OrgId& org);

// The store's snapshot, on a thread that may block; MayServe's errors. An organisation that is not
// here is kNotFound "org_not_found", of one that was deleted with WithWipe(), only where this
// process knows that: else kUnavailable "not_caught_up".
[[nodiscard]] absl::StatusOr<std::shared_ptr<const projectors::OrgSnapshot>> SnapshotOf(
    SyncContext& context, const OrgId& org);

// Is that a last word, after which a client forgets or gives up? It may be given only of what the
// log says now, not of what a store has come to: see ReachEnd().
[[nodiscard]] bool IsLastWord(const absl::Status& status);

// Waits until everything is folded here that the log had when this was called; no longer than a
// client may have to be waited for (SyncOptions::catch_up_wait), then kUnavailable "not_caught_up".
[[nodiscard]] net::awaitable<absl::Status> ReachEnd(SyncContext& context, const OrgId& org);

// Can the log be asked for its end?
[[nodiscard]] inline bool KnowsLogEnd(const SyncContext& context) {
  return context.options.log_end != nullptr;
}

// As SyncOptions::folded_until; kNoOffset where it is not known.
[[nodiscard]] Offset FoldedUntil(const SyncContext& context, const OrgId& org);

// Does a client that has been at `position`, which no store here has reached, come from another
// history of the log: one that had more than this one has now? False also where the log does not
// say within SyncOptions::catch_up_wait; `guess` where nobody can be asked.
[[nodiscard]] net::awaitable<bool> IsBeyondLog(SyncContext& context, const OrgId& org,
                                               Offset position, bool guess);

// The answer to a request for `org` that fails: with "not_served_here" and a node that serves it
// 307 to the same path there.
[[nodiscard]] HttpResponse Refusal(const SyncContext& context, const SyncRequest& request,
                                   const OrgId& org, const absl::Status& status);

[[nodiscard]] projectors::CallerClaims ClaimsOf(const Principal& principal);

}  // namespace sluice::gateways
