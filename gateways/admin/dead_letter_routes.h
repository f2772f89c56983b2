#pragma once

#include <chrono>

#include "absl/status/statusor.h"
#include "gateways/admin/applied_wait.h"
#include "gateways/admin/dead_letters.h"
#include "gateways/admin/request_context.h"
#include "gateways/ingest/ingest_service.h"
#include "projectors/provisioning/provisioning.h"

namespace sluice::gateways {

// Dead letters of an organisation (gateways/docs/api.md, section 1). Thread-safe.
class DeadLetterRoutes {
 public:
  // All must outlive it.
  DeadLetterRoutes(projectors::DirectoryFollower& directory, DeadLetters& letters,
                   IngestService& ingest, const AppliedWait& applied,
                   std::chrono::milliseconds provisioning_timeout)
      : directory_(directory),
        letters_(letters),
        ingest_(ingest),
        applied_(applied),
        provisioning_timeout_(provisioning_timeout) {}

  [[nodiscard]] absl::StatusOr<Answer> List(const RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> Get(const RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> Drop(const RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> Replay(const RequestContext& context) const;

 private:
  // Has what the letter tells of tried again; returns the position of that in `changes`.
  absl::StatusOr<Offset> TryAgain(const OrgId& org, const StoredLetter& letter,
                                  const RequestContext& context) const;
  absl::StatusOr<Offset> RunSource(const OrgId& org, const v1::DeadLetter& letter,
                                   const RequestContext& context) const;
  absl::StatusOr<Offset> SendSet(const OrgId& org, v1::ChangeSet set,
                                 const RequestContext& context) const;
  // The set that the letter tells of: its value, or, where that is left out, what `changes` holds.
  absl::StatusOr<v1::ChangeSet> SetOf(const StoredLetter& letter) const;

  projectors::DirectoryFollower& directory_;
  DeadLetters& letters_;
  IngestService& ingest_;
  const AppliedWait& applied_;
  const std::chrono::milliseconds provisioning_timeout_;
};

}  // namespace sluice::gateways
