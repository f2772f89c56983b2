#include "gateways/debezium/run_cursor.h"

#include <chrono>
#include <utility>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

// How often a cursor is written where no rows come with it, and a large one where rows do.
constexpr std::chrono::seconds kQuietCursor{5};
constexpr std::chrono::seconds kLargeCursor{1};
constexpr size_t kLargeCursorBytes = 8 << 10;

}  // namespace

RunCursor::RunCursor(std::string text, const Clock& clock)
    : clock_(clock), text_(std::move(text)) {}

absl::StatusOr<v1::DebeziumCursor> RunCursor::Read() const {
  v1::DebeziumCursor cursor;
  return cursor.ParseFromString(text_)
             ? absl::StatusOr<v1::DebeziumCursor>(std::move(cursor))
             : Error(absl::StatusCode::kInternal, "internal", "the source's cursor can't be read");
}

void RunCursor::Follow(const TopicPlan& plan, SnapshotGenerations& generations,
                       const TransactionAssembler& assembler, std::optional<int64_t> lsn_out) {
  plan_ = &plan;
  generations_ = &generations;
  assembler_ = &assembler;
  settled_ = Capture(lsn_out);
  taken_ = settled_;
  taken_at_ = clock_.SteadyNow();
}

RunCursor::Resume RunCursor::Capture(std::optional<int64_t> lsn_out) const {
  Resume resume;
  resume.next.reserve(plan_->places().size());
  for (size_t i = 0; i < plan_->places().size(); ++i) {
    resume.next.push_back(assembler_->position(i));
  }
  resume.marks_next = assembler_->marks_position();
  resume.lsn_done = lsn_out;
  return resume;
}

std::string RunCursor::Text() const {
  v1::DebeziumCursor cursor;
  for (size_t i = 0; i < plan_->places().size(); ++i) {
    auto& partition = *cursor.add_partitions();
    partition.set_topic(plan_->places()[i].topic);
    partition.set_partition(plan_->places()[i].partition.value());
    partition.set_next(settled_.next[i].value());
    partition.set_collection(plan_->ToldCollectionOf(i));
  }
  generations_->Save(&cursor);
  cursor.set_marks_next(settled_.marks_next.value());
  if (settled_.lsn_done.has_value()) {
    cursor.set_lsn_done(*settled_.lsn_done);
  }
  if (plan_->cut_lsn().has_value()) {
    cursor.set_cut_lsn(*plan_->cut_lsn());
  }
  return cursor.SerializeAsString();
}

std::optional<std::string> RunCursor::Take() {
  return settled_ == taken_ || plan_->places().empty() ? std::nullopt : std::optional(TakeAnyway());
}

std::optional<std::string> RunCursor::TakeBesideRows() {
  const bool may_wait =
      text_.size() > kLargeCursorBytes && clock_.SteadyNow() < taken_at_ + kLargeCursor;
  return may_wait ? std::nullopt : Take();
}

std::string RunCursor::TakeAnyway() {
  taken_ = settled_;
  taken_at_ = clock_.SteadyNow();
  return text_ = Text();
}

bool RunCursor::is_late() const { return clock_.SteadyNow() >= taken_at_ + kQuietCursor; }

}  // namespace sluice::gateways
