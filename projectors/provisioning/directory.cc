#include "projectors/provisioning/directory.h"

#include <fmt/format.h>

#define XXH_STATIC_LINKING_ONLY  // for the state on the stack
#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "projectors/provisioning/decide_source.h"
#include "projectors/provisioning/definition_limits.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

using WireOutcome = v1::ProvisioningOutcome;

absl::Status Malformed(const eventlog::StoredEvent& event, std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "malformed_event",
               fmt::format("event {} at offset {} of provisioning: {}", event.event.id,
                           event.offset.value(), why));
}

// The control event as OrgModel takes it.
template <typename Message>
eventlog::Event ControlEvent(const Message& message) {
  eventlog::Event event;
  event.type = Message::descriptor()->full_name();
  event.value = message.SerializeAsString();
  return event;
}

template <typename Message>
absl::Status ApplyToModel(const Message& message, OrgEntry& entry) {
  ASSIGN_OR_RETURN(entry.model, entry.model->Apply(ControlEvent(message)));
  return absl::OkStatus();
}

}  // namespace

std::string_view OrgStateName(OrgState state) {
  switch (state) {
    case OrgState::kProvisioning:
      return "provisioning";
    case OrgState::kReady:
      return "ready";
    case OrgState::kClosing:
      return "closing";
    case OrgState::kClosed:
      return "closed";
  }
  return "";
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

struct Directory::Impl {
  struct Known {
    std::shared_ptr<const OrgEntry> entry;
    int64_t decided = -1;  // offset of the last request that has an outcome
  };

  // Makes `entry` what an accepted change makes of it. Returns the definition's ETag.
  static absl::StatusOr<std::string> Change(const WireOutcome& outcome, OrgEntry& entry);
  static absl::StatusOr<std::string> Open(const WireOutcome& outcome, OrgEntry& entry);
  static absl::StatusOr<std::string> DefineEntity(const WireOutcome& outcome, OrgEntry& entry);
  static absl::StatusOr<std::string> DeleteEntity(const v1::EntityDeleted& deleted,
                                                  OrgEntry& entry);
  static absl::StatusOr<std::string> DefineSource(const WireOutcome& outcome, OrgEntry& entry);
  static void NoteRun(const WireOutcome::SourceRun& run, Offset at, OrgEntry& entry);

  mutable absl::Mutex mutex;
  std::map<std::string, Known, std::less<>> orgs ABSL_GUARDED_BY(mutex);
};

absl::StatusOr<std::string> Directory::Impl::Open(const WireOutcome& outcome, OrgEntry& entry) {
  const v1::OrgOpened& opened = outcome.org_opened();
  if (opened.incarnation() <= entry.incarnation) {
    return Error(
        absl::StatusCode::kInvalidArgument, "malformed_event",
        fmt::format("incarnation {} opens after {}", opened.incarnation(), entry.incarnation));
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

absl::StatusOr<std::string> Directory::Impl::DefineEntity(const WireOutcome& outcome,
                                                          OrgEntry& entry) {
  const v1::EntitySchema& schema = outcome.entity_defined().schema();
  RETURN_IF_ERROR(ApplyToModel(outcome.entity_defined(), entry));
  entry.next_entity_id = std::max(entry.next_entity_id, schema.entity_id() + 1);
  return entry.etags["entity/" + schema.name()] =
             MakeEtag(schema.SerializeAsString(), Offset(outcome.changes_offset()));
}

absl::StatusOr<std::string> Directory::Impl::DeleteEntity(const v1::EntityDeleted& deleted,
                                                          OrgEntry& entry) {
  RETURN_IF_ERROR(ApplyToModel(deleted, entry));
  // What is deleted was given its id, also by a history of which this is all that is told here.
  entry.next_entity_id = std::max(entry.next_entity_id, deleted.entity_id() + 1);
  if (!entry.model->entities().contains(deleted.name())) {
    entry.etags.erase("entity/" + deleted.name());
  }
  return std::string();
}

absl::StatusOr<std::string> Directory::Impl::DefineSource(const WireOutcome& outcome,
                                                          OrgEntry& entry) {
  const v1::SourceDefined& defined = outcome.source_defined();
  const std::string& name = defined.settings().name();
  RETURN_IF_ERROR(ApplyToModel(defined, entry));
  OrgSource& source = entry.sources[name];
  if (source.defined != nullptr && source.defined->epoch() != defined.epoch()) {
    source.runs.clear();  // it begins anew with all of it
  }
  source.defined = std::make_shared<const v1::SourceDefined>(defined);
  return entry.etags["source/" + name] =
             MakeEtag(CanonicalBytes(defined), Offset(outcome.changes_offset()));
}

void Directory::Impl::NoteRun(const WireOutcome::SourceRun& run, Offset at, OrgEntry& entry) {
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

absl::StatusOr<std::string> Directory::Impl::Change(const WireOutcome& outcome, OrgEntry& entry) {
  const Offset offset(outcome.changes_offset());
  switch (outcome.change_case()) {
    case WireOutcome::kOrgOpened:
      return Open(outcome, entry);
    case WireOutcome::kOrgRenamed:
      entry.display_name = outcome.org_renamed().display_name();
      return entry.etags["org"] = MakeEtag(outcome.org_renamed().SerializeAsString(),
                                           Offset(outcome.request_offset()));
    case WireOutcome::kOrgClosed:
      entry.state = OrgState::kClosing;
      return std::string();
    case WireOutcome::kStoreDeleted:
      if (entry.state == OrgState::kClosing &&
          outcome.store_deleted().incarnation() == entry.incarnation) {
        entry.state = OrgState::kClosed;
      }
      return std::string();
    case WireOutcome::kEntityDefined:
      return DefineEntity(outcome, entry);
    case WireOutcome::kEntityDeleted:
      return DeleteEntity(outcome.entity_deleted(), entry);
    case WireOutcome::kProfileDefined: {
      const v1::Profile& profile = outcome.profile_defined().profile();
      RETURN_IF_ERROR(ApplyToModel(outcome.profile_defined(), entry));
      return entry.etags["profile/" + profile.name()] =
                 MakeEtag(profile.SerializeAsString(), offset);
    }
    case WireOutcome::kProfileDeleted:
      RETURN_IF_ERROR(ApplyToModel(outcome.profile_deleted(), entry));
      entry.etags.erase("profile/" + outcome.profile_deleted().name());
      return std::string();
    case WireOutcome::kRoleDefined: {
      const v1::Role& role = outcome.role_defined().role();
      RETURN_IF_ERROR(ApplyToModel(outcome.role_defined(), entry));
      return entry.etags["role/" + role.name()] = MakeEtag(role.SerializeAsString(), offset);
    }
    case WireOutcome::kRoleDeleted:
      RETURN_IF_ERROR(ApplyToModel(outcome.role_deleted(), entry));
      entry.etags.erase("role/" + outcome.role_deleted().name());
      return std::string();
    case WireOutcome::kSourceDefined:
      return DefineSource(outcome, entry);
    case WireOutcome::kSourceDeleted:
      RETURN_IF_ERROR(ApplyToModel(outcome.source_deleted(), entry));
      entry.etags.erase("source/" + outcome.source_deleted().name());
      entry.sources.erase(outcome.source_deleted().name());
      return std::string();
    case WireOutcome::kSourceRun:
      NoteRun(outcome.source_run(), Offset(outcome.request_offset()), entry);
      return std::string();
    case WireOutcome::kOrgPlaced:
      entry.opened = Offset(outcome.org_placed().opened());
      entry.last_control = Offset(outcome.changes_offset());
      return std::string();
    case WireOutcome::CHANGE_NOT_SET:
      break;
  }
  return std::string();
}

namespace {

bool ChangesNothing(std::string_view type) {
  return type == v1::ProvisioningRequest::descriptor()->full_name() ||
         type == v1::LogStarted::descriptor()->full_name() ||
         type == v1::PositionSkipped::descriptor()->full_name();
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
      return before.etags.contains("entity/" + outcome.entity_defined().schema().name());
    case WireOutcome::kProfileDefined:
      return before.etags.contains("profile/" + outcome.profile_defined().profile().name());
    case WireOutcome::kRoleDefined:
      return before.etags.contains("role/" + outcome.role_defined().role().name());
    case WireOutcome::kSourceDefined:
      return before.etags.contains("source/" + outcome.source_defined().settings().name());
    default:
      return true;
  }
}

absl::StatusOr<OrgId> OrgOf(const eventlog::StoredEvent& event) {
  auto org = OrgId::Parse(event.event.key);
  if (!org.ok()) {
    return Malformed(event, "its key is not an organisation");
  }
  return *std::move(org);
}

absl::Status RefusalOf(const WireOutcome& outcome) {
  if (outcome.error_code().empty()) {
    return absl::OkStatus();
  }
  const auto kind = static_cast<absl::StatusCode>(outcome.error_status());
  absl::Status refusal = Error(kind == absl::StatusCode::kOk ? absl::StatusCode::kUnknown : kind,
                               outcome.error_code(), outcome.error_detail());
  return outcome.error_column() == 0 ? refusal
                                     : WithColumn(std::move(refusal), outcome.error_column());
}

}  // namespace

void SetRefusal(const absl::Status& refusal, v1::ProvisioningOutcome* outcome) {
  outcome->set_error_code(ErrorCode(refusal));
  outcome->set_error_detail(std::string(Message(refusal)));
  outcome->set_error_status(static_cast<int32_t>(refusal.code()));
  outcome->set_error_column(ErrorColumn(refusal).value_or(0));
}

Directory::Directory() : impl_(std::make_unique<Impl>()) {}
Directory::~Directory() = default;

absl::StatusOr<std::optional<Directory::Outcome>> Directory::Apply(
    const eventlog::StoredEvent& event) {
  if (ChangesNothing(event.event.type)) {
    return std::nullopt;
  }
  v1::ProvisioningOutcome outcome;
  if (event.event.type != v1::ProvisioningOutcome::descriptor()->full_name() ||
      !outcome.ParseFromString(event.event.value)) {
    return Malformed(event, "neither a request nor an outcome");
  }
  ASSIGN_OR_RETURN(const OrgId org, OrgOf(event));
  Outcome result;
  result.request_id = outcome.request_id();
  result.status = RefusalOf(outcome);
  result.changes_offset = Offset(outcome.changes_offset());
  result.control_id = ControlIdOf(outcome);

  absl::MutexLock lock(&impl_->mutex);
  const auto known = impl_->orgs.find(org.value());
  Impl::Known state = known == impl_->orgs.end() ? Impl::Known{} : known->second;
  // Two sequencers may both have decided a request, each by what it had read: the outcome that
  // comes first in the log counts, for everybody who reads it. So it is asked before anything of
  // the second one is looked at, and a refusal counts as well as a change.
  const bool of_request = outcome.request_offset() >= 0;
  if (of_request && outcome.request_offset() <= state.decided) {
    return std::nullopt;  // another sequencer's, of a request that had its outcome already
  }
  if (result.status.ok()) {
    OrgEntry next;
    next.org = org;
    next.last_control = kNoOffset;
    if (state.entry != nullptr) {
      next = *state.entry;
    }
    if (state.entry == nullptr && outcome.change_case() != v1::ProvisioningOutcome::kOrgOpened) {
      return Malformed(event, fmt::format("organisation {} was never opened", org.value()));
    }
    result.existed = Existed(outcome, next);
    auto etag = Impl::Change(outcome, next);
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
    impl_->orgs.insert_or_assign(org.value(), std::move(state));
  }
  return result;
}

std::shared_ptr<const OrgEntry> Directory::Find(const OrgId& org) const {
  absl::MutexLock lock(&impl_->mutex);
  const auto found = impl_->orgs.find(org.value());
  return found == impl_->orgs.end() ? nullptr : found->second.entry;
}

std::vector<std::shared_ptr<const OrgEntry>> Directory::List(std::string_view after,
                                                             size_t limit) const {
  std::vector<std::shared_ptr<const OrgEntry>> entries;
  absl::MutexLock lock(&impl_->mutex);
  for (auto it = impl_->orgs.upper_bound(after); it != impl_->orgs.end() && entries.size() < limit;
       ++it) {
    entries.push_back(it->second.entry);
  }
  return entries;
}

}  // namespace sluice::projectors
