#include "projectors/staging/side_projector.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "projectors/staging/staging_metrics.h"
#include "schemas/base/clock.h"
#include "schemas/base/status.h"
#include "tests/support/fake_clock.h"
#include "tests/support/gap_log.h"
#include "tests/support/memory_log.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;

constexpr PartitionId kPartition{0};

// Organisations that are apart, and never given back.
class ApartStores final : public ApartWriter {
 public:
  // `applied`: LastApplied().
  explicit ApartStores(AppliedState applied = {}) : applied_(std::move(applied)) {}

  void Add(const std::string& org, Offset next) {
    absl::MutexLock lock(&mutex_);
    apart_.push_back({.org = *OrgId::Parse(org), .next = next, .reason = "store_io_error"});
    std::ranges::sort(apart_, {}, &ApartOrg::org);
  }
  void SetApplied(const AppliedState& applied) {
    absl::MutexLock lock(&mutex_);
    applied_ = applied;
  }
  std::vector<ApartOrg> ApartOf(PartitionId) override {
    absl::MutexLock lock(&mutex_);
    ++turns_;
    return apart_;
  }
  AppliedState LastApplied(PartitionId) override {
    absl::MutexLock lock(&mutex_);
    return applied_;
  }
  absl::StatusOr<size_t> ApplyApart(PartitionId, const ApartOrg&,
                                    std::span<const eventlog::StoredEvent> events,
                                    ApplyResult*) override {
    absl::MutexLock lock(&mutex_);
    for (const eventlog::StoredEvent& event : events) {
      given_.insert(event.offset);
    }
    return events.size();
  }
  absl::StatusOr<bool> AdvanceApart(PartitionId, const ApartOrg& apart, Offset next) override {
    absl::MutexLock lock(&mutex_);
    if (!answers_.empty()) {
      const std::string code = answers_.front();
      answers_.pop_front();
      return Error(absl::StatusCode::kUnavailable, code, "not now");
    }
    next_[apart.org.value()] = next;
    return false;
  }
  // The codes with which the next calls of AdvanceApart() fail.
  void FailWith(std::deque<std::string> codes) {
    absl::MutexLock lock(&mutex_);
    answers_ = std::move(codes);
  }
  // Looks until the thread has begun so many more turns.
  bool AwaitTurns(int count) {
    int until = 0;
    {
      absl::MutexLock lock(&mutex_);
      until = turns_ + count;
    }
    return Await([this, until] { return turns_ >= until; });
  }
  // So many of these are left, and the last one has been dealt with.
  bool AwaitLeft(size_t failures) {
    return Await([this, failures] { return answers_.size() == failures; }) && AwaitTurns(1);
  }
  bool AwaitNext(Offset next, const std::string& org = "acme") {
    return Await([&] {
      const auto found = next_.find(org);
      return found != next_.end() && found->second == next;
    });
  }
  bool AwaitGiven(Offset offset) {
    return Await([this, offset] { return given_.contains(offset); });
  }
  bool was_given(Offset offset) {
    absl::MutexLock lock(&mutex_);
    return given_.contains(offset);
  }

  std::optional<ApartOrg> ApartStateOf(PartitionId, const OrgId&) override { return std::nullopt; }
  Offset ApartFrom(PartitionId, const ApartOrg& apart, Offset) override { return apart.next; }
  absl::Status CheckApart(PartitionId, const ApartOrg&, absl::FunctionRef<bool()>) override {
    return absl::OkStatus();
  }

 private:
  template <typename Condition>
  bool Await(Condition condition) {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&condition), absl::Seconds(30));
  }

  absl::Mutex mutex_;
  AppliedState applied_;
  std::vector<ApartOrg> apart_;
  std::set<Offset> given_;
  std::deque<std::string> answers_;
  int turns_ = 0;
  std::map<std::string, Offset> next_;
};

// A side projector that has begun.
class Side {
 public:
  Side(eventlog::Log& log, ApartStores& stores, const Clock& clock = kRealClock)
      : projector_(kPartition, log, stores, clock, options_, metrics_) {
    projector_.Wake();
  }
  const SideProjector* operator->() const { return &projector_; }

 private:
  static inline const RealClock kRealClock;
  const StagingOptions options_;
  StagingMetrics metrics_{nullptr};
  SideProjector projector_;
};

eventlog::Event EventOf(const std::string& org, const std::string& id) {
  eventlog::Event event;
  event.key = org;
  event.id = id;
  return event;
}

AppliedState Applied(int64_t offset, const eventlog::Event& event) {
  AppliedState applied;
  applied.position = Offset(offset);
  applied.event_hash = eventlog::EventHash(event);
  return applied;
}

// Offsets without events, that were passed over: events come there.
TEST(SideProjectorTest, WhatComesWherePassedOverOffsetsHaveGoneIsRead) {
  sluice::testing::MemoryLog memory;
  const eventlog::Event event = EventOf("acme", "1");
  ASSERT_TRUE(memory.Append(Topic::kChanges, kPartition, {event, event}).ok());
  sluice::testing::GapLog log(memory);
  ApartStores stores(Applied(1, event));
  stores.Add("acme", Offset(0));
  const Side side(log, stores);
  ASSERT_TRUE(stores.AwaitNext(sluice::testing::GapLog::kEnd));
  log.lost = true;
  ASSERT_TRUE(memory.Append(Topic::kChanges, kPartition, {event}).ok());
  EXPECT_TRUE(stores.AwaitGiven(Offset(2)));
  EXPECT_TRUE(side->History().ok()) << side->History();
}

// Requests ask whether somebody's events are lost.
TEST(SideProjectorTest, AReaderThatIsSlowToCloseHoldsUpNobody) {
  sluice::testing::MemoryLog memory;
  sluice::testing::GapLog log(memory);
  ApartStores stores;
  stores.Add("acme", Offset(0));
  const Side side(log, stores);
  ASSERT_TRUE(stores.AwaitNext(sluice::testing::GapLog::kEnd));
  log.slow_to_close = true;
  log.lost = true;
  log.closing.WaitForNotification();
  std::future<bool> asked = std::async(
      std::launch::async, [&side] { return side->HasLostEvents(*OrgId::Parse("acme")); });
  EXPECT_EQ(asked.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  log.closed.Notify();
}

// The clock stands still: whatever is put off never comes.
TEST(SideProjectorTest, AStoreThatIsReadInPartsIsReadOnAtOnce) {
  sluice::testing::MemoryLog log;
  ASSERT_TRUE(log.Append(Topic::kChanges, kPartition, {EventOf("acme", "1")}).ok());
  ApartStores stores;
  stores.Add("acme", Offset(0));
  stores.FailWith(std::deque<std::string>(640, "store_reading"));
  const sluice::testing::FakeClock clock;
  const Side side(log, stores, clock);
  EXPECT_TRUE(stores.AwaitNext(Offset(1)));
}

// Who fails again and again waits longer each time, also where some is read in between.
TEST(SideProjectorTest, ReadingOnEndsNoBackOff) {
  sluice::testing::MemoryLog log;
  ApartStores stores;
  stores.Add("acme", Offset(0));
  const std::string failed = "store_io_error";
  stores.FailWith({failed, "store_reading", failed, "store_reading", failed});
  sluice::testing::FakeClock clock;
  const Side side(log, stores, clock);
  ASSERT_TRUE(stores.AwaitLeft(4));
  clock.Advance(std::chrono::milliseconds(100));
  ASSERT_TRUE(stores.AwaitLeft(2));
  clock.Advance(std::chrono::milliseconds(100));
  ASSERT_TRUE(stores.AwaitTurns(3));
  EXPECT_TRUE(stores.AwaitLeft(2)) << "it waits for 200 ms the second time";
  clock.Advance(std::chrono::milliseconds(100));
  EXPECT_TRUE(stores.AwaitLeft(0));
  clock.Advance(std::chrono::milliseconds(400));
  EXPECT_TRUE(stores.AwaitNext(Offset(0)));
}

// One passed over an event that the log has lost since, another one over what is there by now: that
// the second fits says nothing of the first.
TEST(SideProjectorTest, WhatWasPassedOverAtTheSameOffsetIsComparedForEachHistory) {
  sluice::testing::MemoryLog log;
  const eventlog::Event lost = EventOf("beta", "lost");
  const eventlog::Event instead = EventOf("zeta", "instead");
  ASSERT_TRUE(log.Append(Topic::kChanges, kPartition, {EventOf("beta", "1"), lost}).ok());
  ApartStores stores(Applied(1, lost));
  stores.Add("zeta", Offset(2));
  const Side side(log, stores);
  ASSERT_TRUE(stores.AwaitNext(Offset(2), "zeta"));
  log.Replace(Topic::kChanges, 1, {instead});
  stores.SetApplied(Applied(1, instead));
  stores.Add("acme", Offset(2));
  ASSERT_TRUE(stores.AwaitNext(Offset(2), "acme"));
  ASSERT_TRUE(side->History().ok()) << side->History();
  ASSERT_TRUE(log.Append(Topic::kChanges, kPartition, {EventOf("zeta", "2")}).ok());
  while (side->History().ok() && !stores.was_given(Offset(2))) {
    ASSERT_TRUE(stores.AwaitTurns(1));
  }
  EXPECT_EQ(ErrorCode(side->History()), "log_diverged");
  EXPECT_FALSE(stores.was_given(Offset(2)));
}

}  // namespace
}  // namespace sluice::projectors
