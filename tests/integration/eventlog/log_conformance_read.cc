#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "schemas/base/status.h"
#include "tests/integration/eventlog/log_conformance.h"

// The part of the suite about reading, waiting, limits, retention and opening again.
namespace sluice::eventlog {
namespace {

using absl::StatusCode;

TEST_P(LogConformance, AnEmptyLogBeginsAndEndsAtZero) {
  const OffsetRange range = MustRange(kP0);
  EXPECT_EQ(range.begin, Offset(0));
  EXPECT_EQ(range.end, Offset(0));
  EXPECT_TRUE(log().Health().ok()) << log().Health();
  EXPECT_FALSE(log().id().empty());
}

TEST_P(LogConformance, ReadingGoesOnFromAnyOffset) {
  const auto offsets = MustAppend(kP0, MakeEvents("e", 10));
  ASSERT_EQ(offsets.size(), 10U);
  for (size_t i = 0; i < offsets.size(); ++i) {
    const auto read = MustRead(kP0, offsets[i], offsets.size() - i);
    ASSERT_FALSE(read.empty());
    EXPECT_EQ(read.front().offset, offsets[i]);
    EXPECT_EQ(read.front().event.value, "e" + std::to_string(i));
  }
}

TEST_P(LogConformance, PointReadersReadAsOthersDo) {
  const auto offsets = MustAppend(kP0, MakeEvents("e", 3));
  ASSERT_EQ(offsets.size(), 3U);
  for (size_t i = 0; i < offsets.size(); ++i) {
    auto reader = log().OpenPointReader(Topic::kChanges, kP0, offsets[i]);
    ASSERT_TRUE(reader.ok()) << reader.status();
    const auto read = (*reader)->Read({.events_max = 1, .wait_max = kPatience});
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(Values(*read), std::vector<std::string>{"e" + std::to_string(i)});
    EXPECT_EQ(Offsets(*read), std::vector<Offset>{offsets[i]});
  }
  const Offset beyond(MustRange(kP0).end.value() + 1);
  auto reader = log().OpenPointReader(Topic::kChanges, kP0, beyond);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_THAT((*reader)->Read({.events_max = 1, .wait_max = kPatience}).status(),
              FailsWith(StatusCode::kOutOfRange, "offset_beyond_end"));
}

TEST_P(LogConformance, ReadLimitsBoundWhatOneReadReturns) {
  MustAppend(kP0, MakeEvents(std::string(1000, 'x'), 20));
  auto reader = log().OpenReader(Topic::kChanges, kP0, Offset(0));
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto few = (*reader)->Read({.events_max = 3, .wait_max = kPatience});
  ASSERT_TRUE(few.ok()) << few.status();
  EXPECT_GE(few->size(), 1U);
  EXPECT_LE(few->size(), 3U);
  const Offset place = (*reader)->next();
  const auto one = (*reader)->Read({.bytes_max = 1, .wait_max = kPatience});
  ASSERT_TRUE(one.ok()) << one.status();
  ASSERT_EQ(one->size(), 1U);
  EXPECT_EQ(one->front().offset, place);
  const auto some = (*reader)->Read({.bytes_max = 5000, .wait_max = kPatience});
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_GE(some->size(), 1U);
  EXPECT_LE(some->size(), 5U);
}

TEST_P(LogConformance, AReaderThatWaitsIsWokenByAnAppend) {
  constexpr int kRounds = 20;
  const auto begin = std::chrono::steady_clock::now();
  auto reader = log().OpenReader(Topic::kChanges, kP0, Offset(0));
  ASSERT_TRUE(reader.ok()) << reader.status();
  absl::Notification started;
  std::vector<std::string> values;
  std::thread waiter([&] {
    started.Notify();
    while (values.size() < kRounds) {
      const auto read = (*reader)->Read({.wait_max = kPatience});
      if (!read.ok() || read->empty()) {
        return;
      }
      for (const StoredEvent& stored : *read) {
        values.push_back(stored.event.value);
      }
    }
  });
  started.WaitForNotification();
  for (int i = 0; i < kRounds; ++i) {
    MustAppend(kP0, {MakeEvent("w" + std::to_string(i))});
  }
  waiter.join();
  EXPECT_EQ(values, Values(MakeEvents("w", kRounds)));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kPatience);
}

TEST_P(LogConformance, AWaitThatEndsReturnsNothing) {
  MustAppend(kP1, {MakeEvent("of another partition")});
  auto reader = log().OpenReader(Topic::kChanges, kP0, Offset(0));
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto begin = std::chrono::steady_clock::now();
  const auto read = (*reader)->Read({.wait_max = std::chrono::milliseconds(50)});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->empty());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(50));
  EXPECT_EQ((*reader)->next(), Offset(0));
  MustAppend(kP0, {MakeEvent("later")});
  const auto later = (*reader)->Read({.wait_max = kPatience});
  ASSERT_TRUE(later.ok()) << later.status();
  EXPECT_EQ(Values(*later), std::vector<std::string>{"later"});
}

TEST_P(LogConformance, ReadingBeyondTheEndIsAnError) {
  MustAppend(kP0, MakeEvents("e", 3));
  const Offset beyond(MustRange(kP0).end.value() + 1);
  auto reader = log().OpenReader(Topic::kChanges, kP0, beyond);
  ASSERT_TRUE(reader.ok()) << reader.status();
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT((*reader)->Read({.wait_max = kPatience}).status(),
                FailsWith(StatusCode::kOutOfRange, "offset_beyond_end"));
  }
  EXPECT_EQ((*reader)->next(), beyond);
}

TEST_P(LogConformance, CancelEndsAWaitAndEveryLaterRead) {
  auto reader = log().OpenReader(Topic::kChanges, kP0, Offset(0));
  ASSERT_TRUE(reader.ok()) << reader.status();
  absl::Notification started;
  absl::Status waited;
  std::thread waiter([&] {
    started.Notify();
    waited = (*reader)->Read({.wait_max = 10 * kPatience}).status();
  });
  started.WaitForNotification();
  (*reader)->Cancel();
  waiter.join();
  EXPECT_EQ(waited.code(), StatusCode::kCancelled) << waited;
  MustAppend(kP0, {MakeEvent("after")});
  EXPECT_EQ((*reader)->Read({.wait_max = kPatience}).status().code(), StatusCode::kCancelled);
}

TEST_P(LogConformance, ReadingBelowTheBeginTellsTheBeginAndDoesNotSkip) {
  const auto offsets = MustAppend(kP0, MakeEvents("e", 10));
  ASSERT_EQ(offsets.size(), 10U);
  auto overtaken = log().OpenReader(Topic::kChanges, kP0, Offset(0));
  ASSERT_TRUE(overtaken.ok()) << overtaken.status();
  ASSERT_TRUE(log().TruncateBefore(Topic::kChanges, kP0, offsets[4]).ok());
  EXPECT_EQ(MustRange(kP0).begin, offsets[4]);
  auto fresh = log().OpenReader(Topic::kChanges, kP0, offsets[3]);
  ASSERT_TRUE(fresh.ok()) << fresh.status();
  for (Reader* reader : {overtaken->get(), fresh->get()}) {
    for (int i = 0; i < 2; ++i) {
      const auto read = reader->Read({.wait_max = kPatience});
      EXPECT_THAT(read.status(), FailsWith(StatusCode::kOutOfRange, "offset_below_begin"));
      EXPECT_EQ(BeginOfError(read.status()), offsets[4]);
    }
  }
  EXPECT_EQ((*fresh)->next(), offsets[3]);
  const auto rest = MustRead(kP0, offsets[4], 6);
  ASSERT_FALSE(rest.empty());
  EXPECT_EQ(rest.front().event.value, "e4");
}

TEST_P(LogConformance, RetentionMovesTheBeginAndNeverTheEnd) {
  const auto offsets = MustAppend(kP0, MakeEvents("e", 10));
  MustAppend(kP1, MakeEvents("other", 10));
  ASSERT_EQ(offsets.size(), 10U);
  const Offset end = MustRange(kP0).end;
  ASSERT_TRUE(log().TruncateBefore(Topic::kChanges, kP0, offsets[6]).ok());
  ASSERT_TRUE(log().TruncateBefore(Topic::kChanges, kP0, offsets[2]).ok());
  EXPECT_EQ(MustRange(kP0).begin, offsets[6]) << "an earlier begin is ignored";
  ASSERT_TRUE(log().TruncateBefore(Topic::kChanges, kP0, end).ok());
  EXPECT_EQ(MustRange(kP0).begin, end);
  EXPECT_EQ(MustRange(kP0).end, end);
  EXPECT_EQ(MustRange(kP1).begin, Offset(0));
  Reopen();
  EXPECT_EQ(MustRange(kP0).begin, end);
  EXPECT_EQ(MustRange(kP0).end, end) << "a removed offset must not be given again";
  const auto next = MustAppend(kP0, {MakeEvent("next")});
  ASSERT_EQ(next.size(), 1U);
  EXPECT_GE(next.front(), end);
  EXPECT_EQ(Values(MustRead(kP0, end, 1)), std::vector<std::string>{"next"});
  EXPECT_EQ(Values(MustRead(kP1, Offset(0), 10)), Values(MakeEvents("other", 10)));
}

TEST_P(LogConformance, LargeEventsComeBack) {
  std::vector<Event> events;
  for (int i = 0; i < 5; ++i) {
    std::string value(1 << 20, static_cast<char>('a' + i));
    for (size_t at = 0; at < value.size(); at += 7) {
      value[at] = static_cast<char>(at % 251);
    }
    events.push_back(MakeEvent(value));
  }
  MustAppend(kP0, {events[0]});
  MustAppend(kP0, {events[1], events[2], events[3], events[4]});
  const auto read = MustRead(kP0, Offset(0), 5);
  for (size_t i = 0; i < read.size(); ++i) {
    EXPECT_TRUE(read[i].event == events[i]) << "event " << i << " differs";
  }
}

TEST_P(LogConformance, AnEventOverTheLimitIsRefusedWithItsWholeBatch) {
  Reopen({.event_bytes_max = 64 << 10});
  Event largest = MakeEvent("");
  largest.value.assign((64 << 10) - largest.ByteSize(), 'x');
  Event larger = MakeEvent(largest.value + "x");
  EXPECT_THAT(log().Append(Topic::kChanges, kP0, {MakeEvent("small"), larger}).status(),
              FailsWith(StatusCode::kInvalidArgument, "too_large"));
  MustAppend(kP0, {largest});
  EXPECT_EQ(Values(MustRead(kP0, Offset(0), 1)), std::vector<std::string>{largest.value});
  EXPECT_EQ(MustRange(kP0).end, Offset(1));
}

TEST_P(LogConformance, AFullAppendQueueRefusesAndTakesNothing) {
  Reopen({.queue_events_max = 10});
  EXPECT_THAT(log().Append(Topic::kChanges, kP0, MakeEvents("never", 11)).status(),
              FailsWith(StatusCode::kInvalidArgument, "too_large"));
  // A callback that has not returned holds its place, so the queue fills for certain.
  absl::Notification in_callback;
  absl::Notification release;
  log().AppendAsync(Topic::kChanges, kP0, {MakeEvent("first")}, [&](auto) {
    in_callback.Notify();
    release.WaitForNotification();
  });
  in_callback.WaitForNotification();
  std::atomic<int> taken = 1;
  std::atomic<int> refused = 0;
  for (int i = 0; i < 15; ++i) {
    log().AppendAsync(Topic::kChanges, kP1, {MakeEvent("more")}, [&](auto result) {
      if (result.ok()) {
        ++taken;
      } else {
        ++refused;
        EXPECT_THAT(result.status(),
                    FailsWith(StatusCode::kResourceExhausted, "append_queue_full"));
      }
    });
  }
  release.Notify();
  Close();  // answers what was taken
  EXPECT_EQ(taken, 10);
  EXPECT_EQ(refused, 6);
  Reopen();
  EXPECT_EQ(MustRange(kP1).end, Offset(9));
  MustAppend(kP0, {MakeEvent("again")});
}

TEST_P(LogConformance, APartitionThatDoesNotExistIsAnError) {
  for (const PartitionId partition :
       {PartitionId(-1), PartitionId(log().PartitionCount(Topic::kChanges))}) {
    const auto invalid = StatusCode::kInvalidArgument;
    EXPECT_EQ(log().Append(Topic::kChanges, partition, {MakeEvent("x")}).status().code(), invalid);
    EXPECT_EQ(log().OpenReader(Topic::kChanges, partition, Offset(0)).status().code(), invalid);
    EXPECT_EQ(log().Range(Topic::kChanges, partition).status().code(), invalid);
    EXPECT_EQ(log().TruncateBefore(Topic::kChanges, partition, Offset(0)).code(), invalid);
  }
}

TEST_P(LogConformance, OpeningAgainKeepsEverything) {
  const std::string id = log().id();
  const int32_t partitions = log().PartitionCount(Topic::kChanges);
  const auto offsets = MustAppend(kP0, MakeEvents("e", 10));
  MustAppend(kP1, MakeEvents("f", 5), Topic::kProvisioning);
  const auto before = MustRead(kP0, Offset(0), 10);
  for (int round = 0; round < 2; ++round) {
    Reopen();
    EXPECT_EQ(log().id(), id);
    EXPECT_EQ(log().PartitionCount(Topic::kChanges), partitions);
    EXPECT_EQ(Offsets(MustRead(kP0, Offset(0), 10)), offsets);
    EXPECT_EQ(MustRead(kP0, Offset(0), 1).front().event, before.front().event);
    EXPECT_EQ(MustRange(kP1, Topic::kProvisioning).end, Offset(5 + round));
    MustAppend(kP1, {MakeEvent("g")}, Topic::kProvisioning);
  }
}

TEST_P(LogConformance, AnotherFixtureIsAnotherLog) {
  const auto other = GetParam().make_fixture();
  auto opened = other->Open({});
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_NE((*opened)->id(), log().id());
}

TEST_P(LogConformance, ATruncatedOrDivergedLogIsNoticed) {
  const auto offsets = MustAppend(kP0, MakeEvents("e", 3));
  ASSERT_EQ(offsets.size(), 3U);
  const auto read = MustRead(kP0, Offset(0), 3);
  const Offset end = MustRange(kP0).end;
  const auto verify = [&](Offset applied, uint64_t hash) {
    return VerifyContinuity(log(), Topic::kChanges, kP0, applied, hash);
  };
  const uint64_t hash = EventHash(read[2].event);
  EXPECT_TRUE(verify(kNoOffset, 0).ok());
  EXPECT_TRUE(verify(offsets[2], hash).ok()) << verify(offsets[2], hash);
  EXPECT_THAT(verify(offsets[2], hash + 1), FailsWith(StatusCode::kDataLoss, "log_diverged"));
  EXPECT_THAT(verify(offsets[1], hash), FailsWith(StatusCode::kDataLoss, "log_diverged"));
  absl::Status beyond = verify(end, hash);
  while (ErrorCode(beyond) == "log_end_doubted") {  // for 15 s, where brokers tell it
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    beyond = verify(end, hash);
  }
  EXPECT_THAT(beyond, FailsWith(StatusCode::kDataLoss, "log_truncated"));
  ASSERT_TRUE(log().TruncateBefore(Topic::kChanges, kP0, end).ok());
  EXPECT_TRUE(verify(offsets[1], hash).ok()) << "what was removed can't be compared";
}

}  // namespace
}  // namespace sluice::eventlog
