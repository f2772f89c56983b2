#include "tests/support/rows/rows_node.h"

#include <algorithm>

#include "schemas/base/status.h"
#include "tests/support/store_fixture.h"
#include "tests/support/write_checkpoint.h"

namespace sluice::testing {
namespace {

constexpr PartitionId kPartition{3};

}  // namespace

RowsNode::RowsNode(projectors::StoreOptions options, uint64_t seed, RowsReport& report)
    : options_(std::move(options)), dice_(seed), report_(report) {
  Reopen();
}

void RowsNode::Reopen() {
  if (stores_ != nullptr && dice_.Chance(50)) {
    const absl::Status closed = stores_->Close();
    if (!closed.ok()) {
      report_.Fail("the stores do not close: " + closed.ToString());
    }
  }
  stores_.reset();
  auto opened = projectors::StoreManager::Open(options_);
  if (!opened.ok()) {
    report_.Fail("the stores do not open: " + opened.status().ToString());
    return;
  }
  stores_ = *std::move(opened);
  const Offset from = stores_->CheckpointOf(kPartition);
  next_ = static_cast<size_t>(
      std::ranges::lower_bound(log_, from, {}, &eventlog::StoredEvent::offset) - log_.begin());
  if (next_ > reached_) {
    report_.Fail("a checkpoint is ahead of what was applied");
  }
}

void RowsNode::CatchUp() {
  while (next_ < reached_ && report_.ok()) {
    Apply(std::min(dice_.Between(1, 16), reached_ - next_), false);
  }
}

void RowsNode::Apply(size_t count, bool may_stop) {
  const size_t stop_after = dice_.Between(1, 4);
  size_t parts = 0;
  const auto applied = stores_->Apply(kPartition, {log_.data() + next_, count}, [&] {
    ++report_.counters.parts;
    return may_stop && ++parts >= stop_after;
  });
  reached_ = std::max(reached_, next_ + count);
  if (absl::IsCancelled(applied.status())) {
    ++report_.counters.stops_amid;
    return;  // the same events again
  }
  if (!applied.ok()) {
    report_.Fail("events are not applied: " + applied.status().ToString());
    return;
  }
  for (const projectors::Rejected& rejected : applied->rejected) {
    rejected_.insert(rejected.offset.value());
  }
  next_ += count;
}

void RowsNode::Advance() {
  if (dice_.Chance(8)) {
    const auto checkpoint = WriteCheckpoint(*stores_, kPartition);
    if (!checkpoint.ok()) {
      report_.Fail("no checkpoint: " + checkpoint.status().ToString());
    }
  }
  if (!AtEnd()) {
    const bool may_stop = dice_.Chance(60);
    Apply(std::min(dice_.Between(1, 16), log_.size() - next_), may_stop);
  }
}

void RowsNode::Drain() {
  while (!AtEnd() && report_.ok()) {
    Apply(std::min(dice_.Between(1, 16), log_.size() - next_), false);
  }
}

std::shared_ptr<const projectors::OrgSnapshot> RowsNode::Snapshot(const std::string& org) {
  auto snapshot = stores_->Snapshot(Org(org));
  return snapshot.ok() ? *std::move(snapshot) : nullptr;
}

}  // namespace sluice::testing
