#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/support/rows/delta_rows_client.h"
#include "tests/support/rows/rows_node.h"
#include "tests/support/rows/stream_rows_client.h"
#include "tests/support/temp_dir.h"

namespace sluice::testing {

// One random history of two organisations with the same names and keys in one set of stores, with
// clients that sync while it goes on. A seed makes the same history every time.
class RowsHistory {
 public:
  RowsHistory(uint64_t seed, RowsReport& report);
  // To the end, or to the first problem.
  void Run();
  // The events so far, for a failing test's message.
  [[nodiscard]] std::string Describe() const;

 private:
  struct OneOrg {
    std::unique_ptr<RandomOrg> random;
    std::unique_ptr<OrgRecord> record;
    std::vector<std::unique_ptr<DeltaRowsClient>> delta;
    std::vector<std::unique_ptr<StreamRowsClient>> stream;
  };

  projectors::StoreOptions Options();
  void AddOrg(const std::string& name);
  void AddEvents();
  void Disturb();
  void Sync();
  void Finish();
  void FinishOrg(OneOrg& org);
  // With the organisation's model at its position; nullptr where the store does not serve.
  std::shared_ptr<const projectors::OrgSnapshot> SnapshotOf(OneOrg& org);

  Dice dice_;
  RowsReport& report_;
  TempDir folder_;
  const projectors::StoreOptions options_;
  const bool may_expire_;
  RowsNode node_;
  std::vector<OneOrg> orgs_;
  int64_t offset_ = 0;
  size_t events_left_ = 0;
};

}  // namespace sluice::testing
