#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "projectors/model/org_model.h"
#include "projectors/provisioning/directory.h"
#include "schemas/base/ids.h"
#include "schemas/sluice/v1/events.pb.h"

// What Decide() says of sources. All functions are pure.
namespace sluice::projectors {

// The bytes of a definition that are the same in every process: those of a map have no order.
[[nodiscard]] std::string CanonicalBytes(const v1::SourceDefined& defined);

// A source as `changes` tells of it. What only who talks with it needs is in `provisioning` alone.
[[nodiscard]] v1::SourceDefined AsInChanges(v1::SourceDefined defined);

// The source after the request at `at`, which may be as it was. Its epoch is the request's place
// where it is new or has to be read from the begin, since it is another system or other rows of it
// that are read now. Codes: "invalid_argument", "source_not_found" (of a reseal),
// "incompatible_source" (another kind), "entity_has_source", "secrets_required" (kept secrets would
// go to another host than the one that they were given for), "too_many_definitions".
[[nodiscard]] absl::StatusOr<v1::SourceDefined> NextSource(
    const OrgEntry& entry, const v1::ProvisioningRequest::PutSource& put, Offset at);

// kNotFound, code "source_not_found".
[[nodiscard]] absl::StatusOr<OrgSource> FindSource(const OrgEntry& entry, const std::string& name);

// May a run of it be asked for? "unknown_entity" where the source has no such entity; a reload is
// of all of them.
[[nodiscard]] absl::Status CheckRun(const OrgEntry& entry, const OrgSource& source,
                                    const v1::ProvisioningRequest::RunSource& run);

// The definition of an entity as it becomes by `wanted`, with the source that has its rows: what a
// source asks for adds to what is there (`current`, nullptr where nothing is), since it knows
// neither of attributes that it had before nor of the ownership that an administrator gave. Codes
// "entity_has_source", where it is another's; "source_not_found".
[[nodiscard]] absl::StatusOr<v1::ProvisioningRequest::PutEntity> WithSource(
    const OrgModel& model, const v1::EntitySchema* current,
    const v1::ProvisioningRequest::PutEntity& wanted);

}  // namespace sluice::projectors
