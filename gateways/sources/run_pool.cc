#include "gateways/sources/run_pool.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace sluice::gateways {
namespace {

size_t TakenOf(const std::map<std::string, size_t>& places, const std::string& name) {
  const auto found = places.find(name);
  return found == places.end() ? 0 : found->second;
}

void GiveBack(std::map<std::string, size_t>& places, const std::string& name) {
  const auto found = places.find(name);
  if (--found->second == 0) {
    places.erase(found);
  }
}

}  // namespace

bool RunPool::Add(const OrgId& org, std::string host, std::function<void()> run) {
  const absl::MutexLock lock(&mutex_);
  if (stopped_ || queued_ >= options_.queue_max) {
    return false;
  }
  if (threads_.size() < options_.runs_max && threads_.size() <= running_ + queued_) {
    try {
      threads_.emplace_back([this] { Work(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) {
        return false;
      }
    }
  }
  std::deque<Waiting>& queue = queues_[org.value()];
  if (queue.empty()) {
    turns_.push_back(org.value());
  }
  queue.push_back({std::move(host), std::move(run)});
  ++queued_;
  return true;
}

void RunPool::Stop() {
  std::vector<std::thread> threads;
  {
    const absl::MutexLock lock(&mutex_);
    stopped_ = true;
    queues_.clear();
    turns_.clear();
    queued_ = 0;
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

size_t RunPool::running() const {
  const absl::MutexLock lock(&mutex_);
  return running_;
}

size_t RunPool::queued() const {
  const absl::MutexLock lock(&mutex_);
  return queued_;
}

std::optional<size_t> RunPool::FirstOf(const std::string& org) const {
  if (TakenOf(orgs_, org) >= options_.per_org_max) {
    return std::nullopt;
  }
  const std::deque<Waiting>& queue = queues_.at(org);
  for (size_t i = 0; i < queue.size(); ++i) {
    if (queue[i].host.empty() || TakenOf(hosts_, queue[i].host) < options_.per_host_max) {
      return i;
    }
  }
  return std::nullopt;
}

std::deque<std::string>::const_iterator RunPool::FindTurn() const {
  return std::ranges::find_if(turns_, [this](const std::string& org) {
    mutex_.AssertReaderHeld();
    return FirstOf(org).has_value();
  });
}

bool RunPool::HasNext() const { return FindTurn() != turns_.end(); }

RunPool::Next RunPool::TakeNext() {
  const auto turn = FindTurn();
  Next next{*turn, {}};
  turns_.erase(turn);
  std::deque<Waiting>& queue = queues_.at(next.org);
  const auto at = queue.begin() + static_cast<std::ptrdiff_t>(*FirstOf(next.org));
  next.waiting = std::move(*at);
  queue.erase(at);
  if (queue.empty()) {
    queues_.erase(next.org);
  } else {
    turns_.push_back(next.org);  // the others come first now
  }
  --queued_;
  ++running_;
  ++orgs_[next.org];
  if (!next.waiting.host.empty()) {
    ++hosts_[next.waiting.host];
  }
  return next;
}

void RunPool::Work() {
  while (true) {
    Next next;
    {
      const absl::MutexLock lock(&mutex_);
      const auto is_due = [this] {
        mutex_.AssertReaderHeld();
        return stopped_ || HasNext();
      };
      mutex_.Await(absl::Condition(&is_due));
      if (stopped_) {
        return;
      }
      next = TakeNext();
    }
    next.waiting.run();
    next.waiting.run = nullptr;  // what it holds goes before its place is free
    const absl::MutexLock lock(&mutex_);
    --running_;
    GiveBack(orgs_, next.org);
    if (!next.waiting.host.empty()) {
      GiveBack(hosts_, next.waiting.host);
    }
  }
}

}  // namespace sluice::gateways
