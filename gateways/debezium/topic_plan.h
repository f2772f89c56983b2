#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/record_source.h"
#include "gateways/debezium/change_writer.h"
#include "gateways/debezium/envelope.h"
#include "schemas/base/clock.h"
#include "schemas/sluice/v1/sources.pb.h"

namespace sluice::gateways {

// Code "source_history_lost", with what to do.
[[nodiscard]] absl::Status HistoryLost(std::string_view why);

// Which partitions a run reads, from where, and which tables' changes are in them: what its topics
// have by now. Topics and partitions that come later make a plan old. Not thread-safe.
class TopicPlan {
 public:
  // All must outlive it. `stopping` ends a wait for records.
  TopicPlan(const v1::SourceSettings& settings, eventlog::RecordSource& source,
            EnvelopeReader& reader, const Clock& clock, std::function<bool()> stopping);

  // Looks for what there is, to be read from the cursor on. Codes "source_history_lost",
  // "source_topic_unfit", and what the source fails with.
  [[nodiscard]] absl::Status Make(const v1::DebeziumCursor& cursor);
  // Whether topics have other partitions than it says; looks now and then only.
  [[nodiscard]] absl::StatusOr<bool> IsOld();

  // Tables are counted as the settings have them, without those that are disabled.
  const std::vector<ChangeWriter::Place>& places() const { return places_; }
  // kNoOffset: the first that there is.
  Offset start(size_t place) const { return starts_[place]; }
  size_t PlaceOf(const std::string& topic, PartitionId partition) const {
    return place_of_.at({topic, partition});
  }
  // As END messages name the table of a place.
  const std::string& CollectionOf(size_t place) const {
    return tables_[places_[place].table].collection;
  }
  // For the cursor: empty where the topic's name tells.
  std::string ToldCollectionOf(size_t place) const;

  bool has_marks() const { return !settings_.transactions().empty(); }
  bool marks_are_there() const { return marks_are_there_; }
  // For the cursor: the topic of transactions has lost its begin, and begins with this.
  std::optional<int64_t> cut_lsn() const { return cut_lsn_; }

  // The next message of the topic of transactions. True: it tells of a table that may have come
  // since, so that it is to be planned anew, and the message to be read again.
  [[nodiscard]] bool NoteMark(const TransactionMark& mark);
  // A change of `collection` was read at a place. True: it is to be planned anew. Code
  // "source_topic_unfit" where the topic has those of another table.
  [[nodiscard]] absl::StatusOr<bool> NoteCollection(size_t place, const std::string& collection);
  // Whether a change has lost its END, so that it stands by itself.
  [[nodiscard]] bool HasLostEnd(const ChangeEnvelope& event) const {
    return marks_cut_ && event.lsn.has_value() && (!cut_lsn_.has_value() || *event.lsn < *cut_lsn_);
  }

 private:
  struct Table {
    std::string topic;
    std::string collection;
    bool collection_told = false;  // by a change, or the cursor
  };

  absl::Status MakeTable(size_t index, const v1::DebeziumCursor& cursor);
  absl::Status MakeMarks(const v1::DebeziumCursor& cursor);
  absl::Status FindCut(PartitionId partition);
  absl::Status LearnCollection(Table& table, const std::vector<PartitionId>& partitions);
  bool IsPlanned(const Table& table) const {
    return place_of_.contains({table.topic, PartitionId(0)});
  }
  bool MayBeOurs(const TransactionMark& mark);

  const v1::SourceSettings& settings_;
  eventlog::RecordSource& source_;
  EnvelopeReader& reader_;
  const Clock& clock_;
  const std::function<bool()> stopping_;

  std::vector<Table> tables_;
  std::vector<ChangeWriter::Place> places_;
  std::vector<Offset> starts_;  // as places_
  std::map<std::pair<std::string, PartitionId>, size_t> place_of_;
  bool marks_are_there_ = false;
  bool marks_cut_ = false;
  std::optional<int64_t> cut_lsn_;
  std::string looked_at_;             // the transaction whose END was looked at last
  std::set<std::string> looked_for_;  // collections of others, as far as is known
  SteadyTime until_;
};

}  // namespace sluice::gateways
