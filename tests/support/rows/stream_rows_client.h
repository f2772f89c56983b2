#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "gateways/sync/stream_state.h"
#include "tests/support/rows/random_org.h"
#include "tests/support/rows/row_checks.h"

namespace sluice::testing {

// A client of `stream` (gateways/docs/api.md, section 3.2), with the memory that it is to have:
// rows by bucket. Streams break off at any frame's end, and go on with what the client has by then
// or had at its last complete checkpoint.
class StreamRowsClient {
 public:
  StreamRowsClient(std::string who, uint64_t seed, OrgRecord& record, RowsReport& report,
                   bool may_expire);

  // A frame or some, or a new stream. The model is at the snapshot's position.
  void Act(const std::shared_ptr<const projectors::OrgSnapshot>& snapshot);
  // Until the client's rows are those at the snapshot.
  void Drain(const std::shared_ptr<const projectors::OrgSnapshot>& snapshot);
  // The connection is lost, if there is one.
  void Break();

 private:
  struct Row {
    std::string position;
    PlainColumns columns;
  };
  struct Bucket {
    std::map<RowName, Row> rows = {};
    int64_t after = 0;
    int64_t begun = -1;  // rows that left before are not the client's to know
  };
  using Buckets = std::map<std::string, Bucket>;

  // False where the caller may not sync.
  bool Begin(const std::shared_ptr<const projectors::OrgSnapshot>& snapshot);
  void Connect();
  void Fill();
  // Reads the frames, or some of them; the stream breaks after those.
  void Take(const std::string& frames);
  void TakeFrame(const nlohmann::json& frame);
  void TakeCheckpoint(const nlohmann::json& checkpoint);
  void TakeOps(const nlohmann::json& ops);
  void TakeComplete(const nlohmann::json& complete);
  void CheckSummary(const nlohmann::json& summary, const Bucket& bucket);
  void CompareRows();

  Dice dice_;
  OrgRecord& record_;
  RowsReport& report_;
  RowChecks checks_;
  const bool may_expire_;
  size_t claims_ = 0;
  gateways::CallerColumnsTable columns_;
  std::optional<gateways::StreamState> session_;
  std::shared_ptr<const RowsAt> at_;  // of the last checkpoint
  std::string unknown_bucket_;        // that the session began with
  nlohmann::json summaries_;          // of the checkpoint under way
  Buckets work_;                      // with what has come since the last complete checkpoint
  Buckets complete_;
};

}  // namespace sluice::testing
