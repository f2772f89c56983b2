// What a process may answer, as far as it knows itself and others tell it.
#include "ops/program/serving.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>

#include "projectors/nodes/node_announcer.h"
#include "tests/support/forwarding_log.h"
#include "tests/unit/projectors/staging/staging_testing.h"

namespace sluice::ops {
namespace {

using projectors::DirectoryFollower;
using projectors::NodeAnnouncer;
using projectors::NodeDirectory;

class ServingTest : public projectors::StagingFixture {
 protected:
  bool Await(const std::function<bool()>& condition) const {
    const absl::Time end = absl::Now() + projectors::kPatience;
    while (!condition()) {
      if (absl::Now() > end) {
        return false;
      }
      absl::SleepFor(absl::Milliseconds(1));
    }
    return true;
  }
};

// It has not met the loss itself, and so knows less, not better.
TEST_F(ServingTest, WhatAnotherNodeTellsOfALostHistoryCounts) {
  Append(testing::OpenOrg(1));
  Start();
  DirectoryFollower directory(*log_, *clock_, nullptr, {});
  ASSERT_TRUE(directory.Start().ok());
  NodeDirectory nodes(*log_, *clock_, "a");
  nodes.Start();
  const Serving::Parts parts{.log = log_.get(),
                             .stores = stores_.get(),
                             .staging = projector_.get(),
                             .directory = &directory,
                             .nodes = &nodes};
  const Serving serving(parts);
  ASSERT_TRUE(Await([&] { return serving.MayServe(org_).ok(); })) << serving.MayServe(org_);
  EXPECT_TRUE(serving.Exists(org_).ok());
  EXPECT_TRUE(serving.Troubled().empty());

  NodeDirectory of_b(*log_, *clock_, "b");
  of_b.Start();
  const int32_t lost = PartitionOf(org_).value();
  NodeAnnouncer::Tells tells;
  tells.serves = [](PartitionId) { return false; };
  tells.fault = [lost](PartitionId p) { return p.value() == lost ? "log_truncated" : ""; };
  tells.last_control = [](PartitionId) { return projectors::ControlMark(); };
  NodeAnnouncer b(*log_, nullptr, of_b, tells, *clock_, {.node_id = "b", .roles = {"all"}});
  b.Start();
  b.Serve("http://b/admin", "");
  ASSERT_TRUE(Await([&] { return !serving.MayServe(org_).ok(); }));
  EXPECT_EQ(ErrorCode(serving.MayServe(org_)), "log_truncated");
  EXPECT_EQ(ErrorCode(serving.MayAppend(PartitionId(lost))), "log_truncated");
  EXPECT_EQ(ErrorCode(serving.Exists(org_).status()), "not_caught_up");
  EXPECT_TRUE(serving.MayAppend(PartitionId(1 - lost)).ok());
  ASSERT_EQ(serving.Troubled().size(), 1U);
  EXPECT_EQ(serving.Troubled()[0].code, "log_truncated");
  EXPECT_EQ(serving.Troubled()[0].partition, lost);
  EXPECT_EQ(serving.FaultOf(PartitionId(lost)), "") << "it tells nobody what it was told";
  b.Stop();
  EXPECT_TRUE(Await([&] { return serving.MayServe(org_).ok(); })) << serving.MayServe(org_);
  nodes.Stop();
  directory.Stop();
}

class DoubtedLog final : public testing::ForwardingLog {
 public:
  explicit DoubtedLog(eventlog::Log& log) : ForwardingLog(log) {}
  void Doubt(std::optional<eventlog::Topic> topic) { topic_ = topic; }
  bool IsEndDoubted(eventlog::Topic topic, PartitionId /*partition*/) override {
    return topic_.load() == topic;
  }

 private:
  std::atomic<std::optional<eventlog::Topic>> topic_ = std::optional<eventlog::Topic>();
};

// Whoever doubts: rows may be those of rights that were taken away, and what comes may come into
// the place of what is lost.
TEST_F(ServingTest, NothingIsAnsweredOrTakenWhileItIsNotKnownWhetherTheLogHasLostItsEnd) {
  Append(testing::OpenOrg(1));
  DoubtedLog log(*log_);
  Start(&log);
  Serving::Parts parts{.log = &log, .stores = stores_.get(), .staging = projector_.get()};
  const Serving serving(parts);
  DirectoryFollower::Hooks hooks;
  hooks.may_append = [&serving](PartitionId partition) { return serving.MayAppend(partition); };
  DirectoryFollower directory(log, *clock_, nullptr, hooks);
  parts.directory = &directory;
  ASSERT_TRUE(directory.Start().ok());
  const auto may_decide = serving.Gate().may_decide;
  for (const eventlog::Topic topic : {eventlog::Topic::kProvisioning, eventlog::Topic::kChanges}) {
    ASSERT_TRUE(Await([&] { return serving.MayServe(org_).ok(); })) << serving.MayServe(org_);
    EXPECT_TRUE(may_decide(PartitionOf(org_)).ok());
    log.Doubt(topic);
    EXPECT_EQ(ErrorCode(serving.MayServe(org_)), "not_caught_up");
    EXPECT_EQ(ErrorCode(serving.MayAppend(PartitionOf(org_))), "log_end_doubted");
    EXPECT_EQ(ErrorCode(may_decide(PartitionOf(org_))), "log_end_doubted");
    EXPECT_EQ(ErrorCode(serving.Exists(org_).status()), "not_caught_up");
    log.Doubt(std::nullopt);
  }
  directory.Stop();
  Stop();
}

}  // namespace
}  // namespace sluice::ops
