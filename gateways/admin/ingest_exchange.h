#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "gateways/admin/ingest_routes.h"
#include "gateways/admin/ingest_threads.h"
#include "gateways/http/byte_budget.h"
#include "gateways/http/http_connection.h"

namespace sluice::gateways {

struct IngestExchangeOptions {
  bool may_stream = true;                           // answers may go out before the body has ended
  std::chrono::milliseconds write_timeout{30'000};  // without progress, once the body has ended
};

// One NDJSON request and its answers, on a connection's I/O thread: pieces of the body are taken on
// a pool while more is on its way, what the log or a store has yet to say is waited for here, and
// answers go out while the body is still being sent, once there is enough of them or the sender
// pauses. A sender that reads nothing until it has sent all is read on; its answers wait in memory,
// within the limit of an answer and the listener's budget.
class IngestExchange {
 public:
  IngestExchange(HttpConnection& connection, const HttpHead& head, IngestLines& lines,
                 IngestThreads& threads, IngestOwner owner, ByteBudget& requests,
                 ByteBudget& answers, IngestExchangeOptions options);
  IngestExchange(const IngestExchange&) = delete;
  IngestExchange& operator=(const IngestExchange&) = delete;

  // Reads the body to its end, or to what ends it: the error says what. When this returns every set
  // that was taken is durable or has failed, and nothing else runs for this request.
  [[nodiscard]] net::awaitable<absl::Status> Run();

  // Part of the answer has been sent, with status 200: Complete() ends it.
  [[nodiscard]] bool started() const { return started_; }
  // Nothing more was taken: the connection has to be closed behind the answer.
  [[nodiscard]] bool cut() const { return lines_.cut(); }
  // Where nothing was sent: the answer's body.
  std::string TakeBody();
  // Where part was sent: the rest, with `error`, if it is one, as last line. False where the
  // connection is of no use any more.
  [[nodiscard]] net::awaitable<bool> Complete(const absl::Status& error);

 private:
  [[nodiscard]] net::awaitable<absl::Status> ReadAll();
  // Takes what is left, and waits for every answer.
  [[nodiscard]] net::awaitable<absl::Status> End(bool whole);
  // Sends what is due and settles what the sender waits for, until Run() has ended.
  [[nodiscard]] net::awaitable<void> Tick();
  [[nodiscard]] net::awaitable<void> Flush();
  [[nodiscard]] net::awaitable<void> AwaitTicker();
  [[nodiscard]] net::awaitable<absl::Status> HoldPiece();
  // Runs `work` on the pool, alone: the lines are used by one thread at a time.
  template <typename Work>
  net::awaitable<absl::Status> OnPool(Work work);
  void Collect();
  bool Due() const;

  HttpConnection& connection_;
  const HttpHead& head_;
  IngestLines& lines_;
  IngestThreads& threads_;
  const IngestOwner owner_;
  const IngestExchangeOptions options_;

  // All of these are of the connection's I/O thread.
  ByteHold piece_hold_;
  ByteHold answer_hold_;
  std::string pending_;  // answers that are not sent
  std::chrono::steady_clock::time_point pending_since_;
  bool working_ = false;   // on the pool
  bool answered_ = false;  // since the body was last read
  bool started_ = false;
  bool ending_ = false;  // the body has ended
  bool done_ = false;    // no more answers come
  bool failed_ = false;  // nobody reads them
  bool ticking_ = false;
  net::steady_timer tick_;
  net::steady_timer idle_;  // cancelled when working_ or ticking_ ends
};

}  // namespace sluice::gateways
