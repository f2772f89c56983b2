#include "ops/program/serving.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "schemas/base/status.h"

namespace sluice::ops {

absl::Status Serving::MayServe(const OrgId& org) const {
  if (parts_.staging == nullptr) {
    return Error(absl::StatusCode::kUnavailable, "not_served_here", "this node keeps no stores");
  }
  const PartitionId partition = PartitionOf(org);
  if (absl::Status serves = parts_.staging->MayServe(org); !serves.ok()) {
    // What has to be mended by people is told before what mends itself.
    return ErrorCode(serves) == "not_caught_up" && !FaultOf(partition).empty()
               ? eventlog::OtherHistory(partition, FaultOf(partition))
               : serves;
  }
  // Rights may be those of definitions that nobody can see or change any more.
  const absl::Status agrees = parts_.directory->MayServe(partition);
  if (eventlog::IsOtherHistory(agrees)) {
    return eventlog::OtherHistory(partition, ErrorCode(agrees));
  }
  RETURN_IF_ERROR(agrees);
  // Another node may have seen what is lost: this one, which has not, knows less, not better.
  return ToldFault(partition);
}

absl::Status Serving::Doubt(PartitionId partition) const {
  for (const eventlog::Topic topic : {eventlog::Topic::kProvisioning, eventlog::Topic::kChanges}) {
    if (parts_.log->IsEndDoubted(topic, partition)) {
      return Error(absl::StatusCode::kUnavailable, "log_end_doubted",
                   fmt::format("{}-{} is told to end before what has been in it, by a broker that "
                               "may lead no more: nothing was taken, try again",
                               eventlog::TopicName(topic), partition.value()));
    }
  }
  return absl::OkStatus();
}

absl::Status Serving::ToldFault(PartitionId partition) const {
  return parts_.nodes == nullptr
             ? absl::OkStatus()
             : eventlog::OtherHistory(partition, parts_.nodes->FaultOf(partition));
}

projectors::ControlMark Serving::LastControl(PartitionId partition) const {
  projectors::ControlMark own =
      parts_.stores == nullptr ? projectors::ControlMark() : parts_.stores->LastControl(partition);
  projectors::ControlMark elsewhere =
      parts_.nodes == nullptr ? projectors::ControlMark() : parts_.nodes->LastControl(partition);
  return elsewhere.answers > own.answers ? elsewhere : own;
}

std::string Serving::FaultOf(PartitionId partition) const {
  const absl::Status agreement = parts_.directory->Agreement(partition);
  if (eventlog::IsOtherHistory(agreement)) {
    return ErrorCode(agreement);
  }
  const absl::Status serves =
      parts_.staging == nullptr ? absl::OkStatus() : parts_.staging->MayServe(partition);
  return eventlog::IsOtherHistory(serves) ? ErrorCode(serves) : "";
}

projectors::ProvisioningProjector::Gate Serving::Gate() const {
  projectors::ProvisioningProjector::Gate gate;
  gate.may_decide = [this](PartitionId partition) { return parts_.directory->MayTell(partition); };
  gate.folded_until = [this](PartitionId partition) {
    const Offset elsewhere =
        parts_.nodes == nullptr ? Offset(0) : parts_.nodes->FoldedUntil(partition);
    return parts_.staging->Serves(partition)
               ? std::max(elsewhere, Offset(parts_.stores->Applied(partition).value() + 1))
               : elsewhere;
  };
  gate.last_control = [this](PartitionId partition) { return LastControl(partition); };
  return gate;
}

absl::Status Serving::MayAppend(PartitionId partition) const {
  RETURN_IF_ERROR(eventlog::OtherHistory(partition, FaultOf(partition)));
  RETURN_IF_ERROR(ToldFault(partition));
  return Doubt(partition);
}

std::vector<gateways::TroubledOrgs> Serving::Troubled() const {
  std::vector<gateways::TroubledOrgs> troubled;
  const auto add = [&troubled](PartitionId partition, std::string code, size_t count) {
    const bool known = count == 0 && std::ranges::any_of(troubled, [&](const auto& other) {
                         return other.count == 0 && other.partition == partition.value();
                       });
    if (!known) {  // one row of a partition, whichever of its topics it is
      troubled.push_back({std::move(code), partition.value(), count});
    }
  };
  if (parts_.staging != nullptr) {
    for (auto& orgs : parts_.staging->TroubledOrgs()) {
      add(orgs.partition, std::move(orgs.code), orgs.count);
    }
  }
  for (const auto& [partition, status] : parts_.directory->NotWell()) {
    add(partition, ErrorCode(status), 0);
  }
  if (parts_.provisioning != nullptr) {
    for (const auto& [partition, status] : parts_.provisioning->NotWell()) {
      add(partition, ErrorCode(status), 0);
    }
  }
  for (int32_t i = 0; i < parts_.log->PartitionCount(eventlog::Topic::kChanges); ++i) {
    if (const absl::Status fault = ToldFault(PartitionId(i)); !fault.ok()) {
      add(PartitionId(i), ErrorCode(fault), 0);
    }
  }
  return troubled;
}

std::optional<Offset> Serving::RemoteApplied(const OrgId& org) const {
  const PartitionId partition = PartitionOf(org);
  return parts_.nodes == nullptr || (parts_.staging != nullptr && parts_.staging->Serves(partition))
             ? std::nullopt
             : parts_.nodes->Applied(partition, org);
}

Offset Serving::StoreApplied(const OrgId& org) const {
  const PartitionId partition = PartitionOf(org);
  if (!parts_.staging->Serves(partition)) {
    return RemoteApplied(org).value_or(kNoOffset);
  }
  // A closed organisation has no store that tells; then its partition does, unless it is apart. In
  // this order: who is given back in between has been applied as far as the partition was.
  const Offset applied = parts_.stores->Applied(partition);
  return parts_.stores->ApartStateOf(partition, org).has_value()
             ? parts_.stores->AppliedOf(org)
             : std::max(parts_.stores->AppliedOf(org), applied);
}

absl::StatusOr<bool> Serving::Exists(const OrgId& org) const {
  const PartitionId partition = PartitionOf(org);
  if (!parts_.directory->CaughtUp(partition).ok() || !parts_.directory->MayServe(partition).ok() ||
      !ToldFault(partition).ok() || !Doubt(partition).ok()) {
    return Error(absl::StatusCode::kUnavailable, "not_caught_up",
                 "this server has yet to read which organisations there are: try again");
  }
  const auto entry = parts_.directory->directory().Find(org);
  return entry != nullptr && (entry->state == projectors::OrgState::kProvisioning ||
                              entry->state == projectors::OrgState::kReady);
}

std::optional<std::string> Serving::ServedAt(const OrgId& org, projectors::NodeUse use) const {
  return parts_.nodes == nullptr ? std::nullopt : parts_.nodes->ServedAt(PartitionOf(org), use);
}

}  // namespace sluice::ops
