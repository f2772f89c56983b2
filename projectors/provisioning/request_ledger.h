#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "eventlog/event.h"
#include "projectors/provisioning/agreement.h"
#include "projectors/provisioning/directory.h"

namespace sluice::projectors {

// One partition of `provisioning` as its sequencer sees it: the directory, which requests have no
// outcome yet, and which organisations are closing. A pure fold, so a sequencer that starts anew
// finds out all that it needs by reading the partition from its beginning. Not thread-safe.
class RequestLedger {
 public:
  // Ids of decided requests that are remembered, so that a request that its sender appended twice
  // (the first answer of the log was lost) is carried out once.
  static constexpr size_t kDecidedMax = 100'000;

  struct Pending {
    OrgId org;
    Offset offset;  // in `provisioning`
    std::string traceparent;
    eventlog::Cause cause;
    v1::ProvisioningRequest request;
  };

  // Outcomes below `agreed` tell of places in `changes` that may be others now (Log::Agreed()).
  explicit RequestLedger(Offset agreed = Offset(0)) : agreed_(agreed) {}

  // Folds the next event. kInvalidArgument for a malformed one, which changes nothing.
  [[nodiscard]] absl::Status Apply(const eventlog::StoredEvent& event);

  // The oldest request of each organisation that has no outcome, at most `limit`. One each, because
  // the second is decided on what the first's outcome says.
  [[nodiscard]] std::vector<Pending> Next(size_t limit) const;
  [[nodiscard]] size_t pending() const { return pending_.size(); }

  // Organisations that are closing: their store has to be gone before they are closed.
  const std::set<OrgId>& closing() const { return closing_; }
  const Directory& directory() const { return directory_; }
  const OutcomeMark& outcomes() const { return outcomes_; }

 private:
  absl::Status ApplyRequest(const eventlog::StoredEvent& event);
  void Forget(const std::string& request_id);

  const Offset agreed_;
  Directory directory_;
  OutcomeMark outcomes_;
  std::map<Offset, Pending> pending_;
  std::map<std::string, Offset> pending_ids_;
  std::set<OrgId> closing_;
  std::unordered_set<std::string> decided_;
  std::deque<std::string> decided_order_;
};

}  // namespace sluice::projectors
