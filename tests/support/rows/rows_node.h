#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "projectors/store/store_manager.h"
#include "tests/support/rows/org_record.h"
#include "tests/support/rows/random_org.h"

namespace sluice::testing {

// The staging stores under test, over one folder, fed as the staging projector does: in batches of
// any size, stopped amid large events, reopened with and without what was not flushed.
class RowsNode {
 public:
  RowsNode(projectors::StoreOptions options, uint64_t seed, RowsReport& report);

  void Append(eventlog::StoredEvent event) { log_.push_back(std::move(event)); }
  // Applies the next events; perhaps not all of the last.
  void Advance();
  // Until everything is applied.
  void Drain();
  // As a process that was killed, or ended. What it had applied may be gone until CatchUp().
  void Reopen();
  void CatchUp();

  projectors::StoreManager& stores() { return *stores_; }
  // nullptr where the store does not serve.
  std::shared_ptr<const projectors::OrgSnapshot> Snapshot(const std::string& org);
  bool AtEnd() const { return next_ == log_.size(); }
  const std::vector<eventlog::StoredEvent>& log() const { return log_; }
  const std::set<int64_t>& rejected() const { return rejected_; }

 private:
  void Apply(size_t count, bool may_stop);

  const projectors::StoreOptions options_;
  Dice dice_;
  RowsReport& report_;
  std::unique_ptr<projectors::StoreManager> stores_;
  std::vector<eventlog::StoredEvent> log_;
  size_t next_ = 0;
  size_t reached_ = 0;  // the end of what readers may have seen
  std::set<int64_t> rejected_;
};

}  // namespace sluice::testing
