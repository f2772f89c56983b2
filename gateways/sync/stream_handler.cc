#include "gateways/sync/stream_handler.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gateways/sync/client_watch.h"
#include "gateways/sync/stream_state.h"
#include "gateways/sync/touched_buckets.h"
#include "schemas/base/status.h"
#include "schemas/release.h"

namespace sluice::gateways {
namespace {

using projectors::OrgSnapshot;
using std::chrono::milliseconds;

constexpr size_t kPieceBytes = size_t{256} << 10;
constexpr size_t kBucketBytes = 96;  // about, of a bucket in a checkpoint
// Of a checkpoint that is longer than a piece: as much as a client has a write's time to take.
constexpr size_t kCheckpointBytes = size_t{64} << 10;

// One stream on its connection: decides when, StreamState decides what.
class StreamSession {
 public:
  StreamSession(SyncContext& context, ChangeHub& hub, HttpConnection& http, const OrgId& org,
                const Principal& principal, StreamRequest request, FrameFormat format,
                SessionSlot& slot, ByteHold& asked)
      : context_(context),
        http_(http),
        org_(org),
        principal_(principal),
        live_(request.live),
        watch_(hub, org),
        state_(
            {.log_id = context.options.log_id, .buckets_max = context.options.buckets_per_caller},
            context.columns, context.pieces, ClaimsOf(principal), std::move(request), format),
        slot_(slot),
        asked_(asked) {}

  // The first checkpoint: errors here can still be answered properly.
  net::awaitable<absl::Status> Open() {
    const SteadyTime deadline = Now() + context_.options.catch_up_wait;
    bool asked = false;
    bool at_end = false;
    while (true) {
      const bool last = Now() >= deadline || context_.stopping.load() || watch_.ended();
      touched_.TakeNews();
      ahead_ = kNoOffset;
      const Offset folded = FoldedUntil(context_, org_);
      const absl::Status began = (co_await Look()).status();
      if (ahead_ != kNoOffset && ahead_ < folded) {
        state_.ResetAll();  // the log has been read through there, and has no such event
        continue;
      }
      if (IsLastWord(began) && !at_end) {
        at_end = true;
        if (absl::Status reached = co_await ReachEnd(context_, org_); !reached.ok()) {
          co_return reached;
        }
        continue;
      }
      if (ahead_ != kNoOffset && !asked) {
        // Who is ahead of a server that still reads the log needs no full load, only patience; who
        // is ahead of the log has a position from elsewhere, or from a time that is lost.
        asked = KnowsLogEnd(context_);
        const bool beyond =
            co_await IsBeyondLog(context_, org_, ahead_, last && !CatchingUp(context_));
        if (beyond) {
          state_.ResetAll();
          continue;
        }
      }
      if (!NotCaughtUp(began) || last) {
        co_return began;
      }
      co_await watch_.Wait(deadline);
    }
  }

  // The answer's head. False where the connection broke.
  net::awaitable<bool> Start(const SyncRequest& request) {
    const HeldUp held_up(*this);
    HttpResponse response;
    response.content_type = state_.encoder().content_type();
    co_return co_await http_.StartStream(request.http, response);
  }

  // Sends until the end. False where the connection broke.
  net::awaitable<bool> Run() {
    heartbeat_due_ = Now() + context_.options.heartbeat;
    while (true) {
      bool alive = co_await SendCheckpoint();
      if (!alive) {
        co_return false;
      }
      if (!ended_.ok() || !live_ || context_.stopping.load()) {
        co_return true;
      }
      alive = co_await WaitForChange();
      if (!alive) {
        co_return false;
      }
      if (!ended_.ok()) {
        co_return true;
      }
    }
  }

  uint64_t ops_sent() const { return state_.ops_sent(); }
  // Why the server ended it; OK where it is at its own end.
  const absl::Status& ended() const { return ended_; }

 private:
  // While it lives others decide how long the session takes: its client, which may not read, or
  // those who have the share that it waits for. An organisation that may no longer be served here
  // does not wait for them: its store is to be built anew, or is another process's now.
  class HeldUp {
   public:
    explicit HeldUp(StreamSession& session) : watch_(session.watch_) {
      watch_.OnWakeAll([&session] {
        if (!session.MayGoOn()) {
          session.http_.Close();
        }
      });
    }
    HeldUp(const HeldUp&) = delete;
    HeldUp& operator=(const HeldUp&) = delete;
    ~HeldUp() { watch_.OnWakeAll(nullptr); }

   private:
    ChangeHub::Watch& watch_;
  };

  static bool NotCaughtUp(const absl::Status& status) {
    return ErrorCode(status) == "not_caught_up";
  }
  SteadyTime Now() const { return context_.clock.SteadyNow(); }
  milliseconds TokenLeft() const {
    return std::chrono::duration_cast<milliseconds>(principal_.expires - context_.clock.Now());
  }

  // Before a piece of about so many bytes is built, for it and the frame that is being built for
  // it. Waits as long as a client may take for one; the session has its place, so that it waits
  // however many others do: a change may wake all of them at once.
  net::awaitable<absl::Status> TakeShare(size_t piece_bytes) {
    absl::StatusOr<FairBudget::Share> share =
        co_await context_.budget.Take(org_.value(), principal_.subject, 2 * piece_bytes,
                                      Now() + context_.options.write_timeout, /*admitted=*/true);
    if (!share.ok()) {
      co_return share.status();
    }
    share_ = *std::move(share);
    piece_bytes_ = piece_bytes;
    co_return absl::OkStatus();
  }

  // The next checkpoint from the newest snapshot; false where there is nothing to send. Many look
  // at once after a change that they share, and few of them have much to send: the first piece of
  // a live one is small, beside its buckets in a checkpoint.
  net::awaitable<absl::StatusOr<bool>> Look() {
    const size_t first =
        std::min(kPieceBytes, state_.buckets() * kBucketBytes + StreamState::kChangeBytes);
    const absl::Status share = co_await TakeShare(state_.begun() ? first : kPieceBytes);
    if (!share.ok()) {
      co_return share;
    }
    const absl::StatusOr<bool> began =
        co_await OnStoreThread(context_, org_, principal_.subject, [this] { return Begin(); });
    co_return Began(began);
  }

  // Takes the places of as many buckets as there are now.
  absl::StatusOr<bool> Began(absl::StatusOr<bool> began) {
    if (began.ok()) {
      touched_.Looked(state_);
      if (absl::Status places = slot_.Take(principal_, state_.buckets()); !places.ok()) {
        began = std::move(places);
      }
    }
    if (!began.ok() || !*began) {
      share_ = {};
    }
    return began;
  }

  // On a thread that may block.
  absl::StatusOr<bool> Begin() {
    ASSIGN_OR_RETURN(std::shared_ptr<const OrgSnapshot> snapshot, SnapshotOf(context_, org_));
    const Offset applied = snapshot->applied().position;
    RETURN_IF_ERROR(CheckClient(*snapshot));
    ASSIGN_OR_RETURN(const bool began, state_.Begin(std::move(snapshot), touched_.At(applied)));
    state_.WriteCheckpoint(piece_bytes_, &buffer_.text());
    loading_since_ = Now();
    return began;
  }

  // Whether the client's rows are of the snapshot's history, before the first checkpoint.
  absl::Status CheckClient(const OrgSnapshot& snapshot) {
    if (state_.begun() || state_.resets_all()) {
      return absl::OkStatus();
    }
    const std::optional<HistoryMark>& history = state_.client_history();
    const Offset position =
        std::max(state_.client_position(), history.has_value() ? history->position : kNoOffset);
    if (position > snapshot.applied().position) {
      ahead_ = position;
      return Error(absl::StatusCode::kUnavailable, "not_caught_up",
                   "the client is ahead of this server: try again");
    }
    if (history.has_value()) {
      ASSIGN_OR_RETURN(const std::optional<uint64_t> here, snapshot.HistoryAt(history->position));
      if (here != history->hash) {
        state_.ResetAll();  // also where it is so long ago that nothing tells any more
      }
    }
    return absl::OkStatus();
  }

  // What the buffer holds and the rest of the checkpoint. A load that takes long goes on from newer
  // snapshots, because an old one keeps the store's files from being cleaned up.
  net::awaitable<bool> SendCheckpoint() {
    while (!buffer_.empty() || state_.sending()) {
      if (state_.sending() && !state_.amid_checkpoint()) {
        co_await Fill();
        BeatWhilePassing();
      }
      bool alive = co_await Flush();
      if (alive && ended_.ok()) {
        alive = co_await CheckToken();
      }
      if (!alive || !ended_.ok() || context_.stopping.load()) {
        co_return alive;
      }
    }
    buffer_.LetGo();  // a session that waits holds no memory
    co_return true;
  }

  // A load that passes over much sends nothing for long: the client is not to think that nobody is
  // there.
  void BeatWhilePassing() {
    if (ended_.ok() && buffer_.empty() && state_.sending() && Now() >= heartbeat_due_) {
      state_.encoder().Heartbeat(state_.position(), &buffer_.text());
    }
  }

  net::awaitable<void> Fill() {
    const bool old = Now() - loading_since_ > context_.options.snapshot_age_max;
    // No conditional expression: GCC 12 destroys what one with co_await in it returns too early.
    absl::Status status;
    if (buffer_.empty() && MayGoOn()) {
      const HeldUp held_up(*this);
      status = co_await TakeShare(kPieceBytes);
    }
    if (!ended_.ok()) {
      share_ = {};
      co_return;
    }
    if (old && status.ok()) {
      touched_.TakeNews();
      absl::StatusOr<bool> began =
          co_await OnStoreThread(context_, org_, principal_.subject, [this] { return Begin(); });
      if (!NotCaughtUp(began.status())) {  // or it goes on from the one that it has
        if (began.ok()) {
          began = Began(true);
        }
        status = began.status();
      }
    }
    if (status.ok() && state_.sending() && !state_.amid_checkpoint()) {
      status = co_await OnStoreThread(context_, org_, principal_.subject,
                                      [this] { return state_.Fill(piece_bytes_, &buffer_); });
    }
    if (!status.ok()) {
      End(status);
    }
    share_.Keep(buffer_.size());
  }

  // Gives away what was read, and the rest of a checkpoint of which that is a part: no other frame
  // may come between. False also where the session has ended amid one: then it is the connection's
  // end that tells the client.
  net::awaitable<bool> Flush() {
    bool alive = co_await SendBuffer();
    while (alive && state_.amid_checkpoint()) {
      co_await FillCheckpoint();
      alive = co_await SendBuffer();
    }
    asked_.Set(0);  // what the client has is answered now
    co_return alive && !cut_;
  }

  // The next piece of a checkpoint that is longer than one.
  net::awaitable<void> FillCheckpoint() {
    absl::Status status;
    if (MayGoOn()) {
      const HeldUp held_up(*this);
      status = co_await TakeShare(kCheckpointBytes);
    }
    if (status.ok() && ended_.ok()) {
      status = co_await OnStoreThread(context_, org_, principal_.subject, [this] {
        state_.WriteCheckpoint(piece_bytes_, &buffer_.text());
        return absl::OkStatus();
      });
    }
    if (!status.ok()) {
      End(status);
    }
    share_.Keep(buffer_.size());
  }

  // Gives away what was read, if this process still may: it may have been paused since.
  net::awaitable<bool> SendBuffer() {
    if (buffer_.empty()) {
      co_return true;
    }
    bool alive = true;
    if (MayGoOn()) {
      const HeldUp held_up(*this);
      const std::vector<std::string_view> parts = buffer_.Parts();
      alive = co_await http_.SendChunks(parts);
    }
    buffer_.Clear();
    share_ = {};
    heartbeat_due_ = Now() + context_.options.heartbeat;
    co_return alive;
  }

  // Warns before the token ends, and ends with it.
  net::awaitable<bool> CheckToken() {
    const milliseconds left = TokenLeft();
    if (left.count() <= 0) {
      End(Error(absl::StatusCode::kUnauthenticated, "token_expired", "the token has expired"));
    } else if (!warned_ && left <= context_.options.token_warning) {
      warned_ = true;
      state_.encoder().TokenExpires((left.count() + 999) / 1000, &buffer_.text());
      co_return co_await Flush();
    }
    co_return true;
  }

  // Until there is a checkpoint to send, or the end.
  net::awaitable<bool> WaitForChange() {
    while (true) {
      bool alive = co_await CheckToken();
      if (alive && ended_.ok() && Now() >= heartbeat_due_) {
        alive = co_await SendHeartbeat();
      }
      if (!alive || !ended_.ok() || context_.stopping.load()) {
        co_return alive;
      }
      const milliseconds left = std::min<milliseconds>(TokenLeft(), std::chrono::hours(24));
      const SteadyTime token_due = Now() + (warned_ ? left : left - context_.options.token_warning);
      co_await watch_.Wait(std::min(heartbeat_due_, token_due));
      if (watch_.ended()) {
        End(Error(absl::StatusCode::kCancelled, "client_gone", "the client has closed its side"));
        co_return true;
      }
      if (!MayGoOn()) {
        co_return true;
      }
      if (!watch_.changed() || context_.stopping.load()) {
        continue;
      }
      touched_.TakeNews();
      context_.metrics.Woken();
      const absl::StatusOr<bool> began = co_await Look();
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

  net::awaitable<bool> SendHeartbeat() {
    if (touched_.none()) {
      state_.SetQuiet(watch_.applied());  // what others changed passes at no cost
    }
    state_.encoder().Heartbeat(state_.position(), &buffer_.text());
    co_return co_await Flush();
  }

  // Ends the session where this process may not answer for the organisation any more, or the token
  // is over: also while it waited.
  bool MayGoOn() {
    absl::Status may = RequireUnexpired(principal_, context_.clock.Now());
    if (may.ok()) {
      may = MayServe(context_, org_);
    }
    if (ended_.ok() && !may.ok()) {
      End(may);
    }
    return ended_.ok();
  }

  // The caller finds out why by asking again: it is answered with the status and its code. What the
  // client has still to take of the answer keeps nothing of the store.
  void End(const absl::Status& why) {
    ended_ = why;
    cut_ = cut_ || state_.amid_checkpoint();
    state_.LetGo();
    spdlog::info("sync_stream_ended org={} code={}", org_.value(), ErrorCode(why));
  }

  SyncContext& context_;
  HttpConnection& http_;
  const OrgId org_;
  const Principal& principal_;  // the request's
  const bool live_;
  ChangeHub::Watch watch_;
  ClientWatch client_{http_, watch_};
  StreamState state_;
  SessionSlot& slot_;
  ByteHold& asked_;  // for what the client said that it has, until the first checkpoint is sent
  TouchedBuckets touched_{watch_};
  Offset ahead_ = kNoOffset;  // where the client is, if the snapshot had not come so far
  FrameBuffer buffer_;
  FairBudget::Share share_;   // for what the buffer holds
  size_t piece_bytes_ = 0;    // ... and may come to
  SteadyTime loading_since_;  // from the snapshot that it has
  SteadyTime heartbeat_due_;
  bool warned_ = false;
  bool cut_ = false;  // it has ended amid a frame
  absl::Status ended_;
};

absl::StatusOr<StreamRequest> Parse(const SyncRequest& request) {
  if (!request.format.has_value()) {
    return Error(absl::StatusCode::kInvalidArgument, "not_acceptable",
                 "streams come as application/x-ndjson or text/event-stream");
  }
  return ParseStreamRequest(request.body);
}

}  // namespace

net::awaitable<StreamEnd> HandleStream(SyncContext& context, ChangeHub& hub, HttpConnection& http,
                                       SyncRequest& request, ByteHold& asked) {
  const Principal& principal = *request.principal;
  const absl::StatusOr<OrgId> org = OrgId::Parse(request.match.org);
  absl::StatusOr<StreamRequest> wanted = Parse(request);
  Release(&request.body);  // the stream may last for hours
  SessionSlot slot(context);
  absl::Status ready = !org.ok()      ? org.status()
                       : !wanted.ok() ? wanted.status()
                                      : slot.Take(principal, 0);
  std::optional<StreamSession> session;
  if (ready.ok()) {
    session.emplace(context, hub, http, *org, principal, *std::move(wanted), *request.format, slot,
                    asked);
    ready = co_await session->Open();
  }
  if (ready.ok()) {
    ready = RequireUnexpired(principal, context.clock.Now());  // it may have waited
  }
  if (ready.ok()) {
    ready = MayServe(context, *org);  // what was read goes out only if it still may
  }
  StreamEnd end;
  if (!ready.ok()) {
    end.refused = org.ok() ? Refusal(context, request, *org, ready) : ProblemResponse(ready);
    end.refused->note.subject = principal.subject;
    co_return end;
  }
  Release(&request.http.query);
  end.connection_usable = co_await session->Start(request);
  if (end.connection_usable) {
    end.connection_usable = co_await session->Run();
  }
  context.metrics.Ops(session->ops_sent());
  end.note = {principal.subject, session->ended().ok() ? "" : ErrorCode(session->ended())};
  if (end.connection_usable) {
    end.connection_usable = co_await http.EndStream();
  }
  co_return end;
}

}  // namespace sluice::gateways
