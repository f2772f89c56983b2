#include "gateways/sources/chain_follower.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "absl/time/time.h"
#include "fmt/format.h"
#include "projectors/model/source_chain.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using projectors::StreamKey;

constexpr std::chrono::milliseconds kReadWait{200};

bool IsOfSources(const eventlog::Event& event) {
  return eventlog::IsA<v1::SourceDefined>(event) || eventlog::IsA<v1::SourceDeleted>(event);
}

}  // namespace

ChainFollower::ChainFollower(eventlog::Log& log, const Clock& clock, PartitionId partition,
                             Offset from)
    : partition_(partition),
      from_(from),
      next_(from),
      follower_(log, clock, *this, {.topic = eventlog::Topic::kChanges, .partition = partition}) {}

void ChainFollower::Put(const StreamKey& key, Chain chain, Offset next) {
  const absl::MutexLock lock(&mutex_);
  const uint64_t number = chain.state.number();
  const int64_t bound = chain.bound;
  streams_[key] = {std::move(chain), std::max(next, from_), number, bound};
}

void ChainFollower::Bind(const StreamKey& key, int64_t epoch) {
  const absl::MutexLock lock(&mutex_);
  const auto [at, is_new] = streams_.try_emplace(key);
  const auto source = bound_.find({key.org.value(), key.source});
  if (is_new) {
    at->second.chain.bound = source == bound_.end() ? epoch : source->second;
  }
}

ChainFollower::Chain ChainFollower::Find(const StreamKey& key) const { return FindAt(key).first; }

std::pair<ChainFollower::Chain, Offset> ChainFollower::FindAt(const StreamKey& key) const {
  const absl::MutexLock lock(&mutex_);
  const auto found = streams_.find(key);
  return {found == streams_.end() ? Chain() : found->second.chain, next_};
}

Offset ChainFollower::next() const {
  const absl::MutexLock lock(&mutex_);
  return next_;
}

absl::StatusOr<ChainFollower::Taken> ChainFollower::TakenOf(const RunSets& sets) const {
  const auto found = streams_.find(sets.key);
  const Chain chain = found == streams_.end() ? Chain() : found->second.chain;
  if (chain.bound != sets.epoch) {
    return Error(absl::StatusCode::kFailedPrecondition, "source_changed",
                 "the source was begun anew, or deleted");
  }
  if (chain.state.number() <= sets.base) {
    return Taken{sets.base, kNoOffset};
  }
  // Each of a run's sets names the one before, so that where its last one stands all do.
  if (!chain.state.last_id().starts_with(sets.run + "/")) {
    return Error(absl::StatusCode::kAborted, "superseded",
                 "another worker goes on with this stream");
  }
  return Taken{chain.state.number(), Offset(chain.state.offset())};
}

absl::StatusOr<ChainFollower::Taken> ChainFollower::AwaitTaken(
    const RunSets& sets, uint64_t above, std::chrono::milliseconds wait) const {
  const absl::MutexLock lock(&mutex_);
  absl::StatusOr<Taken> taken = absl::UnknownError("");
  const auto is_more = [&] {
    mutex_.AssertReaderHeld();
    taken = TakenOf(sets);
    return !taken.ok() || taken->number > above;
  };
  mutex_.AwaitWithTimeout(absl::Condition(&is_more), absl::FromChrono(wait));
  return taken;
}

std::pair<Offset, std::vector<ChainFollower::Told>> ChainFollower::Untold() const {
  const absl::MutexLock lock(&mutex_);
  std::vector<Told> untold;
  for (const auto& [key, stream] : streams_) {
    // A stream that has yet to be read so far is known as it is further on.
    if (stream.from <= next_ && (stream.chain.state.number() != stream.told_number ||
                                 stream.chain.bound != stream.told_bound)) {
      untold.push_back({key, stream.chain, next_});
    }
  }
  return {next_, std::move(untold)};
}

void ChainFollower::NoteTold(const std::vector<Told>& told) {
  const absl::MutexLock lock(&mutex_);
  for (const Told& one : told) {
    Stream& stream = streams_[one.key];
    stream.told_number = one.chain.state.number();
    stream.told_bound = one.chain.bound;
  }
}

absl::StatusOr<Offset> ChainFollower::Open() {
  const absl::MutexLock lock(&mutex_);
  return next_;
}

absl::Status ChainFollower::Step() {
  RETURN_IF_ERROR(follower_.ReadOn({.wait_max = kReadWait}));
  follower_.SetHealth(absl::OkStatus());
  const absl::MutexLock lock(&mutex_);
  next_ = follower_.next();  // offsets without an event were passed over
  return absl::OkStatus();
}

absl::Status ChainFollower::Fold(const std::vector<eventlog::StoredEvent>& events) {
  const absl::MutexLock lock(&mutex_);
  for (const eventlog::StoredEvent& event : events) {
    if (event.event.answers != kNoOffset || IsOfSources(event.event)) {
      FoldControl(event);
    } else if (event.event.source == kSourceEvents) {
      FoldSet(event);
    }
    next_ = Offset(event.offset.value() + 1);
  }
  return absl::OkStatus();
}

bool ChainFollower::Failed(const absl::Status& status, std::chrono::milliseconds wait) {
  spdlog::warn("source_changes_not_read partition={} retry_ms={} reason=\"{}\"", partition_.value(),
               wait.count(), Message(status));
  return true;
}

void ChainFollower::FoldSet(const eventlog::StoredEvent& event) {
  v1::ChangeSet set;
  absl::StatusOr<OrgId> org = OrgId::Parse(event.event.key);
  if (event.event.type != v1::ChangeSet::descriptor()->full_name() || !org.ok() ||
      !set.ParseFromString(event.event.value) || !set.has_step()) {
    return;
  }
  const StreamKey key{*std::move(org), set.incarnation(), set.step().source(), set.step().stream()};
  const auto [at, is_new] = streams_.try_emplace(key);
  Stream& stream = at->second;
  if (event.offset < stream.from) {
    return;
  }
  if (is_new) {
    // What nobody told of had no state. Nobody writes a step before he has read that the source has
    // this epoch, so that its definition lies before.
    const auto source = bound_.find({key.org.value(), key.source});
    stream.chain.bound = source == bound_.end() ? set.step().epoch() : source->second;
  }
  v1::SourceBinding binding;
  binding.set_name(key.source);
  binding.set_epoch(stream.chain.bound);
  static_cast<void>(projectors::TakeStep(stream.chain.bound < 0 ? nullptr : &binding, set,
                                         event.offset, &stream.chain.state));
}

void ChainFollower::FoldControl(const eventlog::StoredEvent& event) {
  Offset& answered = answered_.try_emplace(event.event.key, kNoOffset).first->second;
  // Of those that were put there again after a loss (`sluice log new-epoch`) the last one of an
  // organisation alone answers a request; the fold takes the others as they come, too.
  const bool answers = event.event.answers != kNoOffset;
  if (answers && event.event.answers <= answered) {
    return;
  }
  answered = std::max(answered, event.event.answers);
  v1::SourceDefined defined;
  v1::SourceDeleted deleted;
  std::string source;
  int64_t bound = -1;
  if (event.event.type == v1::SourceDefined::descriptor()->full_name() &&
      defined.ParseFromString(event.event.value)) {
    source = defined.settings().name();
    bound = defined.epoch();
  } else if (event.event.type == v1::SourceDeleted::descriptor()->full_name() &&
             deleted.ParseFromString(event.event.value)) {
    source = deleted.name();
  } else {
    return;
  }
  bound_[{event.event.key, source}] = bound;
  for (auto& [key, stream] : streams_) {
    if (key.org.value() == event.event.key && key.source == source && event.offset >= stream.from &&
        (!answers || event.event.answers.value() > stream.chain.bound)) {
      stream.chain.bound = bound;
    }
  }
}

}  // namespace sluice::gateways
