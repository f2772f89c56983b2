#include "gateways/sources/run_pool.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace sluice::gateways {
namespace {

using Places = std::map<std::string, size_t, std::less<>>;

size_t TakenOf(const Places& places, std::string_view name) {
  const auto found = places.find(name);
  return found == places.end() ? 0 : found->second;
}

void GiveBack(Places& places, const std::string& name) {
  const auto found = places.find(name);
  if (--found->second == 0) {
    places.erase(found);
  }
}

}  // namespace

bool RunPool::Add(const OrgId& org, std::string host, std::function<void()> run,
                  std::function<void()> give_back) {
  const absl::MutexLock lock(&mutex_);
  // Who has none waiting gets in: others that wait for slow sources are not to shut it out.
  const bool is_first = !queues_.contains(org.value());
  if (stopped_ || (queued_ >= options_.queue_max && !is_first)) {
    return false;
  }
  if (threads_.size() < options_.runs_max && threads_.size() <= running_.size() + queued_) {
    try {
      threads_.emplace_back([this] { Work(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) {
        return false;
      }
    }
  }
  has_next_ = has_next_ || HasPlace(org.value(), host);
  std::deque<Waiting>& queue = queues_[org.value()];
  if (queue.empty()) {
    turns_.push_back(org.value());
  }
  queue.push_back({std::move(host), std::move(run), std::move(give_back)});
  ++queued_;
  return true;
}

void RunPool::TakeTurns(SteadyTime now) {
  std::vector<std::function<void()>> asked;
  {
    const absl::MutexLock lock(&mutex_);
    size_t ending = 0;
    for (Running& run : running_) {
      run.since = run.since == SteadyTime() ? now : run.since;
      ending += run.asked ? 1 : 0;
    }
    for (const std::string& org : turns_) {
      if (ending >= queued_ || options_.turn.count() == 0) {
        break;
      }
      if (Running* const over = FindOver(org, now)) {
        over->asked = true;
        asked.push_back(std::exchange(over->give_back, nullptr));
        ++ending;
      }
    }
  }
  for (const std::function<void()>& give_back : asked) {
    give_back();
  }
}

RunPool::Running* RunPool::FindOver(const std::string& org, SteadyTime now) {
  const bool own = TakenOf(orgs_, org) >= options_.per_org_max;
  const bool has_place = FirstOf(org).has_value();
  if (has_place && running_.size() < options_.runs_max) {
    return nullptr;  // a thread comes for it
  }
  const std::string& host = queues_.at(org).front().host;
  const size_t has = TakenOf(orgs_, org);
  Running* over = nullptr;
  size_t most = 0;
  for (Running& run : running_) {
    // Of all places who has most gives one, but not for one who has as many.
    const size_t taken = own || !has_place ? has : TakenOf(orgs_, run.org);
    const bool is_in_the_way = own          ? run.org == org
                               : !has_place ? run.host == host
                                            : run.org == org || taken > has;
    if (is_in_the_way && run.give_back != nullptr && now - run.since >= options_.turn &&
        (over == nullptr || taken > most || (taken == most && run.since < over->since))) {
      over = &run;
      most = taken;
    }
  }
  return over;
}

void RunPool::Stop() {
  std::vector<std::thread> threads;
  {
    const absl::MutexLock lock(&mutex_);
    stopped_ = true;
    queues_.clear();
    turns_.clear();
    queued_ = 0;
    has_next_ = false;
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

size_t RunPool::running() const {
  const absl::MutexLock lock(&mutex_);
  return running_.size();
}

size_t RunPool::queued() const {
  const absl::MutexLock lock(&mutex_);
  return queued_;
}

bool RunPool::HasPlace(std::string_view org, const std::string& host) const {
  return TakenOf(orgs_, org) < options_.per_org_max &&
         (host.empty() || TakenOf(hosts_, host) < options_.per_host_max);
}

std::optional<size_t> RunPool::FirstOf(const std::string& org) const {
  if (TakenOf(orgs_, org) >= options_.per_org_max) {
    return std::nullopt;
  }
  const std::deque<Waiting>& queue = queues_.at(org);
  for (size_t i = 0; i < queue.size(); ++i) {
    if (HasPlace(org, queue[i].host)) {
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

RunPool::Next RunPool::TakeNext() {
  const auto turn = turns_.begin() + (FindTurn() - turns_.cbegin());
  const std::string org = std::move(*turn);
  turns_.erase(turn);
  std::deque<Waiting>& queue = queues_.at(org);
  const auto at = queue.begin() + static_cast<std::ptrdiff_t>(*FirstOf(org));
  Waiting waiting = std::move(*at);
  queue.erase(at);
  if (queue.empty()) {
    queues_.erase(org);
  } else {
    turns_.push_back(org);  // the others come first now
  }
  --queued_;
  ++orgs_[org];
  if (!waiting.host.empty()) {
    ++hosts_[waiting.host];
  }
  running_.push_back({org, std::move(waiting.host), std::move(waiting.give_back)});
  has_next_ = FindTurn() != turns_.end();
  return {std::move(waiting.run), std::prev(running_.end())};
}

void RunPool::End(std::list<Running>::iterator place) {
  GiveBack(orgs_, place->org);
  if (!place->host.empty()) {
    GiveBack(hosts_, place->host);
  }
  running_.erase(place);
  has_next_ = FindTurn() != turns_.end();
}

void RunPool::Work() {
  while (true) {
    Next next;
    {
      const absl::MutexLock lock(&mutex_);
      const auto is_due = [this] {
        mutex_.AssertReaderHeld();
        return stopped_ || has_next_;
      };
      mutex_.Await(absl::Condition(&is_due));
      if (stopped_) {
        return;
      }
      next = TakeNext();
    }
    next.run();
    next.run = nullptr;  // what it holds goes before its place is free
    const absl::MutexLock lock(&mutex_);
    End(next.place);
  }
}

}  // namespace sluice::gateways
