#include "projectors/provisioning/reconciler.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "projectors/provisioning/control_change.h"
#include "projectors/provisioning/difference.h"
#include "projectors/provisioning/directory.h"
#include "projectors/provisioning/given_ids.h"
#include "schemas/base/status.h"
#include "schemas/base/uuid.h"

namespace sluice::projectors {
namespace {

using eventlog::Event;
using eventlog::StoredEvent;
using eventlog::Topic;
using Outcome = v1::ProvisioningOutcome;

constexpr size_t kAppendEvents = 500;
constexpr int64_t kSkippedMax = 10'000'000;
constexpr std::string_view kSource = kReconcilerSource;

// A request that has no outcome.
struct Waiting {
  std::string request_id;
  std::string org;
  Offset offset;
  eventlog::Cause cause;
};

// An organisation as `changes` has it.
struct InChanges {
  std::shared_ptr<const OrgModel> model = OrgModel::WithoutRules();
  Offset opened = kNoOffset;
  Offset last = kNoOffset;
};

// A control event that no outcome told of when it was read.
struct Untold {
  StoredEvent control;
  uint32_t incarnation = 0;  // of its organisation, with it
};

class Reconciler {
 public:
  Reconciler(eventlog::Log& log, const Clock& clock, PartitionId partition,
             const std::function<void(int64_t, int64_t)>& progress,
             const std::set<std::string>& close)
      : log_(log),
        clock_(clock),
        partition_(partition),
        agreed_(log.Agreed(partition)),
        progress_(progress),
        close_(close) {}

  absl::StatusOr<Reconciled> Run();

 private:
  absl::Status ReadProvisioning();
  void AddRequest(const StoredEvent& event);
  void AddOutcome(const StoredEvent& event);
  absl::Status ReadChanges();
  void AddControl(const StoredEvent& event);
  // Leaves of untold_ what has to be told.
  void DropWhatIsKnown();
  // Every organisation that the directory has, in its order.
  std::vector<std::shared_ptr<const OrgEntry>> Entries() const;
  bool Differs() const;
  absl::Status Contradiction(const std::string& org, std::string_view what) const;
  // Is there everybody that is to be closed?
  absl::Status CheckClose() const;
  // Has an organisation that is open, and stays so, given one id twice?
  absl::Status CheckIds() const;

  absl::Status TellOutcomes();
  // Closes those that are to be, where they are open.
  absl::Status CloseOrgs();
  // Tells of what was given in the other topic, so that nobody is given it again.
  absl::Status KeepIds();
  absl::Status RefuseRequests();
  // Until `provisioning` ends beyond every request that was answered, and one more.
  absl::Status SkipPositions();
  absl::Status RestoreControls();
  // Nothing is deleted that nobody asked to be, and the fold takes what is appended.
  absl::Status CheckNeeded(const OrgEntry& entry, const std::vector<Event>& needed) const;
  // The entry's schemas that lack something which an id was given to, with it.
  std::vector<v1::EntitySchema> Incomplete(const OrgEntry& entry) const;
  // Tells where the organisations' control events are now.
  absl::Status PlaceOrgs();
  void Compare();

  // Of no request.
  Outcome NobodysOutcome(Offset changes) const;
  Event Make(const Outcome& outcome, const std::string& org,
             eventlog::Cause cause = {std::string(kSource), "", ""}) const;
  absl::Status AppendAll(Topic topic, std::vector<Event> events,
                         const std::function<void(const Event&, Offset)>& appended = {});
  void Progress();

  eventlog::Log& log_;
  const Clock& clock_;
  const PartitionId partition_;
  const eventlog::AgreedEnds agreed_;
  const std::function<void(int64_t, int64_t)>& progress_;
  const std::set<std::string>& close_;
  int64_t events_read_ = 0;
  int64_t events_ = 0;

  // ---- as `provisioning` has it ----
  Offset provisioning_next_ = kNoOffset;  // read up to here
  Directory directory_;
  std::map<std::string, Waiting> waiting_;  // by the id that its control event gets
  std::set<std::string> told_;              // control events that outcomes tell of
  std::map<std::string, Offset> defined_;   // definition -> the newest control event told of it
  std::set<std::string> deleted_;           // entities of which that was accepted
  // ---- as `changes` has it ----
  std::map<std::string, InChanges> orgs_;
  std::set<std::string> seen_;  // control events in effect
  std::vector<Untold> untold_;
  Offset answered_ = kNoOffset;  // the newest request of all that they answer

  GivenIds given_;  // by either
  Reconciled done_;
};

void Reconciler::Progress() {
  if (progress_ && (++events_read_ % 1'000 == 0 || events_read_ == events_)) {
    progress_(events_read_, std::max(events_, events_read_));
  }
}

void Reconciler::AddRequest(const StoredEvent& event) {
  v1::ProvisioningRequest request;
  if (!eventlog::ReadMessage(event.event, &request)) {
    return;
  }
  const std::string id = request.request_id().empty() ? event.event.id : request.request_id();
  std::string control = ControlEventId(id);
  if (!told_.contains(control)) {
    waiting_.try_emplace(std::move(control),
                         Waiting{id, event.event.key, event.offset, event.event.cause});
  }
}

void Reconciler::AddOutcome(const StoredEvent& event) {
  Outcome outcome;
  if (!eventlog::ReadMessage(event.event, &outcome)) {
    return;
  }
  waiting_.erase(ControlEventId(outcome.request_id()));
  // What was told by an earlier call counts as told also where it contradicts the directory.
  if (event.event.source == kSource && !outcome.control_id().empty()) {
    told_.insert(outcome.control_id());
  }
  const auto applied = directory_.Apply(event);
  if (applied.ok() && applied->has_value() && (*applied)->status.ok() &&
      !(*applied)->control_id.empty()) {
    told_.insert((*applied)->control_id);
    const uint32_t incarnation = directory_.Find(*OrgId::Parse(event.event.key))->incarnation;
    const std::string definition = DefinitionOf(event.event.key, incarnation, outcome);
    if (outcome.has_entity_defined()) {
      given_.Add(event.event.key, incarnation, outcome.entity_defined().schema(),
                 event.offset >= agreed_.provisioning);
    } else if (outcome.has_entity_deleted()) {
      deleted_.insert(definition);
    }
    if (event.event.source != kSource) {
      Offset& newest = defined_.try_emplace(definition, kNoOffset).first->second;
      newest = std::max(newest, (*applied)->changes_offset);
    }
  }
}

absl::Status Reconciler::ReadProvisioning() {
  ASSIGN_OR_RETURN(const auto range, log_.Range(Topic::kProvisioning, partition_));
  const Offset from = provisioning_next_ == kNoOffset ? range.begin : provisioning_next_;
  RETURN_IF_ERROR(eventlog::ReadUntil(log_, Topic::kProvisioning, partition_, from, range.end,
                                      [this](const StoredEvent& event) {
                                        AddRequest(event);
                                        AddOutcome(event);
                                        Progress();
                                        return absl::OkStatus();
                                      }));
  provisioning_next_ = range.end;
  return absl::OkStatus();
}

void Reconciler::AddControl(const StoredEvent& event) {
  answered_ = std::max(answered_, event.event.answers);
  InChanges& org = orgs_[event.event.key];
  if (org.model->Answered(event.event)) {
    return;  // passed over by the fold too
  }
  auto next = org.model->Apply(event.event, event.offset);
  if (!next.ok()) {
    return;  // refused by the fold too: it has no effect, as if it were not there
  }
  org.model = *std::move(next);
  org.last = event.offset;
  if (v1::EntityDefined defined; eventlog::ReadMessage(event.event, &defined)) {
    given_.Add(event.event.key, org.model->incarnation(), defined.schema(),
               event.offset >= agreed_.changes);
  }
  if (eventlog::IsA<v1::OrgOpened>(event.event)) {
    org.opened = event.offset;
  }
  // What was put there to restore what the directory said needs no telling.
  if (event.event.source != kSource && !told_.contains(event.event.id)) {
    untold_.push_back({event, org.model->incarnation()});
  }
}

absl::Status Reconciler::ReadChanges() {
  ASSIGN_OR_RETURN(const auto range, log_.Range(Topic::kChanges, partition_));
  return eventlog::ReadUntil(log_, Topic::kChanges, partition_, range.begin, range.end,
                             [this](const StoredEvent& event) {
                               if (OrgModel::IsControlEvent(event.event.type)) {
                                 AddControl(event);
                               }
                               Progress();
                               return absl::OkStatus();
                             });
}

void Reconciler::DropWhatIsKnown() {
  std::erase_if(untold_, [this](const Untold& untold) {
    return told_.contains(untold.control.event.id);  // its outcome came while `changes` was read
  });
  const auto first = std::ranges::find_if(untold_, [this](const Untold& untold) {
    return !waiting_.contains(untold.control.event.id);
  });
  if (first == untold_.end()) {
    return;
  }
  const Offset lost = first->control.offset;  // the first control event whose request is lost
  // What was defined after the loss was accepted by somebody who did not know of what was lost, and
  // was told so last: it counts.
  std::erase_if(untold_, [this, lost](const Untold& untold) {
    const StoredEvent& control = untold.control;
    Outcome change;
    if (waiting_.contains(control.event.id) || !SetChange(control.event, &change)) {
      return false;
    }
    const std::string definition = DefinitionOf(control.event.key, untold.incarnation, change);
    if (definition.empty()) {
      return false;  // an incarnation opens and closes once: whether it is there is told all the
                     // same
    }
    const auto org = OrgId::Parse(control.event.key);
    const auto entry = org.ok() ? directory_.Find(*org) : nullptr;
    const bool over =
        entry != nullptr && (entry->incarnation > untold.incarnation ||
                             (entry->incarnation == untold.incarnation && !IsOpen(*entry)));
    const auto defined = defined_.find(definition);
    return over || (defined != defined_.end() && defined->second > lost);
  });
}

std::vector<std::shared_ptr<const OrgEntry>> Reconciler::Entries() const {
  return directory_.List("", std::numeric_limits<size_t>::max());
}

bool Reconciler::Differs() const {
  return std::ranges::any_of(Entries(), [this](const auto& entry) {
    const auto found = orgs_.find(entry->org.value());
    return !Difference(found == orgs_.end() ? *OrgModel::WithoutRules() : *found->second.model,
                       *entry)
                .empty();
  });
}

absl::Status Reconciler::AppendAll(Topic topic, std::vector<Event> events,
                                   const std::function<void(const Event&, Offset)>& appended) {
  for (size_t from = 0; from < events.size(); from += kAppendEvents) {
    const size_t to = std::min(events.size(), from + kAppendEvents);
    const std::vector<Event> batch(events.begin() + static_cast<std::ptrdiff_t>(from),
                                   events.begin() + static_cast<std::ptrdiff_t>(to));
    ASSIGN_OR_RETURN(const auto offsets, log_.Append(topic, partition_, batch));
    for (size_t i = 0; appended && i < batch.size(); ++i) {
      appended(batch[i], offsets[i]);
    }
  }
  return absl::OkStatus();
}

Outcome Reconciler::NobodysOutcome(Offset changes) const {
  Outcome outcome;
  outcome.set_request_id("restored/" + NewUuid7(clock_));
  outcome.set_request_offset(-1);
  outcome.set_changes_offset(changes.value());
  return outcome;
}

Event Reconciler::Make(const Outcome& outcome, const std::string& org,
                       eventlog::Cause cause) const {
  Event event = eventlog::EventOf(kSource, org, outcome);
  event.id = NewUuid7(clock_);
  event.time = clock_.Now();
  event.cause = std::move(cause);
  return event;
}

absl::Status Reconciler::SkipPositions() {
  ASSIGN_OR_RETURN(const auto range, log_.Range(Topic::kProvisioning, partition_));
  const Offset end = range.end;
  // One more at least: what is put into `changes` again answers a request newer than all.
  const int64_t count = std::max<int64_t>(answered_.value() + 1 - end.value(), 0) + 1;
  if (count > kSkippedMax) {
    return Error(StatusCode::kDataLoss, "log_diverged",
                 "changes-{0} answers a request at offset {1} of provisioning-{0}, which ends at "
                 "{2}: that is no lost end; restore provisioning",
                 partition_.value(), answered_.value(), end.value());
  }
  for (int64_t left = count; left > 0;) {
    std::vector<Event> skipped(std::min<size_t>(kAppendEvents, static_cast<size_t>(left)));
    left -= static_cast<int64_t>(skipped.size());
    for (Event& event : skipped) {
      event = eventlog::EventOf(kSource, "", v1::PositionSkipped());
      event.id = NewUuid7(clock_);
      event.time = clock_.Now();
      event.cause.subject = event.source;
    }
    RETURN_IF_ERROR(
        AppendAll(Topic::kProvisioning, std::move(skipped), [this](const Event&, Offset offset) {
          answered_ = std::max(answered_, offset);
          ++done_.skipped;
        }));
  }
  return absl::OkStatus();
}

absl::Status Reconciler::TellOutcomes() {
  std::vector<Event> events;
  for (const auto& [control, incarnation] : untold_) {
    Outcome outcome;
    if (!SetChange(control.event, &outcome)) {
      continue;  // nothing that the fold could have read either
    }
    outcome.set_control_id(control.event.id);
    outcome.set_changes_offset(control.offset.value());
    outcome.set_request_id("restored/" + control.event.id);
    outcome.set_request_offset(-1);
    if (const auto found = waiting_.find(control.event.id); found != waiting_.end()) {
      outcome.set_request_id(found->second.request_id);
      outcome.set_request_offset(found->second.offset.value());
      waiting_.erase(found);
    }
    events.push_back(Make(outcome, control.event.key, control.event.cause));
    ++done_.outcomes;
  }
  return AppendAll(Topic::kProvisioning, std::move(events));
}

absl::Status Reconciler::Contradiction(const std::string& org, std::string_view what) const {
  return Error(
      StatusCode::kDataLoss, "log_diverged",
      "provisioning-{0} and changes-{0} both went on after one had lost its end, and contradict "
      "one another in organisation {1}: {2}. Whose rows are whose cannot be told, and no row was "
      "touched. Restore the topics to one moment; or go on without the organisation: `sluice log "
      "new-epoch --close-org {1}` closes it with all its rows, to be made and filled again",
      partition_.value(), org, what);
}

absl::Status Reconciler::CheckClose() const {
  for (const std::string& org : close_) {
    const auto id = OrgId::Parse(org);
    const bool known = orgs_.contains(org) || (id.ok() && directory_.Find(*id) != nullptr);
    if (!known && log_.PartitionFor(Topic::kChanges, org) == partition_) {
      return Error(StatusCode::kNotFound, "org_not_found",
                   "there is no organisation \"{}\" to be closed: neither topic names it; give its "
                   "name as it is, or leave it out",
                   org);
    }
  }
  return absl::OkStatus();
}

absl::Status Reconciler::CheckIds() const {
  for (const auto& entry : Entries()) {
    const std::string& org = entry->org.value();
    const auto found = orgs_.find(org);
    if (!IsOpen(*entry) || found == orgs_.end() || !found->second.model->open() ||
        found->second.model->incarnation() != entry->incarnation || close_.contains(org)) {
      continue;  // its rows are of another incarnation, or go
    }
    const std::vector<std::string> twice = given_.GivenTwice(org, entry->incarnation);
    if (!twice.empty()) {
      return Contradiction(org, fmt::format("{}", fmt::join(twice, ", ")));
    }
  }
  return absl::OkStatus();
}

absl::Status Reconciler::CloseOrgs() {
  RETURN_IF_ERROR(ReadProvisioning());
  std::vector<Event> events;
  for (const auto& entry : Entries()) {
    if (!close_.contains(entry->org.value()) || !IsOpen(*entry)) {
      continue;
    }
    Outcome outcome = NobodysOutcome(kNoOffset);
    outcome.mutable_org_closed()->set_incarnation(entry->incarnation);
    events.push_back(Make(outcome, entry->org.value()));
    ++done_.closed;
  }
  return AppendAll(Topic::kProvisioning, std::move(events));
}

std::vector<v1::EntitySchema> Reconciler::Incomplete(const OrgEntry& entry) const {
  return IsOpen(entry) && !close_.contains(entry.org.value()) ? given_.Incomplete(entry)
                                                              : std::vector<v1::EntitySchema>();
}

// Rows hold values by the ids of attributes. Where what counts of an entity was defined by somebody
// who did not know of an attribute, its id would be given again, and the next attribute would show
// the values of one that may have been denied: it counts as removed, as it is where somebody who
// knows of it leaves it out.
absl::Status Reconciler::KeepIds() {
  RETURN_IF_ERROR(ReadProvisioning());
  std::vector<Event> events;
  for (const auto& entry : Entries()) {
    for (v1::EntitySchema& schema : Incomplete(*entry)) {
      Outcome outcome = NobodysOutcome(kNoOffset);
      *outcome.mutable_entity_defined()->mutable_schema() = std::move(schema);
      events.push_back(Make(outcome, entry->org.value()));
      ++done_.outcomes;
    }
  }
  return AppendAll(Topic::kProvisioning, std::move(events));
}

absl::Status Reconciler::RefuseRequests() {
  // In their order: an outcome of a request before one that has its outcome is passed over.
  std::map<Offset, Waiting> in_order;
  for (auto& [control, waiting] : waiting_) {
    in_order.emplace(waiting.offset, std::move(waiting));
  }
  waiting_.clear();
  std::vector<Event> events;
  for (const auto& [offset, waiting] : in_order) {
    Outcome outcome;
    SetRefusal(Error(StatusCode::kUnavailable, "provisioning_unavailable",
                     "the log lost its end while the request waited; send it again"),
               &outcome);
    outcome.set_request_id(waiting.request_id);
    outcome.set_request_offset(offset.value());
    outcome.set_changes_offset(kNoOffset.value());
    events.push_back(Make(outcome, waiting.org, waiting.cause));
    ++done_.refused;
  }
  return AppendAll(Topic::kProvisioning, std::move(events));
}

absl::Status Reconciler::CheckNeeded(const OrgEntry& entry,
                                     const std::vector<Event>& needed) const {
  const std::string& org = entry.org.value();
  std::shared_ptr<const OrgModel> model = orgs_.at(org).model;
  for (const Event& event : needed) {
    Outcome outcome;
    if (SetChange(event, &outcome) && outcome.has_entity_deleted() &&
        !deleted_.contains(DefinitionOf(event.key, entry.incarnation, outcome))) {
      return Contradiction(
          org, fmt::format("entity {} (id {}) is in changes alone", outcome.entity_deleted().name(),
                           outcome.entity_deleted().entity_id()));
    }
    auto next = model->Apply(event);
    if (!next.ok()) {
      return Contradiction(org, Message(next.status()));
    }
    model = *std::move(next);
  }
  return absl::OkStatus();
}

absl::Status Reconciler::RestoreControls() {
  std::vector<Event> events;
  for (const auto& entry : Entries()) {
    std::vector<Event> needed = Difference(*orgs_[entry->org.value()].model, *entry);
    RETURN_IF_ERROR(CheckNeeded(*entry, needed));
    for (Event& event : needed) {
      event.id = NewUuid7(clock_);
      event.time = clock_.Now();
    }
    if (!needed.empty()) {
      needed.back().answers = answered_;
    }
    done_.controls += needed.size();
    std::move(needed.begin(), needed.end(), std::back_inserter(events));
  }
  return AppendAll(Topic::kChanges, std::move(events), [this](const Event& event, Offset offset) {
    AddControl(StoredEvent{offset, event});
  });
}

absl::Status Reconciler::PlaceOrgs() {
  RETURN_IF_ERROR(ReadProvisioning());
  std::vector<Event> events;
  for (const auto& entry : Entries()) {
    const std::string& org = entry->org.value();
    const InChanges& now = orgs_[org];
    if (entry->opened == now.opened && entry->last_control == now.last) {
      continue;
    }
    Outcome outcome = NobodysOutcome(now.last);
    outcome.mutable_org_placed()->set_opened(now.opened.value());
    events.push_back(Make(outcome, org));
  }
  return AppendAll(Topic::kProvisioning, std::move(events));
}

void Reconciler::Compare() {
  for (const auto& [org, now] : orgs_) {
    const auto id = OrgId::Parse(org);
    const auto entry = id.ok() ? directory_.Find(*id) : nullptr;
    const bool known = entry != nullptr && entry->incarnation == now.model->incarnation();
    if ((now.model->open() && !known) || (known && IsOpen(*entry) != now.model->open()) ||
        (entry != nullptr && !Difference(*now.model, *entry).empty())) {
      done_.unsettled.push_back(org);
    }
  }
}

absl::StatusOr<Reconciled> Reconciler::Run() {
  ASSIGN_OR_RETURN(const auto provisioning, log_.Range(Topic::kProvisioning, partition_));
  ASSIGN_OR_RETURN(const auto changes, log_.Range(Topic::kChanges, partition_));
  events_ = (provisioning.end.value() - provisioning.begin.value()) +
            (changes.end.value() - changes.begin.value());
  // In this order, and the first topic again: a request is durable before what answers it, and that
  // before the outcome, so that nothing looks lost that is only new.
  if (changes.begin > Offset(0)) {
    return Error(StatusCode::kDataLoss, "log_begins_late",
                 "changes-{} begins at offset {}: what is missing before it is no lost end; "
                 "nothing was written",
                 partition_.value(), changes.begin.value());
  }
  RETURN_IF_ERROR(ReadProvisioning());
  RETURN_IF_ERROR(ReadChanges());
  RETURN_IF_ERROR(ReadProvisioning());
  RETURN_IF_ERROR(CheckClose());
  RETURN_IF_ERROR(CheckIds());
  DropWhatIsKnown();
  const bool closes = std::ranges::any_of(Entries(), [this](const auto& entry) {
    return IsOpen(*entry) && close_.contains(entry->org.value());
  });
  const bool given_unknown = std::ranges::any_of(
      Entries(), [this](const auto& entry) { return !Incomplete(*entry).empty(); });
  if (!untold_.empty() || answered_ >= provisioning_next_ || closes || given_unknown || Differs()) {
    // `provisioning` first, and `changes` last: after a crash in between, what is there is read
    // again, and an outcome that was told counts as told. Requests are refused only after the
    // outcomes are told, since one of those may be theirs; and positions are skipped before
    // `changes` is written, since what is written there answers a position newer than every
    // request.
    RETURN_IF_ERROR(TellOutcomes());
    RETURN_IF_ERROR(CloseOrgs());
    RETURN_IF_ERROR(KeepIds());
    RETURN_IF_ERROR(RefuseRequests());
    RETURN_IF_ERROR(SkipPositions());
    RETURN_IF_ERROR(ReadProvisioning());  // the directory is what counts now
    RETURN_IF_ERROR(RestoreControls());
  }
  RETURN_IF_ERROR(PlaceOrgs());  // whoever did the rest may have been killed before
  Compare();
  return done_;
}

}  // namespace

absl::StatusOr<Reconciled> Reconcile(eventlog::Log& log, const Clock& clock, PartitionId partition,
                                     const std::function<void(int64_t, int64_t)>& progress,
                                     const std::set<std::string>& close) {
  return Reconciler(log, clock, partition, progress, close).Run();
}

}  // namespace sluice::projectors
