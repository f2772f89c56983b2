#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "eventlog/embedded/embedded_log.h"
#include "projectors/nodes/node_announcer.h"
#include "projectors/nodes/node_directory.h"
#include "schemas/sluice/v1/events.pb.h"
#include "tests/support/fake_clock.h"
#include "tests/support/forwarding_log.h"
#include "tests/support/log_reading.h"
#include "tests/support/stalling_log.h"
#include "tests/support/temp_dir.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;

class NodeDirectoryTest : public ::testing::Test {
 protected:
  void Announce(const std::string& node, const std::string& sync_url, int32_t partition,
                int64_t applied, const std::string& apart = "",
                const std::string& role = "projectors") {
    v1::NodeAnnouncement announcement;
    announcement.set_node_id(node);
    announcement.add_roles(role);
    announcement.set_admin_url("http://" + node + "/admin");
    announcement.set_sync_url(sync_url);
    announcement.set_log_id(log_id_);
    if (control_.at != kNoOffset) {
      auto& told = *announcement.add_controls();
      told.set_partition(partition);
      told.set_at(control_.at.value());
      told.set_answers(control_.answers.value());
      told.set_id(control_.id);
    }
    announcement.set_announced_at_us((clock_.Now() + clock_of_others_).time_since_epoch().count());
    auto& served = *announcement.add_partitions();
    served.set_partition(partition);
    served.set_applied(applied);
    if (!apart.empty()) {
      served.add_apart(apart);
    }
    for (int i = 0; i < others_apart_; ++i) {
      served.add_apart("other" + std::to_string(i));
    }
    eventlog::Event event;
    event.id = node + std::to_string(++events_);
    event.type = "sluice.v1.NodeAnnouncement";
    event.key = node;
    event.value = announcement.SerializeAsString();
    ASSERT_TRUE(log_->Append(Topic::kNodes, PartitionId(0), {event}).ok());
  }
  static AnnouncerOptions Named(const std::string& node) {
    AnnouncerOptions options;
    options.node_id = node;
    return options;
  }
  static NodeAnnouncer::Tells Fault(const std::string& code) {
    return {.serves = [](PartitionId) { return false; },
            .fault = [code](PartitionId) { return code; }};
  }
  template <typename Condition>
  static bool Await(Condition condition) {
    const absl::Time end = absl::Now() + absl::Seconds(60);
    while (!condition()) {
      if (absl::Now() > end) {
        return false;
      }
      std::this_thread::yield();
    }
    return true;
  }

  // Whether any use is made of a node.
  static bool Served(const NodeDirectory& nodes, int32_t partition) {
    return nodes.ServedAt(PartitionId(partition), NodeUse::kRelay).has_value();
  }

  // Until what was announced so far has been read.
  void AwaitRead(const NodeDirectory& nodes) {
    Announce("mark", "", kMarkPartition, ++marks_);
    EXPECT_TRUE(
        Await([&] { return nodes.Applied(PartitionId(kMarkPartition), org_) == Offset(marks_); }));
  }

  static constexpr int32_t kMarkPartition = 9;
  const testing::TempDir dir_;
  testing::FakeClock clock_;
  std::chrono::seconds clock_of_others_{0};  // by how much it is ahead
  int events_ = 0;
  int others_apart_ = 0;
  int marks_ = 0;
  const std::unique_ptr<eventlog::EmbeddedLog> log_ =
      *eventlog::EmbeddedLog::Open({.path = dir_ / "log", .partitions = 2});
  const OrgId org_ = OrgId::Parse("acme").value();
  std::string log_id_ = log_->id();  // that is announced, as is
  ControlMark control_;
};

// A log whose appends are answered only in Release(), as while a broker is away.
class SilentLog final : public testing::ForwardingLog {
 public:
  explicit SilentLog(eventlog::Log& log) : testing::ForwardingLog(log) {}
  void AppendAsync(Topic, PartitionId, std::vector<eventlog::Event>, AppendCallback done) override {
    absl::MutexLock lock(&mutex_);
    callbacks_.push_back(std::move(done));
  }
  size_t waiting() {
    absl::MutexLock lock(&mutex_);
    return callbacks_.size();
  }
  void Release() {
    absl::MutexLock lock(&mutex_);
    for (AppendCallback& done : callbacks_) {
      done(absl::UnavailableError("in vain"));
    }
  }
  absl::Status Health() override { return absl::OkStatus(); }

 private:
  absl::Mutex mutex_;
  std::vector<AppendCallback> callbacks_ ABSL_GUARDED_BY(mutex_);
};

// Nobody waits for a log that does not answer, and what it says later is of no harm.
TEST_F(NodeDirectoryTest, ANodeEndsAlsoWhileTheLogDoesNotAnswer) {
  SilentLog silent(*log_);
  NodeDirectory nodes(*log_, clock_, "n");
  nodes.Start();
  const RealClock clock;
  {
    NodeAnnouncer announcer(
        silent, nullptr, nodes,
        {[](PartitionId) { return true; }, [](PartitionId) { return std::string(); }}, clock,
        {.node_id = "n", .roles = {"all"}, .stop_wait = std::chrono::milliseconds(50)});
    announcer.Start();
    EXPECT_TRUE(Await([&] { return silent.waiting() == 1; }));
    announcer.Stop();
    EXPECT_EQ(silent.waiting(), 1U) << "where the last one was not taken, one more would not be";
  }
  silent.Release();
}

TEST_F(NodeDirectoryTest, AnotherFreshNodeThatServesIsNamed) {
  NodeDirectory nodes(*log_, clock_, "me");
  nodes.Start();
  ASSERT_TRUE(Await([&] { return nodes.TakeMustAsk(); })) << "the end is known";
  EXPECT_FALSE(Served(nodes, 0));
  Announce("me", "http://me/sync", 0, 10);
  Announce("projector", "", 0, 9);
  ASSERT_TRUE(Await([&] { return Served(nodes, 0); }));
  EXPECT_FALSE(nodes.ServedAt(PartitionId(0), NodeUse::kSync).has_value());
  EXPECT_FALSE(Served(nodes, 1));
  Announce("replica", "http://replica/sync", 0, 8);
  EXPECT_TRUE(Await(
      [&] { return nodes.ServedAt(PartitionId(0), NodeUse::kSync) == "http://replica/sync"; }));
  clock_.Advance(std::chrono::seconds(31));
  EXPECT_FALSE(Served(nodes, 0)) << "nobody has said so for long";
  nodes.Stop();
}

// Who has a store may be asked for what it knows; callers are sent only to who takes their calls.
TEST_F(NodeDirectoryTest, ANodeIsNamedForWhatItDoes) {
  NodeDirectory nodes(*log_, clock_, "me");
  nodes.Start();
  ASSERT_TRUE(Await([&] { return nodes.TakeMustAsk(); })) << "the end is known";
  Announce("first", "", 0, 9);
  Announce("second", "http://second/sync", 0, 9, "", "sync");
  AwaitRead(nodes);
  const auto at = [&](NodeUse use) { return nodes.ServedAt(PartitionId(0), use).value_or(""); };
  EXPECT_EQ(at(NodeUse::kRelay), "http://second/admin") << "the last to speak";
  EXPECT_EQ(at(NodeUse::kAdmin), "");
  EXPECT_EQ(at(NodeUse::kSync), "http://second/sync");
  for (const char* role : {"all", "admin"}) {
    Announce(role, "", 0, 9, "", role);
    Announce("second", "http://second/sync", 0, 9, "", "sync");
    AwaitRead(nodes);
    EXPECT_EQ(at(NodeUse::kRelay), std::string("http://") + role + "/admin");
    EXPECT_EQ(at(NodeUse::kAdmin), std::string("http://") + role + "/admin");
    EXPECT_EQ(at(NodeUse::kSync), "http://second/sync");
  }
  nodes.Stop();
}

TEST_F(NodeDirectoryTest, ANodeWhereAnOrganisationIsApartHasNotAppliedIt) {
  NodeDirectory nodes(*log_, clock_, "me");
  nodes.Start();
  ASSERT_TRUE(Await([&] { return nodes.TakeMustAsk(); })) << "the end is known";
  Announce("a", "", 0, 7);
  Announce("b", "", 0, 12, "acme");
  EXPECT_TRUE(Await(
      [&] { return nodes.Applied(PartitionId(0), OrgId::Parse("other").value()) == Offset(12); }));
  EXPECT_EQ(nodes.Applied(PartitionId(0), org_), Offset(7));
  // So many are apart that not all are named: it may be any of them.
  others_apart_ = kApartMax;
  Announce("b", "", 0, 13);
  others_apart_ = 0;
  AwaitRead(nodes);
  EXPECT_EQ(nodes.Applied(PartitionId(0), org_), Offset(7));
  nodes.Stop();
}

TEST_F(NodeDirectoryTest, TheClocksOfOthersAreComparedWithNothing) {
  for (const auto skew : {std::chrono::seconds(-60), std::chrono::seconds(3600)}) {
    SCOPED_TRACE(skew.count());
    clock_of_others_ = skew;
    NodeDirectory nodes(*log_, clock_, "me");
    nodes.Start();
    EXPECT_TRUE(Await([&] { return nodes.TakeMustAsk(); })) << "the end is known";
    Announce("b", "http://b/sync", 0, 5);
    EXPECT_TRUE(Await([&] { return Served(nodes, 0); }));
    EXPECT_EQ(nodes.Applied(PartitionId(0), org_), Offset(5));
    EXPECT_EQ(nodes.FoldedUntil(PartitionId(0)), Offset(6));
    clock_.Advance(std::chrono::seconds(31));
    EXPECT_FALSE(Served(nodes, 0)) << "it died";
    nodes.Stop();
  }
}

// Of a node that died long ago the topic keeps the last word, and how long ago that was, nothing
// tells.
TEST_F(NodeDirectoryTest, HistoryHasToBeRenewedToCount) {
  clock_of_others_ = std::chrono::hours(1);
  Announce("dead", "http://dead/sync", 0, 5);
  Announce("alive", "http://alive/sync", 1, 5);
  NodeDirectory nodes(*log_, clock_, "me");
  nodes.Start();
  ASSERT_TRUE(Await([&] { return nodes.TakeMustAsk(); }));
  AwaitRead(nodes);
  EXPECT_FALSE(Served(nodes, 0));
  EXPECT_FALSE(Served(nodes, 1));
  Announce("alive", "http://alive/sync", 1, 5);
  EXPECT_TRUE(Await([&] { return Served(nodes, 1); }));
  EXPECT_FALSE(Served(nodes, 0));
  nodes.Stop();
}

// A process that was paused finds what others said meanwhile: who said it may be dead by now.
TEST_F(NodeDirectoryTest, WhatCameInAPauseIsNoNews) {
  testing::StallingLog stalled(*log_, Topic::kNodes, Offset(1));
  Announce("b", "http://b/sync", 1, 5);
  NodeDirectory nodes(stalled, clock_, "me");
  nodes.Start();
  ASSERT_TRUE(Await([&] { return nodes.TakeMustAsk(); }));
  stalled.AwaitEmptyReads(1);
  Announce("dead", "http://dead/sync", 0, 5);
  clock_.Advance(std::chrono::minutes(10));
  stalled.Release();
  EXPECT_TRUE(Await([&] { return nodes.TakeMustAsk(); })) << "nothing is known of the others";
  AwaitRead(nodes);
  EXPECT_FALSE(Served(nodes, 0));
  nodes.Stop();
}

TEST_F(NodeDirectoryTest, WhoLeavesServesNothingAtOnce) {
  NodeDirectory nodes(*log_, clock_, "me");
  nodes.Start();
  ASSERT_TRUE(Await([&] { return nodes.TakeMustAsk(); }));
  NodeDirectory of_b(*log_, clock_, "b");
  of_b.Start();
  NodeAnnouncer b(*log_, /*stores=*/nullptr, of_b, Fault("log_truncated"), clock_, Named("b"));
  b.Start();
  b.Serve("http://b/admin", "");
  EXPECT_TRUE(Await([&] { return nodes.FaultOf(PartitionId(0)) == "log_truncated"; }));
  b.Stop();
  EXPECT_TRUE(Await([&] { return nodes.FaultOf(PartitionId(0)).empty(); }));
  nodes.Stop();
}

// A control event that somebody folded once answers a request that `provisioning` must hold for
// ever.
TEST_F(NodeDirectoryTest, TheNewestControlEventThatAnybodyToldOfIsKnownWhateverBecameOfThem) {
  control_ = {Offset(7), Offset(20), "newest"};
  Announce("dead", "http://dead/sync", 0, 9);
  control_ = {Offset(5), Offset(12), "older"};
  Announce("me", "", 0, 5);
  Announce("alive", "", 0, 5);
  log_id_ = "the log before its epoch";
  control_ = {Offset(40), Offset(90), "of another history"};
  Announce("elsewhere", "", 0, 40);
  log_id_ = log_->id();
  control_ = {};
  NodeDirectory nodes(*log_, clock_, "me");
  nodes.Start();
  ASSERT_TRUE(Await([&] { return nodes.TakeMustAsk(); }));
  AwaitRead(nodes);
  EXPECT_EQ(nodes.LastControl(PartitionId(0)), ControlMark({Offset(7), Offset(20), "newest"}));
  EXPECT_TRUE(nodes.Known());
  EXPECT_EQ(nodes.LastControl(PartitionId(1)), ControlMark());
  EXPECT_EQ(nodes.FoldedUntil(PartitionId(0)), Offset(0)) << "nobody says so now";
  log_id_ = "";
  Announce("old", "", 0, 9);
  AwaitRead(nodes);
  EXPECT_EQ(nodes.FoldedUntil(PartitionId(0)), Offset(0)) << "it does not tell what it came by";
  nodes.Stop();
}

TEST_F(NodeDirectoryTest, WhoLeavesTellsOnWhatItKnowsOfControlEvents) {
  const ControlMark control{Offset(7), Offset(20), "c"};
  NodeDirectory nodes(*log_, clock_, "me");
  nodes.Start();
  NodeDirectory of_b(*log_, clock_, "b");
  of_b.Start();
  ASSERT_TRUE(Await([&] { return of_b.Known(); }));
  NodeAnnouncer::Tells tells = Fault("");
  tells.last_control = [&](PartitionId p) { return p == PartitionId(0) ? control : ControlMark(); };
  NodeAnnouncer b(*log_, /*stores=*/nullptr, of_b, tells, clock_, Named("b"));
  b.Start();
  b.Stop();
  const auto announced = testing::ReadWholePartition(*log_, Topic::kNodes, PartitionId(0));
  v1::NodeAnnouncement last;
  ASSERT_TRUE(last.ParseFromString(announced.back().event.value));
  EXPECT_TRUE(last.leaving());
  EXPECT_EQ(last.controls_size(), 1);
  EXPECT_TRUE(Await([&] { return nodes.LastControl(PartitionId(0)) == control; }));
  nodes.Stop();
}

// Who starts need not wait until the others speak by themselves.
TEST_F(NodeDirectoryTest, WhoComesAsksTheOthers) {
  AnnouncerOptions rarely = Named("b");
  rarely.interval_min = std::chrono::milliseconds(1);
  rarely.interval_max = std::chrono::hours(1);
  NodeDirectory of_b(*log_, clock_, "b");
  of_b.Start();
  NodeAnnouncer b(*log_, /*stores=*/nullptr, of_b, Fault("log_truncated"), clock_, rarely);
  b.Start();
  const auto announced = [this] {
    const auto range = log_->Range(Topic::kNodes, PartitionId(0));
    return range.ok() && range->end > Offset(0);
  };
  ASSERT_TRUE(Await(announced));
  NodeDirectory of_a(*log_, clock_, "a");
  of_a.Start();
  AnnouncerOptions new_one = rarely;
  new_one.node_id = "a";
  NodeAnnouncer a(*log_, /*stores=*/nullptr, of_a, Fault(""), clock_, new_one);
  a.Start();
  EXPECT_TRUE(Await([&] { return of_a.FaultOf(PartitionId(0)) == "log_truncated"; }));
  a.Stop();
  b.Stop();
  of_a.Stop();
  of_b.Stop();
}

TEST_F(NodeDirectoryTest, WhoRunsIsNamedAndWhoLeftIsNot) {
  constexpr std::chrono::milliseconds kWait{300};
  Announce("dead", "", 0, 1);
  EXPECT_THAT(*AwaitAnnouncements(*log_, RealClock(), kWait), ::testing::IsEmpty());
  NodeDirectory of_b(*log_, clock_, "b");
  of_b.Start();
  AnnouncerOptions often = Named("b");
  often.interval_min = std::chrono::milliseconds(1);
  often.interval_max = std::chrono::milliseconds(10);
  NodeAnnouncer b(*log_, /*stores=*/nullptr, of_b, Fault(""), clock_, often);
  b.Start();
  b.Serve("http://b/admin", "");
  EXPECT_THAT(*AwaitAnnouncements(*log_, RealClock(), kWait),
              ::testing::ElementsAre("b (http://b/admin)"));
  b.Stop();
  EXPECT_THAT(*AwaitAnnouncements(*log_, RealClock(), kWait), ::testing::IsEmpty());
}

}  // namespace
}  // namespace sluice::projectors
