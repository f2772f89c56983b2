#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "projectors/model/org_model.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::gateways {

struct ChangeSetLimits {
  size_t line_bytes_max = size_t{1} << 20;  // of a set: of its text, or of its message
  size_t ops_max = 10'000;
};

// A change set as read. Also where `status` says that it can't be taken, `id` is what its sender
// gave as one, so that the answer can name it.
struct ReadChangeSet {
  absl::Status status;
  std::string id;  // empty where there is none
  // `id` and the set's source are all that its sender gave of them, also where `status` is an error
  // of its operations: a set that was taken before can be recognised whatever the schema says
  // today.
  bool named = false;
  v1::ChangeSet set;
};

// A set that comes as a message, with entities and attributes by their ids: the same limits and
// codes as of ChangeSetReader, and the checks of rows and keys that the fold makes, so that what is
// taken is applied. kFailedPrecondition, code "other_incarnation", for one that was made for
// another incarnation than `model`'s, whose ids stand for other things; 0 fits any. An empty id is
// none. `set` is moved from where it can be taken, and only there.
[[nodiscard]] ReadChangeSet CheckChangeSet(const projectors::OrgModel& model,
                                           const ChangeSetLimits& limits, v1::ChangeSet& set);

// What both ways to read a set answer. `what` is the member that is named in the error.
[[nodiscard]] absl::Status InvalidArgument(std::string_view why);
[[nodiscard]] absl::Status CheckName(std::string_view text, std::string_view what);
[[nodiscard]] absl::Status CheckBytes(size_t bytes, const ChangeSetLimits& limits);
// Whether a set may have one operation more than `count`.
[[nodiscard]] absl::Status CheckMore(size_t count, const ChangeSetLimits& limits);
// Whether a set of `count` operations is one.
[[nodiscard]] absl::Status CheckAny(size_t count);
[[nodiscard]] absl::Status MissingKey(const schemas::EntitySchema& schema);
[[nodiscard]] absl::Status RowOfDelete();
// kFailedPrecondition, code "entity_has_source": a source has the entity's rows, and versions of
// two writers can't be compared.
[[nodiscard]] absl::Status CheckOwner(const projectors::OrgModel& model,
                                      const schemas::EntitySchema& schema);

}  // namespace sluice::gateways
