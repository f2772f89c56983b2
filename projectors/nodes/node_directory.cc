#include "projectors/nodes/node_directory.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/follower.h"
#include "schemas/base/collect.h"
#include "schemas/base/status.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;

constexpr auto kFresh = std::chrono::seconds(30);
// How often the topic's end is asked for, which tells when what is read had come at the earliest.
constexpr auto kEndInterval = std::chrono::seconds(1);

// Everything at or above `end` came after `asked`.
struct KnownEnd {
  Offset end;
  SteadyTime asked;
};

struct Node {
  v1::NodeAnnouncement announced;
  Offset offset;
  std::optional<SteadyTime> came;  // not before this; nullopt: nothing is known of when
};

const v1::NodeAnnouncement::Served* ServedBy(const Node& node, PartitionId partition) {
  const auto found = std::ranges::find_if(node.announced.partitions(), [&](const auto& served) {
    return served.partition() == partition.value();
  });
  return found == node.announced.partitions().end() ? nullptr : &*found;
}

bool HasRoleAdmin(const v1::NodeAnnouncement& node) {
  return std::ranges::any_of(node.roles(),
                             [](const auto& role) { return role == "all" || role == "admin"; });
}

}  // namespace

struct NodeDirectory::Impl final : eventlog::Follower::Callbacks {
  eventlog::Log& log;
  const Clock& clock;
  const std::string self;
  std::atomic<bool> must_ask = false;
  std::atomic<bool> was_asked = false;
  std::atomic<bool> read_once = false;  // to an end that was asked for
  std::atomic<bool> faults = false;     // some node tells of one
  // Used by the follower's thread alone.
  KnownEnd ahead;                 // what it is read to
  std::optional<KnownEnd> known;  // what it was read to last
  bool begins_anew = true;
  mutable absl::Mutex mutex;
  std::map<std::string, Node> nodes ABSL_GUARDED_BY(mutex);
  std::map<PartitionId, ControlMark> controls ABSL_GUARDED_BY(mutex);
  FoldedMarks folded ABSL_GUARDED_BY(mutex);
  Offset taken ABSL_GUARDED_BY(mutex) = Offset(0);  // below it everything is in `folded`
  eventlog::Follower follower;                      // the last: its thread uses the others

  Impl(eventlog::Log& the_log, const Clock& the_clock, const std::string& the_self)
      : log(the_log),
        clock(the_clock),
        self(the_self),
        folded(the_self),
        // Each node's newest announcement counts, whatever came before it: nothing is compared.
        follower(the_log, the_clock, *this,
                 {.topic = Topic::kNodes, .partition = kNodesPartition, .compare = [] {
                    return absl::OkStatus();
                  }}) {}
  ~Impl() override { follower.Stop(); }

  absl::StatusOr<Offset> Open() override;
  absl::Status Step() override;
  absl::Status Fold(const std::vector<eventlog::StoredEvent>& events) override;
  bool Failed(const absl::Status& status, std::chrono::milliseconds wait) override;
  absl::StatusOr<KnownEnd> AskEnd();
  void Take(const eventlog::StoredEvent& stored) ABSL_LOCKS_EXCLUDED(mutex);
  void TakeControls(const v1::NodeAnnouncement& announced) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  enum class Whom { kOthers, kAll };
  void ForEachFresh(Whom whom, absl::FunctionRef<void(const Node&)> visit) const
      ABSL_LOCKS_EXCLUDED(mutex);
};

void NodeDirectory::Impl::Take(const eventlog::StoredEvent& stored) {
  Node node{.announced = {}, .offset = stored.offset, .came = std::nullopt};
  if (!node.announced.ParseFromString(stored.event.value)) {
    return;
  }
  if (stored.offset >= ahead.end) {
    node.came = ahead.asked;
  } else if (known.has_value() && stored.offset >= known->end) {
    node.came = known->asked;
  }
  if (node.came.has_value() && node.announced.asks() && stored.event.key != self) {
    was_asked = true;
  }
  const absl::MutexLock lock(&mutex);
  TakeControls(node.announced);
  if (node.announced.log_id() == log.id()) {  // before an epoch positions meant other events
    folded.Take(stored.event.key, stored.offset, node.announced);
  }
  if (node.announced.leaving()) {
    nodes.erase(stored.event.key);
  } else {
    nodes[stored.event.key] = std::move(node);
  }
  faults = std::ranges::any_of(
      nodes, [](const auto& held) { return held.second.announced.faults_size() > 0; });
}

void NodeDirectory::Impl::TakeControls(const v1::NodeAnnouncement& announced) {
  if (announced.log_id() != log.id()) {
    return;  // of before an epoch: positions meant other events
  }
  for (const auto& told : announced.controls()) {
    ControlMark& newest = controls[PartitionId(told.partition())];
    if (Offset(told.answers()) > newest.answers) {
      newest = {Offset(told.at()), Offset(told.answers()), told.id()};
    }
  }
}

absl::StatusOr<KnownEnd> NodeDirectory::Impl::AskEnd() {
  const SteadyTime asked = clock.SteadyNow();  // before the answer: what lies above came later
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log.Range(Topic::kNodes, kNodesPartition));
  // Where nothing that was read counts any more, as at the start and after a pause, the others need
  // not be waited for until they speak by themselves: what they answer lies above this end.
  if (!known.has_value() || asked - known->asked >= kFresh) {
    must_ask = true;
  }
  return KnownEnd{range.end, asked};
}

absl::StatusOr<Offset> NodeDirectory::Impl::Open() {
  ASSIGN_OR_RETURN(ahead, AskEnd());
  if (!begins_anew && follower.next() <= ahead.end) {
    return follower.next();
  }
  // Never read, or a topic that was made anew.
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log.Range(Topic::kNodes, kNodesPartition));
  begins_anew = false;
  known.reset();
  const absl::MutexLock lock(&mutex);
  folded.BeginAnew();
  taken = Offset(0);
  return range.begin;
}

absl::Status NodeDirectory::Impl::Step() {
  if (follower.next() >= ahead.end) {
    known = ahead;
    if (!read_once) {
      const absl::MutexLock lock(&mutex);
      folded.SetKnown();
    }
    read_once = true;
    if (clock.SteadyNow() - ahead.asked >= kEndInterval) {
      ASSIGN_OR_RETURN(ahead, AskEnd());
      return absl::OkStatus();
    }
  }
  RETURN_IF_ERROR(follower.ReadOn({.wait_max = kEndInterval}));
  const absl::MutexLock lock(&mutex);
  taken = follower.next();
  return absl::OkStatus();
}

absl::Status NodeDirectory::Impl::Fold(const std::vector<eventlog::StoredEvent>& events) {
  for (const eventlog::StoredEvent& stored : events) {
    Take(stored);
  }
  return absl::OkStatus();
}

bool NodeDirectory::Impl::Failed(const absl::Status& status, std::chrono::milliseconds wait) {
  begins_anew = begins_anew || absl::IsOutOfRange(status);
  follower.Close();  // the end is asked for anew: what came meanwhile is not taken for news
  spdlog::warn("nodes_unreadable reason=\"{}\" retry_ms={}", Message(status), wait.count());
  return true;
}

void NodeDirectory::Impl::ForEachFresh(Whom whom,
                                       absl::FunctionRef<void(const Node&)> visit) const {
  const SteadyTime now = clock.SteadyNow();
  const absl::MutexLock lock(&mutex);
  for (const auto& [id, node] : nodes) {
    const bool is_meant = whom == Whom::kAll || id != self;
    if (is_meant && node.came.has_value() && now - *node.came < kFresh) {
      visit(node);
    }
  }
}

NodeDirectory::NodeDirectory(eventlog::Log& log, const Clock& clock, const std::string& self)
    : impl_(std::make_unique<Impl>(log, clock, self)) {}

NodeDirectory::~NodeDirectory() = default;

void NodeDirectory::Start() { impl_->follower.Start(); }

void NodeDirectory::Stop() { impl_->follower.Stop(); }

bool NodeDirectory::TakeMustAsk() { return impl_->must_ask.exchange(false); }

bool NodeDirectory::TakeWasAsked() { return impl_->was_asked.exchange(false); }

Offset NodeDirectory::FoldedUntil(PartitionId partition) const {
  Offset until(0);
  impl_->ForEachFresh(Impl::Whom::kOthers, [&](const Node& node) {
    const auto* served = ServedBy(node, partition);
    // One that does not name the log tells of no control events: those were not looked at.
    if (served != nullptr && node.announced.log_id() == impl_->log.id()) {
      until = std::max(until, Offset(served->applied() + 1));
    }
  });
  return until;
}

bool NodeDirectory::Known() const { return impl_->read_once; }

NodeDirectory::ToldFolded NodeDirectory::Folded(PartitionId partition) const {
  const absl::MutexLock lock(&impl_->mutex);
  return {impl_->taken, impl_->folded.Uncompared(partition)};
}

void NodeDirectory::NoteCompared(PartitionId partition, ComparedMarks compared) {
  const absl::MutexLock lock(&impl_->mutex);
  impl_->folded.NoteCompared(partition, compared);
}

std::optional<ComparedMarks> NodeDirectory::Compared(PartitionId partition) const {
  const absl::MutexLock lock(&impl_->mutex);
  return impl_->folded.Compared(partition);
}

std::vector<FoldedMark> NodeDirectory::FormerFolded(PartitionId partition) const {
  const absl::MutexLock lock(&impl_->mutex);
  return impl_->folded.OfFormer(partition);
}

ControlMark NodeDirectory::LastControl(PartitionId partition) const {
  const absl::MutexLock lock(&impl_->mutex);
  const auto found = impl_->controls.find(partition);
  return found == impl_->controls.end() ? ControlMark() : found->second;
}

std::string NodeDirectory::FaultOf(PartitionId partition) const {
  std::string code;
  if (!impl_->faults.load()) {
    return code;
  }
  impl_->ForEachFresh(Impl::Whom::kOthers, [&](const Node& node) {
    for (const auto& fault : node.announced.faults()) {
      // Before an epoch positions meant other events.
      if (fault.partition() == partition.value() && node.announced.log_id() == impl_->log.id()) {
        code = fault.code();
      }
    }
  });
  return code;
}

std::optional<std::string> NodeDirectory::ServedAt(PartitionId partition, NodeUse use) const {
  std::optional<std::string> best;
  std::pair<bool, Offset> best_rank;
  impl_->ForEachFresh(Impl::Whom::kOthers, [&](const Node& node) {
    const bool administers = HasRoleAdmin(node.announced);
    const std::string& url =
        use == NodeUse::kSync ? node.announced.sync_url() : node.announced.admin_url();
    if (ServedBy(node, partition) == nullptr || url.empty() ||
        (use == NodeUse::kAdmin && !administers)) {
      return;
    }
    const std::pair rank(use == NodeUse::kRelay && administers, node.offset);
    if (!best.has_value() || rank > best_rank) {
      best = url;
      best_rank = rank;
    }
  });
  return best;
}

std::optional<Offset> NodeDirectory::Applied(PartitionId partition, const OrgId& org) const {
  std::optional<Offset> applied;
  // What this process had applied before it gave the partition away is applied.
  impl_->ForEachFresh(Impl::Whom::kAll, [&](const Node& node) {
    const auto* served = ServedBy(node, partition);
    // A list that is full may lack some: then nothing is known of anybody.
    if (served != nullptr && served->apart_size() < kApartMax &&
        std::ranges::find(served->apart(), org.value()) == served->apart().end()) {
      applied = std::max(applied.value_or(kNoOffset), Offset(served->applied()));
    }
  });
  return applied;
}

absl::StatusOr<std::vector<std::string>> AwaitAnnouncements(eventlog::Log& log, const Clock& clock,
                                                            std::chrono::milliseconds wait) {
  const SteadyTime deadline = clock.SteadyNow() + wait;
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log.Range(Topic::kNodes, kNodesPartition));
  ASSIGN_OR_RETURN(const auto reader, log.OpenReader(Topic::kNodes, kNodesPartition, range.end));
  std::map<std::string, std::string> found;  // where it answers, by node
  for (SteadyTime now = clock.SteadyNow(); now < deadline; now = clock.SteadyNow()) {
    ASSIGN_OR_RETURN(
        const auto events,
        reader->Read({.wait_max = std::chrono::ceil<std::chrono::milliseconds>(deadline - now)}));
    for (const auto& [offset, event] : events) {
      v1::NodeAnnouncement announced;
      if (announced.ParseFromString(event.value)) {
        found[event.key] = announced.admin_url();
        if (announced.leaving()) {
          found.erase(event.key);
        }
      }
    }
  }
  return Collect(found, [](const auto& node) {
    return node.second.empty() ? node.first : fmt::format("{} ({})", node.first, node.second);
  });
}

}  // namespace sluice::projectors
