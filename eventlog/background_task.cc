#include "eventlog/background_task.h"

#include <utility>

namespace sluice::eventlog {

BackgroundTask::BackgroundTask() : thread_([this] { Run(); }) {}

BackgroundTask::~BackgroundTask() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void BackgroundTask::Start(std::function<void()> work) {
  absl::MutexLock lock(&mutex_);
  work_ = std::move(work);
}

bool BackgroundTask::done() const {
  absl::MutexLock lock(&mutex_);
  return work_ == nullptr;
}

void BackgroundTask::Wait() {
  absl::MutexLock lock(&mutex_);
  const auto done = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return work_ == nullptr; };
  mutex_.Await(absl::Condition(&done));
}

void BackgroundTask::Run() {
  const auto called = [this]()
                          ABSL_NO_THREAD_SAFETY_ANALYSIS { return stopping_ || work_ != nullptr; };
  absl::MutexLock lock(&mutex_);
  while (true) {
    mutex_.Await(absl::Condition(&called));
    if (work_ == nullptr) {
      return;
    }
    const std::function<void()> work = work_;
    mutex_.Unlock();
    work();
    mutex_.Lock();
    work_ = nullptr;
  }
}

}  // namespace sluice::eventlog
