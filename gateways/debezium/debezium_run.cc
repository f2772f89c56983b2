#include "gateways/debezium/debezium_run.h"

#include <fmt/format.h>
#include <prometheus/gauge.h>

#include <algorithm>
#include <chrono>

#include "gateways/debezium/record_reader.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Small transactions go together in one set up to these.
constexpr size_t kGroupOps = 256;
constexpr size_t kGroupBytes = 64 << 10;
constexpr eventlog::ReadLimits kRound{
    .bytes_max = 4 << 20, .events_max = 10'000, .wait_max = milliseconds(200)};
// How often a cursor is written where no rows come with it, and a large one where rows do.
constexpr seconds kQuietCursor{5};
constexpr seconds kLargeCursor{1};
constexpr size_t kLargeCursorBytes = 8 << 10;
// How often topics are looked for that are not there yet, and for new partitions.
constexpr seconds kLookForTopics{10};
constexpr seconds kLookForPartitions{60};
constexpr size_t kPartitionsMax = 10'000;
// A topic may be known to one broker a moment before another.
constexpr milliseconds kTopicDelay{500};
// The snapshot's rows in other partitions may become visible a moment after its last one.
constexpr seconds kSweepDelay{1};
constexpr size_t kLookedForMax = 10'000;

absl::Status HistoryLost(std::string_view why) {
  return Error(
      absl::StatusCode::kFailedPrecondition, "source_history_lost",
      fmt::format("{}: have Debezium take a snapshot, then run the source with \"reload\"", why));
}

absl::Status Unfit(std::string_view why) {
  return Error(absl::StatusCode::kFailedPrecondition, "source_topic_unfit", why);
}

// "shop.public.customer" -> "public.customer", with the prefix that "shop.transaction" has.
std::string CollectionOfTopic(std::string_view topic, std::string_view transactions) {
  const size_t suffix = transactions.rfind('.');
  const std::string_view prefix =
      transactions.substr(0, suffix == std::string_view::npos ? 0 : suffix + 1);
  if (!prefix.empty() && topic.starts_with(prefix)) {
    return std::string(topic.substr(prefix.size()));
  }
  const size_t dot = topic.find('.');
  return std::string(dot == std::string_view::npos ? topic : topic.substr(dot + 1));
}

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
      cursor_(context.cursor) {
  for (const v1::SourceEntity& entity : context.settings.entities()) {
    if (!entity.disabled()) {
      Table& table = tables_.emplace_back();
      table.topic = entity.topic();
      table.collection = CollectionOfTopic(entity.topic(), context.settings.transactions());
      table.index = writer_.AddTable(entity);
    }
  }
}

DebeziumRun::~DebeziumRun() { metrics_.held_bytes->Decrement(held_told_); }

absl::Status DebeziumRun::Run() {
  while (!sink_.stopping()) {
    RETURN_IF_ERROR(Plan());
    RETURN_IF_ERROR(FollowPlan());
    if (settled_) {
      resume_ = Capture();
      if (auto cursor = CursorToWrite(true); cursor.has_value()) {
        RETURN_IF_ERROR(writer_.Flush(std::move(cursor)));
      }
    }
  }
  return sink_.Flush();
}

// ---- What is read ----

absl::Status DebeziumRun::LearnCollection(Table& table,
                                          const std::vector<PartitionId>& partitions) {
  ASSIGN_OR_RETURN(const auto newest, ReadNewestChange(source_, table.topic, partitions, reader_,
                                                       [this] { return sink_.stopping(); }));
  if (newest.has_value()) {
    table.collection = newest->event.collection;
    table.collection_told = true;
  }
  return absl::OkStatus();
}

absl::Status DebeziumRun::PlanTable(size_t index, const v1::DebeziumCursor& cursor,
                                    std::vector<TransactionAssembler::Partition>* partitions) {
  Table& table = tables_[index];
  std::map<PartitionId, Offset> known;
  for (const auto& partition : cursor.partitions()) {
    if (partition.topic() == table.topic) {
      known[PartitionId(partition.partition())] = Offset(partition.next());
      if (!partition.collection().empty()) {
        table.collection = partition.collection();
      }
      table.collection_told = true;
    }
  }
  ASSIGN_OR_RETURN(const std::vector<PartitionId> found, source_.Partitions(table.topic));
  for (const auto& [partition, next] : known) {
    if (std::ranges::find(found, partition) == found.end()) {
      return HistoryLost(fmt::format("{}-{} is there no more", table.topic, partition.value()));
    }
  }
  if (found.empty()) {
    plan_until_ = std::min(plan_until_, clock_.SteadyNow() + kLookForTopics);
  } else if (has_marks() && !table.collection_told) {
    RETURN_IF_ERROR(LearnCollection(table, found));
  }
  if (!has_marks() && found.size() > 1) {
    return Unfit(
        fmt::format("{} has {} partitions: name the topic of transactions, without which "
                    "their order among one another can't be told",
                    table.topic, found.size()));
  }
  for (const PartitionId partition : found) {
    const auto at = known.find(partition);
    const Offset next = at == known.end() ? kNoOffset : at->second;
    part_of_[{table.topic, partition}] = places_.size();
    places_.push_back({table.index, table.topic, partition});
    parts_.push_back({.paused = false, .started = next != kNoOffset});
    generations_->Add(table.topic, partition);
    partitions->push_back({table.collection, next});
  }
  return places_.size() <= kPartitionsMax
             ? absl::OkStatus()
             : Unfit(fmt::format("the topics have more than {} partitions", kPartitionsMax));
}

// Changes whose END the topic of transactions has no more, as its records were removed before those
// of the tables, go out by themselves. They are those below the first mark that is left: what
// committed before it lies below.
absl::Status DebeziumRun::PlanMarks(const v1::DebeziumCursor& cursor) {
  const std::string& topic = context_.settings.transactions();
  marks_are_there_ = false;
  marks_paused_ = false;
  marks_cut_ = cursor.has_cut_lsn();
  cut_lsn_ = cursor.has_cut_lsn() ? std::optional(cursor.cut_lsn()) : std::nullopt;
  if (!has_marks()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<PartitionId> found, source_.Partitions(topic));
  if (found.empty()) {
    plan_until_ = std::min(plan_until_, clock_.SteadyNow() + kLookForTopics);
    return cursor.marks_next() == 0 ? absl::OkStatus()
                                    : HistoryLost(fmt::format("{} is there no more", topic));
  }
  if (found.size() > 1) {
    return Unfit(fmt::format("{} has {} partitions, and the order of transactions needs one", topic,
                             found.size()));
  }
  marks_are_there_ = true;
  if (cursor.marks_next() > 0 || marks_cut_) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const Offset end, source_.End(topic, found[0]));
  RETURN_IF_ERROR(source_.Assign({{topic, found[0], kNoOffset}}));
  while (source_.next(topic, found[0]) < end && !sink_.stopping()) {
    ASSIGN_OR_RETURN(const auto records,
                     source_.Read({.events_max = 1, .wait_max = kRound.wait_max}));
    if (records.empty()) {
      continue;
    }
    marks_cut_ = records[0].offset.value() > 0;
    if (records[0].value.has_value()) {
      const auto mark = reader_.ReadTransaction(*records[0].value);
      cut_lsn_ = marks_cut_ && mark.ok() ? mark->lsn : std::nullopt;
    }
    return absl::OkStatus();
  }
  marks_cut_ = end.value() > 0;  // nothing is left of it
  return absl::OkStatus();
}

absl::Status DebeziumRun::Plan() {
  v1::DebeziumCursor cursor;
  v1::DebeziumCursor former;
  if (!cursor.ParseFromString(cursor_) || !former.ParseFromString(context_.former_cursor)) {
    return Error(absl::StatusCode::kInternal, "internal", "the source's cursor can't be read");
  }
  replan_ = false;
  plan_until_ = clock_.SteadyNow() + kLookForPartitions;
  places_.clear();
  parts_.clear();
  part_of_.clear();
  sweeps_.clear();
  generations_.emplace(has_marks(), cursor, former);
  RETURN_IF_ERROR(PlanMarks(cursor));
  std::vector<TransactionAssembler::Partition> partitions;
  for (size_t i = 0; i < tables_.size(); ++i) {
    RETURN_IF_ERROR(PlanTable(i, cursor, &partitions));
  }
  std::vector<eventlog::RecordPlace> places;
  for (size_t i = 0; i < places_.size(); ++i) {
    places.push_back({places_[i].topic, places_[i].partition, partitions[i].next});
  }
  if (marks_are_there_) {
    places.push_back({context_.settings.transactions(), PartitionId(0),
                      cursor.marks_next() == 0 ? kNoOffset : Offset(cursor.marks_next())});
  }
  const std::optional<int64_t> lsn_done =
      cursor.has_lsn_done() ? std::optional(cursor.lsn_done()) : std::nullopt;
  assembler_.emplace(AssemblerLimits(), std::move(partitions), Offset(cursor.marks_next()),
                     lsn_done);
  told_ = {};
  lsn_out_ = lsn_done;
  writer_.Follow(&places_, &*generations_);
  settled_ = true;
  resume_ = Capture();
  written_ = resume_;
  written_at_ = clock_.SteadyNow();
  return source_.Assign(std::move(places));
}

absl::StatusOr<bool> DebeziumRun::IsPlanOld() {
  if (clock_.SteadyNow() < plan_until_) {
    return false;
  }
  size_t partitions = 0;
  for (const Table& table : tables_) {
    ASSIGN_OR_RETURN(const auto found, source_.Partitions(table.topic));
    partitions += found.size();
  }
  bool marks = false;
  if (has_marks()) {
    ASSIGN_OR_RETURN(const auto found, source_.Partitions(context_.settings.transactions()));
    marks = !found.empty();
  }
  plan_until_ = clock_.SteadyNow() + (has_marks() && !marks ? kLookForTopics : kLookForPartitions);
  for (const Table& table : tables_) {
    if (!part_of_.contains({table.topic, PartitionId(0)})) {
      plan_until_ = std::min(plan_until_, clock_.SteadyNow() + kLookForTopics);
    }
  }
  return partitions != places_.size() || marks != marks_are_there_;
}

std::vector<eventlog::RecordPlace> DebeziumRun::PlacesNow() const {
  std::vector<eventlog::RecordPlace> places;
  for (const ChangeWriter::Place& place : places_) {
    places.push_back({place.topic, place.partition, source_.next(place.topic, place.partition)});
  }
  if (marks_are_there_) {
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
    for (size_t i = 0; i < places_.size(); ++i) {
      // Behind tombstones and offsets without a record, too.
      assembler_->Pass(i, source_.next(places_[i].topic, places_[i].partition));
    }
    RETURN_IF_ERROR(WriteSets());
    RETURN_IF_ERROR(KeepReading());
    RETURN_IF_ERROR(SweepWhatIsDue());
    RETURN_IF_ERROR(WriteCursorNowAndThen());
    Report();
    ASSIGN_OR_RETURN(const bool old, IsPlanOld());
    replan_ = replan_ || old;
  }
  return absl::OkStatus();
}

absl::Status DebeziumRun::TakeRecord(const eventlog::Record& record) {
  if (!record.value.has_value()) {
    return absl::OkStatus();  // a tombstone says nothing that the delete before it did not
  }
  if (marks_are_there_ && record.topic == context_.settings.transactions()) {
    return TakeMark(record);
  }
  return TakeChange(part_of_.at({record.topic, record.partition}), record);
}

absl::Status DebeziumRun::TakeMark(const eventlog::Record& record) {
  auto mark = reader_.ReadTransaction(*record.value);
  if (!mark.ok()) {
    return Unfit(fmt::format("{} at offset {}: {}", record.topic, record.offset.value(),
                             Message(mark.status())));
  }
  if (mark->end && MayBeOurs(*mark)) {
    replan_ = true;  // and comes again
    (void)sink_.Pause(kTopicDelay);
    return absl::OkStatus();
  }
  if (marks_cut_ && !cut_lsn_.has_value()) {
    cut_lsn_ = mark->lsn;
  }
  assembler_->AddMark(record.offset, *std::move(mark), clock_.SteadyNow());
  return absl::OkStatus();
}

// A topic comes with its first change, and the END of that change's transaction may be read before
// the topic is known of. Passed over, the change would wait for it for ever. Each name is looked
// for once: others are tables that nobody wants.
bool DebeziumRun::MayBeOurs(const TransactionMark& mark) {
  const bool all_known = std::ranges::all_of(tables_, [&](const Table& table) {
    return table.collection_told && part_of_.contains({table.topic, PartitionId(0)});
  });
  if (all_known) {
    return false;
  }
  bool may_be = false;
  for (const auto& [collection, count] : mark.collections) {
    const bool planned = std::ranges::any_of(tables_, [&](const Table& table) {
      return table.collection == collection && part_of_.contains({table.topic, PartitionId(0)});
    });
    may_be = may_be || (!planned && looked_for_.insert(collection).second);
  }
  if (looked_for_.size() > kLookedForMax) {
    looked_for_.clear();
  }
  return may_be;
}

absl::Status DebeziumRun::CheckCollection(const TableChange& change) {
  Table& table = tables_[places_[change.partition].table];
  if (!has_marks() || change.event.collection == table.collection) {
    return absl::OkStatus();
  }
  if (table.collection_told) {
    return Unfit(fmt::format("{} has changes of {} and of {}: transactions can't be told by table",
                             table.topic, QuoteForError(table.collection),
                             QuoteForError(change.event.collection)));
  }
  // Nothing of the table was there to learn it from when it was planned.
  table.collection = change.event.collection;
  table.collection_told = true;
  replan_ = true;
  return absl::OkStatus();
}

absl::Status DebeziumRun::TakeChange(size_t part, const eventlog::Record& record) {
  const ChangeWriter::Place& place = places_[part];
  const bool first = !std::exchange(parts_[part].started, true) && record.offset.value() > 0;
  auto change = ReadTableChange(reader_, record);
  if (!change.ok()) {
    return writer_.RejectRecord(place, record, change.status());
  }
  change->partition = part;
  RETURN_IF_ERROR(CheckCollection(*change));
  if (replan_) {
    return absl::OkStatus();
  }
  ChangeEnvelope& event = change->event;
  if (!has_marks() ||
      (marks_cut_ && event.lsn.has_value() && (!cut_lsn_.has_value() || *event.lsn < *cut_lsn_))) {
    event.transaction.clear();
  }
  if (IsOfSnapshot(event)) {
    loading_ = true;
    ++loaded_;
  } else {
    loading_ = false;
  }
  if (event.snapshot == SnapshotPart::kNone && event.lsn.has_value()) {
    generations_->AddChange(place.topic, place.partition, record.offset, *event.lsn);
  }
  change->generation = IsOfSnapshot(event) && event.lsn.has_value()
                           ? generations_->AddRow(place.topic, place.partition, record.offset,
                                                  event.snapshot, *event.lsn, first)
                           : generations_->At(place.topic, place.partition, record.offset);
  if (generations_->TakeWentBack()) {
    assembler_->Forget();
    lsn_out_.reset();  // what commits now may be below, and is no repeat
  }
  if (event.snapshot == SnapshotPart::kFirst) {
    loaded_ = 1;
  }
  newest_us_ = std::max(newest_us_, event.source_time_us);
  assembler_->AddChange(part, *std::move(change));
  return absl::OkStatus();
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
      RETURN_IF_ERROR(source_.Pause(places_[i].topic, places_[i].partition, pause));
      parts_[i].paused = pause;
    }
  }
  if (marks_are_there_ && assembler_->marks_paused() != marks_paused_) {
    marks_paused_ = !marks_paused_;
    RETURN_IF_ERROR(source_.Pause(context_.settings.transactions(), PartitionId(0), marks_paused_));
  }
  const SteadyTime now = clock_.SteadyNow();
  if (assembler_->wants_ends(now)) {
    std::vector<Offset> ends;
    for (const ChangeWriter::Place& place : places_) {
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
      resume_ = Capture();
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
  return writer_.Flush(CursorToWrite(false));
}

DebeziumRun::Resume DebeziumRun::Capture() const {
  Resume resume;
  resume.next.reserve(places_.size());
  for (size_t i = 0; i < places_.size(); ++i) {
    resume.next.push_back(assembler_->position(i));
  }
  resume.marks_next = assembler_->marks_position();
  resume.lsn_done = lsn_out_;
  return resume;
}

std::string DebeziumRun::CursorText(const Resume& resume) {
  v1::DebeziumCursor cursor;
  for (size_t i = 0; i < places_.size(); ++i) {
    const Table& table = tables_[places_[i].table];
    auto& partition = *cursor.add_partitions();
    partition.set_topic(places_[i].topic);
    partition.set_partition(places_[i].partition.value());
    partition.set_next(resume.next[i].value());
    if (table.collection != CollectionOfTopic(table.topic, context_.settings.transactions())) {
      partition.set_collection(table.collection);
    }
  }
  generations_->Save(&cursor);
  cursor.set_marks_next(resume.marks_next.value());
  if (resume.lsn_done.has_value()) {
    cursor.set_lsn_done(*resume.lsn_done);
  }
  if (cut_lsn_.has_value()) {
    cursor.set_cut_lsn(*cut_lsn_);
  }
  return cursor.SerializeAsString();
}

std::optional<std::string> DebeziumRun::CursorToWrite(bool now) {
  const SteadyTime time = clock_.SteadyNow();
  const bool may_wait =
      !now && cursor_.size() > kLargeCursorBytes && time < written_at_ + kLargeCursor;
  if (resume_ == written_ || places_.empty() || may_wait) {
    return std::nullopt;
  }
  written_ = resume_;
  written_at_ = time;
  cursor_ = CursorText(resume_);
  return cursor_;
}

absl::Status DebeziumRun::SweepWhatIsDue() {
  if (context_.settings.snapshot_keeps()) {
    return absl::OkStatus();
  }
  for (const SnapshotGenerations::Sweep& due : generations_->Due()) {
    SweepWait& wait = sweeps_[due.topic];
    std::optional<size_t> table;
    if (wait.version != due.version) {
      wait = {due.version, clock_.SteadyNow() + kSweepDelay, {}};
    }
    if (clock_.SteadyNow() < wait.ask_at) {
      continue;
    }
    if (wait.ends.empty()) {
      for (const ChangeWriter::Place& place : places_) {
        if (place.topic == due.topic) {
          ASSIGN_OR_RETURN(const Offset end, source_.End(place.topic, place.partition));
          wait.ends.emplace_back(place.partition, end);
        }
      }
    }
    bool is_read = settled_;
    for (const auto& [partition, end] : wait.ends) {
      is_read = is_read && source_.next(due.topic, partition) >= end;
      table = places_[part_of_.at({due.topic, partition})].table;
    }
    if (!is_read || !table.has_value()) {
      continue;
    }
    generations_->Swept(due,
                        [&](PartitionId partition) { return source_.next(due.topic, partition); });
    resume_ = Capture();
    written_ = resume_;
    written_at_ = clock_.SteadyNow();
    cursor_ = CursorText(resume_);
    RETURN_IF_ERROR(writer_.Sweep(*table, due.version, cursor_));
  }
  return absl::OkStatus();
}

absl::Status DebeziumRun::WriteCursorNowAndThen() {
  if (!settled_ || clock_.SteadyNow() < written_at_ + kQuietCursor) {
    return absl::OkStatus();
  }
  resume_ = Capture();
  auto cursor = CursorToWrite(true);
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
