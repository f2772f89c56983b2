#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "eventlog/embedded/embedded_log.h"
#include "projectors/staging/node_announcer.h"
#include "schemas/sluice/v1/events.pb.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temp_dir.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;

class NodeDirectoryTest : public ::testing::Test {
 protected:
  void Announce(const std::string& node, const std::string& sync_url, int32_t partition,
                int64_t applied, const std::string& apart = "") {
    v1::NodeAnnouncement announcement;
    announcement.set_node_id(node);
    announcement.set_admin_url("http://" + node + "/admin");
    announcement.set_sync_url(sync_url);
    announcement.set_announced_at_us(clock_.Now().time_since_epoch().count());
    auto& served = *announcement.add_partitions();
    served.set_partition(partition);
    served.set_applied(applied);
    if (!apart.empty()) {
      served.add_apart(apart);
    }
    eventlog::Event event;
    event.id = node + std::to_string(applied);
    event.type = "sluice.v1.NodeAnnouncement";
    event.key = node;
    event.value = announcement.SerializeAsString();
    ASSERT_TRUE(log_->Append(Topic::kNodes, PartitionId(0), {event}).ok());
  }
  template <typename Condition>
  static bool Await(Condition condition) {
    const absl::Time end = absl::Now() + absl::Seconds(60);
    while (!condition() && absl::Now() < end) {
      std::this_thread::yield();
    }
    return condition();
  }

  const testing::TempDir dir_;
  testing::FakeClock clock_;
  const std::unique_ptr<eventlog::EmbeddedLog> log_ =
      *eventlog::EmbeddedLog::Open({.path = dir_ / "log", .partitions = 2});
  const OrgId org_ = OrgId::Parse("acme").value();
};

// A log whose appends are answered only in Release(), as while a broker is away.
class SilentLog final : public eventlog::Log {
 public:
  explicit SilentLog(eventlog::Log& log) : log_(log) {}
  const std::string& id() const override { return log_.id(); }
  int32_t PartitionCount(Topic topic) const override { return log_.PartitionCount(topic); }
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
  absl::StatusOr<std::unique_ptr<eventlog::Reader>> OpenReader(Topic topic, PartitionId partition,
                                                               Offset from) override {
    return log_.OpenReader(topic, partition, from);
  }
  absl::StatusOr<eventlog::OffsetRange> Range(Topic topic, PartitionId partition) override {
    return log_.Range(topic, partition);
  }
  absl::Status TruncateBefore(Topic topic, PartitionId partition, Offset begin) override {
    return log_.TruncateBefore(topic, partition, begin);
  }
  absl::Status Health() override { return absl::OkStatus(); }

 private:
  eventlog::Log& log_;
  absl::Mutex mutex_;
  std::vector<AppendCallback> callbacks_ ABSL_GUARDED_BY(mutex_);
};

// Nobody waits for a log that does not answer, and what it says later is of no harm.
TEST_F(NodeDirectoryTest, ANodeEndsAlsoWhileTheLogDoesNotAnswer) {
  SilentLog silent(*log_);
  StoreOptions store_options;
  store_options.path = dir_ / "stores";
  store_options.log_id = log_->id();
  const auto stores = *StoreManager::Open(store_options);
  const RealClock clock;
  {
    NodeAnnouncer announcer(
        silent, *stores,
        {[](PartitionId) { return true; }, [](PartitionId) { return std::string(); }}, clock,
        {.node_id = "n", .roles = {"all"}, .stop_wait = std::chrono::milliseconds(50)});
    announcer.Start("http://n/admin", "");
    EXPECT_TRUE(Await([&] { return silent.waiting() == 1; }));
    announcer.Stop();
    EXPECT_EQ(silent.waiting(), 1U) << "where the last one was not taken, one more would not be";
  }
  silent.Release();
}

TEST_F(NodeDirectoryTest, AnotherFreshNodeThatServesIsNamed) {
  NodeDirectory nodes(*log_, clock_, "me");
  nodes.Start();
  EXPECT_FALSE(nodes.ServedAt(PartitionId(0)).has_value());
  Announce("me", "http://me/sync", 0, 10);
  Announce("projector", "", 0, 9);
  ASSERT_TRUE(Await([&] { return nodes.ServedAt(PartitionId(0)).has_value(); }));
  EXPECT_EQ(nodes.ServedAt(PartitionId(0))->admin_url, "http://projector/admin");
  EXPECT_EQ(nodes.ServedAt(PartitionId(0))->sync_url, "");
  EXPECT_FALSE(nodes.ServedAt(PartitionId(1)).has_value());
  Announce("replica", "http://replica/sync", 0, 8);
  EXPECT_TRUE(
      Await([&] { return nodes.ServedAt(PartitionId(0))->sync_url == "http://replica/sync"; }));
  clock_.Advance(std::chrono::seconds(31));
  EXPECT_FALSE(nodes.ServedAt(PartitionId(0)).has_value()) << "nobody has said so for long";
  nodes.Stop();
}

TEST_F(NodeDirectoryTest, ANodeWhereAnOrganisationIsApartHasNotAppliedIt) {
  NodeDirectory nodes(*log_, clock_, "me");
  nodes.Start();
  Announce("a", "", 0, 7);
  Announce("b", "", 0, 12, "acme");
  EXPECT_TRUE(Await(
      [&] { return nodes.Applied(PartitionId(0), OrgId::Parse("other").value()) == Offset(12); }));
  EXPECT_EQ(nodes.Applied(PartitionId(0), org_), Offset(7));
  nodes.Stop();
}

}  // namespace
}  // namespace sluice::projectors
