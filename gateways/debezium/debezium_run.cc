#include "gateways/debezium/debezium_run.h"

#include <fmt/format.h>
#include <prometheus/gauge.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "gateways/debezium/record_reader.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using std::chrono::milliseconds;

// Small transactions go together in one set up to these.
constexpr size_t kGroupOps = 256;
constexpr size_t kGroupBytes = 64 << 10;
constexpr eventlog::ReadLimits kRound{
    .bytes_max = 4 << 20, .events_max = 10'000, .wait_max = milliseconds(200)};
// A topic may be known to one broker a moment before another.
constexpr milliseconds kTopicDelay{500};

bool IsOfSnapshot(const ChangeEnvelope& event) {
  return event.snapshot != SnapshotPart::kNone && event.snapshot != SnapshotPart::kIncremental;
}

// A TRUNCATE, which writes what came before it without the cursor.
bool HasTruncate(const AssembledSet& set) {
  return std::ranges::any_of(set.changes, [](const TableChange& change) {
    return change.event.op == ChangeOp::kTruncate;
  });
}

}  // namespace

DebeziumRun::DebeziumRun(const SourceContext& context, RowSink& sink,
                         eventlog::RecordSource& source, const Clock& clock,
                         DebeziumMetrics& metrics)
    : context_(context),
      sink_(sink),
      source_(source),
      clock_(clock),
      metrics_(metrics),
      writer_(context, sink, clock, metrics),
      plan_(context.settings, source, reader_, clock, [this] { return sink_.stopping(); }),
      cursor_(context.cursor, clock),
      sweeps_(source, clock) {}

DebeziumRun::~DebeziumRun() { metrics_.held_bytes->Decrement(held_told_); }

absl::Status DebeziumRun::Run() {
  while (!sink_.stopping()) {
    RETURN_IF_ERROR(Begin());
    RETURN_IF_ERROR(FollowPlan());
    if (settled_) {
      cursor_.Settle(lsn_out_);
      if (auto cursor = cursor_.Take(); cursor.has_value()) {
        RETURN_IF_ERROR(writer_.Flush(std::move(cursor)));
      }
    }
  }
  return sink_.Flush();
}

// ---- What is read ----

absl::Status DebeziumRun::Begin() {
  ASSIGN_OR_RETURN(const v1::DebeziumCursor cursor, cursor_.Read());
  v1::DebeziumCursor former;
  if (!former.ParseFromString(context_.former_cursor)) {
    return Error(absl::StatusCode::kInternal, "internal", "the former cursor can't be read");
  }
  RETURN_IF_ERROR(plan_.Make(cursor));
  generations_.emplace(plan_.has_marks(), cursor, former);
  parts_.clear();
  std::vector<TransactionAssembler::Partition> partitions;
  std::vector<eventlog::RecordPlace> places;
  for (size_t i = 0; i < plan_.places().size(); ++i) {
    const auto& [table, topic, partition] = plan_.places()[i];
    const Offset start = plan_.start(i);
    generations_->Add(topic, partition);
    parts_.push_back({.paused = false, .started = start != kNoOffset});
    partitions.push_back({plan_.CollectionOf(i), start});
    places.push_back({topic, partition, start});
  }
  if (plan_.marks_are_there()) {
    places.push_back({context_.settings.transactions(), PartitionId(0),
                      cursor.marks_next() == 0 ? kNoOffset : Offset(cursor.marks_next())});
  }
  lsn_out_ = cursor.has_lsn_done() ? std::optional(cursor.lsn_done()) : std::nullopt;
  assembler_.emplace(AssemblerLimits(), std::move(partitions), Offset(cursor.marks_next()),
                     lsn_out_);
  told_ = {};
  sweeps_.Clear();
  marks_paused_ = false;
  replan_ = false;
  settled_ = true;
  writer_.Follow(&plan_.places(), &*generations_);
  cursor_.Follow(plan_, *generations_, *assembler_, lsn_out_);
  return source_.Assign(std::move(places));
}

std::vector<eventlog::RecordPlace> DebeziumRun::PlacesNow() const {
  std::vector<eventlog::RecordPlace> places;
  for (const ChangeWriter::Place& place : plan_.places()) {
    places.push_back({place.topic, place.partition, source_.next(place.topic, place.partition)});
  }
  if (plan_.marks_are_there()) {
    const std::string& topic = context_.settings.transactions();
    places.push_back({topic, PartitionId(0), source_.next(topic, PartitionId(0))});
  }
  return places;
}

absl::Status DebeziumRun::FollowPlan() {
  while (!sink_.stopping() && !replan_) {
    auto records = source_.Read(kRound);
    if (records.status().code() == absl::StatusCode::kOutOfRange) {
      return HistoryLost(Message(records.status()));
    }
    RETURN_IF_ERROR(records.status());
    writer_.BeginRound();
    for (const eventlog::Record& record : *records) {
      RETURN_IF_ERROR(TakeRecord(record));
      if (replan_) {
        return WriteSets();  // what is left is read again
      }
    }
    for (size_t i = 0; i < parts_.size(); ++i) {
      // Behind tombstones and offsets without a record, too.
      const ChangeWriter::Place& place = plan_.places()[i];
      assembler_->Pass(i, source_.next(place.topic, place.partition));
    }
    RETURN_IF_ERROR(WriteSets());
    RETURN_IF_ERROR(KeepReading());
    RETURN_IF_ERROR(SweepWhatIsDue());
    RETURN_IF_ERROR(WriteCursorNowAndThen());
    Report();
    ASSIGN_OR_RETURN(const bool old, plan_.IsOld());
    replan_ = replan_ || old;
  }
  return absl::OkStatus();
}

absl::Status DebeziumRun::TakeRecord(const eventlog::Record& record) {
  if (!record.value.has_value()) {
    return absl::OkStatus();  // a tombstone says nothing that the delete before it did not
  }
  if (plan_.marks_are_there() && record.topic == context_.settings.transactions()) {
    return TakeMark(record);
  }
  return TakeChange(plan_.PlaceOf(record.topic, record.partition), record);
}

absl::Status DebeziumRun::TakeMark(const eventlog::Record& record) {
  auto mark = reader_.ReadTransaction(*record.value);
  if (!mark.ok()) {
    return Error(absl::StatusCode::kFailedPrecondition, "source_topic_unfit",
                 fmt::format("{} at offset {}: {}", record.topic, record.offset.value(),
                             Message(mark.status())));
  }
  if (plan_.NoteMark(*mark)) {
    replan_ = true;  // and it comes again
    (void)sink_.Pause(kTopicDelay);
    return absl::OkStatus();
  }
  assembler_->AddMark(record.offset, *std::move(mark), clock_.SteadyNow());
  return absl::OkStatus();
}

absl::Status DebeziumRun::TakeChange(size_t part, const eventlog::Record& record) {
  auto change = ReadTableChange(reader_, record);
  if (!change.ok()) {
    parts_[part].started = true;
    return writer_.RejectRecord(plan_.places()[part], record, change.status());
  }
  ASSIGN_OR_RETURN(replan_, plan_.NoteCollection(part, change->event.collection));
  if (replan_) {
    return absl::OkStatus();
  }
  change->partition = part;
  ChangeEnvelope& event = change->event;
  if (!plan_.has_marks() || plan_.HasLostEnd(event)) {
    event.transaction.clear();
  }
  PlaceInSnapshots(part, record, &*change);
  newest_us_ = std::max(newest_us_, event.source_time_us);
  assembler_->AddChange(part, *std::move(change));
  return absl::OkStatus();
}

void DebeziumRun::PlaceInSnapshots(size_t part, const eventlog::Record& record,
                                   TableChange* change) {
  const ChangeWriter::Place& place = plan_.places()[part];
  const ChangeEnvelope& event = change->event;
  const bool first = !std::exchange(parts_[part].started, true) && record.offset.value() > 0;
  loading_ = IsOfSnapshot(event);
  loaded_ += loading_ ? 1 : 0;
  if (event.snapshot == SnapshotPart::kFirst) {
    loaded_ = 1;
  }
  if (event.snapshot == SnapshotPart::kNone && event.lsn.has_value()) {
    generations_->AddChange(place.topic, place.partition, record.offset, *event.lsn);
  }
  change->generation = loading_ && event.lsn.has_value()
                           ? generations_->AddRow(place.topic, place.partition, record.offset,
                                                  event.snapshot, *event.lsn, first)
                           : generations_->At(place.topic, place.partition, record.offset);
  if (generations_->TakeWentBack()) {
    assembler_->Forget();
    lsn_out_.reset();  // what commits now may be below, and is no repeat
  }
}

absl::Status DebeziumRun::KeepReading() {
  const auto seeks = assembler_->TakeSeeks();
  if (!seeks.empty()) {
    std::vector<eventlog::RecordPlace> places = PlacesNow();
    for (const auto& [part, offset] : seeks) {
      places[part].next = offset;
      parts_[part].paused = false;
    }
    RETURN_IF_ERROR(source_.Assign(std::move(places)));
  }
  for (size_t i = 0; i < parts_.size(); ++i) {
    const bool pause = assembler_->IsPaused(i);
    if (pause != parts_[i].paused) {
      const ChangeWriter::Place& place = plan_.places()[i];
      RETURN_IF_ERROR(source_.Pause(place.topic, place.partition, pause));
      parts_[i].paused = pause;
    }
  }
  if (plan_.marks_are_there() && assembler_->marks_paused() != marks_paused_) {
    marks_paused_ = !marks_paused_;
    RETURN_IF_ERROR(source_.Pause(context_.settings.transactions(), PartitionId(0), marks_paused_));
  }
  const SteadyTime now = clock_.SteadyNow();
  if (assembler_->wants_ends(now)) {
    std::vector<Offset> ends;
    for (const ChangeWriter::Place& place : plan_.places()) {
      ASSIGN_OR_RETURN(const Offset end, source_.End(place.topic, place.partition));
      ends.push_back(end);
    }
    assembler_->SetEnds(std::move(ends), now);
    return WriteSets();
  }
  return absl::OkStatus();
}

// ---- What is written ----

absl::Status DebeziumRun::WriteSets() {
  while (const auto set = assembler_->Take()) {
    const bool repeated =
        !set->late && set->lsn.has_value() && lsn_out_.has_value() && *set->lsn <= *lsn_out_;
    if (!writer_.empty() &&
        (HasTruncate(*set) || writer_.size() + set->changes.size() > kGroupOps)) {
      RETURN_IF_ERROR(FlushSets());
    }
    for (const TableChange& change : set->changes) {
      RETURN_IF_ERROR(writer_.Apply(change, set->lsn, repeated));
    }
    settled_ = set->settled;
    if (settled_) {
      lsn_out_ = std::max(lsn_out_, set->lsn);
      cursor_.Settle(lsn_out_);
    }
    if (writer_.size() >= kGroupOps || writer_.bytes() >= kGroupBytes) {
      RETURN_IF_ERROR(FlushSets());
    }
  }
  return FlushSets();
}

// What the cursor says is behind what is written: where a transaction is out in part, before it.
absl::Status DebeziumRun::FlushSets() {
  sink_.set_loading(loading_);
  if (writer_.empty()) {
    return absl::OkStatus();
  }
  lag_us_ = std::max<int64_t>(clock_.Now().time_since_epoch().count() - newest_us_, 0);
  return writer_.Flush(cursor_.TakeBesideRows());
}

absl::Status DebeziumRun::SweepWhatIsDue() {
  if (context_.settings.snapshot_keeps() || !settled_) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto ready, sweeps_.Ready(*generations_, plan_, *assembler_));
  for (const SnapshotGenerations::Sweep& sweep : ready) {
    const auto place_of = [&](PartitionId partition) {
      return plan_.PlaceOf(sweep.topic, partition);
    };
    generations_->Swept(
        sweep, [&](PartitionId partition) { return assembler_->next(place_of(partition)); });
    cursor_.Settle(lsn_out_);
    RETURN_IF_ERROR(writer_.Sweep(plan_.places()[place_of(PartitionId(0))].table, sweep.version,
                                  cursor_.TakeAnyway()));
  }
  return absl::OkStatus();
}

absl::Status DebeziumRun::WriteCursorNowAndThen() {
  if (!settled_ || !cursor_.is_late()) {
    return absl::OkStatus();
  }
  cursor_.Settle(lsn_out_);
  auto cursor = cursor_.Take();
  return cursor.has_value() ? writer_.Flush(std::move(cursor)) : absl::OkStatus();
}

void DebeziumRun::Report() {
  split_ += assembler_->counters().split - told_.split;
  metrics_.Add(assembler_->counters(), &told_);
  const auto held = static_cast<double>(assembler_->held_bytes());
  metrics_.held_bytes->Increment(held - held_told_);
  held_told_ = held;
  v1::RunNumbers numbers;
  numbers.set_state(loading_ ? "loading" : "following");
  numbers.set_loaded(loaded_);
  numbers.set_lag_us(lag_us_);
  numbers.set_split(split_);
  if (lsn_out_.has_value()) {
    numbers.set_position(fmt::format("{:X}/{:X}", *lsn_out_ >> 32, *lsn_out_ & 0xffffffff));
  }
  sink_.Report(numbers);
}

}  // namespace sluice::gateways
