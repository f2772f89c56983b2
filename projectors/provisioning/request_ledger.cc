#include "projectors/provisioning/request_ledger.h"

#include <utility>

#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"

namespace sluice::projectors {

absl::Status RequestLedger::ApplyRequest(const eventlog::StoredEvent& event) {
  Pending pending;
  auto org = OrgId::Parse(event.event.key);
  if (!org.ok() || !pending.request.ParseFromString(event.event.value)) {
    return Invalid("malformed_event",
                   "event {} at offset {} of provisioning is no request for an organisation",
                   event.event.id, event.offset.value());
  }
  if (pending.request.request_id().empty()) {
    if (!IsValidUtf8(event.event.id)) {  // no outcome could name it
      return Invalid("malformed_event", "the request at offset {} of provisioning has no id",
                     event.offset.value());
    }
    pending.request.set_request_id(event.event.id);
  }
  const std::string& id = pending.request.request_id();
  if (decided_.contains(id) || !pending_ids_.emplace(id, event.offset).second) {
    return absl::OkStatus();  // appended twice by its sender
  }
  pending.org = *std::move(org);
  pending.offset = event.offset;
  pending.traceparent = event.event.traceparent;
  pending.cause = event.event.cause;
  pending_.emplace(event.offset, std::move(pending));
  return absl::OkStatus();
}

void RequestLedger::Forget(const std::string& request_id) {
  if (const auto found = pending_ids_.find(request_id); found != pending_ids_.end()) {
    pending_.erase(found->second);
    pending_ids_.erase(found);
  }
  if (decided_.insert(request_id).second) {
    decided_order_.push_back(request_id);
  }
  if (decided_order_.size() > kDecidedMax) {
    decided_.erase(decided_order_.front());
    decided_order_.pop_front();
  }
}

absl::Status RequestLedger::Apply(const eventlog::StoredEvent& event) {
  if (eventlog::IsA<v1::ProvisioningRequest>(event.event)) {
    return ApplyRequest(event);
  }
  // An outcome in the log is the decision, whatever the directory makes of it: a request that was
  // not seen as decided would be decided again and again.
  if (v1::ProvisioningOutcome decision; eventlog::ReadMessage(event.event, &decision)) {
    Forget(decision.request_id());
  }
  ASSIGN_OR_RETURN(const std::optional<Directory::Outcome> outcome, directory_.Apply(event));
  if (!outcome.has_value()) {
    return absl::OkStatus();
  }
  if (event.offset >= agreed_) {
    outcomes_.Add(*outcome, event.offset);
  }
  ASSIGN_OR_RETURN(const OrgId org, OrgId::Parse(event.event.key));
  const auto entry = directory_.Find(org);
  if (entry != nullptr && entry->state == OrgState::kClosing) {
    closing_.insert(org);
  } else {
    closing_.erase(org);
  }
  return absl::OkStatus();
}

std::vector<RequestLedger::Pending> RequestLedger::Next(size_t limit) const {
  std::vector<Pending> next;
  std::set<OrgId> taken;
  for (const auto& [offset, pending] : pending_) {
    if (next.size() == limit) {
      break;
    }
    if (taken.insert(pending.org).second) {
      next.push_back(pending);
    }
  }
  return next;
}

}  // namespace sluice::projectors
