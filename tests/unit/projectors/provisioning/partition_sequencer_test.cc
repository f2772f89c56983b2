// The sequencer's driver and the directory's follower over an embedded log.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "eventlog/embedded/embedded_log.h"
#include "eventlog/static_partition_group.h"
#include "projectors/provisioning/provisioning.h"
#include "schemas/base/clock.h"
#include "tests/support/blocking_log.h"
#include "tests/support/log_reading.h"
#include "tests/support/stalling_log.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/projectors/provisioning/provisioning_testing.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;
using testing::kPartition;
using namespace std::chrono_literals;

class PartitionSequencerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    log_ = *eventlog::EmbeddedLog::Open({.path = dir_ / "log", .partitions = 1});
    ASSERT_TRUE(follower().Start().ok());
  }
  DirectoryFollower& follower() {
    if (follower_ == nullptr) {
      follower_ = std::make_unique<DirectoryFollower>(*log_, clock_, nullptr);
    }
    return *follower_;
  }
  std::unique_ptr<ProvisioningProjector> Sequencer(eventlog::Log& log,
                                                   ProvisioningProjector::Gate gate = {}) {
    group_ = std::make_unique<eventlog::StaticPartitionGroup>(1);
    auto projector = std::make_unique<ProvisioningProjector>(
        log, *group_, clock_, [](const OrgId&) { return kNoOffset; }, nullptr, std::move(gate));
    EXPECT_TRUE(projector->Start().ok());
    return projector;
  }
  Directory::Outcome Decide(v1::ProvisioningRequest request, eventlog::Cause cause = {}) {
    const auto outcome =
        follower().Request(testing::Org("acme"), std::move(request), 60s, std::move(cause));
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.value_or(Directory::Outcome{});
  }
  static v1::ProvisioningRequest Role(const std::string& denied) {
    return testing::RoleRequest("r", R"({"offline":true,"entities":{"account":{"read":true,)"
                                     R"("deny_columns":[)" +
                                         denied + "]}}}");
  }
  Offset EndOfChanges() { return log_->Range(Topic::kChanges, kPartition)->end; }

  const sluice::testing::TempDir dir_;
  const RealClock clock_;
  std::unique_ptr<eventlog::EmbeddedLog> log_;
  std::unique_ptr<DirectoryFollower> follower_;
  std::unique_ptr<eventlog::StaticPartitionGroup> group_;
};

TEST_F(PartitionSequencerTest, AStallIsNotTheEnd) {
  {
    const auto sequencer = Sequencer(*log_);
    Decide(testing::OpenRequest("Acme"));
    Decide(testing::EntityRequest("account"));
    Decide(Role(""));
    Decide(Role("\"owner\""));
    sequencer->Stop();
  }
  ASSERT_EQ(EndOfChanges(), Offset(4));
  // The request for the first role has been read, its outcome has not: it looks undecided.
  sluice::testing::StallingLog stalling(*log_, Topic::kProvisioning, Offset(5));
  const auto sequencer = Sequencer(stalling);
  stalling.AwaitEmptyReads(20);
  EXPECT_EQ(EndOfChanges(), Offset(4)) << "an old definition was decided again";
  EXPECT_FALSE(sequencer->Health().ok());
  sluice::testing::StallingLog of_follower(*log_, Topic::kProvisioning, Offset(5));
  DirectoryFollower late(of_follower, clock_, nullptr);
  ASSERT_TRUE(late.Start().ok());
  of_follower.AwaitEmptyReads(20);
  EXPECT_FALSE(late.Health().ok());
  of_follower.Release();
  stalling.Release();
  EXPECT_TRUE(Decide(Role("")).status.ok());
  EXPECT_EQ(EndOfChanges(), Offset(5));
  const absl::Time end = absl::Now() + absl::Seconds(60);
  while (!late.Health().ok() && absl::Now() < end) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(late.Health().ok()) << late.Health();
  late.Stop();
  sequencer->Stop();
}

// Whoever has to give partitions back does not wait for a leader that is away.
TEST_F(PartitionSequencerTest, AComparisonDoesNotHoldUpTheEnd) {
  {
    const auto sequencer = Sequencer(*log_);
    Decide(testing::OpenRequest("Acme"));
    Decide(testing::EntityRequest("account"));
    sequencer->Stop();
  }
  sluice::testing::BlockingLog blocking(*log_, Topic::kChanges);
  blocking.Block();
  const auto sequencer = Sequencer(blocking);
  DirectoryFollower other(blocking, clock_, nullptr);
  ASSERT_TRUE(other.Start().ok());
  EXPECT_TRUE(blocking.AwaitBlocked(1)) << "the follower, of what it was told last";
  // Has the sequencer look at what was told last.
  std::thread asking(
      [&] { EXPECT_FALSE(follower().Request(testing::Org("acme"), Role(""), 1s).ok()); });
  EXPECT_TRUE(blocking.AwaitBlocked(2));
  sequencer->Stop();
  other.Stop();
  EXPECT_TRUE(blocking.all_cancelled());
  asking.join();
}

TEST_F(PartitionSequencerTest, ControlEventsNameTheirRequestAndWhoMadeIt) {
  const auto sequencer = Sequencer(*log_);
  const eventlog::Cause cause{"ann", "https://issuer", "r-1"};
  Decide(testing::OpenRequest("Acme"), cause);
  Decide(testing::EntityRequest("account"), {"bob", "https://issuer", "r-2"});
  sequencer->Stop();
  const auto requests =
      sluice::testing::ReadWholePartition(*log_, Topic::kProvisioning, kPartition);
  const auto controls = sluice::testing::ReadWholePartition(*log_, Topic::kChanges, kPartition);
  ASSERT_EQ(requests.size(), 4U);
  ASSERT_EQ(controls.size(), 2U);
  for (const auto* event : {&requests[0].event, &requests[1].event, &controls[0].event}) {
    EXPECT_EQ(event->cause, cause) << event->type;
  }
  EXPECT_EQ(controls[0].event.answers, requests[0].offset);
  EXPECT_EQ(controls[1].event.answers, requests[2].offset);
  EXPECT_EQ(controls[1].event.cause.subject, "bob");
}

// With limits that are smaller than what is decided may be.
class SmallLogTest : public PartitionSequencerTest {
 protected:
  static constexpr size_t kEventBytes = 4'096;

  void OpenLog(const eventlog::AppendLimits& limits, const std::string& folder) {
    follower_.reset();
    log_ = *eventlog::EmbeddedLog::Open({.path = dir_ / folder, .partitions = 1, .limits = limits});
    ASSERT_TRUE(follower().Start().ok());
    gate_.append_limits = limits;
  }
  // Again while what was appended before leaves the queue.
  absl::StatusOr<Directory::Outcome> Ask(const std::string& org,
                                         const v1::ProvisioningRequest& request,
                                         std::chrono::milliseconds timeout = 60s) {
    while (true) {
      auto outcome = follower().Request(testing::Org(org), request, timeout);
      if (ErrorCode(outcome.status()) != "append_queue_full") {
        return outcome;
      }
      std::this_thread::yield();
    }
  }
  // Whose names have so many letters.
  static v1::ProvisioningRequest LongEntity(const std::string& name, size_t letters) {
    auto request = testing::EntityRequest(name);
    for (size_t left = letters, i = 0; left > 0; ++i) {
      const std::string attribute = "a" + std::to_string(i) + std::string(120, 'x');
      auto& added = *request.mutable_put_entity()->add_attributes();
      added.set_name(attribute.substr(0, std::min(attribute.size(), left + 4)));
      added.set_type(v1::ATTRIBUTE_TYPE_STRING);
      left -= std::min(left, attribute.size());
    }
    return request;
  }

  ProvisioningProjector::Gate gate_;
};

// An outcome is longer than the control event that it tells of, and must not be refused once that
// is in `changes`: the same would be decided, and appended, again and again.
TEST_F(SmallLogTest, WhatIsDecidedCanBeTold) {
  for (const bool by_queue : {false, true}) {
    eventlog::AppendLimits limits;
    (by_queue ? limits.queue_bytes_max : limits.event_bytes_max) = kEventBytes;
    OpenLog(limits, by_queue ? "queue" : "event");
    const auto sequencer = Sequencer(*log_, gate_);
    Decide(testing::OpenRequest("Acme"));
    size_t accepted = 0;
    size_t refused = 0;
    for (size_t letters = 3'200; letters < 4'000; letters += by_queue ? 10 : 5) {
      const auto request = LongEntity("account" + std::to_string(letters), letters);
      const Offset before = EndOfChanges();
      const auto outcome = Ask("acme", request);
      if (!outcome.ok()) {
        EXPECT_EQ(ErrorCode(outcome.status()), "too_large") << "a request that the log refuses";
        continue;
      }
      (outcome->status.ok() ? accepted : refused) += 1;
      // An outcome may have to come again, too.
      const int64_t controls = EndOfChanges().value() - before.value();
      EXPECT_EQ(by_queue ? std::min<int64_t>(controls, 1) : controls, outcome->status.ok() ? 1 : 0);
    }
    EXPECT_GT(accepted, 0U);
    EXPECT_GT(refused, 0U);
    EXPECT_TRUE(Ask("acme", testing::EntityRequest("account")).ok());
    sequencer->Stop();
  }
}

// Of several organisations, whose outcomes are no batch that the log's queue takes.
TEST_F(SmallLogTest, WhatIsDecidedTogetherIsToldOneByOne) {
  constexpr int kOrgs = 10;
  const auto org = [](int i) { return "acme" + std::to_string(i); };
  OpenLog({.queue_bytes_max = 2 * kEventBytes}, "together");
  {
    const auto sequencer = Sequencer(*log_, gate_);
    for (int i = 0; i < kOrgs; ++i) {
      ASSERT_TRUE(Ask(org(i), testing::OpenRequest("Acme")).ok());
    }
    sequencer->Stop();
  }
  for (int i = 0; i < kOrgs; ++i) {
    const auto outcome = Ask(org(i), LongEntity("account", 2'000), 1ms);
    EXPECT_EQ(ErrorCode(outcome.status()), "provisioning_unavailable");
  }
  const auto sequencer = Sequencer(*log_, gate_);
  for (int i = 0; i < kOrgs; ++i) {
    ASSERT_TRUE(Ask(org(i), testing::EntityRequest("contact")).ok());
  }
  sequencer->Stop();
}

}  // namespace
}  // namespace sluice::projectors
