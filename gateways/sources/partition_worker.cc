#include "gateways/sources/partition_worker.h"

#include <prometheus/counter.h>
#include <spdlog/spdlog.h>

#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "fmt/format.h"
#include "gateways/sources/row_letters.h"
#include "projectors/work/work_schedule.h"
#include "schemas/base/status.h"
#include "schemas/base/uuid.h"

namespace sluice::gateways {
namespace {

using eventlog::Topic;
using projectors::ScheduledStream;
using projectors::StreamKey;
using projectors::StreamWork;
using std::chrono::milliseconds;

constexpr milliseconds kWorkerLook{10};
constexpr milliseconds kAppendTimeout{5'000};
constexpr milliseconds kTakeOverRetryFirst{100};
constexpr milliseconds kTakeOverRetryMax{5'000};
constexpr std::chrono::minutes kHouseInterval{60};
constexpr size_t kTellBatch = 1'000;

// Runs that share a host share its places.
std::string HostOf(const v1::SourceSettings& settings) {
  const std::string& url = settings.url();
  const size_t scheme = url.find("://");
  const size_t host = scheme == std::string::npos ? 0 : scheme + 3;
  return url.substr(host, url.find_first_of("/?#", host) - host);
}

}  // namespace

PartitionWorker::PartitionWorker(const WorkerDeps& deps, PartitionId partition)
    : deps_(deps),
      partition_(partition),
      work_(deps.log, deps.clock, partition,
            {.begin =
                 [this](bool whole) {
                   const absl::MutexLock lock(&mutex_);
                   ledger_.Begin(whole);
                   began_anew_ = true;
                 },
             .apply =
                 [this](const std::vector<eventlog::StoredEvent>& events) {
                   const absl::MutexLock lock(&mutex_);
                   for (const eventlog::StoredEvent& event : events) {
                     if (const absl::Status status = ledger_.Apply(event); !status.ok()) {
                       deps_.metrics.malformed.Increment();
                       spdlog::warn("source_work_malformed partition={} reason=\"{}\"",
                                    partition_.value(), Message(status));
                     }
                   }
                 }}) {}

PartitionWorker::~PartitionWorker() {
  if (thread_.joinable()) {
    thread_.join();
  }
}

void PartitionWorker::Start() {
  thread_ = std::thread([this] { Work(); });
}

void PartitionWorker::RequestStop() {
  const absl::MutexLock lock(&mutex_);
  stopping_ = true;
  for (const auto& [key, run] : runs_) {
    run->token.Cancel(RunToken::Why::kStop);
  }
}

void PartitionWorker::Stop(absl::Time until) {
  RequestStop();
  {
    const absl::MutexLock lock(&mutex_);
    const auto is_idle = [this] {
      mutex_.AssertReaderHeld();
      return active_ == 0;
    };
    mutex_.AwaitWithDeadline(absl::Condition(&is_idle), until);
  }
  // Only now: runs read back what they say by the followers.
  work_.RequestStop();
  if (thread_.joinable()) {
    thread_.join();
  }
  if (chain_ != nullptr) {
    chain_->RequestStop();
  }
  work_.Stop();
}

bool PartitionWorker::stopping() const {
  const absl::MutexLock lock(&mutex_);
  return stopping_;
}

bool PartitionWorker::Pause(milliseconds delay) {
  const absl::MutexLock lock(&mutex_);
  return !mutex_.AwaitWithTimeout(absl::Condition(&stopping_), absl::FromChrono(delay));
}

void PartitionWorker::Work() {
  Backoff retry(kTakeOverRetryFirst, kTakeOverRetryMax);
  while (!stopping()) {
    if (const absl::Status status = TakeOver(); !status.ok()) {
      if (!absl::IsCancelled(status)) {
        spdlog::warn("sources_not_taken_over partition={} reason=\"{}\"", partition_.value(),
                     Message(status));
      }
      Pause(retry.Next());
      continue;
    }
    retry.Reset();
    ready_ = true;
    spdlog::info("sources_taken_over partition={} changes_next={}", partition_.value(),
                 chain_->next().value());
    while (!stopping() && !began_anew_) {
      const absl::Status status = Tick();
      if (!status.ok()) {
        spdlog::warn("sources_tick_failed partition={} reason=\"{}\"", partition_.value(),
                     Message(status));
      }
      Pause(deps_.options.tick);
    }
    ready_ = false;
    EndRuns();
  }
}

absl::Status PartitionWorker::AwaitWork(Offset end) {
  while (work_.next() < end) {
    if (!Pause(kWorkerLook)) {
      return absl::CancelledError("");
    }
  }
  return absl::OkStatus();
}

absl::Status PartitionWorker::TakeOver() {
  // Where `work` is empty up to an end that is asked for after this one, nobody has written a step
  // below this one: a step comes after its WorkStarted.
  ASSIGN_OR_RETURN(const eventlog::OffsetRange changes,
                   deps_.log.Range(Topic::kChanges, partition_));
  ASSIGN_OR_RETURN(const eventlog::OffsetRange work, deps_.log.Range(Topic::kWork, partition_));
  if (!std::exchange(work_started_, true)) {
    work_.Start();
  }
  RETURN_IF_ERROR(AwaitWork(work.end));
  began_anew_ = false;
  taken_over_ = work.end;

  std::optional<Offset> marked;
  Offset from;
  std::shared_ptr<ChainFollower> chain;
  {
    const absl::MutexLock lock(&mutex_);
    marked = ledger_.Marked(deps_.log.id());
    from = marked.value_or(ledger_.untouched() ? changes.end : changes.begin);
    chain = std::make_shared<ChainFollower>(deps_.log, deps_.clock, partition_, from);
    if (ledger_.log_id() == deps_.log.id()) {
      for (const auto& [key, stream] : ledger_.streams()) {
        if (stream.changes_next != kNoOffset) {
          chain->Put(key, {stream.state, stream.bound}, stream.changes_next);
        }
      }
    }
  }
  if (!marked.has_value()) {
    v1::WorkMark mark;
    mark.set_log_id(deps_.log.id());
    mark.set_changes_next(from.value());
    ASSIGN_OR_RETURN(const std::vector<Offset> at,
                     Append(Topic::kWork, {EventOf(OrgId(), mark)}, kAppendTimeout,
                            [this] { return stopping(); }));
    RETURN_IF_ERROR(AwaitWork(Offset(at.back().value() + 1)));
  }
  chain->Start();
  chain_ = chain;
  marked_ = from;
  marked_time_ = deps_.clock.Now();
  // What a former worker has appended lies below an end that is asked for now.
  ASSIGN_OR_RETURN(const eventlog::OffsetRange known, deps_.log.Range(Topic::kChanges, partition_));
  while (chain_->next() < known.end) {
    if (!Pause(kWorkerLook)) {
      return absl::CancelledError("");
    }
  }
  return absl::OkStatus();
}

void PartitionWorker::EndRuns() {
  const absl::MutexLock lock(&mutex_);
  for (const auto& [key, run] : runs_) {
    run->token.Cancel(RunToken::Why::kStop);
  }
  const auto is_idle = [this] {
    mutex_.AssertReaderHeld();
    return active_ == 0 || stopping_;
  };
  mutex_.Await(absl::Condition(&is_idle));
  runs_.clear();
}

absl::Status PartitionWorker::Tick() {
  RETURN_IF_ERROR(deps_.ready(partition_));
  const std::vector<KnownSource> known = deps_.sources(partition_);
  std::vector<ScheduledStream> streams;
  std::map<StreamKey, const KnownSource*> sources;
  for (const KnownSource& source : known) {
    const auto connector = deps_.connectors.find(source.defined->settings().kind());
    if (connector == deps_.connectors.end()) {
      continue;
    }
    for (ScheduledStream& stream :
         StreamsOf(source, connector->second->by_entity(), deps_.options.intervals)) {
      sources.emplace(stream.key, &source);
      streams.push_back(std::move(stream));
    }
  }
  WatchRuns(sources);
  deps_.whole_runs.TakeTurns(deps_.clock.SteadyNow());
  RETURN_IF_ERROR(Schedule(streams));
  StartRuns(streams, sources);
  if (const SteadyTime now = deps_.clock.SteadyNow();
      now - mark_at_ >= deps_.options.mark_interval) {
    mark_at_ = now;
    RETURN_IF_ERROR(Mark());
  }
  if (const SteadyTime now = deps_.clock.SteadyNow(); now - house_at_ >= kHouseInterval) {
    house_at_ = now;
    {
      const absl::MutexLock lock(&mutex_);
      std::erase_if(refusals_,
                    [&sources](const auto& entry) { return !sources.contains(entry.first); });
    }
    KeepHouse();
  }
  return absl::OkStatus();
}

absl::Status PartitionWorker::Schedule(const std::vector<ScheduledStream>& streams) {
  std::vector<v1::WorkItem> items;
  {
    const absl::MutexLock lock(&mutex_);
    items = projectors::DueItems(ledger_, streams, deps_.clock.Now(), kTellBatch);
  }
  if (items.empty()) {
    return absl::OkStatus();
  }
  std::vector<eventlog::Event> events;
  events.reserve(items.size());
  for (const v1::WorkItem& item : items) {
    ASSIGN_OR_RETURN(const OrgId org, OrgId::Parse(item.id().substr(0, item.id().find('/'))));
    events.push_back(EventOf(org, item));
  }
  deps_.metrics.scheduled.Increment(static_cast<double>(items.size()));
  ASSIGN_OR_RETURN(const std::vector<Offset> at,
                   Append(Topic::kWork, events, kAppendTimeout, [this] { return stopping(); }));
  // Read back before the next look, which would make them again.
  return AwaitWork(Offset(at.back().value() + 1));
}

void PartitionWorker::StartRuns(const std::vector<ScheduledStream>& streams,
                                const std::map<StreamKey, const KnownSource*>& sources) {
  const SystemTime now = deps_.clock.Now();
  size_t overdue = 0;
  std::vector<std::pair<StreamWork, const ScheduledStream*>> due;
  {
    const absl::MutexLock lock(&mutex_);
    // What has ended counts from when the ledger has heard of it: its item would be begun again.
    std::erase_if(runs_, [this](const auto& entry) {
      return entry.second->ended && entry.second->told < work_.next();
    });
    for (const ScheduledStream& stream : streams) {
      const StreamWork* const work = ledger_.Find(stream.key);
      if (work == nullptr || !work->open.has_value() || work->epoch != stream.epoch) {
        continue;
      }
      overdue += SystemTime(std::chrono::microseconds(work->open->due_us())) + stream.interval < now
                     ? 1
                     : 0;
      // Another worker has begun it in this one's time: it may be this one that is late.
      const bool foreign = work->running && work->started >= taken_over_ &&
                           now - work->heard < deps_.options.foreign_patience &&
                           work->heard - now < projectors::kSkewMax;
      if (!runs_.contains(stream.key) && projectors::MayBegin(*work, now) && !foreign) {
        due.emplace_back(*work, &stream);
      }
    }
  }
  overdue_ = overdue;
  for (const auto& [work, stream] : due) {
    StartRun(work, *stream, *sources.at(stream->key));
  }
}

void PartitionWorker::StartRun(const StreamWork& work, const ScheduledStream& stream,
                               const KnownSource& source) {
  if (chain_->next() <= source.last_control) {
    return;  // what the source's epoch is has yet to be read
  }
  chain_->Bind(stream.key, stream.epoch);
  if (chain_->Find(stream.key).bound != stream.epoch) {
    return;  // it is defined otherwise, as this process will hear
  }
  if (work.fruitless >= deps_.options.attempts_max) {
    if (const absl::Status status = GiveUp(stream.key, work); !status.ok()) {
      spdlog::warn("source_not_given_up partition={} reason=\"{}\"", partition_.value(),
                   Message(status));
    }
    return;
  }
  auto run = std::make_shared<Run>(deps_.clock);
  run->key = stream.key;
  run->item = *work.open;
  run->attempt = work.attempt + 1;
  run->id = NewUuid7(deps_.clock);
  run->defined = source.defined;
  run->connector = deps_.connectors.at(source.defined->settings().kind());
  run->chain = chain_;
  {
    const absl::MutexLock lock(&mutex_);
    if (stopping_) {
      return;
    }
    runs_[stream.key] = run;
  }
  const auto execute = [self = shared_from_this(), run] { self->Execute(run); };
  const std::string host = HostOf(source.defined->settings());
  const bool added = run->connector->by_entity()
                         ? deps_.entity_runs.Add(stream.key.org, host, execute)
                         : deps_.whole_runs.Add(stream.key.org, host, execute,
                                                [run] { run->token.Cancel(RunToken::Why::kTurn); });
  if (!added) {
    const absl::MutexLock lock(&mutex_);
    runs_.erase(stream.key);
  }
}

void PartitionWorker::WatchRuns(const std::map<StreamKey, const KnownSource*>& sources) {
  std::vector<std::shared_ptr<Run>> runs;
  {
    const absl::MutexLock lock(&mutex_);
    for (const auto& [key, run] : runs_) {
      if (!run->ended) {
        runs.push_back(run);
      }
    }
  }
  for (const std::shared_ptr<Run>& run : runs) {
    const auto source = sources.find(run->key);
    WatchRun(run, source == sources.end() ? nullptr : source->second);
  }
}

void PartitionWorker::WatchRun(const std::shared_ptr<Run>& run, const KnownSource* source) {
  using Why = RunToken::Why;
  const bool by_entity = run->connector->by_entity();
  const int64_t epoch = run->item.stream().epoch();
  // One that lasts goes by the definition of now; another one ends soon.
  if (source == nullptr || source->defined->epoch() != epoch ||
      (!by_entity && source->defined != run->defined)) {
    run->token.Cancel(Why::kChanged);
  }
  bool told = false;
  {
    const absl::MutexLock lock(&mutex_);
    const StreamWork* const work = ledger_.Find(run->key);
    const bool counts = work != nullptr && work->open.has_value() &&
                        work->open->id() == run->item.id() && work->attempt <= run->attempt &&
                        (work->attempt < run->attempt || work->started_id == run->id);
    if (run->active && !counts) {
      run->token.Cancel(Why::kSuperseded);
    }
    told = run->sink == nullptr ||
           deps_.clock.SteadyNow() - run->progress_at < deps_.options.progress_interval;
    if (run->active && by_entity &&
        deps_.clock.SteadyNow() - run->token.touched() > deps_.options.stall_timeout) {
      run->token.Cancel(Why::kStalled);
    }
  }
  if (!told) {
    TellProgress(run);
  }
}

void PartitionWorker::TellProgress(const std::shared_ptr<Run>& run) {
  auto progress = Named<v1::WorkProgress>(*run);
  const auto [chain, next] = run->chain->FindAt(run->key);
  if (chain.bound == run->item.stream().epoch()) {
    *progress.mutable_state() = chain.state;
    progress.set_changes_next(next.value());
  } else {
    progress.set_changes_next(kNoOffset.value());
  }
  {
    const absl::MutexLock lock(&mutex_);
    if (run->sink == nullptr) {
      return;
    }
    *progress.mutable_numbers() = run->sink->numbers();
    run->progress_at = deps_.clock.SteadyNow();
  }
  // Where it is lost the next one tells more.
  deps_.log.AppendAsync(Topic::kWork, partition_, {EventOf(run->key.org, progress)},
                        [](const auto&) {});
}

absl::Status PartitionWorker::GiveUp(const StreamKey& key, const StreamWork& work) {
  const absl::Status error = Error(
      absl::StatusCode::kResourceExhausted,
      work.error_code.empty() ? "too_many_attempts" : work.error_code,
      work.error_detail.empty() ? fmt::format("{} attempts ended without a word", work.fruitless)
                                : work.error_detail);
  RETURN_IF_ERROR(Append(Topic::kDeadletter,
                         {LetterOfItem(key, *work.open, error, partition_, deps_.clock)},
                         kAppendTimeout, [this] { return stopping(); })
                      .status());
  v1::WorkFailed failed;
  failed.set_item(work.open->id());
  failed.set_attempt(work.attempt);
  *failed.mutable_stream() = work.open->stream();
  failed.set_code(ErrorCode(error));
  failed.set_detail(std::string(Message(error)));
  failed.set_final(true);
  *failed.mutable_numbers() = work.numbers;
  deps_.metrics.CountRun("given_up");
  ASSIGN_OR_RETURN(const std::vector<Offset> at,
                   Append(Topic::kWork, {EventOf(key.org, failed)}, kAppendTimeout,
                          [this] { return stopping(); }));
  return AwaitWork(Offset(at.back().value() + 1));
}

absl::Status PartitionWorker::Mark() {
  const SystemTime now = deps_.clock.Now();
  auto [next, untold] = chain_->Untold();
  const size_t news = untold.size();
  {
    const absl::MutexLock lock(&mutex_);
    for (const auto& [key, work] : ledger_.streams()) {
      if (work.changes_next != kNoOffset && now - work.told_at >= projectors::kWorkRetold) {
        auto [chain, at] = chain_->FindAt(key);
        untold.push_back({key, std::move(chain), at});
      }
    }
  }
  if (untold.empty() && next == marked_ && now - marked_time_ < std::chrono::hours(1)) {
    return absl::OkStatus();
  }
  std::vector<eventlog::Event> events;
  const auto append = [&]() -> absl::Status {
    RETURN_IF_ERROR(Append(Topic::kWork, std::exchange(events, {}), kAppendTimeout, [this] {
                      return stopping();
                    }).status());
    return absl::OkStatus();
  };
  for (const ChainFollower::Told& told : untold) {
    const auto entry = deps_.sink.find(told.key.org);
    if (entry == nullptr || entry->incarnation != told.key.incarnation) {
      continue;  // nobody goes on with it
    }
    v1::WorkDone done;
    done.mutable_stream()->set_incarnation(told.key.incarnation);
    done.mutable_stream()->set_source(told.key.source);
    done.mutable_stream()->set_stream(told.key.stream);
    done.mutable_stream()->set_epoch(told.chain.bound);
    *done.mutable_state() = told.chain.state;
    done.set_changes_next(told.next.value());
    events.push_back(EventOf(told.key.org, done));
    if (events.size() >= kTellBatch) {
      RETURN_IF_ERROR(append());
    }
  }
  v1::WorkMark mark;
  mark.set_log_id(deps_.log.id());
  mark.set_changes_next(next.value());
  // Behind the states: a batch is not atomic, but keeps its order.
  events.push_back(EventOf(OrgId(), mark));
  RETURN_IF_ERROR(append());
  untold.resize(news);
  chain_->NoteTold(untold);
  marked_ = next;
  marked_time_ = now;
  return absl::OkStatus();
}

void PartitionWorker::KeepHouse() {
  const SystemTime now = deps_.clock.Now();
  Offset first;
  {
    const absl::MutexLock lock(&mutex_);
    first = ledger_.FirstKept(now);
  }
  if (first == kNoOffset) {
    return;
  }
  if (const absl::Status status = deps_.log.TruncateBefore(Topic::kWork, partition_, first);
      !status.ok()) {
    spdlog::warn("work_not_truncated partition={} reason=\"{}\"", partition_.value(),
                 Message(status));
  }
}

eventlog::Event PartitionWorker::EventOf(const OrgId& org,
                                         const google::protobuf::Message& message) const {
  eventlog::Event event;
  event.id = NewUuid7(deps_.clock);
  event.source = std::string(kSourceEvents);
  event.type = message.GetDescriptor()->full_name();
  event.subject = org.value();
  event.time = deps_.clock.Now();
  event.key = org.value().empty() ? "_mark" : org.value();
  event.value = message.SerializeAsString();
  return event;
}

absl::StatusOr<std::vector<Offset>> PartitionWorker::Append(
    Topic topic, const std::vector<eventlog::Event>& events, milliseconds timeout,
    const std::function<bool()>& stopping) {
  return AppendSurely(deps_.log, topic, partition_, events, timeout, stopping);
}

}  // namespace sluice::gateways
