#include "projectors/staging/node_announcer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/base/uuid.h"
#include "schemas/sluice/v1/events.pb.h"
#include "schemas/status.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;

constexpr PartitionId kOnlyPartition{0};
constexpr auto kFresh = std::chrono::seconds(30);
constexpr int kApartMax = 1'000;

int64_t MicrosNow(const Clock& clock) { return clock.Now().time_since_epoch().count(); }

}  // namespace

struct NodeAnnouncer::Impl {
  eventlog::Log& log;
  StoreManager& stores;
  Tells tells;
  const Clock& clock;
  AnnouncerOptions options;
  std::string admin_url;
  std::string sync_url;
  std::thread thread;
  bool reached = true;  // the last one was taken; of the thread's
  absl::Mutex mutex;
  bool stopping ABSL_GUARDED_BY(mutex) = false;

  v1::NodeAnnouncement Make(bool leaving);
  // False where the log did not take it. Waits for the log; from Stop() on for stop_wait.
  bool Announce(const v1::NodeAnnouncement& announcement);
  absl::Status Append(eventlog::Event event);
  void Run();
};

v1::NodeAnnouncement NodeAnnouncer::Impl::Make(bool leaving) {
  v1::NodeAnnouncement announcement;
  announcement.set_node_id(options.node_id);
  announcement.set_admin_url(admin_url);
  announcement.set_sync_url(sync_url);
  for (const std::string& role : options.roles) {
    announcement.add_roles(role);
  }
  for (int32_t p = 0; !leaving && p < log.PartitionCount(Topic::kChanges); ++p) {
    if (std::string fault = tells.fault(PartitionId(p)); !fault.empty()) {
      auto* const told = announcement.add_faults();
      told->set_partition(p);
      told->set_code(std::move(fault));
    }
    if (tells.serves(PartitionId(p))) {
      auto* const served = announcement.add_partitions();
      served->set_partition(p);
      served->set_applied(stores.Applied(PartitionId(p)).value());
      for (const ApartOrg& apart : stores.ApartOf(PartitionId(p))) {
        if (served->apart_size() < kApartMax) {
          served->add_apart(apart.org.value());
        }
      }
    }
  }
  return announcement;
}

absl::Status NodeAnnouncer::Impl::Append(eventlog::Event event) {
  struct Answer {  // may come after the announcer is gone
    absl::Mutex mutex;
    std::optional<absl::Status> status ABSL_GUARDED_BY(mutex);
  };
  const auto answer = std::make_shared<Answer>();
  log.AppendAsync(Topic::kNodes, kOnlyPartition, {std::move(event)},
                  [answer](const absl::StatusOr<std::vector<Offset>>& offsets) {
                    const absl::MutexLock lock(&answer->mutex);
                    answer->status = offsets.status();
                  });
  absl::Time until = absl::InfiniteFuture();
  while (true) {
    {
      const absl::MutexLock lock(&answer->mutex);
      const auto answered = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return answer->status.has_value();
      };
      answer->mutex.AwaitWithTimeout(absl::Condition(&answered),
                                     absl::FromChrono(options.interval_min));
      if (answer->status.has_value()) {
        return *answer->status;
      }
    }
    const absl::MutexLock lock(&mutex);
    if (stopping && until == absl::InfiniteFuture()) {
      until = absl::Now() + absl::FromChrono(options.stop_wait);
    }
    if (absl::Now() >= until) {
      return absl::UnavailableError("the log did not answer in time");
    }
  }
}

bool NodeAnnouncer::Impl::Announce(const v1::NodeAnnouncement& announcement) {
  v1::NodeAnnouncement stamped = announcement;
  stamped.set_announced_at_us(MicrosNow(clock));
  eventlog::Event event;
  event.id = NewUuid7(clock);
  event.source = "sluice/nodes";
  event.type = "sluice.v1.NodeAnnouncement";
  event.subject = options.node_id;
  event.time = clock.Now();
  event.key = options.node_id;
  event.value = stamped.SerializeAsString();
  event.cause.subject = event.source;
  const absl::Status done = Append(std::move(event));
  if (!done.ok()) {
    spdlog::warn("announcement_failed reason=\"{}\"", Message(done));
  }
  return done.ok();
}

void NodeAnnouncer::Impl::Run() {
  std::string last;
  auto announced = std::chrono::steady_clock::time_point();
  while (true) {
    const v1::NodeAnnouncement now = Make(/*leaving=*/false);
    std::string bytes = now.SerializeAsString();
    if (bytes != last || std::chrono::steady_clock::now() - announced >= options.interval_max) {
      reached = Announce(now);
      last = std::move(bytes);
      announced = std::chrono::steady_clock::now();
    }
    const absl::MutexLock lock(&mutex);
    if (mutex.AwaitWithTimeout(absl::Condition(&stopping),
                               absl::FromChrono(options.interval_min))) {
      return;
    }
  }
}

NodeAnnouncer::NodeAnnouncer(eventlog::Log& log, StoreManager& stores, Tells tells,
                             const Clock& clock, AnnouncerOptions options)
    : impl_(new Impl{.log = log,
                     .stores = stores,
                     .tells = std::move(tells),
                     .clock = clock,
                     .options = std::move(options),
                     .admin_url = {},
                     .sync_url = {},
                     .thread = {},
                     .reached = true,
                     .mutex = {}}) {}

NodeAnnouncer::~NodeAnnouncer() { Stop(); }

void NodeAnnouncer::Start(std::string admin_url, std::string sync_url) {
  impl_->admin_url = std::move(admin_url);
  impl_->sync_url = std::move(sync_url);
  impl_->thread = std::thread([this] { impl_->Run(); });
}

void NodeAnnouncer::RequestStop() {
  const absl::MutexLock lock(&impl_->mutex);
  impl_->stopping = true;
}

void NodeAnnouncer::Stop() {
  RequestStop();
  if (!impl_->thread.joinable()) {
    return;
  }
  impl_->thread.join();
  if (impl_->reached) {
    (void)impl_->Announce(impl_->Make(/*leaving=*/true));
  }
}

struct NodeDirectory::Impl {
  eventlog::Log& log;
  const Clock& clock;
  const std::string self;
  std::thread thread;
  mutable absl::Mutex mutex;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  eventlog::Reader* reader ABSL_GUARDED_BY(mutex) = nullptr;
  std::map<std::string, v1::NodeAnnouncement> nodes ABSL_GUARDED_BY(mutex);

  void Run();
  // Reads until an error or Stop(); the log is opened anew after an error.
  absl::Status Follow();
  void Take(const eventlog::Event& event);
};

void NodeDirectory::Impl::Take(const eventlog::Event& event) {
  v1::NodeAnnouncement announcement;
  if (announcement.ParseFromString(event.value)) {
    const absl::MutexLock lock(&mutex);
    nodes[event.key] = std::move(announcement);
  }
}

absl::Status NodeDirectory::Impl::Follow() {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log.Range(Topic::kNodes, kOnlyPartition));
  ASSIGN_OR_RETURN(const auto opened, log.OpenReader(Topic::kNodes, kOnlyPartition, range.begin));
  {
    const absl::MutexLock lock(&mutex);
    if (stopping) {
      return absl::OkStatus();
    }
    reader = opened.get();
  }
  absl::Status status;
  while (status.ok()) {
    const auto events = opened->Read({.wait_max = std::chrono::seconds(5)});
    status = events.status();
    if (events.ok()) {
      for (const auto& stored : *events) {
        Take(stored.event);
      }
    }
  }
  const absl::MutexLock lock(&mutex);
  reader = nullptr;
  return status;
}

void NodeDirectory::Impl::Run() {
  while (true) {
    const absl::Status status = Follow();
    const absl::MutexLock lock(&mutex);
    if (mutex.AwaitWithTimeout(absl::Condition(&stopping), absl::Seconds(1))) {
      return;
    }
    spdlog::warn("nodes_unreadable reason=\"{}\"", Message(status));
  }
}

NodeDirectory::NodeDirectory(eventlog::Log& log, const Clock& clock, std::string self)
    : impl_(new Impl{.log = log,
                     .clock = clock,
                     .self = std::move(self),
                     .thread = {},
                     .mutex = {},
                     .nodes = {}}) {}

NodeDirectory::~NodeDirectory() { Stop(); }

void NodeDirectory::Start() {
  impl_->thread = std::thread([this] { impl_->Run(); });
}

void NodeDirectory::Stop() {
  if (!impl_->thread.joinable()) {
    return;
  }
  {
    const absl::MutexLock lock(&impl_->mutex);
    impl_->stopping = true;
    if (impl_->reader != nullptr) {
      impl_->reader->Cancel();
    }
  }
  impl_->thread.join();
}

Offset NodeDirectory::FoldedUntil(PartitionId partition) const {
  const int64_t oldest = MicrosNow(impl_->clock) - std::chrono::microseconds(kFresh).count();
  Offset until(0);
  const absl::MutexLock lock(&impl_->mutex);
  for (const auto& [id, node] : impl_->nodes) {
    for (const auto& served : node.partitions()) {
      if (id != impl_->self && node.announced_at_us() >= oldest &&
          served.partition() == partition.value()) {
        until = std::max(until, Offset(served.applied() + 1));
      }
    }
  }
  return until;
}

std::string NodeDirectory::FaultOf(PartitionId partition) const {
  const int64_t oldest = MicrosNow(impl_->clock) - std::chrono::microseconds(kFresh).count();
  const absl::MutexLock lock(&impl_->mutex);
  for (const auto& [id, node] : impl_->nodes) {
    if (id == impl_->self || node.announced_at_us() < oldest) {
      continue;
    }
    for (const auto& fault : node.faults()) {
      if (fault.partition() == partition.value()) {
        return fault.code();
      }
    }
  }
  return "";
}

std::optional<NodeUrls> NodeDirectory::ServedAt(PartitionId partition) const {
  const int64_t oldest = MicrosNow(impl_->clock) - std::chrono::microseconds(kFresh).count();
  const v1::NodeAnnouncement* best = nullptr;
  const absl::MutexLock lock(&impl_->mutex);
  for (const auto& [id, node] : impl_->nodes) {
    const bool serves = std::ranges::any_of(node.partitions(), [&](const auto& served) {
      return served.partition() == partition.value();
    });
    if (id == impl_->self || node.announced_at_us() < oldest || !serves) {
      continue;
    }
    const auto rank = [](const v1::NodeAnnouncement& n) {
      return std::make_pair(!n.sync_url().empty(), n.announced_at_us());
    };
    if (best == nullptr || rank(node) > rank(*best)) {
      best = &node;
    }
  }
  return best == nullptr ? std::nullopt
                         : std::make_optional(NodeUrls{best->admin_url(), best->sync_url()});
}

std::optional<Offset> NodeDirectory::Applied(PartitionId partition, const OrgId& org) const {
  const int64_t oldest = MicrosNow(impl_->clock) - std::chrono::microseconds(kFresh).count();
  std::optional<Offset> applied;
  const absl::MutexLock lock(&impl_->mutex);
  for (const auto& [id, node] : impl_->nodes) {
    if (node.announced_at_us() < oldest) {
      continue;
    }
    for (const auto& served : node.partitions()) {
      if (served.partition() == partition.value() &&
          std::ranges::find(served.apart(), org.value()) == served.apart().end()) {
        applied = std::max(applied.value_or(kNoOffset), Offset(served.applied()));
      }
    }
  }
  return applied;
}

}  // namespace sluice::projectors
