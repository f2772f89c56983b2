#include "tests/integration/eventlog/log_conformance.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "schemas/base/clock.h"
#include "schemas/base/uuid.h"

namespace sluice::eventlog {

void LogConformance::SetUp() {
  fixture_ = GetParam().make_fixture();
  ASSERT_NE(fixture_, nullptr);
  Reopen();
}

void LogConformance::Reopen(const AppendLimits& limits) {
  log_.reset();
  auto opened = fixture_->Open(limits);
  ASSERT_TRUE(opened.ok()) << opened.status();
  log_ = std::move(opened).value();
}

Event LogConformance::MakeEvent(const std::string& value) {
  const RealClock clock;
  Event event;
  event.id = NewUuid7(clock);
  event.source = "sluice/test";
  event.type = "sluice.v1.ChangeSet";
  event.subject = "acme/account";
  event.time = clock.Now();
  event.key = "acme";
  event.value = value;
  return event;
}

std::vector<Event> LogConformance::MakeEvents(const std::string& prefix, int count) {
  std::vector<Event> events;
  for (int i = 0; i < count; ++i) {
    events.push_back(MakeEvent(prefix + std::to_string(i)));
  }
  return events;
}

std::vector<Offset> LogConformance::MustAppend(PartitionId partition, std::vector<Event> batch,
                                               Topic topic) {
  const size_t count = batch.size();
  const auto result = log().Append(topic, partition, std::move(batch));
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) {
    return {};
  }
  EXPECT_EQ(result->size(), count);
  EXPECT_TRUE(std::is_sorted(result->begin(), result->end()));
  return *result;
}

std::vector<StoredEvent> LogConformance::MustRead(PartitionId partition, Offset from, size_t count,
                                                  Topic topic) {
  std::vector<StoredEvent> events;
  auto reader = log().OpenReader(topic, partition, from);
  EXPECT_TRUE(reader.ok()) << reader.status();
  while (reader.ok() && events.size() < count) {
    auto more = (*reader)->Read({.events_max = count - events.size(), .wait_max = kPatience});
    EXPECT_TRUE(more.ok()) << more.status();
    if (!more.ok() || more->empty()) {
      break;
    }
    EXPECT_GT((*reader)->next(), more->back().offset);
    std::move(more->begin(), more->end(), std::back_inserter(events));
  }
  EXPECT_EQ(events.size(), count);
  return events;
}

OffsetRange LogConformance::MustRange(PartitionId partition, Topic topic) {
  const auto range = log().Range(topic, partition);
  EXPECT_TRUE(range.ok()) << range.status();
  return range.ok() ? *range : OffsetRange{kNoOffset, kNoOffset};
}

std::vector<std::string> Values(const std::vector<StoredEvent>& events) {
  std::vector<std::string> values;
  for (const StoredEvent& stored : events) {
    values.push_back(stored.event.value);
  }
  return values;
}

std::vector<std::string> Values(const std::vector<Event>& events) {
  std::vector<std::string> values;
  for (const Event& event : events) {
    values.push_back(event.value);
  }
  return values;
}

std::vector<Offset> Offsets(const std::vector<StoredEvent>& events) {
  std::vector<Offset> offsets;
  for (const StoredEvent& stored : events) {
    offsets.push_back(stored.offset);
  }
  return offsets;
}

namespace {

using std::string_literals::operator""s;

TEST_P(LogConformance, AppendedEventsComeBackInTheirOrder) {
  const std::vector<Event> events = MakeEvents("e", 20);
  std::vector<Offset> offsets;
  for (const Event& event : events) {
    const auto appended = MustAppend(kP0, {event});
    ASSERT_EQ(appended.size(), 1U);
    offsets.push_back(appended.front());
  }
  const auto read = MustRead(kP0, Offset(0), events.size());
  EXPECT_EQ(Offsets(read), offsets);
  for (size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].event, events[i]);
  }
}

TEST_P(LogConformance, EveryFieldComesBackWhateverItHolds) {
  Event full = MakeEvent("\0\xff\xfe\n\r\t bytes, not text \x80\0"s);
  full.subject = "grüße/Ελλάδα/日本語/🚀";
  full.source = "sluice/quelle ä";
  full.key = "zürich";
  full.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  full.time = SystemTime(std::chrono::microseconds(1'770'000'000'123'456));
  Event bare = MakeEvent("");
  bare.subject = "";
  bare.source = "";
  bare.key = "";
  bare.time = SystemTime{};
  MustAppend(kP0, {full, bare});
  const auto read = MustRead(kP0, Offset(0), 2);
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(read[0].event, full);
  EXPECT_EQ(read[1].event, bare);
}

TEST_P(LogConformance, ABatchKeepsItsOrder) {
  const std::vector<Event> batch = MakeEvents("b", 500);
  const auto offsets = MustAppend(kP0, batch);
  const auto read = MustRead(kP0, Offset(0), batch.size());
  EXPECT_EQ(Values(read), Values(batch));
  EXPECT_EQ(Offsets(read), offsets);
}

TEST_P(LogConformance, AnEmptyBatchIsDoneAndLeavesNothing) {
  MustAppend(kP0, {MakeEvent("before")});
  const OffsetRange before = MustRange(kP0);
  EXPECT_TRUE(MustAppend(kP0, {}).empty());
  EXPECT_EQ(MustRange(kP0).end, before.end);
}

TEST_P(LogConformance, ReadersSeeBatchesAsTheyWereAppended) {
  constexpr int kBatches = 40;
  constexpr int kBatchSize = 25;
  std::thread appender([&] {
    for (int b = 0; b < kBatches; ++b) {
      MustAppend(kP0, MakeEvents(std::to_string(b) + "/", kBatchSize));
    }
  });
  auto reader = log().OpenReader(Topic::kChanges, kP0, Offset(0));
  ASSERT_TRUE(reader.ok()) << reader.status();
  std::vector<StoredEvent> seen;
  while (seen.size() < kBatches * kBatchSize) {
    const OffsetRange range = MustRange(kP0);
    if (fixture().batches_are_atomic()) {
      EXPECT_EQ(range.end.value() % kBatchSize, 0) << "a batch is visible in part";
    }
    auto more = (*reader)->Read({.wait_max = kPatience});
    EXPECT_TRUE(more.ok() && !more->empty()) << more.status();
    if (!more.ok() || more->empty()) {
      break;
    }
    std::move(more->begin(), more->end(), std::back_inserter(seen));
    if (fixture().batches_are_atomic()) {
      EXPECT_EQ(seen.size() % kBatchSize, 0U) << "a batch was read in part";
    }
  }
  appender.join();
  for (size_t i = 0; i < seen.size(); ++i) {
    ASSERT_EQ(seen[i].event.value,
              std::to_string(i / kBatchSize) + "/" + std::to_string(i % kBatchSize));
  }
}

TEST_P(LogConformance, ConcurrentAppendersKeepEachTheirOrderAndShareNoOffset) {
  constexpr int kThreads = 8;
  constexpr int kEach = 40;
  std::vector<std::map<Offset, std::string>> acknowledged(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const std::string value = std::to_string(t) + ":" + std::to_string(i);
        for (const Offset offset : MustAppend(t % 2 == 0 ? kP0 : kP1, {MakeEvent(value)})) {
          acknowledged[static_cast<size_t>(t)][offset] = value;
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (const PartitionId partition : {kP0, kP1}) {
    std::map<std::string, int> next;
    for (const StoredEvent& stored : MustRead(partition, Offset(0), kThreads / 2 * kEach)) {
      const std::string& value = stored.event.value;
      const std::string thread = value.substr(0, value.find(':'));
      EXPECT_EQ(value, thread + ":" + std::to_string(next[thread]++));
      EXPECT_EQ(acknowledged[std::stoul(thread)][stored.offset], value);
    }
    EXPECT_EQ(next.size(), static_cast<size_t>(kThreads / 2));
  }
}

TEST_P(LogConformance, AppendsStartedByOneThreadKeepTheOrderOfTheirCalls) {
  constexpr int kCount = 300;
  absl::Mutex mu;
  int answered = 0;
  std::vector<Offset> offsets(kCount, kNoOffset);
  for (int i = 0; i < kCount; ++i) {
    log().AppendAsync(Topic::kChanges, kP0, {MakeEvent(std::to_string(i))},
                      [&, i](absl::StatusOr<std::vector<Offset>> result) {
                        const absl::MutexLock lock(&mu);
                        ++answered;
                        EXPECT_TRUE(result.ok()) << result.status();
                        if (result.ok() && result->size() == 1) {
                          offsets[static_cast<size_t>(i)] = result->front();
                        }
                      });
  }
  {
    const absl::MutexLock lock(&mu);
    const auto done = [&] { return answered == kCount; };
    mu.Await(absl::Condition(&done));
  }
  const auto read = MustRead(kP0, Offset(0), kCount);
  EXPECT_EQ(Offsets(read), offsets);
  for (size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].event.value, std::to_string(i));
  }
}

TEST_P(LogConformance, TopicsAndPartitionsAreIndependent) {
  std::map<std::string, Offset> ends;  // a log may begin with an event of its own
  for (const Topic topic : kAllTopics) {
    for (int32_t p = 0; p < log().PartitionCount(topic); ++p) {
      const std::string name = std::string(TopicName(topic)) + "/" + std::to_string(p);
      ends[name] = MustRange(PartitionId(p), topic).end;
      MustAppend(PartitionId(p), MakeEvents(name + "#", p + 1), topic);
    }
  }
  EXPECT_EQ(log().PartitionCount(Topic::kNodes), 1);
  for (const Topic topic : kAllTopics) {
    for (int32_t p = 0; p < log().PartitionCount(topic); ++p) {
      const std::string name = std::string(TopicName(topic)) + "/" + std::to_string(p);
      const size_t count = static_cast<size_t>(p) + 1;
      EXPECT_EQ(Values(MustRead(PartitionId(p), ends.at(name), count, topic)),
                Values(MakeEvents(name + "#", p + 1)));
      EXPECT_EQ(MustRange(PartitionId(p), topic).end, Offset(ends.at(name).value() + p + 1));
    }
  }
}

TEST_P(LogConformance, KeysGoWhereKafkasDefaultPartitionerSendsThem) {
  // The hashes are those of Kafka's own test of its murmur2.
  const std::map<std::string, int32_t> hashes = {{"21", -973932308},
                                                 {"foobar", -790332482},
                                                 {"a-little-bit-long-string", -985981536},
                                                 {"a-little-bit-longer-string", -1486304829},
                                                 {"abc", 479470107}};
  const int32_t count = log().PartitionCount(Topic::kChanges);
  for (const auto& [key, hash] : hashes) {
    EXPECT_EQ(log().PartitionFor(Topic::kChanges, key), PartitionId((hash & 0x7fffffff) % count))
        << key;
    EXPECT_EQ(log().PartitionFor(Topic::kNodes, key), kP0);
  }
}

TEST_P(LogConformance, AnAppendThatWasTakenIsAnsweredOnceThoughTheLogIsClosed) {
  constexpr int kCount = 200;
  std::atomic<int> answered = 0;
  std::atomic<int> durable = 0;
  for (int i = 0; i < kCount; ++i) {
    log().AppendAsync(Topic::kChanges, kP0, {MakeEvent(std::to_string(i))},
                      [&](absl::StatusOr<std::vector<Offset>> result) {
                        ++answered;
                        durable += result.ok() ? 1 : 0;
                      });
  }
  Reopen();
  EXPECT_EQ(answered, kCount);
  EXPECT_GE(MustRange(kP0).end.value(), durable);
  const auto read = MustRead(kP0, Offset(0), static_cast<size_t>(durable));
  for (size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].event.value, std::to_string(i));
  }
}

}  // namespace
}  // namespace sluice::eventlog
