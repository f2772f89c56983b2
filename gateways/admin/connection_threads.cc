#include "gateways/admin/connection_threads.h"

#include <utility>

namespace sluice::gateways {
namespace {

thread_local bool refusing = false;

}  // namespace

bool ConnectionThreads::Refusing() { return refusing; }

void ConnectionThreads::enqueue(std::function<void()> job) {
  {
    absl::MutexLock lock(&mutex_);
    if (idle_ > 0) {
      --idle_;
      jobs_.push_back(std::move(job));
      return;
    }
    if (threads_.size() < threads_max_) {
      jobs_.push_back(std::move(job));
      threads_.emplace_back([this] { Work(); });
      return;
    }
  }
  refusing = true;
  job();
  refusing = false;
}

void ConnectionThreads::Work() {
  while (true) {
    std::function<void()> job;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(
          +[](ConnectionThreads* self)
               ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->stopping_ || !self->jobs_.empty(); },
          this));
      if (jobs_.empty()) {
        return;
      }
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
    absl::MutexLock lock(&mutex_);
    ++idle_;
  }
}

void ConnectionThreads::shutdown() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) {
    thread.join();
  }
  threads_.clear();
}

}  // namespace sluice::gateways
