// Runs of a partition's streams: what is done on the threads of the pools.
#include <prometheus/counter.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <random>
#include <utility>

#include "fmt/format.h"
#include "gateways/outbound/retry_after.h"
#include "gateways/sources/partition_worker.h"
#include "gateways/sources/row_letters.h"
#include "schemas/base/printable.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using eventlog::Topic;
using projectors::StreamWork;
using std::chrono::milliseconds;

constexpr milliseconds kReadBackLook{10};
constexpr milliseconds kTellTimeout{5'000};
constexpr size_t kDetailBytesMax = 1'000;

int64_t MicrosOf(SystemTime time) { return time.time_since_epoch().count(); }

// Whether it may pass by itself.
bool MayPass(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:  // the chain went on from another set
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
      return true;
    default:
      return false;
  }
}

}  // namespace

void PartitionWorker::NoteEnded(Run& run, Offset told) {
  std::unique_ptr<SourceSink> sink;  // destroyed without the lock
  const absl::MutexLock lock(&mutex_);
  sink = std::move(run.sink);
  run.ended = true;
  run.active = false;
  run.told = told;
  --active_;
}

void PartitionWorker::Execute(const std::shared_ptr<Run>& run) {
  {
    const absl::MutexLock lock(&mutex_);
    run->active = true;
    ++active_;
  }
  if (run->token.cancelled() || !Begin(*run)) {
    NoteEnded(*run, run->told);
    return;
  }
  ExecuteStarted(run);
}

bool PartitionWorker::Begin(Run& run) {
  run.token.Touch();
  auto started = Named<v1::WorkStarted>(run);
  started.set_worker(deps_.options.node_id);
  eventlog::Event event = EventOf(run.key.org, started);
  event.id = run.id;
  const auto at =
      Append(Topic::kWork, {event}, kTellTimeout, [&run] { return run.token.cancelled(); });
  if (!at.ok()) {
    return false;
  }
  {
    const absl::MutexLock lock(&mutex_);
    run.told = at->back();
  }
  while (work_.next() <= at->back()) {
    if (!run.token.Pause(kReadBackLook)) {
      return false;
    }
  }
  const absl::MutexLock lock(&mutex_);
  const StreamWork* const work = ledger_.Find(run.key);
  const bool counts = work != nullptr && work->open.has_value() &&
                      work->open->id() == run.item.id() && work->started_id == run.id;
  if (!counts) {
    deps_.metrics.CountRun("superseded");
  }
  return counts;
}

void PartitionWorker::ExecuteStarted(const std::shared_ptr<Run>& run) {
  const absl::Status status = Read(*run);
  const ChainFollower::Chain chain = run->chain->Find(run->key);
  // That sets were taken is not enough: where the cursor stays the next attempt reads them again.
  const bool fruitful = CursorOf(*run, chain) != run->base_cursor;
  const Ending ending = EndingOf(*run, status, fruitful);
  deps_.metrics.CountRun(ending.metric);
  if (!ending.error.ok()) {
    spdlog::warn("source_run_failed org={} source={} stream={} attempt={} code={} reason=\"{}\"",
                 run->key.org.value(), run->key.source, run->key.stream, run->attempt,
                 ErrorCode(ending.error), Message(ending.error));
  }
  if (ending.silent) {
    NoteEnded(*run, run->told);
    return;
  }
  Tell(*run, ending, fruitful);
}

const std::string& PartitionWorker::CursorOf(const Run& run, const ChainFollower::Chain& chain) {
  static const std::string none;
  return chain.state.epoch() == run.item.stream().epoch() ? chain.state.cursor() : none;
}

absl::StatusOr<SourceContext> PartitionWorker::ContextOf(const Run& run,
                                                         const ChainFollower::Chain& chain) {
  SourceContext context;
  context.org = run.key.org;
  context.incarnation = run.key.incarnation;
  context.settings = run.defined->settings();
  context.stream = run.key.stream;
  context.cursor = CursorOf(run, chain);
  if (chain.state.epoch() == run.item.stream().epoch()) {
    context.former_cursor = chain.state.former_cursor();
  } else {
    context.former_cursor =
        chain.state.cursor().empty() ? chain.state.former_cursor() : chain.state.cursor();
  }
  for (const v1::SealedSecret& sealed : run.defined->secrets()) {
    ASSIGN_OR_RETURN(
        SecretText secret,
        deps_.sealer.Open({run.key.org.value(), run.key.source, sealed.name()}, sealed));
    context.secrets.emplace(sealed.name(), std::move(secret));
  }
  return context;
}

absl::Status PartitionWorker::Read(Run& run) {
  const ChainFollower::Chain chain = run.chain->Find(run.key);
  run.base_cursor = CursorOf(run, chain);
  if (chain.bound != run.item.stream().epoch()) {
    return Error(absl::StatusCode::kFailedPrecondition, "source_changed",
                 "the source was begun anew, or deleted");
  }
  ASSIGN_OR_RETURN(const SourceContext context, ContextOf(run, chain));
  auto sink = std::make_unique<SourceSink>(
      deps_.sink, *run.chain, run.token,
      SourceSink::Run{run.key, run.defined->settings().kind(), run.item.stream().epoch(), run.id,
                      run.item.id()},
      chain);
  SourceSink& used = *sink;
  {
    const absl::MutexLock lock(&mutex_);
    run.sink = std::move(sink);
    run.progress_at = deps_.clock.SteadyNow();
  }
  if (run.connector->by_entity() && run.key.stream.empty()) {
    return Discover(context, run);
  }
  const absl::Status status = run.connector->Run(context, used);
  // Also behind a failure: what was appended before it counts.
  const absl::Status flushed = used.Flush();
  return status.ok() ? flushed : status;
}

// Which entities a source has that is to have all: their streams are scheduled once they are
// defined as its own.
absl::Status PartitionWorker::Discover(const SourceContext& context, Run& run) {
  ASSIGN_OR_RETURN(const SourceOffer offer, run.connector->Check(context, [&run] {
    run.token.Touch();
    return run.token.cancelled();
  }));
  Refusals former;
  {
    const absl::MutexLock lock(&mutex_);
    former = refusals_[run.key];
  }
  const SteadyTime now = deps_.clock.SteadyNow();
  Refusals refused;  // those alone that the source still has
  for (const SourceOffer::Entity& entity : offer.entities) {
    const std::string& name = entity.definition.name();
    Refusal refusal = former[name];
    if (refusal.epoch != run.item.stream().epoch()) {
      refusal = {.epoch = run.item.stream().epoch()};
    }
    if (refusal.wait.count() == 0 || refusal.again <= now) {
      refusal.status = run.sink->Define(OrgId(), entity.definition).status();
      if (MayPass(refusal.status) || absl::IsNotFound(refusal.status)) {
        return refusal.status;
      }
      // Each time is a request in `provisioning`, which is kept for ever.
      refusal.wait =
          std::min(std::max(refusal.wait * 2, milliseconds(deps_.options.intervals.discovery)),
                   deps_.options.refused_retry_max);
      refusal.again = now + refusal.wait;
    }
    if (!refusal.status.ok()) {  // of one entity: the others can be had
      refused.emplace(name, std::move(refusal));
    }
  }
  const absl::Status first = refused.empty()
                                 ? absl::OkStatus()
                                 : Annotate(refused.begin()->second.status, refused.begin()->first);
  const absl::MutexLock lock(&mutex_);
  refusals_[run.key] = std::move(refused);
  return first;
}

PartitionWorker::Ending PartitionWorker::EndingOf(const Run& run, const absl::Status& status,
                                                  bool fruitful) {
  using Why = RunToken::Why;
  const Why why = run.token.why();
  if (why == Why::kSuperseded) {
    return {.metric = "superseded", .silent = true};
  }
  // Also where it returned OK: a connector that is told to stop leaves what it has not read.
  if (why == Why::kStop || why == Why::kChanged || why == Why::kTurn) {
    return {.metric = "stopped"};
  }
  if (status.ok() && why != Why::kStalled) {
    return {.metric = "done", .done = true};
  }
  // A secret that was changed amid the run is tried before the source is said to refuse it.
  if (ErrorCode(status) == "source_unauthorized") {
    const auto entry = deps_.sink.find(run.key.org);
    if (entry != nullptr) {
      const auto source = entry->sources.find(run.key.source);
      if (source != entry->sources.end() && source->second.defined != run.defined) {
        return {.metric = "stopped"};
      }
    }
  }
  Ending ending{.metric = "failed", .error = status};
  if (why == Why::kStalled) {
    ending.error = Error(absl::StatusCode::kUnavailable, "source_stalled",
                         fmt::format("nothing came of the run for {} s",
                                     deps_.options.stall_timeout.count() / 1'000));
  }
  uint32_t attempts = 1;
  if (!fruitful) {
    const absl::MutexLock lock(&mutex_);
    const StreamWork* const work = ledger_.Find(run.key);
    attempts = work == nullptr ? 1 : std::max(work->fruitless, uint32_t{1});
  }
  ending.letter = MayPass(ending.error) && attempts >= deps_.options.attempts_max;
  ending.final = ending.letter || !MayPass(ending.error);
  ending.wait = RetryWait(ending.error, attempts);
  if (ending.final) {
    ending.metric = "given_up";
  }
  return ending;
}

milliseconds PartitionWorker::RetryWait(const absl::Status& status, uint32_t attempts) {
  const int64_t longest =
      std::min<int64_t>(deps_.options.retry_max.count(), deps_.options.retry_first.count()
                                                             << std::min(attempts - 1, 20U));
  // As a whole left to chance: those that a source turned away together do not come back together.
  thread_local std::minstd_rand random(std::random_device{}());
  return RetryAfterOf(status).value_or(milliseconds(0)) +
         milliseconds(std::uniform_int_distribution<int64_t>(0, longest)(random));
}

void PartitionWorker::Tell(Run& run, const Ending& ending, bool fruitful) {
  v1::RunNumbers numbers;
  {
    const absl::MutexLock lock(&mutex_);
    if (run.sink != nullptr) {
      numbers = run.sink->numbers();
    }
  }
  numbers.set_ended_us(MicrosOf(deps_.clock.Now()));
  const auto [chain, next] = run.chain->FindAt(run.key);
  const bool known = chain.bound == run.item.stream().epoch();
  std::vector<eventlog::Event> events;
  if (ending.done) {
    auto done = Named<v1::WorkDone>(run);
    done.set_changes_next(known ? next.value() : kNoOffset.value());
    *done.mutable_state() = known ? chain.state : v1::SourceState();
    *done.mutable_numbers() = numbers;
    events.push_back(EventOf(run.key.org, done));
  } else {
    if (known && fruitful) {  // which makes the attempts before it count no more
      auto progress = Named<v1::WorkProgress>(run);
      progress.set_changes_next(next.value());
      *progress.mutable_state() = chain.state;
      *progress.mutable_numbers() = numbers;
      events.push_back(EventOf(run.key.org, progress));
    }
    auto failed = Named<v1::WorkFailed>(run);
    if (!ending.error.ok()) {
      failed.set_code(ErrorCode(ending.error));
      failed.set_detail(PrintableMessage(Message(ending.error), kDetailBytesMax));
    }
    failed.set_final(ending.final);
    failed.set_retry_at_us(MicrosOf(deps_.clock.Now()) +
                           std::chrono::microseconds(ending.wait).count());
    *failed.mutable_numbers() = numbers;
    events.push_back(EventOf(run.key.org, failed));
  }
  const auto never = [] { return false; };
  absl::Status told;
  if (ending.letter) {
    told = Append(Topic::kDeadletter,
                  {LetterOfItem(run.key, run.item, ending.error, partition_, deps_.clock)},
                  kTellTimeout, never)
               .status();
  }
  Offset last = run.told;
  if (told.ok()) {
    const auto at = Append(Topic::kWork, events, kTellTimeout, never);
    last = at.ok() ? at->back() : last;
    told = at.status();
  }
  if (!told.ok()) {
    spdlog::warn("source_run_not_told org={} source={} stream={} reason=\"{}\"",
                 run.key.org.value(), run.key.source, run.key.stream, Message(told));
  }
  NoteEnded(run, last);
}

}  // namespace sluice::gateways
