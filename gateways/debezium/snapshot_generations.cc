#include "gateways/debezium/snapshot_generations.h"

#include <algorithm>

namespace sluice::gateways {
namespace {

constexpr size_t kSnapshotsMax = 4;  // of a topic
constexpr size_t kEndedMax = 16;

std::pair<uint32_t, int64_t> PlaceOf(const v1::DebeziumCursor::Snapshot& snapshot) {
  return {snapshot.generation(), snapshot.lsn()};
}

bool IsEndOfTable(SnapshotPart part) {
  return part == SnapshotPart::kLastOfTable || part == SnapshotPart::kLast;
}
bool IsBeginOfTable(SnapshotPart part) {
  return part == SnapshotPart::kFirst || part == SnapshotPart::kFirstOfTable;
}

}  // namespace

uint32_t SnapshotGenerations::GreatestOf(const TopicState& state) const {
  uint32_t greatest = floor_;
  for (const auto& [partition, place] : state.partitions) {
    greatest = std::max(greatest, place.spans.back().generation);
  }
  for (const auto& snapshot : state.snapshots) {
    greatest = std::max(greatest, snapshot.generation());
  }
  return greatest;
}

// A database that was restored gives LSNs again: then none of before says anything.
int64_t SnapshotGenerations::SweptBy(const v1::DebeziumCursor::Snapshot& snapshot) const {
  const int64_t begin = int64_t{snapshot.generation()} << kGenerationShift;
  if (snapshot.back()) {
    return begin - 1;
  }
  return by_commit_ ? begin + snapshot.lsn()
                    : begin - (int64_t{1} << kGenerationShift) + snapshot.lsn();
}

SnapshotGenerations::SnapshotGenerations(bool by_commit, const v1::DebeziumCursor& cursor,
                                         const v1::DebeziumCursor& former)
    : by_commit_(by_commit) {
  for (const auto& partition : former.partitions()) {
    floor_ = std::max(floor_, partition.generation() + 1);
  }
  for (const auto& snapshot : former.snapshots()) {
    floor_ = std::max(floor_, snapshot.generation() + 1);
  }
  for (const auto& partition : cursor.partitions()) {
    floor_ = std::max(floor_, partition.generation());
    PartitionState& state =
        topics_[partition.topic()].partitions[PartitionId(partition.partition())];
    state.spans = {{.from = Offset(partition.next()), .generation = partition.generation()}};
    state.greatest = {{kNoOffset, partition.lsn()}};
  }
  for (const auto& snapshot : cursor.snapshots()) {
    floor_ = std::max(floor_, snapshot.generation());
    TopicState& topic = topics_[snapshot.topic()];
    topic.snapshots.push_back(snapshot);
    topic.swept = std::max(topic.swept, snapshot.swept() ? SweptBy(snapshot) : -1);
  }
}

void SnapshotGenerations::Add(const std::string& topic, PartitionId partition) {
  const auto [added, is_new] = topics_[topic].partitions.try_emplace(partition);
  if (is_new) {
    added->second.spans = {{.from = kNoOffset, .generation = floor_}};
  }
}

void SnapshotGenerations::AddChange(const std::string& topic, PartitionId partition, Offset offset,
                                    int64_t lsn) {
  auto& greatest = topics_.at(topic).partitions.at(partition).greatest;
  if (greatest.empty() || (greatest.back().second < lsn && greatest.back().first < offset)) {
    greatest.emplace_back(offset, lsn);
  }
}

uint32_t SnapshotGenerations::AddRow(const std::string& topic, PartitionId partition, Offset offset,
                                     SnapshotPart part, int64_t lsn, bool first) {
  TopicState& state = topics_.at(topic);
  PartitionState& place = state.partitions.at(partition);
  const uint32_t here = At(topic, partition, offset);
  const bool is_back = std::ranges::any_of(place.greatest, [&](const auto& greatest) {
    return greatest.first < offset && greatest.second > lsn;
  });
  auto found = std::ranges::find_if(state.snapshots, [&](const auto& snapshot) {
    return snapshot.lsn() == lsn && snapshot.generation() >= here &&
           !(is_back && !snapshot.back() && snapshot.swept());
  });
  if (found == state.snapshots.end()) {
    if (state.snapshots.size() >= kSnapshotsMax) {
      state.snapshots.erase(std::ranges::min_element(state.snapshots, {}, PlaceOf));
    }
    const uint32_t greatest = GreatestOf(state);
    v1::DebeziumCursor::Snapshot& made = state.snapshots.emplace_back();
    made.set_topic(topic);
    made.set_lsn(lsn);
    made.set_generation(by_commit_ && !is_back ? greatest : greatest + 1);
    made.set_back(is_back);
    went_back_ = went_back_ || is_back;
    found = std::prev(state.snapshots.end());
  } else if (is_back && !found->back()) {
    // Rows of it that lie in other partitions are in the generation before: what it does not have
    // can't be told from them.
    found->set_generation(by_commit_ ? GreatestOf(state) + 1 : found->generation());
    found->set_back(true);
    found->set_torn(found->torn() || by_commit_);
    went_back_ = true;
  }
  const uint32_t generation = found->generation();
  found->set_torn(found->torn() || (first && !IsBeginOfTable(part)));
  found->set_ended(found->ended() || IsEndOfTable(part) || ended_.contains(lsn));
  if (part == SnapshotPart::kLast) {
    // A table of one row may have no last row of its own, and be read later.
    if (ended_.insert(lsn).second && ended_.size() > kEndedMax) {
      ended_.erase(ended_.begin());
    }
    for (auto& [name, other] : topics_) {
      for (auto& snapshot : other.snapshots) {
        snapshot.set_ended(snapshot.ended() || snapshot.lsn() == lsn);
      }
    }
  }
  // What comes below it later, without changes between, has gone back, too.
  AddChange(topic, partition, offset, lsn);
  if (generation > here) {
    // Spans that come behind were entered before reading went back.
    const auto at = std::ranges::upper_bound(place.spans, offset, {}, &Span::from);
    place.spans.insert(at, {.from = offset, .generation = generation});
  }
  return generation;
}

uint32_t SnapshotGenerations::At(const std::string& topic, PartitionId partition,
                                 Offset offset) const {
  const std::vector<Span>& spans = topics_.at(topic).partitions.at(partition).spans;
  const auto behind = std::ranges::upper_bound(spans, offset, {}, &Span::from);
  return behind == spans.begin() ? spans.front().generation : std::prev(behind)->generation;
}

bool SnapshotGenerations::IsStale(const std::string& topic, int64_t version) const {
  return version <= topics_.at(topic).swept;
}

uint32_t SnapshotGenerations::Of(const std::string& topic, PartitionId partition,
                                 uint32_t generation, int64_t lsn) const {
  const TopicState& state = topics_.at(topic);
  uint32_t entered = 0;
  for (const Span& span : state.partitions.at(partition).spans) {
    entered = span.is_of_sweep ? entered : span.generation;
  }
  for (const auto& snapshot : state.snapshots) {
    if (snapshot.generation() > std::max(entered, generation) && lsn > snapshot.lsn()) {
      generation = snapshot.generation();
    }
  }
  return generation;
}

std::vector<SnapshotGenerations::Sweep> SnapshotGenerations::Due() const {
  std::vector<Sweep> due;
  for (const auto& [topic, state] : topics_) {
    if (state.snapshots.empty()) {
      continue;
    }
    // It removes what an earlier one would have, whichever is read first.
    const auto& newest = *std::ranges::max_element(state.snapshots, {}, PlaceOf);
    if (newest.ended() && !newest.torn() && !newest.swept()) {
      due.push_back({topic, newest.generation(), SweptBy(newest)});
    }
  }
  return due;
}

void SnapshotGenerations::Swept(const Sweep& sweep,
                                const std::function<Offset(PartitionId)>& next) {
  TopicState& state = topics_.at(sweep.topic);
  for (auto& snapshot : state.snapshots) {
    snapshot.set_swept(snapshot.swept() || SweptBy(snapshot) <= sweep.version);
  }
  state.swept = std::max(state.swept, sweep.version);
  for (auto& [partition, place] : state.partitions) {
    std::vector<Span>& spans = place.spans;
    if (spans.back().generation < sweep.generation) {
      spans.push_back({.from = std::max(next(partition), spans.back().from),
                       .generation = sweep.generation,
                       .is_of_sweep = true});
    }
  }
}

// Kept as a snapshot that has no rows, and that needs no sweep.
void SnapshotGenerations::Truncated(const std::string& topic, int64_t version) {
  TopicState& state = topics_.at(topic);
  if (!by_commit_ || version <= state.swept) {
    return;  // of one partition, all is in order
  }
  state.swept = version - 1;  // what its transaction writes after it has its version
  auto found = std::ranges::find_if(
      state.snapshots, [](const auto& snapshot) { return snapshot.torn() && snapshot.swept(); });
  if (found == state.snapshots.end()) {
    state.snapshots.emplace_back();
    found = std::prev(state.snapshots.end());
  }
  found->set_topic(topic);
  found->set_generation(static_cast<uint32_t>(version >> kGenerationShift));
  found->set_lsn((version & kVersionLsnMax) - 1);
  found->set_ended(true);
  found->set_torn(true);
  found->set_swept(true);
}

void SnapshotGenerations::Save(v1::DebeziumCursor* cursor) {
  for (auto& partition : *cursor->mutable_partitions()) {
    PartitionState& place =
        topics_.at(partition.topic()).partitions.at(PartitionId(partition.partition()));
    std::vector<Span>& spans = place.spans;
    const auto behind = std::ranges::upper_bound(spans, Offset(partition.next()), {}, &Span::from);
    if (behind - spans.begin() > 1) {
      spans.erase(spans.begin(), std::prev(behind));
    }
    partition.set_generation(spans.front().generation);
    auto& greatest = place.greatest;
    while (greatest.size() > 1 && greatest[1].first < Offset(partition.next())) {
      greatest.pop_front();
    }
    if (!greatest.empty() && greatest[0].first < Offset(partition.next())) {
      partition.set_lsn(greatest[0].second);
    }
  }
  for (const auto& [topic, state] : topics_) {
    cursor->mutable_snapshots()->Add(state.snapshots.begin(), state.snapshots.end());
  }
}

}  // namespace sluice::gateways
