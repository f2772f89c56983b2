#include "projectors/staging/staging_projector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <atomic>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/embedded/embedded_log.h"
#include "eventlog/static_partition_group.h"
#include "projectors/store/store_manager.h"
#include "schemas/status.h"
#include "tests/support/change_events.h"
#include "tests/support/temp_dir.h"

namespace sluice::projectors {
namespace {

using eventlog::Event;
using eventlog::Topic;
using ::testing::SizeIs;

constexpr auto kPatience = absl::Seconds(60);
constexpr int32_t kPartitions = 2;

// A log whose dead letters fail a number of times before they are taken.
class FlakyLog final : public eventlog::Log {
 public:
  FlakyLog(eventlog::Log& log, int failures) : log_(log), failures_(failures) {}
  const std::string& id() const override { return log_.id(); }
  int32_t PartitionCount(Topic topic) const override { return log_.PartitionCount(topic); }
  void AppendAsync(Topic topic, PartitionId partition, std::vector<Event> batch,
                   AppendCallback done) override {
    if (topic == Topic::kDeadletter && failures_-- > 0) {
      done(Error(absl::StatusCode::kUnavailable, "log_write_failed", "not now"));
      return;
    }
    log_.AppendAsync(topic, partition, std::move(batch), std::move(done));
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
  absl::Status Health() override { return log_.Health(); }

 private:
  eventlog::Log& log_;
  std::atomic<int> failures_;
};

class StagingProjectorTest : public ::testing::Test {
 protected:
  void SetUp() override { OpenLog("log"); }

  void OpenLog(const std::string& folder) {
    log_.reset();
    auto log = eventlog::EmbeddedLog::Open({.path = dir_ / folder,
                                            .partitions = kPartitions,
                                            .limits = {},
                                            .clock = std::make_shared<RealClock>(),
                                            .metrics = nullptr});
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }

  // What one process has; Stop() and a second Start() are a restart.
  void Start(eventlog::Log* log = nullptr) {
    StoreOptions store_options;
    store_options.path = dir_ / "stores";
    store_options.log_id = "the log";
    auto stores = StoreManager::Open(std::move(store_options));
    ASSERT_TRUE(stores.ok()) << stores.status();
    stores_ = *std::move(stores);
    group_ = std::make_unique<eventlog::StaticPartitionGroup>(kPartitions);
    StagingOptions options;
    options.retry_min = std::chrono::milliseconds(1);
    options.retry_max = std::chrono::milliseconds(5);
    projector_ = std::make_unique<StagingProjector>(log != nullptr ? *log : *log_, *group_,
                                                    *stores_, clock_, std::move(options));
    const absl::Status started = projector_->Start();
    ASSERT_TRUE(started.ok()) << started;
  }
  void Stop() {
    projector_->Stop();
    projector_.reset();
    group_.reset();
    EXPECT_TRUE(stores_->Close().ok());
    stores_.reset();
  }

  Offset Append(const google::protobuf::Message& payload) {
    const Event event = testing::MakeEvent(next_id_++, payload, org_.value()).event;
    const auto offsets = log_->Append(Topic::kChanges, PartitionOf(), {event});
    EXPECT_TRUE(offsets.ok()) << offsets.status();
    return offsets.ok() ? offsets->front() : kNoOffset;
  }
  void AppendDefinitions() {
    Append(testing::OpenOrg(1));
    Append(testing::DefineEntity(1, "account", {{1, "id"}, {2, "owner"}}, 2));
    Append(testing::DefineProfile("p", {{"account", {v1::RULE_KIND_ALL}}}, {}));
  }
  static v1::ChangeSet Set(const std::string& key) {
    return testing::MakeSet({testing::Upsert(1, key, testing::RowWriter().Text(1, key).bytes())});
  }
  PartitionId PartitionOf() const { return log_->PartitionFor(Topic::kChanges, org_.value()); }

  void AwaitApplied(Offset offset) {
    absl::Mutex mutex;
    Offset applied = kNoOffset;
    const uint64_t subscription = stores_->Subscribe(org_, [&](const AppliedChange& change) {
      absl::MutexLock lock(&mutex);
      applied = change.applied;
    });
    {
      absl::MutexLock lock(&mutex);
      const auto there = [&] { return applied >= offset; };
      applied = std::max(applied, stores_->AppliedOf(org_));
      EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&there), kPatience));
    }
    stores_->Unsubscribe(subscription);
  }
  // The state comes a moment after what can be waited for.
  absl::Status AwaitHealth(absl::StatusCode code) {
    const absl::Time end = absl::Now() + kPatience;
    while (projector_->Health().code() != code && absl::Now() < end) {
      std::this_thread::yield();
    }
    return projector_->Health();
  }
  std::vector<Event> DeadLetters(size_t expected) {
    std::vector<Event> letters;
    const auto reader = log_->OpenReader(
        Topic::kDeadletter, log_->PartitionFor(Topic::kDeadletter, org_.value()), Offset(0));
    while (letters.size() < expected) {
      const auto events = (*reader)->Read({.wait_max = std::chrono::seconds(60)});
      EXPECT_TRUE(events.ok() && !events->empty());
      if (!events.ok() || events->empty()) {
        break;
      }
      for (const eventlog::StoredEvent& stored : *events) {
        letters.push_back(stored.event);
      }
    }
    return letters;
  }

  const testing::TempDir dir_;
  const RealClock clock_;
  const OrgId org_ = OrgId::Parse("acme").value();
  int64_t next_id_ = 0;
  std::unique_ptr<eventlog::EmbeddedLog> log_;
  std::unique_ptr<StoreManager> stores_;
  std::unique_ptr<eventlog::StaticPartitionGroup> group_;
  std::unique_ptr<StagingProjector> projector_;
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

}  // namespace
}  // namespace sluice::projectors
