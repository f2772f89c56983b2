// What readiness remembers does not depend on who asks for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "projectors/provisioning/provisioning.h"
#include "tests/support/forwarding_log.h"
#include "tests/unit/projectors/staging/staging_testing.h"

namespace sluice::projectors {
namespace {

// Counts how often its health is asked for, of which Health() of a projector is one.
class CountingGroup final : public eventlog::PartitionGroup {
 public:
  absl::Status Start(Callbacks callbacks) override { return group_.Start(std::move(callbacks)); }
  absl::Status Health() const override {
    ++asked_;
    return group_.Health();
  }
  void CommitHint(PartitionId partition, Offset next) override {
    group_.CommitHint(partition, next);
  }
  void Stop() override { group_.Stop(); }
  int asked() const { return asked_; }

 private:
  eventlog::StaticPartitionGroup group_{kPartitions};
  mutable std::atomic<int> asked_ = 0;
};

// A log of which one partition of `provisioning` cannot be read while it is away.
class PartlyAwayLog final : public testing::FilteringLog {
 public:
  using testing::FilteringLog::FilteringLog;
  void SetAway() { away_ = true; }

 private:
  Events ReadFrom(FilteredReader& reader, const eventlog::ReadLimits& limits) override {
    if (away_ && reader.topic == Topic::kProvisioning && reader.partition == PartitionId(1)) {
      return Error(absl::StatusCode::kUnavailable, "log_unavailable", "a broker went away");
    }
    return reader.ReadOn(limits);
  }

  std::atomic<bool> away_ = false;
};

class ReadinessTest : public StagingFixture {};

TEST_F(ReadinessTest, ASequencerThatWasWellIsKnownThoughNobodyAsked) {
  PartlyAwayLog log(*log_);
  CountingGroup group;
  ProvisioningProjector projector(log, group, *clock_, {}, nullptr);
  ASSERT_TRUE(projector.Start().ok());
  EXPECT_TRUE(Await([&] { return group.asked() > 0 && projector.NotWell().empty(); }));
  const int asked = group.asked();
  EXPECT_TRUE(Await([&] { return group.asked() > asked + 1; }));
  log.SetAway();
  EXPECT_TRUE(Await([&] { return projector.NotWell().size() == 1; }));
  EXPECT_TRUE(projector.Health().ok()) << projector.Health();
  projector.Stop();
}

TEST_F(ReadinessTest, ADirectoryThatWasWellIsKnownThoughNobodyAsked) {
  PartlyAwayLog log(*log_);
  std::atomic<int> looked = 0;
  DirectoryFollower::Hooks hooks;
  hooks.may_serve = [&](PartitionId partition) {
    looked += partition == PartitionId(0) ? 1 : 0;
    return absl::OkStatus();
  };
  DirectoryFollower follower(log, *clock_, nullptr, hooks);
  ASSERT_TRUE(follower.Start().ok());
  EXPECT_TRUE(Await([&] { return follower.NotWell().empty(); }));
  const int before = looked;  // twice a read at most: by the look, and by that for readiness
  EXPECT_TRUE(Await([&] { return looked > before + 4; }));
  log.SetAway();
  EXPECT_TRUE(Await([&] { return follower.NotWell().size() == 1; }));
  EXPECT_TRUE(follower.Health().ok()) << follower.Health();
  follower.Stop();
}

}  // namespace
}  // namespace sluice::projectors
