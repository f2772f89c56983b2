#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "eventlog/record_source.h"
#include "gateways/debezium/change_writer.h"
#include "gateways/debezium/debezium_metrics.h"
#include "gateways/debezium/envelope.h"
#include "gateways/debezium/run_cursor.h"
#include "gateways/debezium/snapshot_generations.h"
#include "gateways/debezium/snapshot_sweeps.h"
#include "gateways/debezium/topic_plan.h"
#include "gateways/debezium/transaction_assembler.h"
#include "gateways/sources/connector.h"

namespace sluice::gateways {

// One run of a Debezium source: reads its topics from the cursor on, and gives whole transactions
// to the sink until it is to stop. Each set that ends with a whole transaction has the positions
// behind it. Not thread-safe.
class DebeziumRun {
 public:
  // All must outlive it.
  DebeziumRun(const SourceContext& context, RowSink& sink, eventlog::RecordSource& source,
              const Clock& clock, DebeziumMetrics& metrics);
  ~DebeziumRun();

  // Errors as Connector::Run().
  absl::Status Run();

 private:
  // Of a place of the plan.
  struct Part {
    bool paused = false;
    bool started = false;  // something was read of it, or is known to be before
  };

  // Reads from the cursor on, what there is by now.
  absl::Status Begin();
  std::vector<eventlog::RecordPlace> PlacesNow() const;
  // Until it is to stop, or the plan is old.
  absl::Status FollowPlan();

  absl::Status TakeRecord(const eventlog::Record& record);
  absl::Status TakeMark(const eventlog::Record& record);
  absl::Status TakeChange(size_t part, const eventlog::Record& record);
  void PlaceInSnapshots(size_t part, const eventlog::Record& record, TableChange* change);
  // Seeks, pauses, and where partitions end.
  absl::Status KeepReading();

  absl::Status WriteSets();
  absl::Status FlushSets();
  absl::Status SweepWhatIsDue();
  absl::Status WriteCursorNowAndThen();
  void Report();

  const SourceContext& context_;
  RowSink& sink_;
  eventlog::RecordSource& source_;
  const Clock& clock_;
  DebeziumMetrics& metrics_;
  EnvelopeReader reader_;
  ChangeWriter writer_;
  TopicPlan plan_;
  RunCursor cursor_;
  SnapshotSweeps sweeps_;

  // Anew with each plan.
  std::vector<Part> parts_;
  std::optional<SnapshotGenerations> generations_;
  std::optional<TransactionAssembler> assembler_;
  bool marks_paused_ = false;
  bool replan_ = false;
  bool settled_ = true;             // nothing is out in part
  std::optional<int64_t> lsn_out_;  // the greatest commit that the writer was given whole

  // What is told.
  TransactionAssembler::Counters told_;
  double held_told_ = 0;
  uint64_t split_ = 0;
  bool loading_ = false;
  uint64_t loaded_ = 0;
  int64_t newest_us_ = 0;  // by the source's clock
  int64_t lag_us_ = 0;
};

}  // namespace sluice::gateways
