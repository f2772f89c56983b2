#include "gateways/sync/delta_handler.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "gateways/sync/client_watch.h"
#include "gateways/sync/delta_page.h"
#include "gateways/sync/delta_plan.h"
#include "gateways/sync/json_encoder.h"
#include "schemas/base/status.h"
#include "schemas/release.h"

#define RETURN_IF_ERROR_CO(expr)                        \
  do {                                                  \
    if (absl::Status status_ = (expr); !status_.ok()) { \
      co_return status_;                                \
    }                                                   \
  } while (false)

namespace sluice::gateways {
namespace {

using projectors::CallerBucket;
using projectors::OrgSnapshot;

// One request, and what it comes down to.
struct DeltaCall {
  OrgId org;
  std::shared_ptr<const Principal> principal;
  projectors::CallerClaims caller;
  SystemTime good_until;  // of its token: no rows after it, however long it waits
  DeltaRequest request;
  Cursor cursor;             // without groups and incarnation 0: a fresh start
  bool ahead = false;        // the store has not come to the cursor's position
  bool ahead_known = false;  // ... and the log has
  bool at_end = false;       // what the log had has been folded since it was asked
};

struct BuiltPage {
  DeltaPage page;
  std::string body;
  std::vector<BucketKey> buckets;  // the caller's
  FairBudget::Share share;
};

absl::Status CheckMinPosition(const DeltaRequest& request, const OrgSnapshot& snapshot) {
  const Offset applied = snapshot.applied().position;
  if (request.min_position.has_value() && *request.min_position > applied) {
    return Error(absl::StatusCode::kUnavailable, "not_caught_up",
                 fmt::format("min_position is {}, this server is at {}: try again",
                             request.min_position->value(), applied.value()));
  }
  return absl::OkStatus();
}

// On a thread that may block.
absl::StatusOr<BuiltPage> Build(SyncContext& context, DeltaCall& call) {
  const SteadyTime start = context.clock.SteadyNow();
  const auto found = SnapshotOf(context, call.org);
  if (call.request.min_position.has_value() && ErrorCode(found.status()) == "org_not_found") {
    // Who has written to it knows that it is on its way.
    return Error(
        absl::StatusCode::kUnavailable, "not_caught_up",
        fmt::format("min_position is {}, this server does not have organisation {} yet: try again",
                    call.request.min_position->value(), call.org.value()));
  }
  RETURN_IF_ERROR(found.status());
  const std::shared_ptr<const OrgSnapshot>& snapshot = *found;
  const uint32_t incarnation = snapshot->model()->incarnation();
  // Before rights are looked at: those of a store that is behind what the client knows of count for
  // nothing.
  if (call.cursor.incarnation != 0) {
    call.ahead = call.cursor.seen > snapshot->applied().position;
    RETURN_IF_ERROR(CheckCursor(call.cursor, incarnation, *snapshot));
  }
  RETURN_IF_ERROR(CheckMinPosition(call.request, *snapshot));
  ASSIGN_OR_RETURN(const std::vector<CallerBucket> buckets,
                   snapshot->model()->BucketsOf(call.caller, context.options.buckets_per_caller));
  DeltaLimits limits;
  limits.ops_max = call.request.limit;
  limits.bytes_max = context.options.page_bytes_max;
  BuiltPage built;
  for (const CallerBucket& bucket : buckets) {
    built.buckets.push_back(bucket.bucket.key);
  }
  // Large pages would otherwise be copied again and again while they grow.
  built.body.reserve(std::min(call.request.limit * 256, context.options.page_bytes_max) / 4);
  const OperationEncoder& encoder = JsonOperations();
  encoder.BeginPage(&built.body);
  ASSIGN_OR_RETURN(built.page, BuildDeltaPage(*snapshot, incarnation, buckets, call.cursor, limits,
                                              encoder, context.pieces, &built.body));
  encoder.EndPage(context.codec.Encode(call.org.value(), built.page.cursor), built.page.position,
                  built.page.more, &built.body);
  context.metrics.Page(std::chrono::duration<double>(context.clock.SteadyNow() - start).count());
  return built;
}

// Whether it is worth waiting for a better answer than this.
bool MayGetBetter(const absl::StatusOr<BuiltPage>& built, const DeltaRequest& request) {
  if (!built.ok()) {
    return ErrorCode(built.status()) == "not_caught_up";
  }
  // Whoever gave a position has waited for what it wanted.
  return built->page.ops == 0 && !built->page.more && !request.min_position.has_value();
}

// A page, if this process may (still) give it away. `admitted`: the request has waited, in a
// session's place of its own, and does so for its turn however many were woken with it.
net::awaitable<absl::StatusOr<BuiltPage>> BuildOnce(SyncContext& context, DeltaCall& call,
                                                    bool admitted) {
  RETURN_IF_ERROR_CO(MayServe(context, call.org));
  const std::chrono::milliseconds patience =
      admitted ? context.options.write_timeout : context.options.answer_wait;
  absl::StatusOr<FairBudget::Share> share = co_await context.budget.Take(
      call.org.value(), call.caller.user, context.options.page_bytes_max,
      context.clock.SteadyNow() + patience, admitted);
  RETURN_IF_ERROR_CO(share.status());
  call.ahead = false;
  const Offset folded = FoldedUntil(context, call.org);
  absl::StatusOr<BuiltPage> built = co_await OnStoreThread(
      context, call.org, call.caller.user, [&context, &call] { return Build(context, call); });
  if (call.ahead && call.cursor.seen < folded) {
    co_return CursorOfOtherLog();  // the log has been read through there, and has no such event
  }
  if (IsLastWord(built.status()) && !call.at_end) {
    share->Keep(0);  // the log may take its time
    call.at_end = true;
    RETURN_IF_ERROR_CO(co_await ReachEnd(context, call.org));
    co_return co_await BuildOnce(context, call, admitted);
  }
  if (call.ahead && !call.ahead_known && ErrorCode(built.status()) == "not_caught_up") {
    share->Keep(0);  // the log may take its time
    const bool beyond = co_await IsBeyondLog(context, call.org, call.cursor.seen, false);
    if (beyond) {
      co_return CursorOfOtherLog();
    }
    call.ahead_known = KnowsLogEnd(context);
  }
  RETURN_IF_ERROR_CO(built.status());
  if (built->page.ops > 0) {  // it may have waited past its token's end
    RETURN_IF_ERROR_CO(RequireUnexpired(*call.principal, context.clock.Now()));
  }
  RETURN_IF_ERROR_CO(MayServe(context, call.org));
  share->Keep(built->body.size());
  built->share = *std::move(share);
  co_return built;
}

size_t BytesOf(const Cursor& cursor) {
  size_t bytes = cursor.entities.size() * sizeof(CursorEntity);
  for (const CursorGroup& group : cursor.groups) {
    bytes += sizeof(group) + group.buckets.size() * sizeof(group.buckets[0]);
  }
  return bytes;
}

size_t BucketsIn(const Cursor& cursor) {
  size_t buckets = 0;
  for (const CursorGroup& group : cursor.groups) {
    buckets += group.buckets.size();
  }
  return buckets;
}

net::awaitable<absl::StatusOr<BuiltPage>> BuildOrWait(SyncContext& context, ChangeHub& hub,
                                                      HttpConnection& http, DeltaCall& call,
                                                      ByteHold& asked) {
  const std::chrono::milliseconds wait = std::min(
      call.request.wait,
      std::chrono::duration_cast<std::chrono::milliseconds>(call.good_until - context.clock.Now()));
  const SteadyTime deadline = context.clock.SteadyNow() + wait;
  SessionSlot slot(context);
  bool admitted = false;
  std::optional<ChangeHub::Watch> watch;
  std::optional<ClientWatch> client;
  if (call.request.wait.count() > 0) {
    watch.emplace(hub, call.org);
  }
  while (true) {
    if (watch.has_value()) {
      (void)watch->Take();  // a page looks at all of the caller's buckets
    }
    absl::StatusOr<BuiltPage> built = co_await BuildOnce(context, call, admitted);
    if (!watch.has_value() || !MayGetBetter(built, call.request) || context.stopping.load() ||
        watch->ended() || context.clock.SteadyNow() >= deadline) {
      co_return built;  // who has closed its side only may still read it
    }
    // The session's places count what its cursor takes, instead of the bytes that it came in.
    const size_t buckets = built.ok() ? built->buckets.size() : BucketsIn(call.cursor);
    if (absl::Status status = slot.Take(*call.principal, buckets); !status.ok()) {
      co_return status;
    }
    admitted = true;
    asked.Set(0);
    if (built.ok()) {
      call.cursor = std::move(built->page.cursor);  // the next look is only at what is new
      if (!watch->listening()) {
        watch->Listen(built->buckets);
      }
    }
    if (!client.has_value()) {
      client.emplace(http, *watch);
    }
    built = absl::UnknownError("");  // holds no memory while it waits
    co_await watch->Wait(deadline);
  }
}

absl::StatusOr<DeltaCall> ParseCall(const SyncContext& context, const SyncRequest& request) {
  DeltaCall call;
  ASSIGN_OR_RETURN(call.org, OrgId::Parse(request.match.org));
  ASSIGN_OR_RETURN(call.request, request.http.method == "POST"
                                     ? ParseDeltaBody(request.body)
                                     : ParseDeltaRequest(request.http.query));
  if (!call.request.cursor.empty()) {
    ASSIGN_OR_RETURN(call.cursor, context.codec.Decode(call.org.value(), call.request.cursor));
    Release(&call.request.cursor);  // it may wait for long
  }
  call.principal = request.principal;
  call.caller = ClaimsOf(*request.principal);
  call.good_until = request.principal->good_until;
  return call;
}

HttpResponse DeltaProblem(const SyncContext& context, const SyncRequest& request, const OrgId& org,
                          const absl::Status& status) {
  HttpResponse response = Refusal(context, request, org, status);
  if (response.status == 410) {
    response.headers.emplace_back("Location", FreshStart(request.http.path, request.http.query));
  }
  return response;
}

}  // namespace

net::awaitable<HttpResponse> HandleDelta(SyncContext& context, ChangeHub& hub, HttpConnection& http,
                                         SyncRequest& request, ByteHold& asked) {
  absl::StatusOr<DeltaCall> call = ParseCall(context, request);
  Release(&request.body);  // it may wait for long
  if (call.ok()) {
    asked.Set(BytesOf(call->cursor));  // where that is less
  }
  HttpResponse response;
  if (!call.ok()) {
    response = DeltaProblem(context, request, OrgId(), call.status());
  } else {
    absl::StatusOr<BuiltPage> built = co_await BuildOrWait(context, hub, http, *call, asked);
    if (built.ok()) {
      context.metrics.Ops(built->page.ops);
      response.body = std::move(built->body);
      response.held = std::make_shared<FairBudget::Share>(std::move(built->share));
    } else {
      response = DeltaProblem(context, request, call->org, built.status());
    }
  }
  response.note.subject = request.principal->subject;
  co_return response;
}

}  // namespace sluice::gateways
