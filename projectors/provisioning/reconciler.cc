#include "projectors/provisioning/reconciler.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "eventlog/base/uuid.h"
#include "projectors/provisioning/directory.h"
#include "schemas/status.h"

namespace sluice::projectors {
namespace {

using eventlog::Event;
using eventlog::StoredEvent;
using eventlog::Topic;
using Outcome = v1::ProvisioningOutcome;

constexpr size_t kAppendEvents = 500;
constexpr int64_t kSkippedMax = 10'000'000;
constexpr std::string_view kSource = "sluice/log";

// A request that has no outcome.
struct Waiting {
  std::string request_id;
  std::string org;
  Offset offset;
  eventlog::Cause cause;
};

// An organisation as `changes` has it.
struct InChanges {
  std::shared_ptr<const OrgModel> model = OrgModel::Empty();
  Offset opened = kNoOffset;
  Offset last = kNoOffset;
};

// What a control event does, as an outcome says it.
bool SetChange(const Event& control, Outcome* outcome) {
  const auto parse = [&control](auto* message) {
    return control.type == message->GetDescriptor()->full_name() &&
           message->ParseFromString(control.value);
  };
  v1::OrgOpened opened;
  v1::OrgClosed closed;
  v1::EntityDefined entity;
  v1::EntityDeleted entity_deleted;
  v1::ProfileDefined profile;
  v1::ProfileDeleted profile_deleted;
  v1::RoleDefined role;
  v1::RoleDeleted role_deleted;
  if (parse(&opened)) {
    *outcome->mutable_org_opened() = std::move(opened);
  } else if (parse(&closed)) {
    *outcome->mutable_org_closed() = std::move(closed);
  } else if (parse(&entity)) {
    *outcome->mutable_entity_defined() = std::move(entity);
  } else if (parse(&entity_deleted)) {
    *outcome->mutable_entity_deleted() = std::move(entity_deleted);
  } else if (parse(&profile)) {
    *outcome->mutable_profile_defined() = std::move(profile);
  } else if (parse(&profile_deleted)) {
    *outcome->mutable_profile_deleted() = std::move(profile_deleted);
  } else if (parse(&role)) {
    *outcome->mutable_role_defined() = std::move(role);
  } else if (parse(&role_deleted)) {
    *outcome->mutable_role_deleted() = std::move(role_deleted);
  }
  return outcome->change_case() != Outcome::CHANGE_NOT_SET;
}

template <typename Message>
Event Control(const OrgId& org, const Message& message) {
  Event event;
  event.source = kSource;
  event.type = Message::descriptor()->full_name();
  event.subject = org.value();
  event.key = org.value();
  event.value = message.SerializeAsString();
  event.cause.subject = kSource;
  return event;
}

// Where a definition came is not the same in both topics.
template <typename Definition>
std::string Plain(Definition definition) {
  definition.clear_defined_at();
  return definition.SerializeAsString();
}

bool IsOpen(const OrgEntry& entry) {
  return entry.state == OrgState::kReady || entry.state == OrgState::kProvisioning;
}

void AddEntities(const OrgModel& from, const OrgEntry& to, std::vector<Event>* events) {
  const auto& wanted = to.model->entities();
  // Deletions first: a name may have got another id, and an id another name.
  for (const auto& [name, schema] : from.entities()) {
    const auto found = wanted.find(name);
    if (found != wanted.end() && found->second->id() == schema->id()) {
      continue;
    }
    v1::EntityDeleted deleted;
    deleted.set_entity_id(schema->id().value());
    deleted.set_name(name);
    events->push_back(Control(to.org, deleted));
  }
  for (const auto& [name, schema] : wanted) {
    const auto found = from.entities().find(name);
    if (found != from.entities().end() &&
        found->second->proto().SerializeAsString() == schema->proto().SerializeAsString()) {
      continue;
    }
    v1::EntityDefined defined;
    *defined.mutable_schema() = schema->proto();
    events->push_back(Control(to.org, defined));
  }
}

template <typename Defined, typename Deleted, typename Definitions, typename Set>
void AddDefinitions(const OrgId& org, const Definitions& from, const Definitions& to, Set set,
                    std::vector<Event>* events) {
  for (const auto& [name, definition] : from) {
    if (!to.contains(name)) {
      Deleted deleted;
      deleted.set_name(name);
      events->push_back(Control(org, deleted));
    }
  }
  for (const auto& [name, definition] : to) {
    const auto found = from.find(name);
    if (found == from.end() || Plain(found->second) != Plain(definition)) {
      Defined defined;
      set(definition, &defined);
      events->push_back(Control(org, defined));
    }
  }
}

// The control events that lead from an organisation as `changes` has it to what the directory says;
// none where the two are the same, or where no event can.
std::vector<Event> Difference(const OrgModel& from, const OrgEntry& to) {
  std::vector<Event> events;
  if (from.incarnation() > to.incarnation) {
    return events;
  }
  const bool anew = from.incarnation() < to.incarnation;
  if (from.open() && (anew || !IsOpen(to))) {
    v1::OrgClosed closed;
    closed.set_incarnation(from.incarnation());
    events.push_back(Control(to.org, closed));
  }
  if (!IsOpen(to)) {
    return events;
  }
  if (anew) {
    v1::OrgOpened opened;
    opened.set_incarnation(to.incarnation);
    opened.set_display_name(to.display_name);
    events.push_back(Control(to.org, opened));
  }
  const std::shared_ptr<const OrgModel> before = anew ? OrgModel::Empty() : nullptr;
  const OrgModel& now = anew ? *before : from;
  AddEntities(now, to, &events);
  AddDefinitions<v1::ProfileDefined, v1::ProfileDeleted>(
      to.org, now.profiles(), to.model->profiles(),
      [](const v1::Profile& profile, auto* defined) { *defined->mutable_profile() = profile; },
      &events);
  AddDefinitions<v1::RoleDefined, v1::RoleDeleted>(
      to.org, now.roles(), to.model->roles(),
      [](const v1::Role& role, auto* defined) { *defined->mutable_role() = role; }, &events);
  return events;
}

// What a change defines: one of an organisation's entities, profiles or roles, or itself.
std::string DefinitionOf(const std::string& org, const Outcome& outcome) {
  switch (outcome.change_case()) {
    case Outcome::kEntityDefined:
      return fmt::format("{} entity {}", org, outcome.entity_defined().schema().name());
    case Outcome::kEntityDeleted:
      return fmt::format("{} entity {}", org, outcome.entity_deleted().name());
    case Outcome::kProfileDefined:
      return fmt::format("{} profile {}", org, outcome.profile_defined().profile().name());
    case Outcome::kProfileDeleted:
      return fmt::format("{} profile {}", org, outcome.profile_deleted().name());
    case Outcome::kRoleDefined:
      return fmt::format("{} role {}", org, outcome.role_defined().role().name());
    case Outcome::kRoleDeleted:
      return fmt::format("{} role {}", org, outcome.role_deleted().name());
    default:
      return org;
  }
}

class Reconciler {
 public:
  Reconciler(eventlog::Log& log, const Clock& clock, PartitionId partition,
             const std::function<void(int64_t, int64_t)>& progress)
      : log_(log), clock_(clock), partition_(partition), progress_(progress) {}

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

  absl::Status TellOutcomes();
  absl::Status RefuseRequests();
  // Until `provisioning` ends beyond every request that was answered, and one more.
  absl::Status SkipPositions();
  absl::Status RestoreControls();
  // Tells where the organisations' control events are now.
  absl::Status PlaceOrgs();
  void Compare();

  Event Make(const Outcome& outcome, const std::string& org, eventlog::Cause cause) const;
  absl::Status AppendAll(Topic topic, std::vector<Event> events,
                         const std::function<void(const Event&, Offset)>& appended = {});
  void Progress();

  eventlog::Log& log_;
  const Clock& clock_;
  const PartitionId partition_;
  const std::function<void(int64_t, int64_t)>& progress_;
  int64_t events_read_ = 0;
  int64_t events_ = 0;

  // ---- as `provisioning` has it ----
  Offset provisioning_next_ = kNoOffset;  // read up to here
  Directory directory_;
  std::map<std::string, Waiting> waiting_;  // by the id that its control event gets
  std::set<std::string> told_;              // control events that outcomes tell of
  std::map<std::string, Offset> defined_;   // definition -> the newest control event told of it
  // ---- as `changes` has it ----
  std::map<std::string, InChanges> orgs_;
  std::set<std::string> seen_;       // control events in effect
  std::vector<StoredEvent> untold_;  // those that no outcome told of when they were read
  Offset answered_ = kNoOffset;      // the newest request of all that they answer

  Reconciled done_;
};

void Reconciler::Progress() {
  if (progress_ && (++events_read_ % 1'000 == 0 || events_read_ == events_)) {
    progress_(events_read_, std::max(events_, events_read_));
  }
}

void Reconciler::AddRequest(const StoredEvent& event) {
  v1::ProvisioningRequest request;
  if (!request.ParseFromString(event.event.value)) {
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
  if (!outcome.ParseFromString(event.event.value)) {
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
    if (event.event.source != kSource) {
      Offset& newest =
          defined_.try_emplace(DefinitionOf(event.event.key, outcome), kNoOffset).first->second;
      newest = std::max(newest, (*applied)->changes_offset);
    }
  }
}

absl::Status Reconciler::ReadProvisioning() {
  ASSIGN_OR_RETURN(const auto range, log_.Range(Topic::kProvisioning, partition_));
  const Offset from = provisioning_next_ == kNoOffset ? range.begin : provisioning_next_;
  RETURN_IF_ERROR(eventlog::ReadUntil(
      log_, Topic::kProvisioning, partition_, from, range.end, [this](const StoredEvent& event) {
        if (event.event.type == v1::ProvisioningRequest::descriptor()->full_name()) {
          AddRequest(event);
        } else {
          AddOutcome(event);
        }
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
  if (event.event.type == v1::OrgOpened::descriptor()->full_name()) {
    org.opened = event.offset;
  }
  // What was put there to restore what the directory said needs no telling.
  if (event.event.source != kSource && !told_.contains(event.event.id)) {
    untold_.push_back(event);
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
  std::erase_if(untold_, [this](const StoredEvent& control) {
    return told_.contains(control.event.id);  // its outcome came while `changes` was read
  });
  Offset lost = kNoOffset;  // the first control event whose request is lost
  for (const StoredEvent& control : untold_) {
    if (lost == kNoOffset && !waiting_.contains(control.event.id)) {
      lost = control.offset;
    }
  }
  // What was defined after the loss was accepted by somebody who did not know of what was lost, and
  // was told so last: it counts.
  std::erase_if(untold_, [this, lost](const StoredEvent& control) {
    Outcome change;
    const auto defined_later = [this, lost](const std::string& definition) {
      const auto found = defined_.find(definition);
      return found != defined_.end() && found->second > lost;
    };
    if (lost == kNoOffset || waiting_.contains(control.event.id) ||
        !SetChange(control.event, &change)) {
      return false;
    }
    // Whether the organisation is there is told all the same: an incarnation opens and closes once.
    const std::string definition = DefinitionOf(control.event.key, change);
    return definition != control.event.key &&
           (defined_later(control.event.key) || defined_later(definition));
  });
}

std::vector<std::shared_ptr<const OrgEntry>> Reconciler::Entries() const {
  constexpr size_t kAll = std::numeric_limits<size_t>::max();
  return directory_.List("", kAll);
}

bool Reconciler::Differs() const {
  return std::ranges::any_of(Entries(), [this](const auto& entry) {
    const auto found = orgs_.find(entry->org.value());
    return !Difference(found == orgs_.end() ? *OrgModel::Empty() : *found->second.model, *entry)
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

Event Reconciler::Make(const Outcome& outcome, const std::string& org,
                       eventlog::Cause cause) const {
  Event event;
  event.id = NewUuid7(clock_);
  event.source = kSource;
  event.type = Outcome::descriptor()->full_name();
  event.subject = org;
  event.time = clock_.Now();
  event.key = org;
  event.value = outcome.SerializeAsString();
  event.cause = std::move(cause);
  return event;
}

absl::Status Reconciler::SkipPositions() {
  ASSIGN_OR_RETURN(const auto range, log_.Range(Topic::kProvisioning, partition_));
  const Offset end = range.end;
  // One more at least: what is put into `changes` again answers a request newer than all.
  const int64_t count = std::max<int64_t>(answered_.value() + 1 - end.value(), 0) + 1;
  if (count > kSkippedMax) {
    return Error(absl::StatusCode::kDataLoss, "log_diverged",
                 fmt::format("changes-{0} answers a request at offset {1} of provisioning-{0}, "
                             "which ends at {2}: that is no lost end; restore provisioning",
                             partition_.value(), answered_.value(), end.value()));
  }
  for (int64_t left = count; left > 0;) {
    std::vector<Event> skipped(std::min<size_t>(kAppendEvents, static_cast<size_t>(left)));
    left -= static_cast<int64_t>(skipped.size());
    for (Event& event : skipped) {
      event.id = NewUuid7(clock_);
      event.source = kSource;
      event.type = v1::PositionSkipped::descriptor()->full_name();
      event.time = clock_.Now();
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
  for (const StoredEvent& control : untold_) {
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
    SetRefusal(Error(absl::StatusCode::kUnavailable, "provisioning_unavailable",
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

absl::Status Reconciler::RestoreControls() {
  std::vector<Event> events;
  for (const auto& entry : Entries()) {
    std::vector<Event> needed = Difference(*orgs_[entry->org.value()].model, *entry);
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
    Outcome outcome;
    outcome.set_request_id("restored/" + NewUuid7(clock_));
    outcome.set_request_offset(-1);
    outcome.set_changes_offset(now.last.value());
    outcome.mutable_org_placed()->set_opened(now.opened.value());
    events.push_back(Make(outcome, org, {std::string(kSource), "", ""}));
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
    return Error(absl::StatusCode::kDataLoss, "log_begins_late",
                 fmt::format("changes-{} begins at offset {}: what is missing before it is no lost "
                             "end; nothing was written",
                             partition_.value(), changes.begin.value()));
  }
  RETURN_IF_ERROR(ReadProvisioning());
  RETURN_IF_ERROR(ReadChanges());
  RETURN_IF_ERROR(ReadProvisioning());
  DropWhatIsKnown();
  if (!untold_.empty() || answered_ >= provisioning_next_ || Differs()) {
    RETURN_IF_ERROR(TellOutcomes());
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
                                     const std::function<void(int64_t, int64_t)>& progress) {
  return Reconciler(log, clock, partition, progress).Run();
}

}  // namespace sluice::projectors
