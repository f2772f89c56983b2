#include "projectors/staging/staging_projector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <limits>

#include "projectors/staging/dead_letter.h"
#include "projectors/staging/history_check.h"
#include "schemas/base/status.h"
#include "tests/support/blocking_log.h"
#include "tests/support/fake_clock.h"
#include "tests/support/forwarding_log.h"
#include "tests/support/forwarding_stores.h"
#include "tests/support/gap_log.h"
#include "tests/support/held_log.h"
#include "tests/support/log_reading.h"
#include "tests/support/stalling_log.h"
#include "tests/unit/projectors/staging/staging_testing.h"

namespace sluice::projectors {
namespace {

using ::testing::SizeIs;

// A log whose dead letters fail a number of times before they are taken.
class FlakyLog : public testing::ForwardingLog {
 public:
  FlakyLog(eventlog::Log& log, int failures) : testing::ForwardingLog(log), failures_(failures) {}
  void AppendAsync(Topic topic, PartitionId partition, std::vector<Event> batch,
                   AppendCallback done) override {
    if (topic == Topic::kDeadletter && failures_-- > 0) {
      done(Error(absl::StatusCode::kUnavailable, "log_write_failed", "not now"));
      return;
    }
    log_.AppendAsync(topic, partition, std::move(batch), std::move(done));
  }
  void LetThrough() { failures_ = 0; }

 private:
  std::atomic<int> failures_;
};

// Asks another log from SwitchTo() on; readers that are open stay where they are.
class SwitchedLog final : public FlakyLog {
 public:
  explicit SwitchedLog(eventlog::Log& log) : FlakyLog(log, 0), now_(&log) {}
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
class RegrownLog final : public FlakyLog {
 public:
  explicit RegrownLog(eventlog::Log& log) : FlakyLog(log, 0), now_(&log) {}
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

// From Bar() on readers of `changes` that begin before an offset do not come by it: whoever folds
// does not get on, and whoever compares what was applied is answered.
class BarredLog final : public testing::ForwardingLog {
 public:
  using testing::ForwardingLog::ForwardingLog;
  void Bar(Offset at) { at_ = at.value(); }
  void Unbar() { at_ = std::numeric_limits<int64_t>::max(); }
  int empty_reads() const { return empty_reads_; }
  absl::StatusOr<std::unique_ptr<eventlog::Reader>> OpenReader(Topic topic, PartitionId partition,
                                                               Offset from) override {
    auto reader = log_.OpenReader(topic, partition, from);
    if (!reader.ok() || topic != Topic::kChanges || from.value() >= at_) {
      return reader;
    }
    return std::make_unique<Barred>(*this, *std::move(reader));
  }

 private:
  class Barred final : public eventlog::Reader {
   public:
    Barred(BarredLog& log, std::unique_ptr<eventlog::Reader> reader)
        : log_(log), reader_(std::move(reader)) {}
    absl::StatusOr<std::vector<eventlog::StoredEvent>> Read(
        const eventlog::ReadLimits& limits) override {
      eventlog::ReadLimits before = limits;
      before.events_max =
          std::min(before.events_max, static_cast<size_t>(log_.at_ - next().value()));
      if (before.events_max > 0) {
        return reader_->Read(before);
      }
      ++log_.empty_reads_;
      return cancelled_ ? absl::StatusOr<std::vector<eventlog::StoredEvent>>(
                              absl::CancelledError("cancelled"))
                        : std::vector<eventlog::StoredEvent>();
    }
    Offset next() const override { return reader_->next(); }
    void Cancel() override {
      cancelled_ = true;
      reader_->Cancel();
    }

   private:
    BarredLog& log_;
    const std::unique_ptr<eventlog::Reader> reader_;
    std::atomic<bool> cancelled_ = false;
  };
  std::atomic<int64_t> at_ = std::numeric_limits<int64_t>::max();
  std::atomic<int> empty_reads_ = 0;
};

// Stores whose flushes for a checkpoint wait until Release().
class SlowFlushStores final : public ForwardingStores {
 public:
  using ForwardingStores::ForwardingStores;
  void Release() {
    absl::MutexLock lock(&mutex_);
    released_ = true;
  }
  bool flushing() const { return flushing_; }

  std::unique_ptr<PendingCheckpoint> BeginCheckpoint(PartitionId partition,
                                                     Offset untold) override {
    auto pending = stores_.BeginCheckpoint(partition, untold);
    return pending == nullptr ? nullptr : std::make_unique<Pending>(*this, std::move(pending));
  }
  absl::StatusOr<Offset> EndCheckpoint(std::unique_ptr<PendingCheckpoint> pending) override {
    return stores_.EndCheckpoint(std::move(static_cast<Pending&>(*pending).pending));
  }

 private:
  struct Pending final : PendingCheckpoint {
    Pending(SlowFlushStores& stores_in, std::unique_ptr<PendingCheckpoint> pending_in)
        : stores(stores_in), pending(std::move(pending_in)) {}
    void Flush() override {
      stores.AwaitRelease();
      pending->Flush();
    }
    SlowFlushStores& stores;
    std::unique_ptr<PendingCheckpoint> pending;
  };
  void AwaitRelease() {
    flushing_ = true;
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(&released_), kPatience);
  }
  std::atomic<bool> flushing_{false};
  absl::Mutex mutex_;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
};

// Who asks where reading must begin, which also says that reading begins there again.
class CheckpointAskers final : public ForwardingStores {
 public:
  using ForwardingStores::ForwardingStores;
  Offset CheckpointOf(PartitionId partition) override {
    {
      absl::MutexLock lock(&mutex_);
      askers_.insert({partition, std::this_thread::get_id()});
    }
    return stores_.CheckpointOf(partition);
  }
  absl::StatusOr<ApplyResult> Apply(PartitionId partition,
                                    std::span<const eventlog::StoredEvent> events,
                                    absl::FunctionRef<bool()> stopping) override {
    {
      absl::MutexLock lock(&mutex_);
      appliers_.insert({partition, std::this_thread::get_id()});
    }
    return stores_.Apply(partition, events, stopping);
  }
  // Of the partition, each once.
  using Threads = std::set<std::pair<PartitionId, std::thread::id>>;
  Threads askers() {
    absl::MutexLock lock(&mutex_);
    return askers_;
  }
  Threads appliers() {
    absl::MutexLock lock(&mutex_);
    return appliers_;
  }

 private:
  absl::Mutex mutex_;
  Threads askers_ ABSL_GUARDED_BY(mutex_);
  Threads appliers_ ABSL_GUARDED_BY(mutex_);
};

class StagingProjectorTest : public StagingFixture {
 protected:
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
  // The partitions are taken from this process, `meanwhile` happens, and they come back.
  template <typename Meanwhile>
  void Reassign(eventlog::Log& log, Meanwhile meanwhile) {
    projector_->Stop();
    projector_.reset();
    meanwhile();
    group_ = std::make_unique<eventlog::StaticPartitionGroup>(kPartitions);
    projector_ = std::make_unique<StagingProjector>(log, *group_, *stores_, *clock_, options_);
    ASSERT_TRUE(projector_->Start().ok());
  }
  // Of all partitions.
  double GaugeOf(const std::string& name) const {
    double sum = 0;
    for (const auto& family : options_.registry->Collect()) {
      for (const auto& metric : family.metric) {
        sum += family.name == name ? metric.gauge.value : 0;
      }
    }
    return sum;
  }
  std::string AwaitRefusal() {
    std::string code;
    EXPECT_TRUE(Await([&] {
      code = ErrorCode(projector_->MayServe(org_));
      return code == "log_diverged" || code == "log_truncated" || code.empty();
    }));
    return code;
  }
};

TEST_F(StagingProjectorTest, FoldsWhatTheLogHoldsAndWhatComes) {
  AppendDefinitions();
  const Offset before = Append(Set("A1"));
  Start();
  EXPECT_TRUE(projector_->Serves(PartitionId(0)));
  EXPECT_FALSE(projector_->Serves(PartitionId(kPartitions)));
  AwaitApplied(before);
  AwaitApplied(Append(Set("A2")));
  EXPECT_TRUE(AwaitHealth(absl::StatusCode::kOk).ok());
  const auto snapshot = stores_->Snapshot(org_);
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ((*snapshot)->applied().records, 2u);
  projector_->Stop();
  EXPECT_FALSE(projector_->Serves(PartitionId(0)));
}

TEST_F(StagingProjectorTest, ARestartGoesOnFromTheCheckpoint) {
  AppendDefinitions();
  Start();
  AwaitApplied(Append(Set("A1")));
  Stop();
  const Offset second = Append(Set("A2"));
  Start();
  EXPECT_EQ(stores_->CheckpointOf(PartitionOf()), second);
  AwaitApplied(second);
  EXPECT_EQ((*stores_->Snapshot(org_))->applied().records, 2u);
  Stop();
}

TEST_F(StagingProjectorTest, RejectedEventsGoToTheDeadLettersOnceAndTheRestGoesOn) {
  AppendDefinitions();
  const v1::ChangeSet bad =
      testing::MakeSet({Set("A1").ops(0), testing::Delete(9, "A1")}, "s1", "crm");
  const Offset rejected = Append(bad);
  FlakyLog flaky(*log_, 3);
  Start(&flaky);
  AwaitApplied(Append(Set("A2")));
  const std::vector<Event> letters = DeadLetters(1);
  ASSERT_THAT(letters, SizeIs(1));
  EXPECT_EQ(letters[0].id, "changes-" + std::to_string(PartitionOf().value()) + "-" +
                               std::to_string(rejected.value()) + "-1");
  EXPECT_EQ(letters[0].type, "sluice.v1.DeadLetter");
  EXPECT_EQ(letters[0].key, "acme");
  v1::DeadLetter letter;
  ASSERT_TRUE(letter.ParseFromString(letters[0].value));
  EXPECT_EQ(letter.topic(), "changes");
  EXPECT_EQ(letter.offset(), rejected.value());
  EXPECT_EQ(letter.op_index(), 1u);
  EXPECT_EQ(letter.code(), "unknown_entity");
  EXPECT_EQ(letter.value(), bad.SerializeAsString());
  EXPECT_TRUE(AwaitHealth(absl::StatusCode::kOk).ok());
  Stop();
  // After the checkpoint nothing is told of again.
  Start();
  AwaitApplied(Append(Set("A3")));
  Append(testing::MakeSet({testing::Delete(8, "A1")}));
  EXPECT_THAT(DeadLetters(2), SizeIs(2));
  Stop();
}

// The neighbours of whoever had an event refused are folded and served while its letter cannot be
// written, and checkpoints go up to it and not past it: it is told after a crash.
TEST_F(StagingProjectorTest, ALetterThatCannotBeWrittenHoldsUpTheCheckpointAlone) {
  testing::FakeClock clock;
  clock_ = &clock;
  const OrgId neighbour = OrgOfSamePartition();
  options_.registry = std::make_shared<prometheus::Registry>();
  AppendDefinitions();
  AppendDefinitions(neighbour);
  testing::HeldLog silent(*log_, PartitionOf(), Topic::kDeadletter);
  Start(&silent);
  AwaitApplied(neighbour, Append(neighbour, Set("A")));
  const Offset rejected = Append(testing::MakeSet({testing::Delete(9, "A1")}));
  ASSERT_TRUE(silent.AwaitHeld(1));
  Offset last;
  for (int i = 0; i < 3; ++i) {
    clock.Advance(options_.checkpoint_interval);
    EXPECT_TRUE(Await([&] { return projector_->MayServe(neighbour).ok(); }));
    last = Append(neighbour, Set("B" + std::to_string(i)));
    AwaitApplied(neighbour, last);
  }
  EXPECT_TRUE(projector_->Health().ok()) << projector_->Health();
  EXPECT_TRUE(Await([&] {
    return stores_->CheckpointState(PartitionOf()).position == Offset(rejected.value() - 1);
  }));
  EXPECT_EQ(GaugeOf("sluice_staging_dead_letters_held"), 1);
  // The process ends: the letter is written by the next one, and once by that.
  Stop();
  silent.Release();
  Start();
  EXPECT_EQ(stores_->CheckpointOf(PartitionOf()), rejected);
  AwaitApplied(neighbour, Append(neighbour, Set("C")));
  // The first one may find the letter still under way, and stay behind it.
  EXPECT_TRUE(Await([&] {
    clock.Advance(options_.checkpoint_interval);
    return stores_->CheckpointState(PartitionOf()).position >= last;
  }));
  EXPECT_EQ(GaugeOf("sluice_staging_dead_letters_held"), 0);
  const std::vector<Event> letters = DeadLetters(2);
  ASSERT_THAT(letters, SizeIs(2));  // also the one that had no answer when the process ended
  EXPECT_EQ(letters[0].id, letters[1].id);
  Stop();
}

// Whoever takes the partition over in the same process reads again from the checkpoint, and may
// have to go before it comes by what was refused: the stores have applied that, and nobody holds a
// letter.
TEST_F(StagingProjectorTest, ACheckpointPassesNoLetterThatAnEarlierProjectorHeld) {
  AppendDefinitions();
  const Offset rejected = Append(testing::MakeSet({testing::Delete(9, "A1")}));
  const Offset last = Append(Set("A1"));
  BarredLog barred(*log_);
  testing::HeldLog silent(barred, PartitionOf(), Topic::kDeadletter);
  Start(&silent);
  AwaitApplied(last);
  ASSERT_TRUE(silent.AwaitHeld(1));
  Reassign(silent, [&] { barred.Bar(rejected); });
  EXPECT_TRUE(Await([&] { return barred.empty_reads() >= 10; }));
  projector_->Stop();
  EXPECT_EQ(stores_->LastApplied(PartitionOf()).position, last);
  EXPECT_LE(stores_->CheckpointOf(PartitionOf()), rejected);
  // Where it comes by all of it, the letter is written, and the checkpoint goes on.
  barred.Unbar();
  silent.Release();
  Reassign(silent, [] {});
  const std::vector<Event> letters = DeadLetters(2);
  ASSERT_THAT(letters,
              SizeIs(2));  // also the one that had no answer when the first projector ended
  EXPECT_EQ(letters[0].id, letters[1].id);
  EXPECT_TRUE(AwaitHealth(absl::StatusCode::kOk).ok());
  Stop();
  Start();
  EXPECT_EQ(stores_->CheckpointOf(PartitionOf()), Offset(last.value() + 1));
  Stop();
}

// What is held has a bound: there the partition waits, and goes on when the log takes letters.
TEST_F(StagingProjectorTest, AFullLetterBoxHoldsUpThePartition) {
  options_.registry = std::make_shared<prometheus::Registry>();
  options_.batch_bytes_max = 1;  // an event is a batch
  AppendDefinitions();
  const std::string large(1 << 20, 'x');
  for (int i = 0; i < 20; ++i) {
    Append(testing::MakeSet({testing::Delete(9, large)}));
  }
  const Offset last = Append(Set("A1"));
  FlakyLog flaky(*log_, 1'000'000);
  Start(&flaky);
  EXPECT_TRUE(Await([&] { return ErrorCode(projector_->Health()) == "log_write_failed"; }));
  EXPECT_LT(stores_->AppliedOf(org_), last);
  EXPECT_EQ(GaugeOf("sluice_staging_dead_letters_held"), 8);
  flaky.LetThrough();
  AwaitApplied(last);
  EXPECT_TRUE(AwaitHealth(absl::StatusCode::kOk).ok());
  EXPECT_THAT(DeadLetters(20), SizeIs(20));
  Stop();
}

// Whoever's events come next waits for the room that they need, not for the last of the letters.
TEST_F(StagingProjectorTest, AFullLetterBoxHoldsUpThePartitionUntilThereIsRoom) {
  options_.registry = std::make_shared<prometheus::Registry>();
  options_.batch_bytes_max = 1;
  AppendDefinitions();
  const std::string large(1 << 20, 'x');
  for (int i = 0; i < 8; ++i) {
    Append(testing::MakeSet({testing::Delete(9, large)}));
  }
  const Offset last = Append(Set("A1"));
  testing::HeldLog silent(*log_, PartitionOf(), Topic::kDeadletter);
  Start(&silent);
  EXPECT_TRUE(Await([&] { return GaugeOf("sluice_staging_dead_letters_held") == 8; }));
  ASSERT_TRUE(silent.AwaitHeld(1));
  EXPECT_LT(stores_->AppliedOf(org_), last);
  silent.ReleaseFirst();
  AwaitApplied(last);
  ASSERT_TRUE(silent.AwaitHeld(1));  // nobody waits for the next one
  Stop();
}

// All letters of a partition go the same way, so that none waits behind another one's, whatever is
// written into the log as a key.
TEST_F(StagingProjectorTest, LettersOfAPartitionGoToOnePartition) {
  AppendDefinitions();
  const PartitionId other(kPartitions - 1 - PartitionOf().value());
  OrgId elsewhere = org_;
  for (int i = 0; PartitionOf(elsewhere) != other; ++i) {
    elsewhere = OrgId::Parse("org" + std::to_string(i)).value();
  }
  const Event stray = testing::MakeEvent(1'000, Set("A1"), elsewhere.value()).event;
  ASSERT_TRUE(log_->Append(Topic::kChanges, PartitionOf(), {stray}).ok());
  Append(testing::MakeSet({testing::Delete(9, "A1")}));
  testing::HeldLog silent(*log_, other, Topic::kDeadletter);
  Start(&silent);
  const std::vector<Event> letters = DeadLetters(2);
  ASSERT_THAT(letters, SizeIs(2));
  EXPECT_EQ(letters[0].key, elsewhere.value());
  EXPECT_EQ(letters[1].key, org_.value());
  Stop();
}

// Each step makes as many letters as one append takes: while they come none of them is the last.
TEST_F(StagingProjectorTest, WhatIsRefusedAllTheTimeHoldsUpNoCheckpoint) {
  options_.checkpoint_interval = std::chrono::milliseconds(1);
  options_.batch_events_max = 1'000;
  AppendDefinitions();
  std::vector<Event> refused;
  for (int i = 0; i < 10'000; ++i) {
    const auto set = testing::MakeSet({testing::Delete(9, "A1")});
    refused.push_back(testing::MakeEvent(1'000 + i, set, org_.value()).event);
  }
  ASSERT_TRUE(log_->Append(Topic::kChanges, PartitionOf(), std::move(refused)).ok());
  const Offset end = log_->Range(Topic::kChanges, PartitionOf())->end;
  Start();
  Offset first;
  EXPECT_TRUE(Await([&] {
    first = stores_->CheckpointOf(PartitionOf());
    return first > Offset(0);
  }));
  EXPECT_LT(first, end);
  Stop();
}

TEST_F(StagingProjectorTest, ALogThatDoesNotGoOnFromTheStoresStopsThePartition) {
  AppendDefinitions();
  Start();
  AwaitApplied(Append(Set("A1")));
  Stop();
  OpenLog("another");
  Start();
  const absl::Status truncated = AwaitHealth(absl::StatusCode::kDataLoss);
  EXPECT_EQ(ErrorCode(truncated), "log_truncated");
  projector_->Stop();
  Stop();
  for (int i = 0; i < 10; ++i) {
    Append(Set("B"));
  }
  Start();
  const absl::Status diverged = AwaitHealth(absl::StatusCode::kDataLoss);
  EXPECT_EQ(ErrorCode(diverged), "log_diverged");
  Stop();
}

TEST_F(StagingProjectorTest, AStallIsNotTheEnd) {
  AppendDefinitions();
  testing::StallingLog stalling(*log_, Topic::kChanges, Append(Set("A1")));
  Start(&stalling);
  stalling.AwaitEmptyReads(10);
  EXPECT_EQ(ErrorCode(projector_->MayServe(org_)), "not_caught_up");
  EXPECT_FALSE(projector_->Health().ok());
  stalling.Release();
  EXPECT_TRUE(AwaitHealth(absl::StatusCode::kOk).ok());
  EXPECT_TRUE(projector_->MayServe(org_).ok());
  Stop();
}

// Offsets without events, which were passed over, have gone.
TEST_F(StagingProjectorTest, AReaderThatIsSlowToCloseHoldsUpNobody) {
  testing::GapLog log(*log_);
  Start(&log);
  for (const PartitionId partition : {PartitionId(0), PartitionId(1)}) {
    ASSERT_TRUE(Await([&] { return projector_->MayServe(partition).ok(); }));
  }
  log.slow_to_close = true;
  log.lost = true;
  log.closing.WaitForNotification();
  auto asked = std::async(std::launch::async, [this] {
    return std::pair(projector_->MayServe(PartitionId(0)), projector_->MayServe(PartitionId(1)));
  });
  EXPECT_EQ(asked.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  log.closed.Notify();
  asked.wait();
  projector_->Stop();
  Stop();
}

TEST_F(StagingProjectorTest, APartitionThatIsGivenUpIsNotServed) {
  AppendDefinitions();
  int changes = 0;
  absl::Mutex mutex;
  options_.serving_changed = [&] {
    absl::MutexLock lock(&mutex);
    ++changes;
  };
  Start();
  EXPECT_TRUE(Await([&] { return projector_->MayServe(org_).ok(); }));
  projector_->Stop();
  EXPECT_EQ(ErrorCode(projector_->MayServe(org_)), "not_served_here");
  EXPECT_EQ(ErrorCode(projector_->MayServe(PartitionId(kPartitions))), "not_served_here");
  {
    absl::MutexLock lock(&mutex);
    EXPECT_GE(changes, 1);
  }
  Stop();
}

// A log that is asked for its ends and its health in vain, as where the broker does not answer.
class EndlessLog final : public FlakyLog {
 public:
  using FlakyLog::FlakyLog;
  absl::StatusOr<eventlog::OffsetRange> Range(Topic topic, PartitionId partition) override {
    if (silent_) {
      return Error(absl::StatusCode::kUnavailable, "log_unavailable", "nobody answers");
    }
    return FlakyLog::Range(topic, partition);
  }
  absl::Status Health() override {
    return silent_ ? absl::UnavailableError("nobody answers") : FlakyLog::Health();
  }
  std::atomic<bool> silent_ = false;
};

TEST_F(StagingProjectorTest, WhoDoesNotKnowTheEndServesForAWhileOnly) {
  testing::FakeClock clock;
  clock_ = &clock;
  AppendDefinitions();
  EndlessLog log(*log_, 0);
  Start(&log);
  EXPECT_TRUE(Await([&] { return projector_->MayServe(org_).ok(); }));
  log.silent_ = true;
  clock.Advance(StagingOptions().near_end + std::chrono::seconds(1));
  EXPECT_TRUE(Await([&] { return ErrorCode(projector_->MayServe(org_)) == "not_caught_up"; }));
  log.silent_ = false;
  EXPECT_TRUE(Await([&] { return projector_->MayServe(org_).ok(); }));
  Stop();
}

TEST_F(StagingProjectorTest, WhoIsWellNowhereIsNotReady) {
  testing::FakeClock clock;
  clock_ = &clock;
  EndlessLog log(*log_, 0);
  Start(&log);
  EXPECT_TRUE(Await([&] { return projector_->Health().ok(); }));
  log.silent_ = true;
  clock.Advance(StagingOptions().near_end + std::chrono::seconds(1));
  EXPECT_TRUE(Await([&] { return ErrorCode(projector_->Health()) == "not_caught_up"; }));
  EXPECT_THAT(projector_->TroubledOrgs(), SizeIs(kPartitions));
  log.silent_ = false;
  EXPECT_TRUE(Await([&] { return projector_->Health().ok(); }));
  Stop();
}

TEST_F(StagingProjectorTest, LagIsThatOfTheMomentOfTheScrape) {
  options_.registry = std::make_shared<prometheus::Registry>();
  AppendDefinitions();
  testing::StallingLog stalling(*log_, Topic::kChanges, Append(Set("A1")));
  Start(&stalling);
  stalling.AwaitEmptyReads(2);
  const auto lag = [&] {
    projector_->RefreshMetrics();
    return GaugeOf("sluice_staging_lag_events");
  };
  EXPECT_EQ(lag(), 1);  // the prober asks once a second, and has asked a moment ago
  for (int i = 0; i < 5; ++i) {
    Append(Set("B" + std::to_string(i)));
    EXPECT_EQ(lag(), 2 + i);
  }
  stalling.Release();
  EXPECT_TRUE(Await([&] { return lag() == 0; }));
  Stop();
}

// A log that keeps whoever asks for the end of one partition waiting, as where it has no leader.
class LeaderlessLog final : public FlakyLog {
 public:
  LeaderlessLog(eventlog::Log& log, PartitionId partition)
      : FlakyLog(log, 0), partition_(partition) {}
  absl::StatusOr<eventlog::OffsetRange> Range(Topic topic, PartitionId partition) override {
    ++asked_;
    if (partition == partition_) {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&led_));
    }
    return FlakyLog::Range(topic, partition);
  }
  void SetLed(bool led) {
    absl::MutexLock lock(&mutex_);
    led_ = led;
  }
  int asked() const { return asked_; }

 private:
  const PartitionId partition_;
  std::atomic<int> asked_ = 0;
  absl::Mutex mutex_;
  bool led_ ABSL_GUARDED_BY(mutex_) = true;
};

TEST_F(StagingProjectorTest, APartitionWithoutALeaderHoldsUpNoOther) {
  testing::FakeClock clock;
  clock_ = &clock;
  const PartitionId dead(0);
  const PartitionId well(1);
  LeaderlessLog log(*log_, dead);
  Start(&log);
  EXPECT_TRUE(Await([&] { return projector_->Health().ok(); }));
  log.SetLed(false);
  for (int i = 0; i < 3; ++i) {
    clock.Advance(StagingOptions().near_end + std::chrono::seconds(1));
    EXPECT_TRUE(Await([&] { return projector_->MayServe(well).ok(); }));
  }
  EXPECT_EQ(ErrorCode(projector_->MayServe(dead)), "not_caught_up");
  // Nor does it take the others from whoever sends requests by readiness.
  EXPECT_TRUE(Await([&] { return projector_->Health().ok(); }));
  const auto troubled = projector_->TroubledOrgs();
  ASSERT_THAT(troubled, SizeIs(1));
  EXPECT_EQ(troubled[0].partition, dead);
  EXPECT_EQ(troubled[0].code, "not_caught_up");
  EXPECT_EQ(troubled[0].count, 0U);
  // Whoever needs the log's last word is not held up either, and is not told an old one.
  const SteadyTime since = clock.SteadyNow();
  const auto end_of = [&](PartitionId partition) {
    for (int i = 0;; ++i) {
      const OrgId org = OrgId::Parse("org" + std::to_string(i)).value();
      if (PartitionOf(org) == partition) {
        return projector_->EndSince(org, clock.SteadyNow() - since);
      }
    }
  };
  EXPECT_TRUE(Await([&] { return end_of(well).has_value(); }));
  EXPECT_EQ(**end_of(well), log_->Range(Topic::kChanges, well)->end);
  EXPECT_FALSE(end_of(dead).has_value());
  log.SetLed(true);
  EXPECT_TRUE(Await([&] { return projector_->MayServe(dead).ok(); }));
  EXPECT_TRUE(Await([&] { return end_of(dead).has_value(); }));
  Stop();
}

TEST_F(StagingProjectorTest, WhoWasWellIsKnownThoughNobodyAsked) {
  testing::FakeClock clock;
  clock_ = &clock;
  const PartitionId dead(0);
  const PartitionId well(1);
  LeaderlessLog log(*log_, dead);
  Start(&log);
  EXPECT_TRUE(Await([&] { return projector_->TroubledOrgs().empty(); }));
  // It asks for all ends once a second, and looks before: the second time all are well.
  const int asked = log.asked();
  EXPECT_TRUE(Await([&] { return log.asked() > asked + 2 * kPartitions; }));
  log.SetLed(false);
  clock.Advance(StagingOptions().near_end + std::chrono::seconds(1));
  EXPECT_TRUE(Await([&] { return projector_->MayServe(well).ok(); }));
  EXPECT_EQ(ErrorCode(projector_->MayServe(dead)), "not_caught_up");
  EXPECT_TRUE(AwaitHealth(absl::StatusCode::kOk).ok()) << projector_->Health();
  log.SetLed(true);
  Stop();
}

// The store is flushed beyond the checkpoint, and the log loses its tail: the checkpoint alone
// does not tell.
TEST_F(StagingProjectorTest, AStoreAheadOfATruncatedLogStopsThePartition) {
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
  EndlessLog log(*log_, 0);
  Start(&log);
  for (int i = 0; i < 5; ++i) {
    AwaitApplied(Append(Set("OLD" + std::to_string(i))));
  }
  AwaitApplied(other, Append(other, Set("B1")));  // so the first one's store is flushed and closed
  AwaitApplied(other, Append(other, Set("B2")));
  log.silent_ = true;  // or the end of the process would make a checkpoint
  Crash();
  OpenLog("backup");
  Start();
  Append(Set("NEW"));
  EXPECT_TRUE(Await([&] { return ErrorCode(projector_->MayServe(org_)) == "log_truncated"; }));
  EXPECT_EQ(projector_->Health().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ErrorCode(stores_->Snapshot(org_).status()), "log_truncated");
  EXPECT_EQ(ErrorCode(stores_->ListStores().value()[0].status), "log_truncated");
  Stop();
}

// While it runs: another log takes this one's place, and holds more than was read.
TEST_F(StagingProjectorTest, AnotherHistoryIsNoticedBeforeACheckpoint) {
  AppendDefinitions();
  options_.checkpoint_interval = std::chrono::milliseconds(100);
  SwitchedLog log(*log_);
  Start(&log);
  AwaitApplied(Append(Set("A1")));
  const auto another = AnotherHistory(Offset(0));
  log.SwitchTo(*another);
  Append(Set("A2"));  // to the first log, whose reader is still open: it makes a checkpoint due
  EXPECT_TRUE(Await([&] { return ErrorCode(projector_->MayServe(org_)) == "log_diverged"; }));
  projector_->Stop();
  Stop();
}

TEST_F(StagingProjectorTest, WhatComesAfterASilenceIsComparedBeforeItIsApplied) {
  testing::FakeClock clock;
  clock_ = &clock;
  AppendDefinitions();
  const Offset last = Append(Set("A1"));
  const auto another = AnotherHistory(Offset(0));
  RegrownLog log(*log_);
  Start(&log);
  AwaitApplied(last);
  clock.Advance(std::chrono::seconds(2));
  log.SwitchTo(*another);
  EXPECT_TRUE(Await([&] { return ErrorCode(projector_->MayServe(org_)) == "log_diverged"; }));
  EXPECT_EQ(stores_->AppliedOf(org_), last);
  projector_->Stop();
  Stop();
}

// There is no silence, and no error.
TEST_F(StagingProjectorTest, WhatComesOverAnotherConnectionIsComparedBeforeItIsApplied) {
  testing::FakeClock clock;
  clock_ = &clock;
  AppendDefinitions();
  const Offset last = Append(Set("A1"));
  const auto another = AnotherHistory(Offset(0));
  RegrownLog log(*log_);
  Start(&log);
  AwaitApplied(last);
  log.ConnectTo(*another);
  EXPECT_EQ(AwaitRefusal(), "log_diverged");
  EXPECT_EQ(stores_->AppliedOf(org_), last);
  projector_->Stop();
  Stop();
}

// No checkpoint tells of what was applied, but the stores hold it.
TEST_F(StagingProjectorTest, APartitionThatComesBackIsComparedWithAllThatThisProcessApplied) {
  AppendDefinitions();
  const Offset last = Append(Set("A1"));
  const auto another = AnotherHistory(Offset(2));
  RegrownLog log(*log_);
  Start(&log);
  AwaitApplied(last);
  log.SetWell(false);  // nobody looks before it goes
  Reassign(log, [&] {
    log.SwitchTo(*another);
    log.SetWell(true);
  });
  EXPECT_EQ(AwaitRefusal(), "log_diverged");
  EXPECT_EQ(stores_->AppliedOf(org_), last);
  projector_->Stop();
  Stop();
}

// What this process applied last is of the new history, and fits it.
TEST_F(StagingProjectorTest, APartitionThatComesBackIsComparedByBatchesToo) {
  AppendDefinitions();
  const Offset last = Append(Set("A1"));
  const auto another = AnotherHistory(last);
  RegrownLog log(*log_);
  Start(&log);
  AwaitApplied(last);
  log.SwitchTo(*another);  // unseen
  AwaitApplied(Offset(last.value() + 19));
  Reassign(log, [] {});
  EXPECT_EQ(AwaitRefusal(), "log_diverged");
  projector_->Stop();
  Stop();
}

// A comparison amid which the leader goes away is ended with the projector.
TEST_F(StagingProjectorTest, AComparisonDoesNotHoldUpTheEnd) {
  testing::FakeClock clock;
  clock_ = &clock;
  AppendDefinitions();
  testing::BlockingLog log(*log_, Topic::kChanges);
  Start(&log);
  AwaitApplied(Append(Set("A1")));
  log.Block();
  clock.Advance(std::chrono::seconds(2));  // what comes after a silence is compared
  Append(Set("A2"));
  EXPECT_TRUE(log.AwaitBlocked(1));
  group_->Stop();
  EXPECT_TRUE(log.all_cancelled());
}

TEST_F(StagingProjectorTest, WhatTheLastLookFindsIsRefusedAfterACrashToo) {
  AppendDefinitions();
  const Offset last = Append(Set("A1"));
  const auto another = AnotherHistory(Offset(2), static_cast<int>(last.value()) - 1);
  RegrownLog log(*log_);
  Start(&log);
  AwaitApplied(last);
  log.SwitchTo(*another);  // it ends where the other one did: nothing comes of it
  projector_->Stop();
  ASSERT_TRUE((*another)
                  .Append(Topic::kChanges, PartitionOf(),
                          {testing::MakeEvent(200, Set("Z"), org_.value()).event})
                  .ok());
  projector_.reset();
  stores_.reset();  // nothing of what was applied is on disk
  Start(&log);
  EXPECT_EQ(AwaitRefusal(), "log_diverged");
  projector_->Stop();
  Stop();
}

// Events of the new history have been applied by then, and the one that was applied last fits.
TEST_F(StagingProjectorTest, AHistoryThatWasFoundToBeLostIsRefusedAfterARestartToo) {
  testing::FakeClock clock;
  clock_ = &clock;
  AppendDefinitions();
  const Offset last = Append(Set("A1"));
  const auto another = AnotherHistory(last);
  RegrownLog log(*log_);
  Start(&log);
  AwaitApplied(last);
  log.SwitchTo(*another);
  const Offset newest(last.value() + 19);
  AwaitApplied(newest);
  clock.Advance(options_.checkpoint_interval);
  EXPECT_TRUE(Await([&] { return stores_->CheckpointState(PartitionOf()).position >= newest; }));
  log.FailOnce(PartitionOf());
  EXPECT_TRUE(Await([&] { return ErrorCode(projector_->MayServe(org_)) == "log_diverged"; }));
  projector_->Stop();
  Stop();
  Start(&log);
  EXPECT_TRUE(Await([&] { return ErrorCode(projector_->MayServe(org_)) == "log_diverged"; }));
  projector_->Stop();
  Stop();
}

// Callers ask for the log's end as often as they like: a fold that is behind stays near it.
TEST_F(StagingProjectorTest, ManyWhoAskForTheEndMakeNobodyForgetTheEarlierOnes) {
  testing::FakeClock clock;
  clock_ = &clock;
  AppendDefinitions();
  testing::StallingLog log(*log_, Topic::kChanges, Append(Set("A0")));
  log.Release();
  Start(&log);
  EXPECT_TRUE(Await([&] { return projector_->MayServe(org_).ok(); }));
  const auto ask = [&] {
    clock.Advance(std::chrono::milliseconds(50));
    EXPECT_TRUE(Await([&] { return projector_->EndSince(org_, {}).has_value(); }));
  };
  Offset reached = Append(Set("A1"));
  AwaitApplied(reached);
  log.StallAt(Offset(reached.value() + 1));
  for (int i = 0; i < 10; ++i) {
    reached = Append(Set("A1"));
    ask();
  }
  Append(Set("A2"));
  for (int i = 0; i < 40; ++i) {
    ask();
  }
  log.StallAt(Offset(reached.value() + 1));
  AwaitApplied(reached);
  clock.Advance(StagingOptions().near_end - std::chrono::milliseconds(2'475));
  EXPECT_TRUE(Await([&] { return projector_->MayServe(org_).ok(); }));
  log.Release();
  Stop();
}

TEST_F(StagingProjectorTest, EventsAreFoldedWhileTheStoresAreFlushedForACheckpoint) {
  options_.checkpoint_interval = std::chrono::milliseconds(50);
  AppendDefinitions();
  Start();
  projector_.reset();
  SlowFlushStores slow(*stores_);
  group_ = std::make_unique<eventlog::StaticPartitionGroup>(kPartitions);
  projector_ = std::make_unique<StagingProjector>(*log_, *group_, slow, *clock_, options_);
  ASSERT_TRUE(projector_->Start().ok());
  const Offset first = Append(Set("A1"));
  EXPECT_TRUE(Await([&] { return slow.flushing(); }));
  const Offset second = Append(Set("A2"));
  const absl::Time began = absl::Now();
  AwaitApplied(second);
  EXPECT_LT(absl::Now() - began, kPatience / 2);
  EXPECT_LE(stores_->CheckpointState(PartitionOf()).position, first);
  slow.Release();
  EXPECT_TRUE(Await([&] { return stores_->CheckpointState(PartitionOf()).position >= second; }));
  Stop();
}

// Another thread that asked amid a batch would have put back how far who is apart was passed over.
TEST_F(StagingProjectorTest, OnlyWhoAppliesAsksWhereReadingBegins) {
  AppendDefinitions();
  Append(Set("A1"));
  Start();
  projector_.reset();
  CheckpointAskers stores(*stores_);
  group_ = std::make_unique<eventlog::StaticPartitionGroup>(kPartitions);
  projector_ = std::make_unique<StagingProjector>(*log_, *group_, stores, *clock_, options_);
  ASSERT_TRUE(projector_->Start().ok());
  AwaitApplied(Append(Set("A2")));
  const auto of_this = [this](const CheckpointAskers::Threads& all) {
    CheckpointAskers::Threads some;
    for (const auto& one : all) {
      if (one.first == PartitionOf()) {
        some.insert(one);
      }
    }
    return some;
  };
  EXPECT_EQ(of_this(stores.askers()), of_this(stores.appliers()));
  Stop();
}

// Each of a set's rows may be one that can't be applied, and the set may have 6 MiB.
TEST(MakeDeadLetter, OfASourcesSetHasItsNameAndNotItsBytes) {
  eventlog::StoredEvent original = testing::MakeEvent(7, testing::MakeSet({}, "a set"));
  const Rejected rejected{Offset(7), 3, "type_mismatch", "name is no string"};
  const auto letter_of = [&] {
    v1::DeadLetter letter;
    letter.ParseFromString(MakeDeadLetter(PartitionId(2), original, rejected, SystemTime()).value);
    return letter;
  };
  EXPECT_EQ(letter_of().value(), original.event.value);
  EXPECT_EQ(letter_of().source(), "");
  original.event.source = "sluice/source";
  original.event.cause.subject = "crm";
  EXPECT_EQ(letter_of().value(), "");
  EXPECT_EQ(letter_of().source(), "crm");
  EXPECT_EQ(letter_of().op_index(), 3U);
}

}  // namespace
}  // namespace sluice::projectors
