// What others have told to have folded, whatever became of them: the log must hold it.
#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <optional>
#include <thread>
#include <utility>

#include "eventlog/kafka/loss_doubt.h"
#include "projectors/nodes/node_announcer.h"
#include "projectors/nodes/node_directory.h"
#include "schemas/sluice/v1/events.pb.h"
#include "tests/support/fake_clock.h"
#include "tests/support/forwarding_log.h"
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
  void StartWithNodes(eventlog::Log* log_of_nodes = nullptr, eventlog::Log* log = nullptr) {
    nodes_ = std::make_unique<NodeDirectory>(log_of_nodes != nullptr ? *log_of_nodes : *log_,
                                             real_clock_, "me");
    nodes_->Start();
    options_.nodes = nodes_.get();
    Start(log);
  }
  void StopAll() {
    Stop();
    options_.nodes = nullptr;
    nodes_.reset();
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
  clock_ = &fake_clock_;
  AppendDefinitions();
  StartWithNodes();
  AwaitApplied(Append(Set("A1")));
  ASSERT_TRUE(AwaitCode("")) << projector_->MayServe(org_);
  Announce("gone", Offset(2), 0xABC);
  ASSERT_TRUE(Await([&] { return !nodes_->Folded(PartitionOf()).marks.empty(); }));
  fake_clock_.Advance(
      std::chrono::seconds(12));  // neither a checkpoint is due nor another comparison
  EXPECT_TRUE(AwaitCode("log_diverged")) << projector_->MayServe(org_);
  EXPECT_EQ(stores_->LastLost(PartitionOf()).position, Offset(2));
  StopAll();
}

// A leader that was replaced and does not know it: asked for the end of `changes` it tells `end`,
// while readers hear of the new one.
class OldLeaderLog final : public testing::ForwardingLog {
 public:
  OldLeaderLog(eventlog::Log& log, std::shared_ptr<const Clock> clock)
      : ForwardingLog(log), doubt_(std::move(clock)) {}
  void EndAt(Offset end) { end_ = end.value(); }
  void EndAsItIs() { end_ = std::numeric_limits<int64_t>::max(); }

  absl::StatusOr<eventlog::OffsetRange> Range(Topic topic, PartitionId partition) override {
    auto range = log_.Range(topic, partition);
    if (range.ok() && topic == Topic::kChanges) {
      range->end = std::min(range->end, Offset(end_));
      doubt_.NoteEnd(topic, partition, range->end);
    }
    return range;
  }
  absl::Status ConfirmLoss(Topic topic, PartitionId partition, Offset lost) override {
    ++asked_;
    return doubt_.Confirm(topic, partition, lost);
  }
  bool IsEndDoubted(Topic topic, PartitionId partition) override {
    return doubt_.IsDoubted(topic, partition);
  }
  absl::StatusOr<std::unique_ptr<eventlog::Reader>> OpenReader(Topic topic, PartitionId partition,
                                                               Offset from) override {
    ++opened_;
    return log_.OpenReader(topic, partition, from);
  }
  // How often somebody was told of a loss.
  int asked() const { return asked_; }
  // How many readers were opened: to compare an event takes one.
  int opened() const { return opened_; }

 private:
  eventlog::LossDoubt doubt_;
  std::atomic<int> opened_ = 0;
  std::atomic<int> asked_ = 0;
  std::atomic<int64_t> end_ = std::numeric_limits<int64_t>::max();
};

class OldLeaderTest : public ToldHistoryTest {
 protected:
  void SetUp() override {
    ToldHistoryTest::SetUp();
    clock_ = clock_of_all_.get();
    log_of_all_.emplace(*log_, clock_of_all_);
    AppendDefinitions();
    StartWithNodes(nullptr, &*log_of_all_);
    ASSERT_TRUE(AwaitCode("")) << projector_->MayServe(org_);
  }
  void TearDown() override { StopAll(); }
  // While time goes on, not so fast that it seems that nobody asks any more.
  bool AwaitCodeInTime(const std::string& code) {
    return Await([&] {
      clock_of_all_->Advance(std::chrono::milliseconds(200));
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return CodeNow() == code;
    });
  }
  // The last event, which is folded, while the log is told to end before it.
  Offset FoldBeyondTheEnd() {
    const Offset last = Append(Set("A1"));
    AwaitApplied(last);
    log_of_all_->EndAt(last);
    return last;
  }

  std::shared_ptr<testing::FakeClock> clock_of_all_ = std::make_shared<testing::FakeClock>();
  std::optional<OldLeaderLog> log_of_all_;
};

// Another node hears of the new leader sooner.
TEST_F(OldLeaderTest, AnEndThatLagsBehindWhatOthersToldIsNoLoss) {
  const Event next = testing::MakeEvent(next_id_, Set("A1"), org_.value()).event;
  Announce("other", Offset(3), eventlog::EventHash(next));
  ASSERT_TRUE(Await([&] { return !nodes_->Folded(PartitionOf()).marks.empty(); }));
  clock_of_all_->Advance(std::chrono::seconds(12));
  ASSERT_TRUE(Await([&] { return log_of_all_->asked() > 0; }));
  EXPECT_TRUE(AwaitCode("not_caught_up")) << projector_->MayServe(org_);
  AwaitApplied(Append(Set("A1")));
  EXPECT_TRUE(AwaitCodeInTime("")) << projector_->MayServe(org_);
  EXPECT_EQ(stores_->LastLost(PartitionOf()).position, kNoOffset);
}

// The reader does, and what it has read is folded.
TEST_F(OldLeaderTest, NorIsOneThatLagsBehindWhatIsFolded) {
  FoldBeyondTheEnd();
  // Asked anew, whenever that was done last.
  static_cast<void>(projector_->EndSince(org_, std::chrono::seconds(-1)));
  ASSERT_TRUE(Await([&] { return log_of_all_->asked() > 0; }));
  EXPECT_TRUE(AwaitCode("not_caught_up")) << projector_->MayServe(org_);
  log_of_all_->EndAsItIs();
  EXPECT_TRUE(AwaitCodeInTime("")) << projector_->MayServe(org_);
  EXPECT_EQ(stores_->LastLost(PartitionOf()).position, kNoOffset);
}

TEST_F(OldLeaderTest, AnEndThatLagsForLongIsLost) {
  const Offset last = FoldBeyondTheEnd();
  EXPECT_TRUE(AwaitCodeInTime("log_truncated")) << projector_->MayServe(org_);
  EXPECT_EQ(stores_->LastLost(PartitionOf()).position, last);
}

// Meanwhile others may have appended to what is left of it.
TEST_F(OldLeaderTest, AnEndThatIsFarEnoughAgainIsComparedBeforeAnythingIsAnswered) {
  FoldBeyondTheEnd();
  static_cast<void>(projector_->EndSince(org_, std::chrono::seconds(-1)));
  ASSERT_TRUE(AwaitCode("not_caught_up")) << projector_->MayServe(org_);
  const int opened = log_of_all_->opened();
  log_of_all_->EndAsItIs();
  EXPECT_TRUE(Await([&] {
    static_cast<void>(projector_->EndSince(org_, std::chrono::seconds(-1)));
    return CodeNow().empty();
  }));
  EXPECT_GT(log_of_all_->opened(), opened);
}

TEST_F(OldLeaderTest, AStopAmidADoubtNotesWhatMayBeLost) {
  const Offset last = FoldBeyondTheEnd();
  static_cast<void>(projector_->EndSince(org_, std::chrono::seconds(-1)));
  ASSERT_TRUE(Await([&] { return log_of_all_->asked() > 0; }));
  projector_->Stop();
  EXPECT_EQ(stores_->LastLost(PartitionOf()).position, last);
}

// It may be all that tells of another history: what was applied last may be of the new one.
TEST_F(OldLeaderTest, AStopAmidADoubtKeepsWhatWasFoundToBeLostBefore) {
  FoldBeyondTheEnd();
  static_cast<void>(projector_->EndSince(org_, std::chrono::seconds(-1)));
  ASSERT_TRUE(Await([&] { return log_of_all_->asked() > 0; }));
  ASSERT_TRUE(stores_->NoteLost(PartitionOf(), Offset(0), 0xABC).ok());
  projector_->Stop();
  EXPECT_EQ(stores_->LastLost(PartitionOf()).event_hash, 0xABCU);
}

TEST_F(ToldHistoryTest, NothingIsAnsweredBeforeItIsKnownWhatOthersHaveFolded) {
  AppendDefinitions();
  Announce("gone", Offset(9), 0xABC);
  testing::StallingLog stalled(*log_, Topic::kNodes, Offset(0));
  StartWithNodes(&stalled);
  stalled.AwaitEmptyReads(1);
  EXPECT_EQ(CodeNow(), "not_caught_up");
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
