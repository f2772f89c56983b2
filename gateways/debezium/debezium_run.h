#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/record_source.h"
#include "gateways/debezium/change_writer.h"
#include "gateways/debezium/debezium_metrics.h"
#include "gateways/debezium/envelope.h"
#include "gateways/debezium/snapshot_generations.h"
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
  struct Table {
    std::string topic;
    std::string collection;        // as END messages name it
    bool collection_told = false;  // by a change, or the cursor
    size_t index = 0;              // of the writer
  };
  struct Part {
    bool paused = false;
    bool started = false;  // something was read of it, or is known to be before
  };
  // Where to read on after what the writer was given.
  struct Resume {
    std::vector<Offset> next;
    Offset marks_next;
    std::optional<int64_t> lsn_done;

    friend bool operator==(const Resume&, const Resume&) = default;
  };
  struct SweepWait {
    int64_t version = -1;  // of the sweep
    SteadyTime ask_at;
    std::vector<std::pair<PartitionId, Offset>> ends;
  };

  bool has_marks() const { return !context_.settings.transactions().empty(); }
  // From the cursor: which partitions there are, and where they are read.
  absl::Status Plan();
  absl::Status PlanTable(size_t index, const v1::DebeziumCursor& cursor,
                         std::vector<TransactionAssembler::Partition>* partitions);
  absl::Status PlanMarks(const v1::DebeziumCursor& cursor);
  absl::Status LearnCollection(Table& table, const std::vector<PartitionId>& partitions);
  // Whether topics have other partitions by now.
  absl::StatusOr<bool> IsPlanOld();
  std::vector<eventlog::RecordPlace> PlacesNow() const;

  // Until it is to stop, or the plan is old.
  absl::Status FollowPlan();
  absl::Status TakeRecord(const eventlog::Record& record);
  absl::Status TakeMark(const eventlog::Record& record);
  absl::Status TakeChange(size_t part, const eventlog::Record& record);
  absl::Status CheckCollection(const TableChange& change);
  // Whether a table that an END counts may be one of ours that was not there to be planned.
  bool MayBeOurs(const TransactionMark& mark);
  absl::Status WriteSets();
  absl::Status FlushSets();
  // Seeks, pauses, and where partitions end.
  absl::Status KeepReading();
  absl::Status SweepWhatIsDue();
  absl::Status WriteCursorNowAndThen();
  Resume Capture() const;
  // The cursor, where it moved and is to be written now.
  std::optional<std::string> CursorToWrite(bool now);
  std::string CursorText(const Resume& resume);
  void Report();

  const SourceContext& context_;
  RowSink& sink_;
  eventlog::RecordSource& source_;
  const Clock& clock_;
  DebeziumMetrics& metrics_;
  EnvelopeReader reader_;
  ChangeWriter writer_;

  std::string cursor_;  // the last that the sink was given
  std::vector<Table> tables_;
  std::vector<ChangeWriter::Place> places_;
  std::vector<Part> parts_;  // as places_
  std::map<std::pair<std::string, PartitionId>, size_t> part_of_;
  std::optional<SnapshotGenerations> generations_;
  std::optional<TransactionAssembler> assembler_;
  bool marks_are_there_ = false;
  bool marks_paused_ = false;
  bool marks_cut_ = false;          // the topic of transactions has lost its begin
  std::optional<int64_t> cut_lsn_;  // and begins with this
  bool replan_ = false;
  std::set<std::string> looked_for_;  // collections of others, as far as is known
  SteadyTime plan_until_;

  bool settled_ = true;
  Resume resume_;
  Resume written_;
  SteadyTime written_at_;
  std::optional<int64_t> lsn_out_;  // the greatest commit that the writer was given whole
  std::map<std::string, SweepWait> sweeps_;
  TransactionAssembler::Counters told_;
  double held_told_ = 0;
  uint64_t split_ = 0;
  bool loading_ = false;
  uint64_t loaded_ = 0;
  int64_t newest_us_ = 0;  // by the source's clock
  int64_t lag_us_ = 0;
};

}  // namespace sluice::gateways
