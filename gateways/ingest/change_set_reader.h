#pragma once

#include <memory>
#include <string_view>

#include "gateways/ingest/change_set_check.h"
#include "projectors/model/org_model.h"

namespace sluice::gateways {

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
