#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "gateways/http/blocking_pool.h"
#include "gateways/http/fair_budget.h"
#include "gateways/ingest/duplicate_filter.h"
#include "gateways/ingest/ingest_session.h"
#include "schemas/base/backoff.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

// Whose step it is.
struct IngestOwner {
  std::string partition;  // of `changes`
  std::string org;
};

// The threads that ingest blocks. Partitions take turns, and within one its organisations: no
// partition has more than a part of the threads, because its log may be slow or away, and no
// organisation more than a part of those, because its store may be behind. Thread-safe.
class IngestThreads {
 public:
  // `places`: one for each thread. `patience`: for a place of a request that has had none.
  IngestThreads(std::unique_ptr<BlockingPool> threads, std::unique_ptr<FairBudget> places,
                const Clock& clock, std::chrono::milliseconds patience)
      : threads_(std::move(threads)),
        places_(std::move(places)),
        clock_(clock),
        patience_(patience) {}

  // Runs one step of a request; waits for a place without a thread. The place is given back behind
  // the step: a request that waits has none. `work` returns what can be made from an absl::Status:
  // kUnavailable "too_busy" where there is no place. `admitted`: a step of this request has been
  // run before, and this one is in any case.
  template <typename Work>
  boost::asio::awaitable<std::invoke_result_t<Work>> Run(IngestOwner owner, Work work,
                                                         bool admitted) {
    using Result = std::invoke_result_t<Work>;
    const SteadyTime until = admitted ? SteadyTime::max() : clock_.SteadyNow() + patience_;
    const absl::StatusOr<FairBudget::Share> place = co_await places_->Take(
        std::move(owner.partition), std::move(owner.org), 1, until, admitted);
    if (!place.ok() && !admitted) {
      co_return Result(place.status());
    }
    Result result = co_await threads_->Run(std::move(work), /*admitted=*/true);
    co_return result;
  }

  // As BlockingPool's.
  void Stop() { threads_->Stop(); }

 private:
  const std::unique_ptr<BlockingPool> threads_;
  const std::unique_ptr<FairBudget> places_;
  const Clock& clock_;
  const std::chrono::milliseconds patience_;
};

// Waits on an I/O thread until a session that has ended may have more answers. For one session and
// one coroutine.
class IngestWait {
 public:
  explicit IngestWait(const boost::asio::any_io_executor& executor);
  ~IngestWait();
  IngestWait(const IngestWait&) = delete;
  IngestWait& operator=(const IngestWait&) = delete;

  // Settle() is to be called behind it.
  [[nodiscard]] boost::asio::awaitable<void> Wait(const IngestSession& session);

 private:
  const std::shared_ptr<boost::asio::steady_timer> timer_;  // shared with what wakes it
  const std::shared_ptr<TicketWaker> waker_;
  std::shared_ptr<SetTicket> asked_;  // that wakes it
  Backoff look_;
};

}  // namespace sluice::gateways
