#include "gateways/admin/ingest_exchange.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <utility>

#include "gateways/problem.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr std::chrono::milliseconds kTick{50};
// Answers wait this long for company, or for the body's end, with which the status is known.
constexpr std::chrono::milliseconds kAnswerAge{250};
constexpr size_t kAnswerBytes = size_t{64} << 10;
constexpr size_t kPieceHolds = 2;  // a piece, and what of it is on its way
constexpr std::chrono::seconds kPieceWait{10};

absl::Status TooBusy() {
  return Error(absl::StatusCode::kUnavailable, "too_busy",
               "this server holds as many bytes of requests as it may: try again later");
}

}  // namespace

IngestExchange::IngestExchange(HttpConnection& connection, const HttpHead& head, IngestLines& lines,
                               IngestThreads& threads, IngestOwner owner, ByteBudget& requests,
                               ByteBudget& answers, IngestExchangeOptions options)
    : connection_(connection),
      head_(head),
      lines_(lines),
      threads_(threads),
      owner_(std::move(owner)),
      options_(options),
      piece_hold_(requests, connection.owner()),
      answer_hold_(answers, connection.owner()),
      tick_(connection.executor()),
      idle_(connection.executor()) {}

template <typename Work>
net::awaitable<absl::Status> IngestExchange::OnPool(Work work) {
  while (working_) {
    idle_.expires_after(std::chrono::seconds(1));
    co_await idle_.async_wait(net::as_tuple(net::use_awaitable));
  }
  working_ = true;
  absl::Status status = co_await threads_.Run(owner_, std::move(work), /*admitted=*/true);
  working_ = false;
  idle_.cancel();
  Collect();
  co_return status;
}

void IngestExchange::Collect() {
  std::string answers = lines_.TakeAnswers();
  answered_ = answered_ || !answers.empty();
  if (!answers.empty() && pending_.empty()) {
    pending_since_ = std::chrono::steady_clock::now();
  }
  pending_ += answers;
  // Without room in the budget nothing more is taken, as at the limit of one answer.
  const bool room = answer_hold_.TryHold(pending_.size() + lines_.session().waiting_bytes());
  lines_.set_unsent(room ? pending_.size() : SIZE_MAX / 2);
  if (ticking_ && Due()) {
    tick_.cancel();
  }
}

bool IngestExchange::Due() const {
  return options_.may_stream && !pending_.empty() &&
         (started_ || pending_.size() >= kAnswerBytes ||
          std::chrono::steady_clock::now() - pending_since_ >= kAnswerAge);
}

net::awaitable<void> IngestExchange::Flush() {
  std::string out = std::exchange(pending_, std::string());
  if (!started_) {
    started_ = true;
    HttpResponse response;
    response.content_type = "application/x-ndjson";
    const bool sent = co_await connection_.StartStream(head_, response);
    failed_ = failed_ || !sent;
  }
  if (!failed_) {
    // Whoever still sends may read later: only the body's end sets a time.
    const bool sent = co_await connection_.SendChunk(out, /*timed=*/false);
    failed_ = failed_ || !sent;
  }
  answer_hold_.Set(pending_.size());
}

net::awaitable<void> IngestExchange::Tick() {
  while (!done_ && !failed_) {
    tick_.expires_after(kTick);
    co_await tick_.async_wait(net::as_tuple(net::use_awaitable));
    if (!ending_ && !working_ && lines_.session().due()) {
      const absl::Status settled = co_await OnPool([this] {
        lines_.Settle();
        return absl::OkStatus();
      });
      (void)settled;  // an error of a set is its answer
    }
    if (!done_ && Due()) {
      co_await Flush();
    }
  }
  ticking_ = false;
  idle_.cancel();
}

// A client that takes nothing of its answer any more, now that it has sent all, is cut.
net::awaitable<void> IngestExchange::AwaitTicker() {
  tick_.cancel();
  while (ticking_) {
    const size_t before = connection_.sent();
    idle_.expires_after(options_.write_timeout);
    co_await idle_.async_wait(net::as_tuple(net::use_awaitable));
    if (ticking_ && connection_.sent() == before &&
        idle_.expiry() <= net::steady_timer::clock_type::now()) {
      connection_.Close();
    }
  }
}

// Waits for room in the budget: the sender is held by TCP meanwhile.
net::awaitable<absl::Status> IngestExchange::HoldPiece() {
  const size_t wanted = kPieceHolds * connection_.NextBodyBytesMax();
  if (piece_hold_.bytes() > 0) {
    if (!piece_hold_.TryHold(wanted)) {
      connection_.LimitNextBody(piece_hold_.bytes() / kPieceHolds);  // it goes on as before
    }
    co_return absl::OkStatus();
  }
  const auto deadline = std::chrono::steady_clock::now() + kPieceWait;
  net::steady_timer pause(connection_.executor());
  while (!piece_hold_.TryHold(wanted)) {
    if (std::chrono::steady_clock::now() >= deadline) {
      co_return TooBusy();
    }
    pause.expires_after(kTick);
    co_await pause.async_wait(net::as_tuple(net::use_awaitable));
  }
  co_return absl::OkStatus();
}

net::awaitable<absl::Status> IngestExchange::ReadAll() {
  while (!failed_ && !lines_.cut()) {
    // Sets are of use, blanks are not: whoever sends a set now and then keeps the connection.
    if (std::exchange(answered_, false) || lines_.session().waiting()) {
      connection_.RenewBody();
    }
    absl::Status held = co_await HoldPiece();
    if (!held.ok()) {
      co_return held;
    }
    const absl::StatusOr<std::string_view> piece = co_await connection_.ReadBody();
    if (!piece.ok()) {
      co_return piece.status();
    }
    if (piece->empty()) {
      co_return absl::OkStatus();
    }
    absl::Status taken = co_await OnPool([this, text = *piece] { return lines_.Feed(text); });
    if (!taken.ok()) {
      co_return taken;
    }
  }
  if (lines_.cut()) {
    co_return absl::OkStatus();
  }
  co_return absl::CancelledError("the client has gone");
}

// However long the log or a store takes: no thread waits for them.
net::awaitable<absl::Status> IngestExchange::End(bool whole) {
  ending_ = true;
  absl::Status ended;
  absl::Status ran = co_await OnPool([this, whole, &ended] {
    ended = lines_.End(whole);
    return absl::OkStatus();
  });
  IngestWait wait(connection_.executor());
  while (ran.ok() && lines_.session().waiting()) {
    co_await wait.Wait(lines_.session());
    if (lines_.session().light()) {
      lines_.Settle();
      Collect();
      continue;
    }
    ran = co_await OnPool([this] {
      lines_.Settle();
      return absl::OkStatus();
    });
  }
  co_return ran.ok() ? ended : ran;
}

net::awaitable<absl::Status> IngestExchange::Run() {
  // Also where the answer goes out whole at the end: what is gathered does not wait for the sender.
  ticking_ = true;
  net::co_spawn(connection_.executor(), Tick(), net::detached);
  absl::Status read;
  try {
    read = co_await ReadAll();
  } catch (const std::exception&) {
    read = absl::InternalError("reading a body failed");  // the ticker needs this object still
  }
  const bool whole = read.ok();
  absl::Status finished = co_await End(whole);
  done_ = true;
  co_await AwaitTicker();
  piece_hold_.Set(0);
  co_return read.ok() ? finished : read;
}

std::string IngestExchange::TakeBody() {
  std::string body = std::exchange(pending_, std::string());
  if (!body.empty()) {
    body.push_back('\n');
  }
  answer_hold_.Set(0);
  return body;
}

net::awaitable<bool> IngestExchange::Complete(const absl::Status& error) {
  if (failed_ || absl::IsCancelled(error)) {
    co_return false;
  }
  std::string rest = std::exchange(pending_, std::string());
  if (!error.ok()) {
    rest += "\n{\"error\":" + ProblemJson(error) + "}";
  }
  rest.push_back('\n');
  bool sent = co_await connection_.SendChunk(rest);
  if (sent) {
    sent = co_await connection_.EndStream();
  }
  answer_hold_.Set(0);
  co_return sent;
}

}  // namespace sluice::gateways
