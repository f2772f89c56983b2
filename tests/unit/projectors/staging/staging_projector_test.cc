#include "projectors/staging/staging_projector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <set>

#include "projectors/staging/dead_letter.h"
#include "schemas/base/status.h"
#include "tests/support/forwarding_stores.h"
#include "tests/support/gap_log.h"
#include "tests/support/stalling_log.h"
#include "tests/unit/projectors/staging/staging_testing.h"

namespace sluice::projectors {
namespace {

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

using StagingProjectorTest = StagingFixture;

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

TEST_F(StagingProjectorTest, EventsAreFoldedWhileTheStoresAreFlushedForACheckpoint) {
  options_.checkpoint_interval = std::chrono::milliseconds(50);
  AppendDefinitions();
  Start();
  SlowFlushStores slow(*stores_);
  StartProjector(*log_, slow);
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
  CheckpointAskers stores(*stores_);
  StartProjector(*log_, stores);
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
