#include "gateways/http/thread_pool.h"

#include <system_error>

namespace sluice::gateways {

ThreadPool::ThreadPool(size_t threads) {
  keep_running_.emplace(get_executor());
  threads_.reserve(threads);
  try {
    for (size_t i = 0; i < threads; ++i) {
      threads_.emplace_back([this] { run(); });
    }
  } catch (const std::system_error&) {
    join();
    throw;
  }
}

ThreadPool::~ThreadPool() { join(); }

void ThreadPool::join() {
  keep_running_.reset();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) {
      thread.join();
    }
  }
}

}  // namespace sluice::gateways
