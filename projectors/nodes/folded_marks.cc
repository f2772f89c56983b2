#include "projectors/nodes/folded_marks.h"

#include <algorithm>

#include "schemas/sluice/v1/events.pb.h"

namespace sluice::projectors {

void FoldedMarks::Take(const std::string& node, Offset offset,
                       const v1::NodeAnnouncement& announced) {
  if (node == self_ && known_) {
    return;  // what this process has folded, or what it tells on
  }
  std::map<PartitionId, Node> fresh;
  for (const auto& folded : announced.folded()) {
    Node& of_partition = fresh[PartitionId(folded.partition())];
    of_partition.told.push_back({{Offset(folded.applied()), folded.event_hash()}, offset});
    // Who knows of announcements after his own has them from a topic that is no more.
    if (folded.told_until() > 0 && Offset(folded.told_until()) <= offset) {
      of_partition.compared = {Offset(folded.told_until()), Offset(folded.compared())};
    }
  }
  for (auto& [partition, now] : fresh) {
    Node& before = nodes_[partition][node];
    for (Told& told : now.told) {
      told.compared = std::ranges::any_of(before.told, [&](const Told& known) {
        return known.compared && known.mark == told.mark;
      });
    }
    before = std::move(now);
  }
}

void FoldedMarks::BeginAnew() {
  for (auto& [partition, nodes] : nodes_) {
    for (auto& [name, node] : nodes) {
      node.compared.until = Offset(0);
    }
  }
  for (auto& [partition, compared] : own_) {
    compared.until = Offset(0);
  }
}

std::vector<FoldedMark> FoldedMarks::Select(PartitionId partition, const std::string* node) const {
  std::vector<FoldedMark> marks;
  const auto nodes = nodes_.find(partition);
  if (nodes == nodes_.end()) {
    return marks;
  }
  std::vector<ComparedMarks> compared;
  std::vector<const Told*> told;
  for (const auto& [name, one] : nodes->second) {
    compared.push_back(one.compared);
    for (const Told& mark : one.told) {
      if (!mark.compared && (node == nullptr || name == *node)) {
        told.push_back(&mark);
      }
    }
  }
  std::ranges::sort(compared, std::ranges::greater(), &ComparedMarks::until);
  std::ranges::sort(told, std::ranges::greater(), [](const Told* mark) { return mark->offset; });
  auto next = compared.begin();
  Offset covered = kNoOffset;  // by those who knew of the mark, and of all that was told after it
  for (const Told* mark : told) {
    for (; next != compared.end() && next->until > mark->offset; ++next) {
      covered = std::max(covered, next->at);
    }
    if (mark->mark.at > covered) {
      marks.push_back(mark->mark);
    }
  }
  std::ranges::sort(marks);
  const auto same = std::ranges::unique(marks);
  marks.erase(same.begin(), same.end());
  return marks;
}

std::vector<FoldedMark> FoldedMarks::Uncompared(PartitionId partition) const {
  return Select(partition, nullptr);
}

std::vector<FoldedMark> FoldedMarks::OfFormer(PartitionId partition) const {
  return Select(partition, &self_);
}

void FoldedMarks::NoteCompared(PartitionId partition, ComparedMarks compared) {
  own_[partition] = compared;
  const auto nodes = nodes_.find(partition);
  if (nodes == nodes_.end()) {
    return;
  }
  for (auto& [name, node] : nodes->second) {
    for (Told& told : node.told) {
      told.compared =
          told.compared || (told.offset < compared.until && told.mark.at <= compared.at);
    }
  }
}

std::optional<ComparedMarks> FoldedMarks::Compared(PartitionId partition) const {
  const auto found = own_.find(partition);
  return found == own_.end() ? std::nullopt : std::make_optional(found->second);
}

}  // namespace sluice::projectors
