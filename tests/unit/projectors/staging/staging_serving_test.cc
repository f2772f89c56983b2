// Who is served, and whether this process is ready: what is known of the log's end decides it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "schemas/base/status.h"
#include "tests/support/forwarding_log.h"
#include "tests/support/stalling_log.h"
#include "tests/unit/projectors/staging/staging_testing.h"

namespace sluice::projectors {
namespace {

using ::testing::SizeIs;

// A log that is asked for its ends and its health in vain, as where the broker does not answer.
class EndlessLog final : public testing::ForwardingLog {
 public:
  using testing::ForwardingLog::ForwardingLog;
  absl::StatusOr<eventlog::OffsetRange> Range(Topic topic, PartitionId partition) override {
    if (silent_) {
      return Error(absl::StatusCode::kUnavailable, "log_unavailable", "nobody answers");
    }
    return log_.Range(topic, partition);
  }
  absl::Status Health() override {
    return silent_ ? absl::UnavailableError("nobody answers") : log_.Health();
  }
  std::atomic<bool> silent_ = false;
};

// A log that keeps whoever asks for the end of one partition waiting, as where it has no leader.
class LeaderlessLog final : public testing::ForwardingLog {
 public:
  LeaderlessLog(eventlog::Log& log, PartitionId partition)
      : testing::ForwardingLog(log), partition_(partition) {}
  absl::StatusOr<eventlog::OffsetRange> Range(Topic topic, PartitionId partition) override {
    ++asked_;
    if (partition == partition_) {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&led_));
    }
    return log_.Range(topic, partition);
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

class StagingServingTest : public StagingFixture {};

TEST_F(StagingServingTest, AStallIsNotTheEnd) {
  AppendDefinitions();
  testing::StallingLog stalling(*log_, Topic::kChanges, Append(Set("A1")));
  Start(&stalling);
  stalling.AwaitEmptyReads(10);
  EXPECT_EQ(CodeNow(), "not_caught_up");
  EXPECT_FALSE(projector_->Health().ok());
  stalling.Release();
  EXPECT_TRUE(AwaitHealth(absl::StatusCode::kOk).ok());
  EXPECT_EQ(CodeNow(), "");
  Stop();
}

TEST_F(StagingServingTest, APartitionThatIsGivenUpIsNotServed) {
  AppendDefinitions();
  int changes = 0;
  absl::Mutex mutex;
  options_.serving_changed = [&] {
    absl::MutexLock lock(&mutex);
    ++changes;
  };
  Start();
  EXPECT_TRUE(AwaitCode(""));
  projector_->Stop();
  EXPECT_EQ(CodeNow(), "not_served_here");
  EXPECT_EQ(ErrorCode(projector_->MayServe(PartitionId(kPartitions))), "not_served_here");
  {
    absl::MutexLock lock(&mutex);
    EXPECT_GE(changes, 1);
  }
  Stop();
}

TEST_F(StagingServingTest, WhoDoesNotKnowTheEndServesForAWhileOnly) {
  clock_ = &fake_clock_;
  AppendDefinitions();
  EndlessLog log(*log_);
  Start(&log);
  EXPECT_TRUE(AwaitCode(""));
  log.silent_ = true;
  fake_clock_.Advance(StagingOptions().near_end + std::chrono::seconds(1));
  EXPECT_TRUE(AwaitCode("not_caught_up"));
  log.silent_ = false;
  EXPECT_TRUE(AwaitCode(""));
  Stop();
}

TEST_F(StagingServingTest, WhoIsWellNowhereIsNotReady) {
  clock_ = &fake_clock_;
  EndlessLog log(*log_);
  Start(&log);
  EXPECT_TRUE(Await([&] { return projector_->Health().ok(); }));
  log.silent_ = true;
  fake_clock_.Advance(StagingOptions().near_end + std::chrono::seconds(1));
  EXPECT_TRUE(Await([&] { return ErrorCode(projector_->Health()) == "not_caught_up"; }));
  EXPECT_THAT(projector_->TroubledOrgs(), SizeIs(kPartitions));
  log.silent_ = false;
  EXPECT_TRUE(Await([&] { return projector_->Health().ok(); }));
  Stop();
}

TEST_F(StagingServingTest, APartitionWithoutALeaderHoldsUpNoOther) {
  clock_ = &fake_clock_;
  const PartitionId dead(0);
  const PartitionId well(1);
  LeaderlessLog log(*log_, dead);
  Start(&log);
  EXPECT_TRUE(Await([&] { return projector_->Health().ok(); }));
  log.SetLed(false);
  for (int i = 0; i < 3; ++i) {
    fake_clock_.Advance(StagingOptions().near_end + std::chrono::seconds(1));
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
  const SteadyTime since = fake_clock_.SteadyNow();
  const auto end_of = [&](PartitionId partition) {
    return projector_->EndSince(OrgOf(partition), fake_clock_.SteadyNow() - since);
  };
  EXPECT_TRUE(Await([&] { return end_of(well).has_value(); }));
  EXPECT_EQ(**end_of(well), log_->Range(Topic::kChanges, well)->end);
  EXPECT_FALSE(end_of(dead).has_value());
  log.SetLed(true);
  EXPECT_TRUE(Await([&] { return projector_->MayServe(dead).ok(); }));
  EXPECT_TRUE(Await([&] { return end_of(dead).has_value(); }));
  Stop();
}

TEST_F(StagingServingTest, WhoWasWellIsKnownThoughNobodyAsked) {
  clock_ = &fake_clock_;
  const PartitionId dead(0);
  const PartitionId well(1);
  LeaderlessLog log(*log_, dead);
  Start(&log);
  EXPECT_TRUE(Await([&] { return projector_->TroubledOrgs().empty(); }));
  // It asks for all ends once a second, and looks before: the second time all are well.
  const int asked = log.asked();
  EXPECT_TRUE(Await([&] { return log.asked() > asked + 2 * kPartitions; }));
  log.SetLed(false);
  fake_clock_.Advance(StagingOptions().near_end + std::chrono::seconds(1));
  EXPECT_TRUE(Await([&] { return projector_->MayServe(well).ok(); }));
  EXPECT_EQ(ErrorCode(projector_->MayServe(dead)), "not_caught_up");
  EXPECT_TRUE(AwaitHealth(absl::StatusCode::kOk).ok()) << projector_->Health();
  log.SetLed(true);
  Stop();
}

// Callers ask for the log's end as often as they like: a fold that is behind stays near it.
TEST_F(StagingServingTest, ManyWhoAskForTheEndMakeNobodyForgetTheEarlierOnes) {
  clock_ = &fake_clock_;
  AppendDefinitions();
  testing::StallingLog log(*log_, Topic::kChanges, Append(Set("A0")));
  log.Release();
  Start(&log);
  EXPECT_TRUE(AwaitCode(""));
  const auto ask = [&] {
    fake_clock_.Advance(std::chrono::milliseconds(50));
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
  fake_clock_.Advance(StagingOptions().near_end - std::chrono::milliseconds(2'475));
  EXPECT_TRUE(AwaitCode(""));
  log.Release();
  Stop();
}

}  // namespace
}  // namespace sluice::projectors
