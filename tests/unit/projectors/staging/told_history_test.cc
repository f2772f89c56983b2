// What others have told to have folded, whatever became of them: the log must hold it.
#include <gtest/gtest.h>

#include <utility>

#include "projectors/staging/node_announcer.h"
#include "projectors/staging/node_directory.h"
#include "schemas/sluice/v1/events.pb.h"
#include "tests/support/fake_clock.h"
#include "tests/support/log_reading.h"
#include "tests/support/stalling_log.h"
#include "tests/unit/projectors/staging/staging_testing.h"

namespace sluice::projectors {
namespace {

class ToldHistoryTest : public StagingFixture {
 protected:
  void Announce(const std::string& node, Offset applied, uint64_t event_hash) {
    v1::NodeAnnouncement announced;
    announced.set_node_id(node);
    announced.set_log_id(log_->id());
    auto& folded = *announced.add_folded();
    folded.set_partition(PartitionOf().value());
    folded.set_applied(applied.value());
    folded.set_event_hash(event_hash);
    Event event;
    event.id = node + std::to_string(++announced_);
    event.type = "sluice.v1.NodeAnnouncement";
    event.key = node;
    event.value = announced.SerializeAsString();
    ASSERT_TRUE(log_->Append(Topic::kNodes, PartitionId(0), {event}).ok());
  }
  void StartWithNodes(eventlog::Log* log_of_nodes = nullptr, const std::string& self = "me") {
    nodes_ = std::make_unique<NodeDirectory>(log_of_nodes != nullptr ? *log_of_nodes : *log_,
                                             real_clock_, self);
    nodes_->Start();
    options_.nodes = nodes_.get();
    Start();
  }
  void StopAll() {
    Stop();
    options_.nodes = nullptr;
    nodes_.reset();
  }
  bool AwaitCode(const std::string& code) {
    return Await([&] {
      const absl::Status status = projector_->MayServe(org_);
      return (status.ok() ? "" : ErrorCode(status)) == code;
    });
  }
  uint64_t HashAt(Offset offset) const {
    const auto events = testing::ReadWholePartition(*log_, Topic::kChanges, PartitionOf());
    return eventlog::EventHash(events.at(static_cast<size_t>(offset.value())).event);
  }
  // What `nodes` holds last of "me".
  v1::NodeAnnouncement LastOfMine() const {
    v1::NodeAnnouncement last;
    for (const auto& stored : testing::ReadWholePartition(*log_, Topic::kNodes, PartitionId(0))) {
      if (stored.event.key == "me") {
        EXPECT_TRUE(last.ParseFromString(stored.event.value));
      }
    }
    return last;
  }

  int announced_ = 0;
  std::unique_ptr<NodeDirectory> nodes_;
};

// The only node that had applied it is gone, with its disk.
TEST_F(ToldHistoryTest, AnEndThatIsLostIsToldOfByWhatWasFoldedOfIt) {
  AppendDefinitions();
  const Offset last = Append(Set("A1"));
  Announce("gone", Offset(last.value() + 3), 0xABC);
  StartWithNodes();
  EXPECT_TRUE(AwaitCode("log_truncated")) << projector_->MayServe(org_);
  EXPECT_EQ(stores_->AppliedOf(org_), kNoOffset) << "nothing is folded on it";
  StopAll();
  Start();
  EXPECT_TRUE(AwaitCode("log_truncated")) << "and it remembers, whatever becomes of `nodes`";
  Stop();
}

// It was paused, and has folded on before it heard of what the other one had folded.
TEST_F(ToldHistoryTest, WhatHasTakenThePlaceOfALostEndIsToldOfThoughItIsFolded) {
  testing::FakeClock clock;
  clock_ = &clock;
  AppendDefinitions();
  StartWithNodes();
  AwaitApplied(Append(Set("A1")));
  ASSERT_TRUE(AwaitCode("")) << projector_->MayServe(org_);
  Announce("gone", Offset(2), 0xABC);
  ASSERT_TRUE(Await([&] { return !nodes_->Folded(PartitionOf()).marks.empty(); }));
  clock.Advance(std::chrono::seconds(12));  // neither a checkpoint is due nor another comparison
  EXPECT_TRUE(AwaitCode("log_diverged")) << projector_->MayServe(org_);
  EXPECT_EQ(stores_->LastLost(PartitionOf()).position, Offset(2));
  StopAll();
}

// Another one hears sooner of a new leader; the one that was replaced goes on telling its own end.
TEST_F(ToldHistoryTest, AnEndThatLagsIsNoLoss) {
  testing::FakeClock clock;
  clock_ = &clock;
  AppendDefinitions();
  StartWithNodes();
  ASSERT_TRUE(AwaitCode("")) << projector_->MayServe(org_);
  const Event next = testing::MakeEvent(next_id_, Set("A1"), org_.value()).event;
  Announce("other", Offset(3), eventlog::EventHash(next));
  ASSERT_TRUE(Await([&] { return !nodes_->Folded(PartitionOf()).marks.empty(); }));
  clock.Advance(std::chrono::seconds(12));
  EXPECT_TRUE(AwaitCode("not_caught_up")) << projector_->MayServe(org_);
  AwaitApplied(Append(Set("A1")));
  EXPECT_TRUE(Await([&] {
    clock.Advance(std::chrono::seconds(1));
    return projector_->MayServe(org_).ok();
  })) << projector_->MayServe(org_);
  EXPECT_EQ(stores_->LastLost(PartitionOf()).position, kNoOffset);
  StopAll();
}

TEST_F(ToldHistoryTest, NothingIsAnsweredBeforeItIsKnownWhatOthersHaveFolded) {
  AppendDefinitions();
  Announce("gone", Offset(9), 0xABC);
  testing::StallingLog stalled(*log_, Topic::kNodes, Offset(0));
  StartWithNodes(&stalled);
  stalled.AwaitEmptyReads(1);
  EXPECT_EQ(ErrorCode(projector_->MayServe(org_)), "not_caught_up");
  std::string code;
  stalled.Release();
  ASSERT_TRUE(Await([&] {
    code = ErrorCode(projector_->MayServe(org_));
    return code != "not_caught_up" && code != "log_unavailable";
  }));
  EXPECT_EQ(code, "log_truncated");
  StopAll();
}

// It goes on for its node, whose announcement takes the place of the former one's.
TEST_F(ToldHistoryTest, WhatFitsIsToldOnUntilTheFoldHasPassedIt) {
  AppendDefinitions();
  const Offset last = Append(Set("A1"));
  Announce("me", last, HashAt(last));
  {
    NodeDirectory nodes(*log_, real_clock_, "me");
    NodeAnnouncer::Tells tells{[](PartitionId) { return false; },
                               [](PartitionId) { return std::string(); }};
    NodeAnnouncer announcer(*log_, nullptr, nodes, tells, real_clock_,
                            {.node_id = "me", .roles = {}});
    announcer.Start();
    nodes.Start();
    ASSERT_TRUE(Await([&] { return LastOfMine().announced_at_us() != 0; }));
    announcer.Stop();
  }
  const v1::NodeAnnouncement former = LastOfMine();
  EXPECT_TRUE(former.leaving());
  ASSERT_EQ(former.folded_size(), 1);
  EXPECT_EQ(former.folded(0).applied(), last.value());
  EXPECT_EQ(former.folded(0).event_hash(), HashAt(last));
  EXPECT_EQ(former.folded(0).told_until(), 0) << "it has compared nothing itself";

  StartWithNodes();
  const Offset newest = Append(Set("A2"));
  AwaitApplied(newest);
  ASSERT_TRUE(AwaitCode("")) << projector_->MayServe(org_);
  NodeAnnouncer::Tells tells{[](PartitionId) { return false; },
                             [](PartitionId) { return std::string(); }};
  NodeAnnouncer announcer(*log_, stores_.get(), *nodes_, tells, real_clock_,
                          {.node_id = "me", .roles = {}});
  announcer.Start();
  EXPECT_TRUE(Await([&] {
    const v1::NodeAnnouncement mine = LastOfMine();
    return mine.folded_size() > 0 && mine.folded(0).applied() == newest.value() &&
           mine.folded(0).compared() >= last.value();
  })) << LastOfMine().ShortDebugString();
  announcer.Stop();
  const v1::NodeAnnouncement mine = LastOfMine();
  EXPECT_TRUE(mine.leaving());
  EXPECT_EQ(mine.folded(0).event_hash(), HashAt(newest));
  EXPECT_GT(mine.folded(0).told_until(), 0);
  int of_partition = 0;
  for (const auto& folded : mine.folded()) {
    of_partition += folded.partition() == PartitionOf().value() ? 1 : 0;
  }
  EXPECT_EQ(of_partition, 1) << mine.ShortDebugString();
  StopAll();
}

}  // namespace
}  // namespace sluice::projectors
