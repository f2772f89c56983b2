#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "projectors/model/org_model.h"
#include "projectors/provisioning/directory.h"
#include "schemas/base/ids.h"
#include "schemas/sluice/v1/events.pb.h"

// What Decide() says of sources. All functions are pure.
namespace sluice::projectors {

// May a source be called so? Code "invalid_argument". To be asked before a request is appended:
// what is no UTF-8 makes one that nobody can read, and so nobody answers.
[[nodiscard]] absl::Status CheckSourceName(std::string_view name);

// May secrets that were given for the settings `before` be kept for `now`? Not where an address, a
// further host or a property of the connection to Kafka (its encryption, say) is another: who may
// change settings need not know the secrets. Code "secrets_required".
[[nodiscard]] absl::Status CheckSecretsStay(const v1::SourceSettings& before,
                                            const v1::SourceSettings& now);

// The bytes of a definition that are the same in every process: those of a map have no order.
[[nodiscard]] std::string CanonicalBytes(const v1::SourceDefined& defined);

// A source as `changes` tells of it. What only who talks with it needs is in `provisioning` alone.
[[nodiscard]] v1::SourceDefined AsInChanges(v1::SourceDefined defined);

// The source after the request at `at`, which may be as it was. Its epoch is the request's place
// where it is new or has to be read from the begin, since it is another system or other rows of it
// that are read now. Codes: "invalid_argument", "source_not_found" (of a reseal),
// "incompatible_source" (another kind), "entity_has_source", "secrets_required" (as
// CheckSecretsStay), "too_many_definitions".
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
// "entity_has_source", where it is another's, or was that of one that has been deleted since;
// "source_not_found".
[[nodiscard]] absl::StatusOr<v1::ProvisioningRequest::PutEntity> WithSource(
    const OrgModel& model, const v1::EntitySchema* current,
    const v1::ProvisioningRequest::PutEntity& wanted);

}  // namespace sluice::projectors
