#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/statusor.h"
#include "gateways/http/thread_pool.h"

namespace prometheus {
class Gauge;
class Registry;
}  // namespace prometheus

namespace sluice::gateways {

// A fixed number of threads for what blocks, made at once; coroutines wait for their work without
// a thread. Thread-safe.
class BlockingPool {
 public:
  // `work_max`: running and waiting together; past it Run() refuses. The gauges
  // sluice_http_work{pool=`name`} and sluice_http_work_limit tell how full it is.
  // kResourceExhausted where a thread can't be made.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<BlockingPool>> Start(
      const std::string& name, size_t threads, size_t work_max,
      const std::shared_ptr<prometheus::Registry>& registry);
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Runs `work` on a thread of the pool and resumes the caller where it was. What `work` returns
  // can be made from an absl::Status: kUnavailable "too_busy" where the pool is full, kInternal
  // where it threw. `admitted`: the request has had its place before, and gets one in any case.
  template <typename Work>
  boost::asio::awaitable<std::invoke_result_t<Work>> Run(Work work, bool admitted = false) {
    using Result = std::invoke_result_t<Work>;
    if (!Enter(admitted)) {
      co_return Result(Full());
    }
    // The work runs where its coroutine does: on the pool's executor.
    Result result = co_await boost::asio::co_spawn(pool_, Guarded<Work>(this, std::move(work)),
                                                   boost::asio::use_awaitable);
    co_return result;
  }

  // Waits for what runs or waits for a thread. No Run() after it.
  void Stop();

 private:
  BlockingPool(const std::string& name, size_t threads, size_t work_max,
               const std::shared_ptr<prometheus::Registry>& registry);

  template <typename Work>
  static boost::asio::awaitable<std::invoke_result_t<Work>> Guarded(BlockingPool* pool, Work work) {
    std::optional<std::invoke_result_t<Work>> result;
    try {
      result.emplace(work());
    } catch (const std::exception& error) {
      result.emplace(Failed(error));
    }
    pool->Leave();
    co_return *std::move(result);
  }

  bool Enter(bool admitted);
  void Leave();
  static absl::Status Full();
  static absl::Status Failed(const std::exception& error);

  const size_t work_max_;
  std::atomic<size_t> work_{0};
  std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Gauge& gauge_;
  ThreadPool pool_;
};

}  // namespace sluice::gateways
