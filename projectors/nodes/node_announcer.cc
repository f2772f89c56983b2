#include "projectors/nodes/node_announcer.h"

#include <spdlog/spdlog.h>

#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "schemas/base/status.h"
#include "schemas/base/uuid.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;

// How soon it is seen that `nodes` has been read.
constexpr std::chrono::milliseconds kKnownLook{10};

// Where the node answers; either may be empty.
struct NodeUrls {
  std::string admin_url;
  std::string sync_url;
};

}  // namespace

struct NodeAnnouncer::Impl {
  eventlog::Log& log;
  PartitionProgress* stores;
  NodeDirectory& nodes;
  Tells tells;
  const Clock& clock;
  AnnouncerOptions options;
  std::thread thread;
  bool reached = false;  // the last one was taken; of the thread's
  absl::Mutex mutex;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  std::optional<NodeUrls> urls ABSL_GUARDED_BY(mutex);

  v1::NodeAnnouncement Make() ABSL_LOCKS_EXCLUDED(mutex);
  void AddPartition(PartitionId partition, bool serves, v1::NodeAnnouncement& announcement);
  void AddControl(PartitionId partition, v1::NodeAnnouncement& announcement);
  void AddFolded(PartitionId partition, v1::NodeAnnouncement& announcement);
  // False where the log did not take it. Waits for the log; from Stop() on for stop_wait.
  bool Announce(const v1::NodeAnnouncement& announcement) ABSL_LOCKS_EXCLUDED(mutex);
  absl::Status Append(eventlog::Event event) ABSL_LOCKS_EXCLUDED(mutex);
  // False where it is to stop before `nodes` has been read.
  bool AwaitKnown() ABSL_LOCKS_EXCLUDED(mutex);
  void Run() ABSL_LOCKS_EXCLUDED(mutex);
};

v1::NodeAnnouncement NodeAnnouncer::Impl::Make() {
  v1::NodeAnnouncement announcement;
  announcement.set_node_id(options.node_id);
  for (const std::string& role : options.roles) {
    announcement.add_roles(role);
  }
  announcement.set_log_id(log.id());
  bool serves = false;
  {
    const absl::MutexLock lock(&mutex);
    announcement.set_leaving(stopping);
    serves = !stopping && urls.has_value();
    if (urls.has_value()) {
      announcement.set_admin_url(urls->admin_url);
      announcement.set_sync_url(urls->sync_url);
    }
  }
  for (int32_t p = 0; p < log.PartitionCount(Topic::kChanges); ++p) {
    if (!announcement.leaving()) {
      AddPartition(PartitionId(p), serves, announcement);
    }
    // After how far it has applied, so that this covers it.
    if (tells.last_control) {
      AddControl(PartitionId(p), announcement);
    }
    AddFolded(PartitionId(p), announcement);
  }
  return announcement;
}

void NodeAnnouncer::Impl::AddPartition(PartitionId partition, bool serves,
                                       v1::NodeAnnouncement& announcement) {
  if (std::string fault = tells.fault(partition); !fault.empty()) {
    auto* const told = announcement.add_faults();
    told->set_partition(partition.value());
    told->set_code(std::move(fault));
  }
  if (!serves || stores == nullptr || !tells.serves(partition)) {
    return;
  }
  auto* const served = announcement.add_partitions();
  served->set_partition(partition.value());
  served->set_applied(stores->LastApplied(partition).position.value());
  for (const ApartOrg& apart : stores->ApartOf(partition)) {
    if (served->apart_size() < kApartMax) {
      served->add_apart(apart.org.value());
    }
  }
}

void NodeAnnouncer::Impl::AddControl(PartitionId partition, v1::NodeAnnouncement& announcement) {
  const ControlMark control = tells.last_control(partition);
  if (control.at == kNoOffset) {
    return;
  }
  auto* const told = announcement.add_controls();
  told->set_partition(partition.value());
  told->set_at(control.at.value());
  told->set_answers(control.answers.value());
  told->set_id(control.id);
}

// Also what was folded of partitions that others fold now: it says what the log held.
void NodeAnnouncer::Impl::AddFolded(PartitionId partition, v1::NodeAnnouncement& announcement) {
  const auto tell = [&](Offset at, uint64_t event_hash) {
    auto* const told = announcement.add_folded();
    told->set_partition(partition.value());
    told->set_applied(at.value());
    told->set_event_hash(event_hash);
    return told;
  };
  // In this order: what is applied by then is on top of what was compared. Before that nothing of
  // its own is told, as it would take the place of what this node told before.
  if (const auto compared = nodes.Compared(partition); stores != nullptr && compared.has_value()) {
    if (const AppliedState own = stores->LastApplied(partition); own.position != kNoOffset) {
      auto* const told = tell(own.position, own.event_hash);
      told->set_told_until(compared->until.value());
      told->set_compared(compared->at.value());
    }
  }
  for (const FoldedMark& former : nodes.FormerFolded(partition)) {
    tell(former.at, former.event_hash);
  }
}

absl::Status NodeAnnouncer::Impl::Append(eventlog::Event event) {
  struct Answer {  // may come after the announcer is gone
    absl::Mutex mutex;
    std::optional<absl::Status> status ABSL_GUARDED_BY(mutex);
  };
  const auto answer = std::make_shared<Answer>();
  log.AppendAsync(Topic::kNodes, kNodesPartition, {std::move(event)},
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
  stamped.set_announced_at_us(clock.Now().time_since_epoch().count());
  eventlog::Event event = eventlog::EventOf("sluice/nodes", options.node_id, stamped);
  event.id = NewUuid7(clock);
  event.time = clock.Now();
  event.cause.subject = event.source;
  const absl::Status done = Append(std::move(event));
  if (!done.ok()) {
    spdlog::warn("announcement_failed reason=\"{}\"", Message(done));
  }
  return done.ok();
}

bool NodeAnnouncer::Impl::AwaitKnown() {
  const absl::MutexLock lock(&mutex);
  while (!nodes.Known() && !stopping) {
    mutex.AwaitWithTimeout(absl::Condition(&stopping), absl::FromChrono(kKnownLook));
  }
  return nodes.Known();
}

void NodeAnnouncer::Impl::Run() {
  std::string last;
  auto announced = std::chrono::steady_clock::time_point();
  while (AwaitKnown()) {
    v1::NodeAnnouncement now = Make();
    std::string bytes = now.SerializeAsString();
    now.set_asks(nodes.TakeMustAsk());
    const bool asked = nodes.TakeWasAsked();
    if (bytes != last || now.asks() || asked ||
        std::chrono::steady_clock::now() - announced >= options.interval_max) {
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

NodeAnnouncer::NodeAnnouncer(eventlog::Log& log, PartitionProgress* stores, NodeDirectory& nodes,
                             Tells tells, const Clock& clock, AnnouncerOptions options)
    : impl_(new Impl{.log = log,
                     .stores = stores,
                     .nodes = nodes,
                     .tells = std::move(tells),
                     .clock = clock,
                     .options = std::move(options),
                     .thread = {},
                     .reached = false,
                     .mutex = {},
                     .urls = {}}) {}

NodeAnnouncer::~NodeAnnouncer() { Stop(); }

void NodeAnnouncer::Start() {
  impl_->thread = std::thread([this] { impl_->Run(); });
}

void NodeAnnouncer::Serve(std::string admin_url, std::string sync_url) {
  const absl::MutexLock lock(&impl_->mutex);
  impl_->urls = NodeUrls{std::move(admin_url), std::move(sync_url)};
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
    (void)impl_->Announce(impl_->Make());
  }
}

}  // namespace sluice::projectors
