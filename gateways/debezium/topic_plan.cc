#include "gateways/debezium/topic_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "gateways/debezium/record_reader.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

// How often topics are looked for that are not there yet, and for new partitions.
constexpr std::chrono::seconds kLookForTopics{10};
constexpr std::chrono::seconds kLookForPartitions{60};
constexpr size_t kPartitionsMax = 10'000;
constexpr size_t kLookedForMax = 10'000;
constexpr std::chrono::milliseconds kMarkWait{200};

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

}  // namespace

absl::Status HistoryLost(std::string_view why) {
  return Error(
      absl::StatusCode::kFailedPrecondition, "source_history_lost",
      fmt::format("{}: have Debezium take a snapshot, then run the source with \"reload\"", why));
}

TopicPlan::TopicPlan(const v1::SourceSettings& settings, eventlog::RecordSource& source,
                     EnvelopeReader& reader, const Clock& clock, std::function<bool()> stopping)
    : settings_(settings),
      source_(source),
      reader_(reader),
      clock_(clock),
      stopping_(std::move(stopping)) {
  for (const v1::SourceEntity& entity : settings.entities()) {
    if (!entity.disabled()) {
      tables_.push_back({.topic = entity.topic(),
                         .collection = CollectionOfTopic(entity.topic(), settings.transactions())});
    }
  }
}

absl::Status TopicPlan::Make(const v1::DebeziumCursor& cursor) {
  until_ = clock_.SteadyNow() + kLookForPartitions;
  places_.clear();
  starts_.clear();
  place_of_.clear();
  RETURN_IF_ERROR(MakeMarks(cursor));
  for (size_t i = 0; i < tables_.size(); ++i) {
    RETURN_IF_ERROR(MakeTable(i, cursor));
  }
  return absl::OkStatus();
}

absl::Status TopicPlan::LearnCollection(Table& table, const std::vector<PartitionId>& partitions) {
  ASSIGN_OR_RETURN(const auto newest,
                   ReadNewestChange(source_, table.topic, partitions, reader_, stopping_));
  if (newest.has_value()) {
    table.collection = newest->event.collection;
    table.collection_told = true;
  }
  return absl::OkStatus();
}

absl::Status TopicPlan::MakeTable(size_t index, const v1::DebeziumCursor& cursor) {
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
    until_ = std::min(until_, clock_.SteadyNow() + kLookForTopics);
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
    place_of_[{table.topic, partition}] = places_.size();
    places_.push_back({index, table.topic, partition});
    starts_.push_back(at == known.end() ? kNoOffset : at->second);
  }
  return places_.size() <= kPartitionsMax
             ? absl::OkStatus()
             : Unfit(fmt::format("the topics have more than {} partitions", kPartitionsMax));
}

absl::Status TopicPlan::MakeMarks(const v1::DebeziumCursor& cursor) {
  const std::string& topic = settings_.transactions();
  marks_are_there_ = false;
  marks_cut_ = cursor.has_cut_lsn();
  cut_lsn_ = cursor.has_cut_lsn() ? std::optional(cursor.cut_lsn()) : std::nullopt;
  if (!has_marks()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<PartitionId> found, source_.Partitions(topic));
  if (found.empty()) {
    until_ = std::min(until_, clock_.SteadyNow() + kLookForTopics);
    return cursor.marks_next() == 0 ? absl::OkStatus()
                                    : HistoryLost(fmt::format("{} is there no more", topic));
  }
  if (found.size() > 1) {
    return Unfit(fmt::format("{} has {} partitions, and the order of transactions needs one", topic,
                             found.size()));
  }
  marks_are_there_ = true;
  return cursor.marks_next() > 0 || marks_cut_ ? absl::OkStatus() : FindCut(found[0]);
}

// Changes whose END the topic of transactions has no more, as its records were removed before those
// of the tables, go out by themselves. They are those below the first mark that is left: what
// committed before it lies below.
absl::Status TopicPlan::FindCut(PartitionId partition) {
  const std::string& topic = settings_.transactions();
  ASSIGN_OR_RETURN(const Offset end, source_.End(topic, partition));
  RETURN_IF_ERROR(source_.Assign({{topic, partition, kNoOffset}}));
  while (source_.next(topic, partition) < end && !stopping_()) {
    ASSIGN_OR_RETURN(const auto records, source_.Read({.events_max = 1, .wait_max = kMarkWait}));
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

absl::StatusOr<bool> TopicPlan::IsOld() {
  if (clock_.SteadyNow() < until_) {
    return false;
  }
  size_t partitions = 0;
  for (const Table& table : tables_) {
    ASSIGN_OR_RETURN(const auto found, source_.Partitions(table.topic));
    partitions += found.size();
  }
  bool marks = false;
  if (has_marks()) {
    ASSIGN_OR_RETURN(const auto found, source_.Partitions(settings_.transactions()));
    marks = !found.empty();
  }
  const bool all_there =
      (marks || !has_marks()) &&
      std::ranges::all_of(tables_, [&](const Table& table) { return IsPlanned(table); });
  until_ = clock_.SteadyNow() + (all_there ? kLookForPartitions : kLookForTopics);
  return partitions != places_.size() || marks != marks_are_there_;
}

std::string TopicPlan::ToldCollectionOf(size_t place) const {
  const Table& table = tables_[places_[place].table];
  return table.collection == CollectionOfTopic(table.topic, settings_.transactions())
             ? std::string()
             : table.collection;
}

bool TopicPlan::NoteMark(const TransactionMark& mark) {
  if (mark.end && MayBeOurs(mark)) {
    return true;
  }
  if (marks_cut_ && !cut_lsn_.has_value()) {
    cut_lsn_ = mark.lsn;
  }
  return false;
}

// A topic comes with its first change, and the END of that change's transaction may be read before
// the topic is known of. Passed over, the change would wait for it for ever. Each name is looked
// for once: others are tables that nobody wants.
bool TopicPlan::MayBeOurs(const TransactionMark& mark) {
  const bool all_known = std::ranges::all_of(
      tables_, [&](const Table& table) { return table.collection_told && IsPlanned(table); });
  if (all_known) {
    return false;
  }
  bool may_be = false;
  for (const auto& [collection, count] : mark.collections) {
    const bool planned = std::ranges::any_of(tables_, [&](const Table& table) {
      return table.collection == collection && IsPlanned(table);
    });
    may_be = may_be || (!planned && looked_for_.insert(collection).second);
  }
  if (looked_for_.size() > kLookedForMax) {
    looked_for_.clear();
  }
  // Its END is read again after that: it may count more names than are remembered.
  return may_be && std::exchange(looked_at_, mark.id) != mark.id;
}

absl::StatusOr<bool> TopicPlan::NoteCollection(size_t place, const std::string& collection) {
  Table& table = tables_[places_[place].table];
  if (!has_marks() || collection == table.collection) {
    return false;
  }
  if (table.collection_told) {
    return Unfit(fmt::format("{} has changes of {} and of {}: transactions can't be told by table",
                             table.topic, QuoteForError(table.collection),
                             QuoteForError(collection)));
  }
  // Nothing of the table was there to learn it from when it was planned.
  table.collection = collection;
  table.collection_told = true;
  return true;
}

}  // namespace sluice::gateways
