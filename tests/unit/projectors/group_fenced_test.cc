// A process that its consumer group has put out is not ready, though nothing that it has is amiss.
#include <gtest/gtest.h>

#include "eventlog/partition_group.h"
#include "projectors/provisioning/provisioning.h"
#include "schemas/base/status.h"
#include "tests/unit/projectors/staging/staging_testing.h"

namespace sluice::projectors {
namespace {

// Assigns nothing, and says why while it is told so.
class FencedGroup final : public eventlog::PartitionGroup {
 public:
  absl::Status Start(Callbacks callbacks) override {
    callbacks.on_assigned({});
    return absl::OkStatus();
  }
  [[nodiscard]] absl::Status Health() const override {
    return fenced ? Error(absl::StatusCode::kUnavailable, "group_fenced", "put out")
                  : absl::OkStatus();
  }
  void CommitHint(PartitionId /*partition*/, Offset /*next*/) override {}
  void Stop() override {}

  bool fenced = true;
};

class GroupFencedTest : public StagingFixture {};

TEST_F(GroupFencedTest, NeitherProjectorIsReady) {
  store_options_.path = dir_ / "stores";
  store_options_.log_id = "the log";
  stores_ = StoreManager::Open(store_options_).value();
  FencedGroup group;
  StagingProjector staging(*log_, group, *stores_, *clock_, options_);
  ProvisioningProjector provisioning(
      *log_, group, *clock_, [](const OrgId&) { return kNoOffset; }, nullptr);
  ASSERT_TRUE(staging.Start().ok());
  ASSERT_TRUE(provisioning.Start().ok());
  EXPECT_EQ(ErrorCode(staging.Health()), "group_fenced");
  EXPECT_EQ(ErrorCode(provisioning.Health()), "group_fenced");
  group.fenced = false;
  EXPECT_TRUE(staging.Health().ok()) << staging.Health();
  EXPECT_TRUE(provisioning.Health().ok()) << provisioning.Health();
  staging.Stop();
  provisioning.Stop();
}

}  // namespace
}  // namespace sluice::projectors
