#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "projectors/model/org_model.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::gateways {

struct ChangeSetLimits {
  size_t line_bytes_max = size_t{1} << 20;
  size_t ops_max = 10'000;
};

// A change set as read. Also where `status` says that it can't be taken, `id` is what the text had
// of one, so that the answer can name it.
struct ReadChangeSet {
  absl::Status status;
  std::string id;  // empty where the text gives none
  // `id` and the set's source are all that the text has of them, also where `status` is an error of
  // its operations: a set that was taken before can be recognised whatever the schema says today.
  bool named = false;
  v1::ChangeSet set;
};

// Reads change sets from the JSON of gateways/docs/api.md, section 2, against an organisation's
// model: members, types, limits, and that every operation names an entity and has its key. Errors
// have the codes "invalid_json", "invalid_argument", "too_large", "unknown_entity", "missing_key",
// "invalid_key" and those of schemas::RowEncoder, and name the operation. Holds buffers, so reuse
// it; not thread-safe.
class ChangeSetReader {
 public:
  explicit ChangeSetReader(ChangeSetLimits limits);
  ~ChangeSetReader();

  // `json` is one object. Depth of nesting is bounded by what a change set is; nothing recurses.
  [[nodiscard]] ReadChangeSet Read(const projectors::OrgModel& model, std::string_view json);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::gateways
