#pragma once

#include <string>
#include <vector>

#include "gateways/sync/cursor.h"
#include "gateways/sync/delta_page.h"
#include "projectors/store/org_snapshot.h"
#include "tests/support/rows/random_org.h"
#include "tests/support/rows/row_checks.h"

namespace sluice::testing {

// A client of `delta` (gateways/docs/api.md, section 3.1): pages are lost, applied twice or asked
// for again with an earlier cursor, and its caller's claims change.
class DeltaRowsClient {
 public:
  DeltaRowsClient(std::string who, uint64_t seed, OrgRecord& record, RowsReport& report,
                  bool may_expire);

  // Some pages, or none. The model is at the snapshot's position.
  void Act(const projectors::OrgSnapshot& snapshot);
  // Pages until there are no more.
  void Drain(const projectors::OrgSnapshot& snapshot);
  // A server that is behind does not take a cursor that is ahead of it.
  void AskBehind(const projectors::OrgSnapshot& snapshot);

 private:
  struct Fetched {
    std::string ops;
    gateways::DeltaPage page;
  };

  void ChangeClaims();
  void ForgetEarlier();
  // False where that was the last.
  bool Page(const projectors::OrgSnapshot& snapshot);
  // The cursor to ask with; forgets everything where the one that it has is no use any more.
  gateways::Cursor UsableCursor(const projectors::OrgSnapshot& snapshot, const RowsAt& at);
  bool Fetch(const projectors::OrgSnapshot& snapshot, const RowsAt& at, Fetched* fetched);
  void Take(const std::string& ops, const RowsAt& at);
  void StartOver(const absl::Status& why, const RowsAt& at);

  Dice dice_;
  OrgRecord& record_;
  RowsReport& report_;
  RowChecks checks_;
  const gateways::CursorCodec codec_;
  const bool may_expire_;  // the store forgets removals in this history
  size_t claims_ = 0;
  PlainRows rows_;
  std::string cursor_;
  bool behind_ = false;               // goes on from an earlier cursor than that of its rows
  std::vector<std::string> earlier_;  // of the same claims and definitions
  size_t definitions_ = 0;            // when those were given
  int64_t begun_ = -1;                // where it last started afresh
  int64_t settled_ = -1;
};

}  // namespace sluice::testing
