#include "gateways/sources/source_sink.h"

#include <prometheus/counter.h>

#include <algorithm>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "fmt/format.h"
#include "gateways/ingest/ingest_service.h"
#include "gateways/sources/source_set_check.h"
#include "projectors/provisioning/decide_source.h"
#include "schemas/base/printable.h"
#include "schemas/base/status.h"
#include "schemas/base/uuid.h"

namespace sluice::gateways {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kSinkLook{20};  // between two looks at what may have come
constexpr size_t kOrgsPerPage = 256;
constexpr milliseconds kDefineWait{30'000};
constexpr size_t kPositionBytesMax = 1'000;
constexpr milliseconds kDefineLook{2'000};  // nothing ends the wait for an outcome

absl::Status OrgGone(const OrgId& org) {
  return Error(absl::StatusCode::kNotFound, "org_not_found",
               fmt::format("there is no organisation '{}'", org.value()));
}

}  // namespace

SourceSink::SourceSink(const SinkDeps& deps, const ChainFollower& follower, RunToken& token,
                       Run run, const ChainFollower::Chain& chain)
    : deps_(deps),
      follower_(follower),
      token_(token),
      run_(std::move(run)),
      sets_{run_.key, run_.epoch, run_.id, chain.state.number()},
      partition_(deps.log.PartitionFor(eventlog::Topic::kChanges, run_.key.org.value())),
      gate_(deps.applied),
      letters_(deps.log, deps.clock, run_.key),
      number_(chain.state.number()),
      taken_(number_),
      progressed_at_(deps.clock.SteadyNow()) {
  if (number_ > 0 && chain.state.epoch() == run_.epoch) {
    cursor_ = chain.state.cursor();
    last_id_ = chain.state.last_id();
  }
  numbers_.set_started_us(deps.clock.Now().time_since_epoch().count());
}

absl::Status SourceSink::Cancelled() const {
  return Error(absl::StatusCode::kCancelled, "cancelled", "the run is to stop");
}

std::string SourceSink::OwnerIn(const OrgId& org) const {
  return org == run_.key.org
             ? fmt::format("{}:{}", run_.kind, run_.key.source)
             : fmt::format("{}:@{}/{}", run_.kind, run_.key.org.value(), run_.key.source);
}

absl::StatusOr<std::shared_ptr<const projectors::OrgEntry>> SourceSink::OpenEntry(
    const OrgId& org) {
  std::shared_ptr<const projectors::OrgEntry> entry = deps_.find(org);
  if (entry == nullptr || entry->state != projectors::OrgState::kReady ||
      (org == run_.key.org && entry->incarnation != run_.key.incarnation)) {
    return OrgGone(org);
  }
  return entry;
}

absl::Status SourceSink::Append(SourceSet set) {
  RETURN_IF_ERROR(broken_);
  const OrgId org = OrgOf(set.org);
  ASSIGN_OR_RETURN(const auto entry, OpenEntry(org));
  RETURN_IF_ERROR(
      TakeOutMisfits(*entry->model, OwnerIn(org), set.ops, [this, &org](RejectedRow row) {
        row.org = org;
        return Reject(row);
      }));
  if (set.ops.empty() && !set.cursor.has_value()) {
    return absl::OkStatus();
  }
  token_.Touch();
  // Behind the cursor a row is not read again: what was rejected before it must be known by then.
  if (set.cursor.has_value()) {
    RETURN_IF_ERROR(FlushLetters());
  }
  set.org = org;
  Pending pending;
  RETURN_IF_ERROR(MakeEvent(set, entry->incarnation, pending));
  broken_ = Enqueue(std::move(pending));
  return broken_;
}

absl::Status SourceSink::Enqueue(Pending pending) {
  const RunToken::Hold hold(token_);
  RETURN_IF_ERROR(AwaitRoom(pending));
  RETURN_IF_ERROR(Send(pending));
  pending_bytes_ += pending.bytes;
  pending_.push_back(std::move(pending));
  return absl::OkStatus();
}

absl::Status SourceSink::MakeEvent(SourceSet& set, uint32_t incarnation, Pending& pending) {
  v1::ChangeSet message;
  message.set_source(OwnerIn(set.org));
  message.set_incarnation(incarnation);
  message.set_only_changes(true);
  if (set.org == run_.key.org) {
    message.set_id(fmt::format("{}/{}", run_.id, ++ids_));
    pending.number = ++number_;
    if (set.cursor.has_value()) {
      cursor_ = *std::move(set.cursor);
    }
    v1::SourceStep& step = *message.mutable_step();
    step.set_source(run_.key.source);
    step.set_stream(run_.key.stream);
    step.set_epoch(run_.epoch);
    step.set_after(std::exchange(last_id_, message.id()));
    step.set_number(number_);
    step.set_cursor(cursor_);
  } else {
    message.set_id(set.id);
  }
  message.mutable_ops()->Reserve(static_cast<int>(set.ops.size()));
  for (v1::Operation& op : set.ops) {
    if (set.number_is_version) {
      op.set_version(static_cast<int64_t>(pending.number));
    }
    *message.add_ops() = std::move(op);
  }
  // A sweep is no row.
  pending.rows = static_cast<size_t>(std::ranges::count_if(
      message.ops(), [](const auto& op) { return op.kind() != v1::Operation::KIND_SWEEP; }));
  pending.org = set.org;
  pending.partition = deps_.log.PartitionFor(eventlog::Topic::kChanges, set.org.value());
  pending.event.id = NewUuid7(deps_.clock);
  pending.event.source = std::string(kSourceEvents);
  pending.event.type = v1::ChangeSet::descriptor()->full_name();
  pending.event.subject = set.org.value();
  pending.event.time = deps_.clock.Now();
  pending.event.key = set.org.value();
  pending.event.value = message.SerializeAsString();
  pending.event.cause.subject = run_.key.source;
  pending.event.cause.request_id = run_.item;
  pending.bytes = pending.event.ByteSize();
  return absl::OkStatus();
}

absl::Status SourceSink::AwaitRoom(const Pending& pending) {
  while (!pending_.empty() && pending_bytes_ + pending.bytes > deps_.window_bytes) {
    RETURN_IF_ERROR(Look(/*wait=*/true));
  }
  RETURN_IF_ERROR(Look(/*wait=*/false));
  while (loading_ && !gate_.IsOpen(pending.org)) {
    RETURN_IF_ERROR(Look(/*wait=*/false));
    if (!token_.Pause(kSinkLook)) {
      return Cancelled();
    }
  }
  return absl::OkStatus();
}

absl::Status SourceSink::Send(Pending& pending) {
  while (true) {
    if (stopping()) {
      return Cancelled();
    }
    const absl::Status may =
        deps_.may_append ? deps_.may_append(pending.partition) : absl::OkStatus();
    if (!may.ok()) {
      if (deps_.clock.SteadyNow() - progressed_at_ > deps_.append_timeout) {
        return may;
      }
      static_cast<void>(token_.Pause(kSinkLook));
    } else if (deps_.in_flight->Acquire(pending.bytes, 1, absl::Now() + absl::Milliseconds(100),
                                        pending.partition)) {
      break;
    }
  }
  pending.failed = false;
  pending.answer = std::make_shared<Answer>();
  deps_.log.AppendAsync(
      eventlog::Topic::kChanges, pending.partition, {pending.event},
      [answer = pending.answer, in_flight = deps_.in_flight, bytes = pending.bytes,
       partition = pending.partition](const absl::StatusOr<std::vector<Offset>>& offsets) {
        in_flight->Release(bytes, 1, partition);
        const absl::MutexLock lock(&answer->mutex);
        answer->done = true;
        answer->offset = offsets.ok() ? absl::StatusOr<Offset>(offsets->front()) : offsets.status();
      });
  return absl::OkStatus();
}

absl::Status SourceSink::Look(bool wait) {
  if (stopping()) {
    return Cancelled();
  }
  if (pending_.empty()) {
    progressed_at_ = deps_.clock.SteadyNow();
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(LookAtAnswers(wait));
  RETURN_IF_ERROR(LookAtChain(wait));
  if (failed_) {
    RETURN_IF_ERROR(SendAgain());
  }
  if (!pending_.empty() && deps_.clock.SteadyNow() - progressed_at_ > deps_.append_timeout) {
    return Error(absl::StatusCode::kUnavailable, "log_unavailable",
                 "the log has not taken the run's sets in time");
  }
  return absl::OkStatus();
}

absl::Status SourceSink::LookAtAnswers(bool wait) {
  for (Pending& pending : pending_) {
    absl::StatusOr<Offset> offset = kNoOffset;
    {
      const absl::MutexLock lock(&pending.answer->mutex);
      if (wait) {
        pending.answer->mutex.AwaitWithTimeout(absl::Condition(&pending.answer->done),
                                               absl::FromChrono(kSinkLook));
        wait = false;
      }
      if (!pending.answer->done) {
        break;  // those behind it can't have been settled before
      }
      offset = pending.answer->offset;
    }
    if (offset.ok()) {
      if (pending.number == 0) {
        Settle(pending, *offset);
      }
    } else if (MayAppendAgain(offset.status())) {
      pending.failed = true;
      failed_ = true;
    } else {
      return offset.status();
    }
  }
  std::erase_if(pending_, [](const Pending& pending) { return pending.settled; });
  return absl::OkStatus();
}

void SourceSink::Settle(Pending& pending, Offset offset) {
  if (loading_) {
    gate_.Note(pending.org, offset, pending.bytes);
  }
  token_.Touch();
  pending_bytes_ -= pending.bytes;
  deps_.metrics.rows.Increment(static_cast<double>(pending.rows));
  deps_.metrics.sets.Increment();
  progressed_at_ = deps_.clock.SteadyNow();
  retry_.Reset();
  {
    const absl::MutexLock lock(&mutex_);
    numbers_.set_rows(numbers_.rows() + pending.rows);
  }
  pending.settled = true;
}

absl::Status SourceSink::LookAtChain(bool wait) {
  const auto is_step = [](const Pending& pending) { return pending.number != 0; };
  auto first = std::ranges::find_if(pending_, is_step);
  if (first == pending_.end()) {
    return absl::OkStatus();
  }
  // Where its answer has not come the follower can't have seen it for long.
  const Offset next = follower_.next();
  ASSIGN_OR_RETURN(const ChainFollower::Taken taken,
                   follower_.AwaitTaken(sets_, taken_, wait ? kSinkLook : milliseconds(0)));
  if (taken.number > taken_) {
    taken_ = taken.number;
    for (Pending& pending : pending_) {
      if (pending.number != 0 && pending.number <= taken_) {
        Settle(pending, taken.offset);
      }
    }
    // A set that was taken has no answer that matters: the failure may have been of its copy.
    std::erase_if(pending_, [](const Pending& pending) { return pending.settled; });
    failed_ = std::ranges::any_of(pending_, &Pending::failed);
    return absl::OkStatus();
  }
  // The log holds the next one, the follower is behind it, and it was not taken: the chain is not
  // as the run took it to be.
  const absl::MutexLock lock(&first->answer->mutex);
  if (!failed_ && first->answer->done && first->answer->offset.ok() &&
      *first->answer->offset < next) {
    return Error(absl::StatusCode::kAborted, "superseded",
                 "the stream's chain goes on from another set");
  }
  return absl::OkStatus();
}

// In the order that they have, and all: of those behind the one that failed each names one before
// it that is not there, so that it was not taken, durable or not.
absl::Status SourceSink::SendAgain() {
  for (const Pending& pending : pending_) {
    const absl::MutexLock lock(&pending.answer->mutex);
    if (!pending.answer->done) {
      return absl::OkStatus();
    }
  }
  if (!token_.Pause(retry_.Next())) {
    return Cancelled();
  }
  failed_ = false;
  for (Pending& pending : pending_) {
    deps_.metrics.resent.Increment();
    RETURN_IF_ERROR(Send(pending));
  }
  return absl::OkStatus();
}

absl::Status SourceSink::Flush() {
  const RunToken::Hold hold(token_);
  RETURN_IF_ERROR(FlushLetters());
  while (!pending_.empty()) {
    RETURN_IF_ERROR(Look(/*wait=*/true));
  }
  return absl::OkStatus();
}

absl::Status SourceSink::FlushLetters() {
  const RunToken::Hold hold(token_);
  return letters_.Flush(deps_.append_timeout, [this] { return stopping(); });
}

absl::Status SourceSink::Request(const OrgId& org, v1::ProvisioningRequest request) {
  const RunToken::Hold hold(token_);
  // One request, however often it is appended: its id stays the same.
  request.set_request_id(NewUuid7(deps_.clock));
  const SteadyTime until = deps_.clock.SteadyNow() + kDefineWait;
  absl::StatusOr<projectors::Directory::Outcome> outcome = absl::UnknownError("");
  do {
    if (stopping()) {
      return Cancelled();
    }
    outcome = deps_.request(org, request, kDefineLook,
                            {.subject = run_.key.source, .issuer = "", .request_id = run_.item});
  } while (ErrorCode(outcome.status()) == "provisioning_unavailable" &&
           deps_.clock.SteadyNow() < until);
  return outcome.ok() ? outcome->status : outcome.status();
}

absl::StatusOr<std::shared_ptr<const schemas::EntitySchema>> SourceSink::Define(
    const OrgId& org, const v1::ProvisioningRequest::PutEntity& entity) {
  const RunToken::Hold hold(token_);
  if (stopping()) {
    return Cancelled();
  }
  const OrgId& in = OrgOf(org);
  v1::ProvisioningRequest request;
  *request.mutable_put_entity() = entity;
  request.mutable_put_entity()->set_source(OwnerIn(in));
  ASSIGN_OR_RETURN(const auto entry, OpenEntry(in));
  // What is so already needs no request: a run asks for its entities each time.
  const auto found = entry->model->entities().find(entity.name());
  if (found != entry->model->entities().end()) {
    const v1::EntitySchema& current = found->second->proto();
    const auto wanted = projectors::WithSource(*entry->model, &current, request.put_entity());
    RETURN_IF_ERROR(wanted.status());
    const auto evolved = schemas::EvolveSchema(&current, *wanted, found->second->id());
    RETURN_IF_ERROR(evolved.status());
    if (evolved->SerializeAsString() == current.SerializeAsString() &&
        current.source() == wanted->source()) {
      return found->second;
    }
  }
  RETURN_IF_ERROR(Request(in, std::move(request)));
  std::shared_ptr<const schemas::EntitySchema> schema = Find(in, entity.name());
  return schema != nullptr ? absl::StatusOr<std::shared_ptr<const schemas::EntitySchema>>(schema)
                           : Error(absl::StatusCode::kFailedPrecondition, "entity_not_found",
                                   fmt::format("entity '{}' was deleted", entity.name()));
}

std::shared_ptr<const schemas::EntitySchema> SourceSink::Find(const OrgId& org,
                                                              std::string_view entity) {
  const auto entry = OpenEntry(OrgOf(org));
  if (!entry.ok()) {
    return nullptr;
  }
  const auto found = (*entry)->model->entities().find(entity);
  return found == (*entry)->model->entities().end() ? nullptr : found->second;
}

absl::Status SourceSink::OpenOrg(const OrgId& org) {
  // A request would open one anew that somebody has closed.
  if (deps_.find(org) == nullptr) {
    v1::ProvisioningRequest request;
    request.mutable_open_org();
    RETURN_IF_ERROR(Request(org, std::move(request)));
  }
  return OpenEntry(org).status();
}

absl::Status SourceSink::ForEachOrg(std::string_view entity,
                                    const std::function<absl::Status(const OrgId&)>& visit) {
  std::string after;
  while (true) {
    const auto page = deps_.list(after, kOrgsPerPage);
    for (const auto& entry : page) {
      if (stopping()) {
        return Cancelled();
      }
      const auto found = entry->model->entities().find(entity);
      if (entry->state == projectors::OrgState::kReady && found != entry->model->entities().end() &&
          found->second->proto().source() == OwnerIn(entry->org)) {
        RETURN_IF_ERROR(visit(entry->org));
      }
    }
    if (page.size() < kOrgsPerPage) {
      return absl::OkStatus();
    }
    after = page.back()->org.value();
  }
}

absl::Status SourceSink::Reject(const RejectedRow& row) {
  token_.Touch();
  deps_.metrics.CountRejected(row.code);
  {
    const absl::MutexLock lock(&mutex_);
    if (numbers_.rejected() >= deps_.rejected_max) {
      return Error(absl::StatusCode::kFailedPrecondition, "too_many_rejected",
                   fmt::format("more than {} rows could not be taken", deps_.rejected_max));
    }
    numbers_.set_rejected(numbers_.rejected() + 1);
  }
  letters_.Add(row);
  return letters_.full() ? FlushLetters() : absl::OkStatus();
}

void SourceSink::Report(const v1::RunNumbers& numbers) {
  token_.Touch();
  const absl::MutexLock lock(&mutex_);
  numbers_.set_state(numbers.state());
  numbers_.set_loaded(numbers.loaded());
  numbers_.set_total(numbers.total());
  numbers_.set_lag_us(numbers.lag_us());
  numbers_.set_position(PrintableMessage(numbers.position(), kPositionBytesMax));
  numbers_.set_split(numbers.split());
}

v1::RunNumbers SourceSink::numbers() const {
  const absl::MutexLock lock(&mutex_);
  return numbers_;
}

}  // namespace sluice::gateways
