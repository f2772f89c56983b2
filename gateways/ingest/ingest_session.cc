#include "gateways/ingest/ingest_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "schemas/base/status.h"
#include "schemas/base/uuid.h"

namespace sluice::gateways {
namespace {

// Below it a pause appends at once: the first sets of a slow sender do not wait for company.
constexpr size_t kBusyBytes = 64 << 10;

// A request that stops has one batch in flight, so a larger one than others have.
constexpr size_t kOrderedBatch = 8;

// Answers that wait behind a set whose own waits for the store.
constexpr size_t kWaitingMax = 20'000;

// What an answer that waits counts for: a refusal is about as large in memory as it is as text.
constexpr size_t kWaitingBytes = 256;

// What is no change set under any definitions can't have been taken before.
bool MayHaveFitted(const absl::Status& misfit) {
  const std::string code = ErrorCode(misfit);
  return code != "invalid_json" && code != "invalid_argument";
}

bool DependsOnDefinitions(const absl::Status& misfit) {
  return MayHaveFitted(misfit) && ErrorCode(misfit) != "too_large";
}

// The set is wrong as far as is known; that this is not the last word says the code.
absl::Status NotKnown(const absl::Status& reached, const absl::Status& misfit) {
  return Error(absl::StatusCode::kUnavailable, ErrorCode(reached),
               fmt::format("the set does not fit the definitions that this server knows ({}: {}), "
                           "and it has yet to read those that the log has: send the set again",
                           ErrorCode(misfit), Message(misfit)));
}

absl::Status NotInTime() {
  return absl::UnavailableError(
      "the log did not confirm the set in time; send it again with the same id");
}

absl::Status NotTried() {
  return Error(absl::StatusCode::kFailedPrecondition, "not_tried",
               "a set before this one was not taken; send this one again behind it");
}

// The definition came between the other node's look and the relay.
absl::Status FitsByNow() {
  return Error(absl::StatusCode::kUnavailable, "not_caught_up",
               "the set fits the definitions by now; send it again");
}

// What a failed append is to the sender of a set.
absl::StatusOr<Offset> ResultOf(const absl::StatusOr<std::vector<Offset>>& offsets, size_t index) {
  if (offsets.ok()) {
    return (*offsets)[index];
  }
  return offsets.status();
}

}  // namespace

IngestSession::IngestSession(IngestService& service, OrgId org, std::string traceparent,
                             eventlog::Cause cause, RelayCaller caller, StopOn stop_on)
    : service_(service),
      org_(std::move(org)),
      partition_(service.log().PartitionFor(eventlog::Topic::kChanges, org_.value())),
      traceparent_(std::move(traceparent)),
      cause_(std::move(cause)),
      stop_(std::make_shared<StopMark>(stop_on)),
      relayed_(caller.relayed),
      reader_(service.options().set_limits),
      // A batch that is larger than the limit is let in alone.
      own_in_flight_(std::make_shared<InFlight>(service.options().request_in_flight_bytes_max,
                                                service.options().in_flight_events_max)),
      doubtful_(service, org_, std::move(caller)),
      answers_(stop_, [&service](const std::string& code) { service.CountRejected(code); }) {}

IngestSession::~IngestSession() {
  // Somebody else may wait for a set that was gathered here. It is not appended any more, because
  // that may wait for room, and who lets go of a session must not.
  GiveUpGathered(NotSent());
}

absl::Status IngestSession::Refresh() {
  since_ = service_.clock().SteadyNow();
  at_end_ = false;
  LookUp();
  return ready_;
}

void IngestSession::LookUp() {
  entry_ = service_.directory().Find(org_);
  if (entry_ == nullptr) {
    ready_ = Error(absl::StatusCode::kNotFound, "org_not_found",
                   fmt::format("there is no organisation '{}'", org_.value()));
  } else if (entry_->state != projectors::OrgState::kReady) {
    ready_ = Error(absl::StatusCode::kFailedPrecondition, "org_not_ready",
                   fmt::format("organisation '{}' is {}", org_.value(),
                               projectors::OrgStateName(entry_->state)));
  } else {
    ready_ = absl::OkStatus();
  }
}

// What is refused is refused for good, and its sender may know of definitions that have not come
// to this process yet. The log is asked once for all sets that had come by then; those that fit pay
// nothing.
absl::Status IngestSession::ReachDirectory() {
  if (at_end_) {
    return absl::OkStatus();
  }
  const SteadyTime now = service_.clock().SteadyNow();
  const auto patience =
      now < no_wait_until_ ? std::chrono::milliseconds(0) : service_.options().directory_patience;
  AppendIfMay();  // these wait for nothing
  const absl::Status reached = service_.ReachDirectory(org_, now - since_, patience);
  if (!reached.ok()) {
    // Where the log does not answer, a request does not spend all its time with waiting for it.
    no_wait_until_ = std::max(no_wait_until_, now + 4 * service_.options().directory_patience);
    return reached;
  }
  at_end_ = true;
  LookUp();
  return absl::OkStatus();
}

bool IngestSession::full() const {
  return unsent_ + answers_.size() + waiting_bytes() >= service_.options().answer_bytes_max;
}

size_t IngestSession::waiting_bytes() const {
  // Those of sets that are gathered or in flight are bounded by what these may be.
  const size_t bounded = own_in_flight_->events() + events_.size();
  return (answers_.waiting() - std::min(answers_.waiting(), bounded)) * kWaitingBytes;
}

void IngestSession::Add(std::string_view json) {
  Take([&](const projectors::OrgModel& model) { return reader_.Read(model, json); }, json);
}

void IngestSession::Add(v1::ChangeSet set) {
  Take(
      [&](const projectors::OrgModel& model) {
        return CheckChangeSet(model, service_.options().set_limits, set);
      },
      "");
}

void IngestSession::Take(Read read_by, std::string_view line) {
  if (!ready_.ok()) {
    const absl::Status reached = ReachDirectory();
    if (!ready_.ok()) {
      answers_.Refuse("", reached.ok() ? ready_ : reached);
      return;
    }
  }
  ReadChangeSet read = read_by(*entry_->model);
  if (stop_->is_set()) {
    answers_.Refuse(std::move(read.id), NotTried());
  } else if (read.status.ok()) {
    AddRead(std::move(read));
  } else {
    AddMisfit(std::move(read), read_by, line);
  }
  if (answers_.waiting() >= kWaitingMax && !doubtful_.empty()) {
    FinishDoubtful();
  }
  // Answers leave the queue as they are done, so that it holds little more than what is in flight.
  answers_.Drain();
}

bool IngestSession::FoundInStore(const v1::ChangeSet& set, SetTicket& ticket) const {
  const auto found = service_.FindInStore(org_, set.source(), set.id(), entry_->opened);
  if (!found.ok() || !found->has_value()) {
    return false;  // where the store can't tell, the fold still applies the set once
  }
  ticket.Resolve(**found);
  return true;
}

void IngestSession::AddMisfit(ReadChangeSet read, Read read_by, std::string_view line) {
  if (!DependsOnDefinitions(read.status)) {
    AddDoubtful(std::move(read), line, absl::OkStatus());
    return;
  }
  // Here and now: those behind it would otherwise be taken before it.
  const auto entry = entry_;
  const absl::Status reached = ReachDirectory();
  if (!ready_.ok()) {
    answers_.Refuse(std::move(read.id), ready_);
    return;
  }
  if (entry_ != entry) {
    read = read_by(*entry_->model);
  }
  if (stop_->is_set()) {  // while it waited
    answers_.Refuse(std::move(read.id), NotTried());
  } else if (read.status.ok()) {
    AddRead(std::move(read));
  } else {
    const absl::Status unknown = reached.ok() ? absl::OkStatus() : NotKnown(reached, read.status);
    AddDoubtful(std::move(read), line, unknown);
  }
}

void IngestSession::AddDoubtful(ReadChangeSet read, std::string_view line,
                                const absl::Status& unknown) {
  if (!read.named || read.id.empty() || !MayHaveFitted(read.status)) {
    answers_.Refuse(std::move(read.id), unknown.ok() ? read.status : unknown);
    return;
  }
  auto ticket = service_.duplicates().Find(org_, entry_->incarnation, read.set.source(), read.id);
  if (ticket != nullptr) {
    if (absl::Status may = MayTell(*ticket); !may.ok()) {
      answers_.Refuse(std::move(read.id), may);
      return;
    }
    service_.CountDuplicate();
    answers_.Await(std::move(read.id), ticket);
    NoteAhead(ticket);
    return;
  }
  ticket = std::make_shared<SetTicket>();
  answers_.Await(read.id, ticket);
  read.set.set_id(read.id);
  if (FoundInStore(read.set, *ticket)) {
    service_.CountDuplicate();
    return;
  }
  if (!unknown.ok()) {
    ticket->Resolve(unknown);
    stop_->NoteRefused(unknown);
    return;
  }
  doubtful_.Add({.source = read.set.source(),
                 .id = std::move(read.id),
                 .line = std::string(line),
                 .misfit = std::move(read.status),
                 .ticket = ticket},
                entry_->opened);
  if (doubtful_.full()) {
    FinishDoubtful();
  }
  if (const auto result = ticket->Peek(); result.has_value()) {
    stop_->NoteRefused(result->status());
  }
}

void IngestSession::FinishDoubtful() {
  if (stops()) {
    // The doubtful ones are answered without a thread, once the request has ended.
    stop_->Set();
    return;
  }
  AppendGathered();  // these wait for no store
  doubtful_.Finish();
}

// What was taken may be lost since: while that is not known, and once it is, nobody is told that it
// was taken.
absl::Status IngestSession::MayTell(SetTicket& ticket) const {
  const auto answer = ticket.Peek();
  return answer.has_value() && answer->ok() ? service_.MayAppend(partition_) : absl::OkStatus();
}

void IngestSession::AddRead(ReadChangeSet read) {
  if (read.id.empty()) {
    if (relayed_) {
      answers_.Refuse("", FitsByNow());
      return;
    }
    read.set.set_id(NewUuid7(service_.clock()));
    auto ticket = std::make_shared<SetTicket>();
    answers_.Await(read.set.id(), ticket);
    Gather(std::move(read.set), std::move(ticket));
    return;
  }
  DuplicateFilter::Claim claim =
      service_.duplicates().Enter(org_, entry_->incarnation, read.set.source(), read.set.id());
  if (absl::Status may = claim.first ? absl::OkStatus() : MayTell(*claim.ticket); !may.ok()) {
    answers_.Refuse(std::move(read.id), may);
    return;
  }
  answers_.Await(std::move(read.id), claim.ticket);
  if (!claim.first || FoundInStore(read.set, *claim.ticket)) {
    service_.CountDuplicate();
    NoteAhead(claim.ticket);
    return;
  }
  if (relayed_) {
    // Sets that its sender put before it wait at the other node, and would come behind it.
    claim.ticket->Resolve(FitsByNow());
    return;
  }
  Gather(std::move(read.set), std::move(claim.ticket));
}

void IngestSession::Gather(v1::ChangeSet set, std::shared_ptr<SetTicket> ticket) {
  if (gathered_incarnation_ != entry_->incarnation) {
    if (!events_.empty() && WaitsForOthers()) {
      stop_->Set();
      ticket->Resolve(NotTried());
      return;
    }
    AppendGathered();  // what was checked against another incarnation is answered for itself
    gathered_incarnation_ = entry_->incarnation;
  }
  set.set_incarnation(entry_->incarnation);
  eventlog::Event event;
  event.id = NewUuid7(service_.clock());
  event.source = "sluice/admin";
  event.type = "sluice.v1.ChangeSet";
  event.subject = org_.value();
  event.time = service_.clock().Now();
  event.traceparent = traceparent_;
  event.cause = cause_;
  event.key = org_.value();
  event.value = set.SerializeAsString();
  const size_t bytes = event.ByteSize();
  gathered_bytes_ += bytes;
  service_.CountAccepted(static_cast<size_t>(set.ops_size()), bytes);
  events_.push_back(std::move(event));
  tickets_.push_back(std::move(ticket));
  if (gathered_bytes_ < service_.options().batch_bytes_max * (stops() ? kOrderedBatch : 1)) {
    return;
  }
  if (WaitsForOthers()) {
    stop_->Set();  // what is gathered goes when the others' answers have come
  } else {
    AppendGathered();
  }
}

// The organisation may have been closed, and even made anew, since the sets were checked: a slow
// sender holds a request open for as long as it likes, and a slow log makes it wait for room. What
// was checked against definitions that are gone is not appended; the fold refuses what slips
// through between this look and the log.
absl::Status IngestSession::CheckGathered() const {
  RETURN_IF_ERROR(service_.MayAppend(partition_));
  const auto entry = service_.directory().Find(org_);
  if (entry != nullptr && entry->state == projectors::OrgState::kReady &&
      entry->incarnation == gathered_incarnation_) {
    return absl::OkStatus();
  }
  return Error(
      absl::StatusCode::kFailedPrecondition, "org_not_ready",
      fmt::format("organisation '{}' was closed or made anew while the set was on its way; "
                  "it was not taken",
                  org_.value()));
}

absl::Status IngestSession::AcquireRoom(size_t bytes, size_t count) {
  const absl::Time deadline = absl::Now() + absl::FromChrono(service_.options().append_timeout);
  const auto full = [] {
    return Error(absl::StatusCode::kResourceExhausted, "append_queue_full",
                 "too many writes are waiting; send the set again");
  };
  // The request's own room first: one that waits for it holds none of what others could use.
  if (!own_in_flight_->Acquire(bytes, count, deadline)) {
    return full();
  }
  absl::Status status;
  if (!service_.in_flight()->Acquire(bytes, count, deadline, partition_)) {
    status = full();
  } else if (status = CheckGathered(); !status.ok()) {  // last: both waits may take long
    service_.in_flight()->Release(bytes, count, partition_);
  }
  if (!status.ok()) {
    own_in_flight_->Release(bytes, count);
  }
  return status;
}

bool IngestSession::MayAppend() const {
  return !stops() || (doubtful_.empty() && Ahead() == nullptr);
}

std::shared_ptr<SetTicket> IngestSession::Ahead() const {
  while (!ahead_.empty() && ahead_.front().ticket->Peek().has_value()) {
    ahead_.pop_front();
  }
  return ahead_.empty() ? nullptr : ahead_.front().ticket;
}

bool IngestSession::WaitsForOthers() const {
  return stops() &&
         (!doubtful_.empty() || std::ranges::any_of(ahead_, [](const BeforeThem& before) {
           return before.others && !before.ticket->Peek().has_value();
         }));
}

absl::Status IngestSession::AwaitAhead() {
  const absl::Time deadline = absl::Now() + absl::FromChrono(service_.options().append_timeout);
  while (const auto ticket = Ahead()) {
    const auto done = std::make_shared<absl::Notification>();
    const auto waker = std::make_shared<TicketWaker>([done] { done->Notify(); });
    if (ticket->WakeWhenResolved(waker) && !done->WaitForNotificationWithDeadline(deadline)) {
      waker->Close();
      return NotInTime();
    }
  }
  return absl::OkStatus();
}

// What is gathered before it goes first: the set may be one of them, and would wait for itself.
// Where those wait for others themselves, what comes behind is not tried: who waits for another
// request has to do so without a thread, because that one needs a thread to go on.
void IngestSession::NoteAhead(const std::shared_ptr<SetTicket>& ticket) {
  if (!stops() || ticket->Peek().has_value()) {
    return;
  }
  if (!events_.empty()) {
    if (WaitsForOthers()) {
      stop_->Set();
      return;
    }
    const bool own = std::ranges::find(tickets_, ticket) != tickets_.end();
    AppendGathered();
    if (own) {
      return;  // the batch is ahead
    }
  }
  ahead_.push_back({.ticket = ticket, .others = true});
}

void IngestSession::AppendIfMay() {
  if (MayAppend()) {
    AppendGathered();
  }
}

void IngestSession::GiveUpGathered(const absl::Status& status, size_t from) {
  for (size_t i = from; i < tickets_.size(); ++i) {
    tickets_[i]->Resolve(status);
  }
  tickets_.resize(std::min(from, tickets_.size()));
  events_.resize(tickets_.size());
  gathered_bytes_ = tickets_.empty() ? 0 : gathered_bytes_;
}

// Every set that is not among the gathered ones is answered by now, but for those behind them.
void IngestSession::GiveUpBehindStop() {
  answers_.Drain();
  GiveUpGathered(NotTried(), answers_.BeforeStop(tickets_));
}

void IngestSession::AppendGathered() {
  if (events_.empty()) {
    return;
  }
  if (stops()) {
    if (const absl::Status ahead = AwaitAhead(); !ahead.ok()) {
      stop_->NoteRefused(ahead);
      GiveUpGathered(ahead);
      return;
    }
  }
  const size_t bytes = gathered_bytes_;
  const size_t count = events_.size();
  if (const absl::Status room = AcquireRoom(bytes, count); !room.ok()) {
    stop_->NoteRefused(room);
    GiveUpGathered(room);
    return;
  }
  if (stops()) {
    GiveUpBehindStop();
    if (events_.empty()) {
      own_in_flight_->Release(bytes, count);
      service_.in_flight()->Release(bytes, count, partition_);
      return;
    }
  }
  gathered_bytes_ = 0;
  auto tickets = std::exchange(tickets_, {});
  auto events = std::exchange(events_, {});
  if (stops()) {
    ahead_.push_back({.ticket = tickets.back(), .others = false});
  }
  // The callback may come after this session, and the service, are gone.
  service_.log().AppendAsync(
      eventlog::Topic::kChanges, partition_, std::move(events),
      [tickets = std::move(tickets), own_in_flight = own_in_flight_,
       in_flight = service_.in_flight(), partition = partition_, bytes, count,
       stop = stop_](const absl::StatusOr<std::vector<Offset>>& offsets) {
        if (!offsets.ok() && stop->stops()) {
          stop->Set();
        }
        // Before room is given: whoever waits for that looks at these.
        for (size_t i = 0; i < tickets.size(); ++i) {
          tickets[i]->Resolve(ResultOf(offsets, i));
        }
        own_in_flight->Release(bytes, count);
        in_flight->Release(bytes, count, partition);
      });
}

void IngestSession::Pause() {
  // Looking at what is doubtful may take a while.
  if (stops() || own_in_flight_->bytes() < kBusyBytes || !doubtful_.empty()) {
    AppendIfMay();
  }
  doubtful_.Look();
}

void IngestSession::End() {
  ended_ = true;
  Settle();
}

void IngestSession::Settle() {
  AppendIfMay();
  if (!ended_) {
    doubtful_.Look();
    answers_.Drain();
    return;
  }
  doubtful_.Settle();
  AppendIfMay();
  const auto now = std::chrono::steady_clock::now();
  if (doubtful_.empty() && log_until_ == std::chrono::steady_clock::time_point::max()) {
    log_until_ = now + service_.options().append_timeout;
  }
  answers_.Drain();
  if (now >= log_until_) {
    GiveUpGathered(NotSent());
    answers_.GiveUp(NotInTime());
  }
  if (answers_.waiting() == 0 && answers_.last() != kNoOffset) {
    service_.NoteChange(org_, answers_.last());
  }
}

bool IngestSession::light() const {
  constexpr size_t kAnswersMax = 64;
  return events_.empty() && doubtful_.empty() && answers_.waiting() <= kAnswersMax;
}

bool IngestSession::due() const {
  return (!events_.empty() && MayAppend()) || !doubtful_.empty() || answers_.due();
}

std::shared_ptr<SetTicket> IngestSession::Unresolved() const {
  if (!events_.empty()) {  // these go when the batch before is done
    return Ahead();
  }
  return answers_.Unresolved();
}

}  // namespace sluice::gateways
