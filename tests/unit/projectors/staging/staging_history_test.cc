// Another history in the log's place, before a start and while it is read: nothing is folded on it.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <optional>

#include "projectors/staging/history_check.h"
#include "schemas/base/status.h"
#include "tests/support/blocking_log.h"
#include "tests/support/forwarding_log.h"
#include "tests/support/log_reading.h"
#include "tests/unit/projectors/staging/staging_testing.h"

namespace sluice::projectors {
namespace {

// Asks another log from SwitchTo() on; readers that are open stay where they are.
class SwitchedLog final : public testing::ForwardingLog {
 public:
  explicit SwitchedLog(eventlog::Log& log) : testing::ForwardingLog(log), now_(&log) {}
  void SwitchTo(eventlog::Log& log) { now_ = &log; }
  absl::StatusOr<std::unique_ptr<eventlog::Reader>> OpenReader(Topic topic, PartitionId partition,
                                                               Offset from) override {
    return now_.load()->OpenReader(topic, partition, from);
  }
  absl::StatusOr<eventlog::OffsetRange> Range(Topic topic, PartitionId partition) override {
    return now_.load()->Range(topic, partition);
  }

 private:
  std::atomic<eventlog::Log*> now_;
};

// Reads of another log from SwitchTo() on, at the same offset and without an error, as from a
// leader that has lost its end and was written to since.
class RegrownLog final : public testing::ForwardingLog {
 public:
  explicit RegrownLog(eventlog::Log& log) : testing::ForwardingLog(log), now_(&log) {}
  void SwitchTo(eventlog::Log& log) { now_ = &log; }
  // Its readers tell of it: another broker leads, or the connection ended.
  void ConnectTo(eventlog::Log& log) {
    ++session_;
    now_ = &log;
  }
  void FailOnce(PartitionId partition) { fails_ = partition.value(); }
  // Whoever stops meanwhile compares nothing, and writes no checkpoint.
  void SetWell(bool well) { well_ = well; }
  absl::Status Health() override {
    return well_ ? absl::OkStatus() : absl::UnavailableError("not well");
  }
  absl::StatusOr<std::unique_ptr<eventlog::Reader>> OpenReader(Topic topic, PartitionId partition,
                                                               Offset from) override {
    return std::make_unique<Switching>(*this, topic, partition, from);
  }
  absl::StatusOr<eventlog::OffsetRange> Range(Topic topic, PartitionId partition) override {
    return now_.load()->Range(topic, partition);
  }

 private:
  class Switching final : public eventlog::Reader {
   public:
    Switching(RegrownLog& log, Topic topic, PartitionId partition, Offset from)
        : log_(log), topic_(topic), partition_(partition), next_(from) {}
    absl::StatusOr<std::vector<eventlog::StoredEvent>> Read(
        const eventlog::ReadLimits& limits) override {
      if (cancelled_) {
        return absl::CancelledError("cancelled");
      }
      int32_t mine = partition_.value();
      if (log_.fails_.compare_exchange_strong(mine, -1)) {
        return Error(absl::StatusCode::kUnavailable, "log_unavailable", "a broker went away");
      }
      eventlog::Log& now = *log_.now_.load();
      session_ = log_.session_;
      ASSIGN_OR_RETURN(const auto reader, now.OpenReader(topic_, partition_, next_));
      eventlog::ReadLimits once = limits;
      once.wait_max = std::chrono::milliseconds(1);
      ASSIGN_OR_RETURN(auto events, reader->Read(once));
      next_ = reader->next();
      return events;
    }
    Offset next() const override { return next_; }
    uint64_t session() const override { return session_; }
    void Cancel() override { cancelled_ = true; }

   private:
    RegrownLog& log_;
    const Topic topic_;
    const PartitionId partition_;
    Offset next_;
    uint64_t session_ = 0;
    std::atomic<bool> cancelled_ = false;
  };
  std::atomic<eventlog::Log*> now_;
  std::atomic<uint64_t> session_ = 0;
  std::atomic<int32_t> fails_ = -1;  // the partition whose next read fails
  std::atomic<bool> well_ = true;
};

class StagingHistoryTest : public StagingFixture {
 protected:
  static constexpr Offset kLast{3};     // of what FoldBeforeAnother() folds
  static constexpr Offset kNewest{22};  // of the other history, which goes on from before that

  // A log with the events of this one below `from`, and `count` of its own behind them.
  std::unique_ptr<eventlog::EmbeddedLog> AnotherHistory(Offset from, int count = 20) {
    auto another =
        eventlog::EmbeddedLog::Open({.path = dir_ / "another", .partitions = kPartitions});
    EXPECT_TRUE(another.ok());
    std::vector<Event> events;
    for (const auto& event : testing::ReadWholePartition(*log_, Topic::kChanges, PartitionOf())) {
      if (event.offset < from) {
        events.push_back(event.event);
      }
    }
    for (int i = 0; i < count; ++i) {
      events.push_back(testing::MakeEvent(100 + i, Set("Z"), org_.value()).event);
    }
    EXPECT_TRUE((*another)->Append(Topic::kChanges, PartitionOf(), std::move(events)).ok());
    return *std::move(another);
  }
  // Of a log that turns into another one later, with which it has the events before `common` in
  // common.
  void FoldBeforeAnother(Offset common, int count = 20) {
    AppendDefinitions();
    ASSERT_EQ(Append(Set("A1")), kLast);
    another_ = AnotherHistory(common, count);
    regrown_.emplace(*log_);
    Start(&*regrown_);
    AwaitApplied(kLast);
  }
  // And nothing of the other one was applied.
  void ExpectRefused() {
    EXPECT_TRUE(AwaitCode("log_diverged"));
    EXPECT_EQ(stores_->AppliedOf(org_), kLast);
    Stop();
  }
  void TearDown() override { Crash(); }  // before the logs that it reads go

  std::unique_ptr<eventlog::EmbeddedLog> another_;
  std::optional<RegrownLog> regrown_;
};

TEST_F(StagingHistoryTest, ALogThatDoesNotGoOnFromTheStoresStopsThePartition) {
  AppendDefinitions();
  Start();
  AwaitApplied(Append(Set("A1")));
  Stop();
  OpenLog("another");
  Start();
  const absl::Status truncated = AwaitHealth(absl::StatusCode::kDataLoss);
  EXPECT_EQ(ErrorCode(truncated), "log_truncated");
  Stop();
  for (int i = 0; i < 10; ++i) {
    Append(Set("B"));
  }
  Start();
  const absl::Status diverged = AwaitHealth(absl::StatusCode::kDataLoss);
  EXPECT_EQ(ErrorCode(diverged), "log_diverged");
  Stop();
}

// The store is flushed beyond the checkpoint, and the log loses its tail: the checkpoint alone
// does not tell.
TEST_F(StagingHistoryTest, AStoreAheadOfATruncatedLogStopsThePartition) {
  const OrgId other = OrgOfSamePartition();
  store_options_.open_stores_max = 1;
  store_options_.sets_apart = true;
  store_options_.check_history = [this](PartitionId partition, Offset applied, uint64_t hash) {
    return CheckHistory(*log_, partition, applied, hash);
  };
  AppendDefinitions();
  AppendDefinitions(other);
  Start();
  AwaitApplied(Append(Set("A1")));
  Stop();
  log_.reset();
  std::filesystem::copy(dir_ / "log", dir_ / "backup", std::filesystem::copy_options::recursive);
  OpenLog("log");
  RegrownLog log(*log_);
  Start(&log);
  for (int i = 0; i < 5; ++i) {
    AwaitApplied(Append(Set("OLD" + std::to_string(i))));
  }
  AwaitApplied(other, Append(other, Set("B1")));  // so the first one's store is flushed and closed
  AwaitApplied(other, Append(other, Set("B2")));
  log.SetWell(false);  // or the end of the process would make a checkpoint
  Crash();
  OpenLog("backup");
  Start();
  Append(Set("NEW"));
  EXPECT_TRUE(AwaitCode("log_truncated"));
  EXPECT_EQ(projector_->Health().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ErrorCode(stores_->Snapshot(org_).status()), "log_truncated");
  EXPECT_EQ(ErrorCode(stores_->ListStores().value()[0].status), "log_truncated");
  Stop();
}

// While it runs: another log takes this one's place, and holds more than was read.
TEST_F(StagingHistoryTest, AnotherHistoryIsNoticedBeforeACheckpoint) {
  AppendDefinitions();
  options_.checkpoint_interval = std::chrono::milliseconds(100);
  SwitchedLog log(*log_);
  Start(&log);
  AwaitApplied(Append(Set("A1")));
  const auto another = AnotherHistory(Offset(0));
  log.SwitchTo(*another);
  Append(Set("A2"));  // to the first log, whose reader is still open: it makes a checkpoint due
  EXPECT_TRUE(AwaitCode("log_diverged"));
  Stop();
}

TEST_F(StagingHistoryTest, WhatComesAfterASilenceIsComparedBeforeItIsApplied) {
  clock_ = &fake_clock_;
  FoldBeforeAnother(Offset(0));
  fake_clock_.Advance(std::chrono::seconds(2));
  regrown_->SwitchTo(*another_);
  ExpectRefused();
}

// There is no silence, and no error.
TEST_F(StagingHistoryTest, WhatComesOverAnotherConnectionIsComparedBeforeItIsApplied) {
  clock_ = &fake_clock_;
  FoldBeforeAnother(Offset(0));
  regrown_->ConnectTo(*another_);
  ExpectRefused();
}

// No checkpoint tells of what was applied, but the stores hold it.
TEST_F(StagingHistoryTest, APartitionThatComesBackIsComparedWithAllThatThisProcessApplied) {
  FoldBeforeAnother(Offset(2));
  regrown_->SetWell(false);  // nobody looks before it goes
  projector_->Stop();
  regrown_->SwitchTo(*another_);
  regrown_->SetWell(true);
  StartProjector(*regrown_, *stores_);
  ExpectRefused();
}

// What this process applied last is of the new history, and fits it.
TEST_F(StagingHistoryTest, APartitionThatComesBackIsComparedByBatchesToo) {
  FoldBeforeAnother(kLast);
  regrown_->SwitchTo(*another_);  // unseen
  AwaitApplied(kNewest);
  projector_->Stop();
  StartProjector(*regrown_, *stores_);
  EXPECT_TRUE(AwaitCode("log_diverged"));
  Stop();
}

// A comparison amid which the leader goes away is ended with the projector.
TEST_F(StagingHistoryTest, AComparisonDoesNotHoldUpTheEnd) {
  clock_ = &fake_clock_;
  AppendDefinitions();
  testing::BlockingLog log(*log_, Topic::kChanges);
  Start(&log);
  AwaitApplied(Append(Set("A1")));
  log.Block();
  fake_clock_.Advance(std::chrono::seconds(2));  // what comes after a silence is compared
  Append(Set("A2"));
  EXPECT_TRUE(log.AwaitBlocked(1));
  group_->Stop();
  EXPECT_TRUE(log.all_cancelled());
}

TEST_F(StagingHistoryTest, WhatTheLastLookFindsIsRefusedAfterACrashToo) {
  FoldBeforeAnother(Offset(2), 2);
  regrown_->SwitchTo(*another_);  // it ends where the other one did: nothing comes of it
  projector_->Stop();
  const Event more = testing::MakeEvent(200, Set("Z"), org_.value()).event;
  ASSERT_TRUE(another_->Append(Topic::kChanges, PartitionOf(), {more}).ok());
  projector_.reset();
  stores_.reset();  // nothing of what was applied is on disk
  Start(&*regrown_);
  EXPECT_TRUE(AwaitCode("log_diverged"));
  Stop();
}

// Events of the new history have been applied by then, and the one that was applied last fits.
TEST_F(StagingHistoryTest, AHistoryThatWasFoundToBeLostIsRefusedAfterARestartToo) {
  clock_ = &fake_clock_;
  FoldBeforeAnother(kLast);
  regrown_->SwitchTo(*another_);
  AwaitApplied(kNewest);
  fake_clock_.Advance(options_.checkpoint_interval);
  EXPECT_TRUE(Await([&] { return stores_->CheckpointState(PartitionOf()).position >= kNewest; }));
  regrown_->FailOnce(PartitionOf());
  EXPECT_TRUE(AwaitCode("log_diverged"));
  Stop();
  Start(&*regrown_);
  EXPECT_TRUE(AwaitCode("log_diverged"));
  Stop();
}

}  // namespace
}  // namespace sluice::projectors
