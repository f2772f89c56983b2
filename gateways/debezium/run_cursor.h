#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gateways/debezium/snapshot_generations.h"
#include "gateways/debezium/topic_plan.h"
#include "gateways/debezium/transaction_assembler.h"
#include "schemas/base/clock.h"
#include "schemas/sluice/v1/sources.pb.h"

namespace sluice::gateways {

// Where a source is to be read on, behind what is written: made as a cursor when there is to be
// one. Not thread-safe.
class RunCursor {
 public:
  // `text`: from which the run goes on. `clock` must outlive it.
  RunCursor(std::string text, const Clock& clock);

  // The last that was taken. Code "internal" where it can't be read.
  [[nodiscard]] absl::StatusOr<v1::DebeziumCursor> Read() const;
  // What is read from now on is in these, which must outlive the next call; it begins at Read().
  void Follow(const TopicPlan& plan, SnapshotGenerations& generations,
              const TransactionAssembler& assembler, std::optional<int64_t> lsn_out);

  // All that went out is whole. `lsn_out`: the greatest commit of it.
  void Settle(std::optional<int64_t> lsn_out) { settled_ = Capture(lsn_out); }

  // The cursor of what was settled last, to be given to the sink; nullopt where it has not moved.
  [[nodiscard]] std::optional<std::string> Take();
  // nullopt also where it is large and was taken a moment ago.
  [[nodiscard]] std::optional<std::string> TakeBesideRows();
  // Whether or not it has moved: what the generations say has changed.
  [[nodiscard]] std::string TakeAnyway();
  // Whether none was taken for a while.
  [[nodiscard]] bool is_late() const;

 private:
  struct Resume {
    std::vector<Offset> next;  // by place of the plan
    Offset marks_next;
    std::optional<int64_t> lsn_done;

    friend bool operator==(const Resume&, const Resume&) = default;
  };

  Resume Capture(std::optional<int64_t> lsn_out) const;
  std::string Text() const;

  const Clock& clock_;
  std::string text_;
  const TopicPlan* plan_ = nullptr;
  SnapshotGenerations* generations_ = nullptr;
  const TransactionAssembler* assembler_ = nullptr;
  Resume settled_;
  Resume taken_;
  SteadyTime taken_at_;
};

}  // namespace sluice::gateways
