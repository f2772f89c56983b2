#include "gateways/sync/stream_handler.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <string>

#include "gateways/sync/accept.h"
#include "gateways/sync/stream_state.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

using projectors::OrgSnapshot;
using std::chrono::milliseconds;

constexpr size_t kFillBytes = size_t{256} << 10;

std::string_view ContentType(FrameFormat format) {
  return format == FrameFormat::kSse ? "text/event-stream" : "application/x-ndjson";
}

// One stream on its connection: decides when, StreamState decides what.
class StreamSession {
 public:
  StreamSession(SyncContext& context, ChangeHub& hub, Connection& connection, const OrgId& org,
                const Principal& principal, StreamRequest request, FrameFormat format)
      : context_(context),
        connection_(connection),
        org_(org),
        live_(request.live),
        expires_(principal.expires),
        watch_(hub, org),
        state_(
            {.log_id = context.options.log_id, .buckets_max = context.options.buckets_per_caller},
            ClaimsOf(principal), std::move(request), format) {}

  // The first checkpoint: errors here can still be answered properly.
  net::awaitable<absl::Status> Open() {
    const SteadyTime deadline = Now() + context_.options.catch_up_wait;
    while (true) {
      seen_ = watch_.generation();
      const bool last = Now() >= deadline;
      absl::StatusOr<bool> began =
          co_await OnStoreThread(context_, [this, last] { return Begin(!last); });
      if (began.ok()) {
        co_return absl::OkStatus();
      }
      if (!NotCaughtUp(began.status()) || context_.stopping.load() || last) {
        co_return began.status();
      }
      co_await watch_.Wait(seen_, deadline);
    }
  }

  // Sends until the end. False where the connection broke.
  net::awaitable<bool> Run() {
    heartbeat_due_ = Now() + context_.options.heartbeat;
    while (true) {
      bool alive = co_await SendCheckpoint();
      if (!alive) {
        co_return false;
      }
      if (ended_ || !live_ || context_.stopping.load()) {
        co_return true;
      }
      alive = co_await WaitForChange();
      if (!alive) {
        co_return false;
      }
      if (ended_) {
        co_return true;
      }
    }
  }

  uint64_t ops_sent() const { return state_.ops_sent(); }

 private:
  static bool NotCaughtUp(const absl::Status& status) {
    return ErrorCode(status) == "not_caught_up";
  }
  SteadyTime Now() const { return context_.clock.SteadyNow(); }
  milliseconds TokenLeft() const {
    return std::chrono::duration_cast<milliseconds>(expires_ - context_.clock.Now());
  }

  // On a thread that may block: the next checkpoint from the newest snapshot.
  absl::StatusOr<bool> Begin(bool wait_for_client) {
    ASSIGN_OR_RETURN(std::shared_ptr<const OrgSnapshot> snapshot, SnapshotOf(context_, org_));
    // Who is ahead of a server that still reads the log needs no full load, only patience; who is
    // ahead of one that has read it all has a position from elsewhere.
    if (state_.ClientPosition() > snapshot->applied().position &&
        (wait_for_client || CatchingUp(context_))) {
      return Error(absl::StatusCode::kUnavailable, "not_caught_up",
                   "the client is ahead of this server");
    }
    snapshot_taken_ = Now();
    return state_.Begin(std::move(snapshot), &buffer_);
  }

  // What the buffer holds and the rest of the checkpoint. A load that takes long goes on from newer
  // snapshots, because an old one keeps the store's files from being cleaned up.
  net::awaitable<bool> SendCheckpoint() {
    while (!buffer_.empty() || state_.sending()) {
      if (state_.sending()) {
        const bool old = Now() - snapshot_taken_ > context_.options.snapshot_age_max;
        seen_ = old ? watch_.generation() : seen_;
        absl::Status status = co_await OnStoreThread(context_, [this, old]() -> absl::Status {
          absl::Status begun = old ? Begin(false).status() : absl::OkStatus();
          if (old && (begun.ok() || !NotCaughtUp(begun))) {
            return begun;
          }
          return state_.Fill(kFillBytes, &buffer_);  // goes on from the one that it has
        });
        if (!status.ok()) {
          End(status);
        }
      }
      bool alive = co_await Flush();
      if (alive && !ended_) {
        alive = co_await CheckToken();
      }
      if (!alive || ended_ || context_.stopping.load()) {
        co_return alive;
      }
    }
    buffer_ = {};  // a session that waits holds no memory
    co_return true;
  }

  net::awaitable<bool> Flush() {
    if (buffer_.empty()) {
      co_return true;
    }
    const bool alive = co_await connection_.SendChunk(buffer_);
    buffer_.clear();
    heartbeat_due_ = Now() + context_.options.heartbeat;
    co_return alive;
  }

  // Warns before the token ends, and ends with it.
  net::awaitable<bool> CheckToken() {
    const milliseconds left = TokenLeft();
    if (left.count() <= 0) {
      ended_ = true;
    } else if (!warned_ && left <= context_.options.token_warning) {
      warned_ = true;
      FrameWriter(state_.format(), &buffer_).TokenExpires((left.count() + 999) / 1000);
      co_return co_await Flush();
    }
    co_return true;
  }

  // Until there is a checkpoint to send, or the end.
  net::awaitable<bool> WaitForChange() {
    while (true) {
      bool alive = co_await CheckToken();
      if (!alive || ended_ || context_.stopping.load()) {
        co_return alive;
      }
      if (Now() >= heartbeat_due_) {
        FrameWriter(state_.format(), &buffer_).Heartbeat(state_.position());
        alive = co_await Flush();
        if (!alive) {
          co_return false;
        }
      }
      const milliseconds left = std::min<milliseconds>(TokenLeft(), std::chrono::hours(24));
      const SteadyTime token_due = Now() + (warned_ ? left : left - context_.options.token_warning);
      co_await watch_.Wait(seen_, std::min(heartbeat_due_, token_due));
      if (watch_.generation() != seen_ && !context_.stopping.load()) {
        seen_ = watch_.generation();
        absl::StatusOr<bool> began =
            co_await OnStoreThread(context_, [this] { return Begin(false); });
        if (NotCaughtUp(began.status())) {
          continue;  // the store was opened anew amid a large event: its end wakes us
        }
        if (!began.ok()) {
          End(began.status());
        }
        if (!began.ok() || *began) {
          co_return true;
        }
      }
    }
  }

  // The caller finds out why by asking again: it is answered with the status and its code.
  void End(const absl::Status& why) {
    ended_ = true;
    spdlog::info("sync_stream_ended org={} code={}", org_.value(), ErrorCode(why));
  }

  SyncContext& context_;
  Connection& connection_;
  const OrgId org_;
  const bool live_;
  const SystemTime expires_;
  ChangeHub::Watch watch_;
  StreamState state_;
  uint64_t seen_ = 0;
  std::string buffer_;
  SteadyTime snapshot_taken_;
  SteadyTime heartbeat_due_;
  bool warned_ = false;
  bool ended_ = false;
};

absl::StatusOr<StreamRequest> Parse(const HttpRequest& request, std::optional<FrameFormat> format) {
  if (!format.has_value()) {
    return Error(absl::StatusCode::kInvalidArgument, "not_acceptable",
                 "streams come as application/x-ndjson or text/event-stream");
  }
  return ParseStreamRequest(request.body);
}

}  // namespace

net::awaitable<StreamEnd> HandleStream(SyncContext& context, ChangeHub& hub, Connection& connection,
                                       const HttpRequest& request) {
  absl::StatusOr<std::shared_ptr<const Principal>> principal = co_await Authorize(context, request);
  if (!principal.ok()) {
    co_return StreamEnd{ProblemResponse(principal.status())};
  }
  const absl::StatusOr<OrgId> org = OrgId::Parse(request.target.org);
  const std::optional<FrameFormat> format = FormatFor(request.accept);
  absl::StatusOr<StreamRequest> wanted = Parse(request, format);
  SessionSlot slot(context);
  absl::Status ready = !org.ok() ? org.status() : !wanted.ok() ? wanted.status() : slot.Take();
  if (!ready.ok()) {
    co_return StreamEnd{ProblemResponse(ready)};
  }
  StreamSession session(context, hub, connection, *org, **principal, *std::move(wanted), *format);
  ready = co_await session.Open();
  if (!ready.ok()) {
    co_return StreamEnd{ProblemResponse(ready)};
  }
  StreamEnd end;
  end.connection_usable = co_await connection.StartStream(request, ContentType(*format));
  if (end.connection_usable) {
    end.connection_usable = co_await session.Run();
  }
  context.metrics.Ops(session.ops_sent());
  if (end.connection_usable) {
    end.connection_usable = co_await connection.EndStream();
  }
  co_return end;
}

}  // namespace sluice::gateways
