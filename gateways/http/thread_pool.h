#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <optional>
#include <thread>
#include <vector>

namespace sluice::gateways {

// Threads that run one loop, all made at once. Unlike boost::asio::thread_pool it can fail: where
// one of its threads can't be made it throws std::system_error and leaves none behind.
class ThreadPool : public boost::asio::io_context {
 public:
  explicit ThreadPool(size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Runs what is posted to its end, and ends the threads. Safe to call twice.
  void join();

 private:
  std::optional<boost::asio::executor_work_guard<executor_type>> keep_running_;
  std::vector<std::thread> threads_;
};

}  // namespace sluice::gateways
