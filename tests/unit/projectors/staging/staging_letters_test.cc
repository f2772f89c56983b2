// Dead letters: each is written once it can be, and what waits for it is the checkpoint alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <limits>

#include "schemas/base/status.h"
#include "tests/support/forwarding_log.h"
#include "tests/support/held_log.h"
#include "tests/unit/projectors/staging/staging_testing.h"

namespace sluice::projectors {
namespace {

using ::testing::SizeIs;

// A log whose dead letters fail a number of times before they are taken.
class FlakyLog final : public testing::ForwardingLog {
 public:
  FlakyLog(eventlog::Log& log, int failures) : testing::ForwardingLog(log), failures_(failures) {}
  void AppendAsync(Topic topic, PartitionId partition, std::vector<Event> batch,
                   AppendCallback done) override {
    if (topic == Topic::kDeadletter && failures_-- > 0) {
      done(Error(absl::StatusCode::kUnavailable, "log_write_failed", "not now"));
      return;
    }
    log_.AppendAsync(topic, partition, std::move(batch), std::move(done));
  }
  void LetThrough() { failures_ = 0; }

 private:
  std::atomic<int> failures_;
};

// From Bar() on readers of `changes` that begin before an offset do not come by it: whoever folds
// does not get on, and whoever compares what was applied is answered.
class BarredLog final : public testing::FilteringLog {
 public:
  using testing::FilteringLog::FilteringLog;
  void Bar(Offset at) { at_ = at.value(); }
  void Unbar() { at_ = std::numeric_limits<int64_t>::max(); }
  int empty_reads() const { return empty_reads_; }

 private:
  Events ReadFrom(FilteredReader& reader, const eventlog::ReadLimits& limits) override {
    if (reader.topic != Topic::kChanges || reader.from.value() >= at_) {
      return reader.ReadOn(limits);
    }
    eventlog::ReadLimits before = limits;
    before.events_max =
        std::min(before.events_max, static_cast<size_t>(at_ - reader.next().value()));
    if (before.events_max > 0) {
      return reader.ReadOn(before);
    }
    ++empty_reads_;
    return std::vector<eventlog::StoredEvent>();
  }

  std::atomic<int64_t> at_ = std::numeric_limits<int64_t>::max();
  std::atomic<int> empty_reads_ = 0;
};

class StagingLettersTest : public StagingFixture {
 protected:
  static v1::ChangeSet Refused(const std::string& key = "A1") {
    return testing::MakeSet({testing::Delete(9, key)});
  }
  // Each with a letter of its own of 1 MiB, and behind them one that is taken, which is returned.
  Offset AppendLargeRefused(int count) {
    options_.registry = std::make_shared<prometheus::Registry>();
    options_.batch_bytes_max = 1;  // an event is a batch
    AppendDefinitions();
    for (int i = 0; i < count; ++i) {
      Append(Refused(std::string(1 << 20, 'x')));
    }
    return Append(Set("A1"));
  }
};

TEST_F(StagingLettersTest, RejectedEventsGoToTheDeadLettersOnceAndTheRestGoesOn) {
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

// The neighbours of whoever had an event refused are folded and served while its letter cannot be
// written, and checkpoints go up to it and not past it: it is told after a crash.
TEST_F(StagingLettersTest, ALetterThatCannotBeWrittenHoldsUpTheCheckpointAlone) {
  clock_ = &fake_clock_;
  const OrgId neighbour = OrgOfSamePartition();
  options_.registry = std::make_shared<prometheus::Registry>();
  AppendDefinitions();
  AppendDefinitions(neighbour);
  testing::HeldLog silent(*log_, PartitionOf(), Topic::kDeadletter);
  Start(&silent);
  AwaitApplied(neighbour, Append(neighbour, Set("A")));
  const Offset rejected = Append(Refused());
  ASSERT_TRUE(silent.AwaitHeld(1));
  Offset last;
  for (int i = 0; i < 3; ++i) {
    fake_clock_.Advance(options_.checkpoint_interval);
    EXPECT_TRUE(Await([&] { return projector_->MayServe(neighbour).ok(); }));
    last = Append(neighbour, Set("B" + std::to_string(i)));
    AwaitApplied(neighbour, last);
  }
  EXPECT_TRUE(projector_->Health().ok()) << projector_->Health();
  EXPECT_TRUE(Await([&] {
    return stores_->CheckpointState(PartitionOf()).position == Offset(rejected.value() - 1);
  }));
  EXPECT_EQ(GaugeOf("sluice_staging_dead_letters_held"), 1);
  // The process ends: the letter is written by the next one, and once by that.
  Stop();
  silent.Release();
  Start();
  EXPECT_EQ(stores_->CheckpointOf(PartitionOf()), rejected);
  AwaitApplied(neighbour, Append(neighbour, Set("C")));
  // The first one may find the letter still under way, and stay behind it.
  EXPECT_TRUE(Await([&] {
    fake_clock_.Advance(options_.checkpoint_interval);
    return stores_->CheckpointState(PartitionOf()).position >= last;
  }));
  EXPECT_EQ(GaugeOf("sluice_staging_dead_letters_held"), 0);
  const std::vector<Event> letters = DeadLetters(2);
  ASSERT_THAT(letters, SizeIs(2));  // also the one that had no answer when the process ended
  EXPECT_EQ(letters[0].id, letters[1].id);
  Stop();
}

// Whoever takes the partition over in the same process reads again from the checkpoint, and may
// have to go before it comes by what was refused: the stores have applied that, and nobody holds a
// letter.
TEST_F(StagingLettersTest, ACheckpointPassesNoLetterThatAnEarlierProjectorHeld) {
  AppendDefinitions();
  const Offset rejected = Append(Refused());
  const Offset last = Append(Set("A1"));
  BarredLog barred(*log_);
  testing::HeldLog silent(barred, PartitionOf(), Topic::kDeadletter);
  Start(&silent);
  AwaitApplied(last);
  ASSERT_TRUE(silent.AwaitHeld(1));
  projector_->Stop();
  barred.Bar(rejected);
  StartProjector(silent, *stores_);
  EXPECT_TRUE(Await([&] { return barred.empty_reads() >= 10; }));
  projector_->Stop();
  EXPECT_EQ(stores_->LastApplied(PartitionOf()).position, last);
  EXPECT_LE(stores_->CheckpointOf(PartitionOf()), rejected);
  // Where it comes by all of it, the letter is written, and the checkpoint goes on.
  barred.Unbar();
  silent.Release();
  StartProjector(silent, *stores_);
  const std::vector<Event> letters = DeadLetters(2);
  ASSERT_THAT(letters,
              SizeIs(2));  // also the one that had no answer when the first projector ended
  EXPECT_EQ(letters[0].id, letters[1].id);
  EXPECT_TRUE(AwaitHealth(absl::StatusCode::kOk).ok());
  Stop();
  Start();
  EXPECT_EQ(stores_->CheckpointOf(PartitionOf()), Offset(last.value() + 1));
  Stop();
}

// What is held has a bound: there the partition waits, and goes on when the log takes letters.
TEST_F(StagingLettersTest, AFullLetterBoxHoldsUpThePartition) {
  const Offset last = AppendLargeRefused(20);
  FlakyLog flaky(*log_, 1'000'000);
  Start(&flaky);
  EXPECT_TRUE(Await([&] { return ErrorCode(projector_->Health()) == "log_write_failed"; }));
  EXPECT_LT(stores_->AppliedOf(org_), last);
  EXPECT_EQ(GaugeOf("sluice_staging_dead_letters_held"), 8);
  flaky.LetThrough();
  AwaitApplied(last);
  EXPECT_TRUE(AwaitHealth(absl::StatusCode::kOk).ok());
  EXPECT_THAT(DeadLetters(20), SizeIs(20));
  Stop();
}

// Whoever's events come next waits for the room that they need, not for the last of the letters.
TEST_F(StagingLettersTest, AFullLetterBoxHoldsUpThePartitionUntilThereIsRoom) {
  const Offset last = AppendLargeRefused(8);
  testing::HeldLog silent(*log_, PartitionOf(), Topic::kDeadletter);
  Start(&silent);
  EXPECT_TRUE(Await([&] { return GaugeOf("sluice_staging_dead_letters_held") == 8; }));
  ASSERT_TRUE(silent.AwaitHeld(1));
  EXPECT_LT(stores_->AppliedOf(org_), last);
  silent.ReleaseFirst();
  AwaitApplied(last);
  ASSERT_TRUE(silent.AwaitHeld(1));  // nobody waits for the next one
  Stop();
}

// All letters of a partition go the same way, so that none waits behind another one's, whatever is
// written into the log as a key.
TEST_F(StagingLettersTest, LettersOfAPartitionGoToOnePartition) {
  AppendDefinitions();
  const PartitionId other(kPartitions - 1 - PartitionOf().value());
  const OrgId elsewhere = OrgOf(other);
  const Event stray = testing::MakeEvent(1'000, Set("A1"), elsewhere.value()).event;
  ASSERT_TRUE(log_->Append(Topic::kChanges, PartitionOf(), {stray}).ok());
  Append(Refused());
  testing::HeldLog silent(*log_, other, Topic::kDeadletter);
  Start(&silent);
  const std::vector<Event> letters = DeadLetters(2);
  ASSERT_THAT(letters, SizeIs(2));
  EXPECT_EQ(letters[0].key, elsewhere.value());
  EXPECT_EQ(letters[1].key, org_.value());
  Stop();
}

// Each step makes as many letters as one append takes: while they come none of them is the last.
TEST_F(StagingLettersTest, WhatIsRefusedAllTheTimeHoldsUpNoCheckpoint) {
  options_.checkpoint_interval = std::chrono::milliseconds(1);
  options_.batch_events_max = 1'000;
  AppendDefinitions();
  std::vector<Event> refused;
  for (int i = 0; i < 10'000; ++i) {
    refused.push_back(testing::MakeEvent(1'000 + i, Refused(), org_.value()).event);
  }
  ASSERT_TRUE(log_->Append(Topic::kChanges, PartitionOf(), std::move(refused)).ok());
  const Offset end = log_->Range(Topic::kChanges, PartitionOf())->end;
  Start();
  Offset first;
  EXPECT_TRUE(Await([&] {
    first = stores_->CheckpointOf(PartitionOf());
    return first > Offset(0);
  }));
  EXPECT_LT(first, end);
  Stop();
}

}  // namespace
}  // namespace sluice::projectors
