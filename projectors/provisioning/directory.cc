#include "projectors/provisioning/directory.h"

#include <fmt/format.h>

#define XXH_STATIC_LINKING_ONLY  // for the state on the stack
#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "projectors/provisioning/decide_source.h"
#include "projectors/provisioning/definition_limits.h"
#include "projectors/provisioning/preconditions.h"
#include "schemas/base/printable.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"

namespace sluice::projectors {
namespace {

using WireOutcome = v1::ProvisioningOutcome;

absl::Status Malformed(const eventlog::StoredEvent& event, std::string_view why) {
  return Invalid("malformed_event", "event {} at offset {} of provisioning: {}", event.event.id,
                 event.offset.value(), why);
}

template <typename Message>
absl::Status ApplyToModel(const Message& message, OrgEntry& entry) {
  ASSIGN_OR_RETURN(entry.model, entry.model->Apply(eventlog::EventOf("", "", message)));
  return absl::OkStatus();
}

absl::StatusOr<std::string> Open(const WireOutcome& outcome, OrgEntry& entry) {
  const v1::OrgOpened& opened = outcome.org_opened();
  if (opened.incarnation() <= entry.incarnation) {
    return Invalid("malformed_event", "incarnation {} opens after {}", opened.incarnation(),
                   entry.incarnation);
  }
  entry.model = OrgModel::WithoutRules();
  RETURN_IF_ERROR(ApplyToModel(opened, entry));
  entry.state = OrgState::kReady;
  entry.incarnation = opened.incarnation();
  entry.display_name = opened.display_name();
  entry.opened = Offset(outcome.changes_offset());
  entry.next_entity_id = 1;
  entry.etags.clear();
  entry.sources.clear();
  return entry.etags["org"] = MakeEtag(opened.SerializeAsString(), entry.opened);
}

// `definition`: what `change`, of the outcome, defines.
template <typename Message, typename Definition>
absl::StatusOr<std::string> Define(const WireOutcome& outcome, const Message& change,
                                   const Definition& definition, OrgEntry& entry) {
  RETURN_IF_ERROR(ApplyToModel(change, entry));
  return entry.etags[TargetOf(outcome)] =
             MakeEtag(definition.SerializeAsString(), Offset(outcome.changes_offset()));
}

template <typename Message>
absl::StatusOr<std::string> Delete(const WireOutcome& outcome, const Message& change,
                                   OrgEntry& entry) {
  RETURN_IF_ERROR(ApplyToModel(change, entry));
  entry.etags.erase(TargetOf(outcome));
  return std::string();
}

absl::StatusOr<std::string> DeleteEntity(const v1::EntityDeleted& deleted, OrgEntry& entry) {
  RETURN_IF_ERROR(ApplyToModel(deleted, entry));
  // What is deleted was given its id, also by a history of which this is all that is told here.
  entry.next_entity_id = std::max(entry.next_entity_id, deleted.entity_id() + 1);
  if (!entry.model->entities().contains(deleted.name())) {
    entry.etags.erase("entity/" + deleted.name());
  }
  return std::string();
}

absl::StatusOr<std::string> DefineSource(const WireOutcome& outcome, OrgEntry& entry) {
  const v1::SourceDefined& defined = outcome.source_defined();
  RETURN_IF_ERROR(ApplyToModel(defined, entry));
  OrgSource& source = entry.sources[defined.settings().name()];
  if (source.defined != nullptr && source.defined->epoch() != defined.epoch()) {
    source.runs.clear();  // it begins anew with all of it
  }
  source.defined = std::make_shared<const v1::SourceDefined>(defined);
  return entry.etags[TargetOf(outcome)] =
             MakeEtag(CanonicalBytes(defined), Offset(outcome.changes_offset()));
}

void NoteRun(const WireOutcome::SourceRun& run, Offset at, OrgEntry& entry) {
  const auto found = entry.sources.find(run.name());
  if (found == entry.sources.end()) {
    return;
  }
  std::map<std::string, Offset>& runs = found->second.runs;
  if (run.entity().empty()) {
    runs.clear();
  }
  runs[run.entity()] = at;
  if (runs.size() > kSourceEntitiesOfOrgMax) {  // of entities that have long gone
    runs.erase(std::ranges::min_element(runs, {}, &std::pair<const std::string, Offset>::second));
  }
}

// Makes `entry` what an accepted change makes of it. Returns the definition's ETag.
absl::StatusOr<std::string> Change(const WireOutcome& outcome, OrgEntry& entry) {
  switch (outcome.change_case()) {
    case WireOutcome::kOrgOpened:
      return Open(outcome, entry);
    case WireOutcome::kOrgRenamed:
      entry.display_name = outcome.org_renamed().display_name();
      return entry.etags["org"] = MakeEtag(outcome.org_renamed().SerializeAsString(),
                                           Offset(outcome.request_offset()));
    case WireOutcome::kOrgClosed:
      entry.state = OrgState::kClosing;
      break;
    case WireOutcome::kStoreDeleted:
      if (entry.state == OrgState::kClosing &&
          outcome.store_deleted().incarnation() == entry.incarnation) {
        entry.state = OrgState::kClosed;
      }
      break;
    case WireOutcome::kEntityDefined: {
      const v1::EntitySchema& schema = outcome.entity_defined().schema();
      entry.next_entity_id = std::max(entry.next_entity_id, schema.entity_id() + 1);
      return Define(outcome, outcome.entity_defined(), schema, entry);
    }
    case WireOutcome::kEntityDeleted:
      return DeleteEntity(outcome.entity_deleted(), entry);
    case WireOutcome::kProfileDefined:
      return Define(outcome, outcome.profile_defined(), outcome.profile_defined().profile(), entry);
    case WireOutcome::kProfileDeleted:
      return Delete(outcome, outcome.profile_deleted(), entry);
    case WireOutcome::kRoleDefined:
      return Define(outcome, outcome.role_defined(), outcome.role_defined().role(), entry);
    case WireOutcome::kRoleDeleted:
      return Delete(outcome, outcome.role_deleted(), entry);
    case WireOutcome::kSourceDefined:
      return DefineSource(outcome, entry);
    case WireOutcome::kSourceDeleted:
      entry.sources.erase(outcome.source_deleted().name());
      return Delete(outcome, outcome.source_deleted(), entry);
    case WireOutcome::kSourceRun:
      NoteRun(outcome.source_run(), Offset(outcome.request_offset()), entry);
      break;
    case WireOutcome::kOrgPlaced:
      entry.opened = Offset(outcome.org_placed().opened());
      entry.last_control = Offset(outcome.changes_offset());
      break;
    case WireOutcome::CHANGE_NOT_SET:
      break;
  }
  return std::string();
}

// Empty where the outcome leads to no control event.
std::string ControlIdOf(const WireOutcome& outcome) {
  if (Offset(outcome.changes_offset()) == kNoOffset || outcome.has_org_placed()) {
    return "";
  }
  return outcome.control_id().empty() ? ControlEventId(outcome.request_id()) : outcome.control_id();
}

// Did the definition that the outcome changes exist before, or did nothing have to change?
bool Existed(const WireOutcome& outcome, const OrgEntry& before) {
  switch (outcome.change_case()) {
    case WireOutcome::kOrgOpened:
      return false;
    case WireOutcome::kEntityDefined:
    case WireOutcome::kProfileDefined:
    case WireOutcome::kRoleDefined:
    case WireOutcome::kSourceDefined:
      return before.etags.contains(TargetOf(outcome));
    default:
      return true;
  }
}

absl::Status RefusalOf(const WireOutcome& outcome) {
  if (outcome.error_code().empty()) {
    return absl::OkStatus();
  }
  const auto kind = static_cast<StatusCode>(outcome.error_status());
  absl::Status refusal = Error(kind == StatusCode::kOk ? StatusCode::kUnknown : kind,
                               outcome.error_code(), outcome.error_detail());
  return outcome.error_column() == 0 ? refusal
                                     : WithColumn(std::move(refusal), outcome.error_column());
}

}  // namespace

std::string_view OrgStateName(OrgState state) {
  constexpr std::string_view kNames[] = {"provisioning", "ready", "closing", "closed"};
  return kNames[static_cast<size_t>(state)];
}

std::string MakeEtag(std::string_view definition, Offset offset) {
  const auto seed = static_cast<XXH64_hash_t>(offset.value());
  return fmt::format("\"{:016x}\"", XXH64(definition.data(), definition.size(), seed));
}

std::string ControlEventId(std::string_view request_id) {
  constexpr XXH64_hash_t kSeed = 0x736c75696365;  // apart from other uses of the same text
  const XXH128_hash_t hash = XXH3_128bits_withSeed(request_id.data(), request_id.size(), kSeed);
  const uint64_t high = (hash.high64 & ~0xf000ULL) | 0x8000ULL;
  const uint64_t low = (hash.low64 & ~(3ULL << 62)) | (2ULL << 62);
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff,
                     high & 0xffff, low >> 48, low & 0xffffffffffffULL);
}

void SetRefusal(const absl::Status& refusal, v1::ProvisioningOutcome* outcome) {
  outcome->set_error_code(ErrorCode(refusal));
  // An outcome that is no UTF-8 is written, and read by nobody: its request would be decided for
  // ever. Whatever a message quotes, it is made fit here.
  const std::string_view detail = Message(refusal);
  outcome->set_error_detail(IsValidUtf8(detail) ? std::string(detail) : Printable(detail));
  outcome->set_error_status(static_cast<int32_t>(refusal.code()));
  outcome->set_error_column(ErrorColumn(refusal).value_or(0));
}

absl::StatusOr<std::optional<Directory::Outcome>> Directory::Apply(
    const eventlog::StoredEvent& event) {
  if (eventlog::IsA<v1::ProvisioningRequest>(event.event) ||
      eventlog::IsA<v1::LogStarted>(event.event) ||
      eventlog::IsA<v1::PositionSkipped>(event.event) ||
      eventlog::IsA<v1::EventPosition>(event.event)) {
    return std::nullopt;  // they change nothing
  }
  WireOutcome outcome;
  if (!eventlog::ReadMessage(event.event, &outcome)) {
    return Malformed(event, "neither a request nor an outcome");
  }
  const auto org = OrgId::Parse(event.event.key);
  if (!org.ok()) {
    return Malformed(event, "its key is not an organisation");
  }
  Outcome result;
  result.request_id = outcome.request_id();
  result.status = RefusalOf(outcome);
  result.changes_offset = Offset(outcome.changes_offset());
  result.control_id = ControlIdOf(outcome);

  absl::MutexLock lock(&mutex_);
  const auto known = orgs_.find(org->value());
  Known state = known == orgs_.end() ? Known{} : known->second;
  // Two sequencers may both have decided a request, each by what it had read: the outcome that
  // comes first in the log counts, for everybody who reads it. So it is asked before anything of
  // the second one is looked at, and a refusal counts as well as a change.
  const bool of_request = outcome.request_offset() >= 0;
  if (of_request && outcome.request_offset() <= state.decided) {
    return std::nullopt;  // another sequencer's, of a request that had its outcome already
  }
  if (result.status.ok()) {
    OrgEntry next;
    next.org = *org;
    next.last_control = kNoOffset;
    if (state.entry != nullptr) {
      next = *state.entry;
    }
    if (state.entry == nullptr && outcome.change_case() != WireOutcome::kOrgOpened) {
      return Malformed(event, fmt::format("organisation {} was never opened", org->value()));
    }
    result.existed = Existed(outcome, next);
    auto etag = Change(outcome, next);
    if (!etag.ok()) {
      return Malformed(event, Message(etag.status()));
    }
    result.etag = *std::move(etag);
    next.last_control = std::max(next.last_control, result.changes_offset);
    state.entry = std::make_shared<const OrgEntry>(std::move(next));
  }
  state.decided = std::max(state.decided, outcome.request_offset());
  // A refusal for an organisation that never was leaves nothing behind: it holds no memory.
  if (state.entry != nullptr) {
    orgs_.insert_or_assign(org->value(), std::move(state));
  }
  return result;
}

std::shared_ptr<const OrgEntry> Directory::Find(const OrgId& org) const {
  absl::MutexLock lock(&mutex_);
  const auto found = orgs_.find(org.value());
  return found == orgs_.end() ? nullptr : found->second.entry;
}

std::vector<std::shared_ptr<const OrgEntry>> Directory::List(std::string_view after,
                                                             size_t limit) const {
  std::vector<std::shared_ptr<const OrgEntry>> entries;
  absl::MutexLock lock(&mutex_);
  for (auto it = orgs_.upper_bound(after); it != orgs_.end() && entries.size() < limit; ++it) {
    entries.push_back(it->second.entry);
  }
  return entries;
}

}  // namespace sluice::projectors
