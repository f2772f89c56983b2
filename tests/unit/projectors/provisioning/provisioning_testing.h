#pragma once

#include <optional>
#include <string>
#include <utility>

#include "projectors/provisioning/directory.h"
#include "projectors/provisioning/request_ledger.h"

namespace sluice::projectors::testing {

inline constexpr PartitionId kPartition{0};

inline OrgId Org(std::string_view name) { return *OrgId::Parse(name); }

inline v1::ProvisioningRequest OpenRequest(const std::string& display_name) {
  v1::ProvisioningRequest request;
  request.mutable_open_org()->set_display_name(display_name);
  return request;
}

inline v1::ProvisioningRequest CloseRequest() {
  v1::ProvisioningRequest request;
  request.mutable_close_org();
  return request;
}

// Entity with the key "id" and an attribute "owner", the user ownership where `owned`.
inline v1::ProvisioningRequest EntityRequest(const std::string& name, bool owned = true,
                                             const std::string& extra = "") {
  v1::ProvisioningRequest request;
  auto& entity = *request.mutable_put_entity();
  entity.set_name(name);
  entity.set_primary_key("id");
  for (const std::string& attribute : {std::string("id"), std::string("owner"), extra}) {
    if (!attribute.empty()) {
      auto& added = *entity.add_attributes();
      added.set_name(attribute);
      added.set_type(v1::ATTRIBUTE_TYPE_STRING);
    }
  }
  if (owned) {
    entity.set_owner_user("owner");
  }
  return request;
}

inline v1::ProvisioningRequest ProfileRequest(const std::string& name, const std::string& json) {
  v1::ProvisioningRequest request;
  *request.mutable_put_profile()->mutable_profile() = *ParseProfile(name, json);
  return request;
}

inline v1::ProvisioningRequest RoleRequest(const std::string& name, const std::string& json) {
  v1::ProvisioningRequest request;
  *request.mutable_put_role()->mutable_role() = *ParseRole(name, json);
  return request;
}

inline eventlog::StoredEvent OutcomeEvent(const OrgId& org, const v1::ProvisioningOutcome& outcome,
                                          Offset offset) {
  eventlog::StoredEvent event;
  event.offset = offset;
  event.event.type = v1::ProvisioningOutcome::descriptor()->full_name();
  event.event.key = org.value();
  event.event.value = outcome.SerializeAsString();
  return event;
}

// A directory whose requests are decided at once, without a log.
class Sequencer {
 public:
  // Decides `request`, and folds the outcome if it is accepted.
  absl::StatusOr<Directory::Outcome> Carry(const OrgId& org, v1::ProvisioningRequest request) {
    request.set_request_id("r" + std::to_string(next_request_));
    const auto entry = directory_.Find(org);
    auto decision = Decide(org, entry.get(), request, Offset(next_request_));
    if (!decision.ok()) {
      return decision.status();
    }
    decision->outcome.set_request_offset(next_request_++);
    if (decision->control.has_value()) {
      decision->outcome.set_changes_offset(next_change_++);
      last_control_ = decision->control;
    }
    last_ = OutcomeEvent(org, decision->outcome, Offset(next_request_));
    auto outcome = directory_.Apply(last_);
    if (!outcome.ok()) {
      return outcome.status();
    }
    return **outcome;
  }

  Directory& directory() { return directory_; }
  const eventlog::StoredEvent& last() const { return last_; }
  const std::optional<eventlog::Event>& last_control() const { return last_control_; }

 private:
  Directory directory_;
  int64_t next_request_ = 0;
  int64_t next_change_ = 100;
  eventlog::StoredEvent last_;
  std::optional<eventlog::Event> last_control_;
};

}  // namespace sluice::projectors::testing
