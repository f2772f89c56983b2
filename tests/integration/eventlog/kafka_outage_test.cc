#include <gmock/gmock.h>

#include <atomic>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "eventlog/kafka/kafka_log.h"
#include "tests/integration/eventlog/kafka_test_util.h"
#include "tests/support/broker/test_broker.h"

// Brokers that are away, and that are killed under load.
namespace sluice::eventlog {
namespace {

using absl::StatusCode;
using testing::TestBroker;

// How long a load may last before it gives up, whatever it waits for; a failed test ends with it.
constexpr std::chrono::seconds kLoadMax{180};

// Appends "0", "1", ... to one partition, in batches of 1 to 3 with some in flight, and reads them
// with a reader of its own, through whatever happens to the brokers.
class Load {
 public:
  Load(Log& log, PartitionId partition)
      : log_(log), partition_(partition), deadline_(std::chrono::steady_clock::now() + kLoadMax) {
    reader_ = log.OpenReader(Topic::kChanges, partition, Offset(0)).value();
    appender_ = std::thread([this] { Append(); });
    follower_ = std::thread([this] { Follow(); });
  }
  ~Load() {
    stopping_ = true;
    if (reader_ != nullptr) {
      reader_->Cancel();
    }
    if (appender_.joinable()) {
      appender_.join();
    }
    if (follower_.joinable()) {
      follower_.join();
    }
  }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  // Waits until so many more events are acknowledged.
  bool AwaitAcknowledged(size_t more) {
    const absl::MutexLock lock(&answers_->mutex);
    const size_t target = answers_->acknowledged.size() + more;
    const auto reached = [&] { return answers_->acknowledged.size() >= target; };
    return answers_->mutex.AwaitWithTimeout(absl::Condition(&reached),
                                            absl::FromChrono(kKafkaPatience));
  }

  // Ends the load; then everything must be in the log exactly once, in order.
  void StopAndCheck() {
    stopping_ = true;
    appender_.join();
    {
      const absl::MutexLock lock(&answers_->mutex);
      const auto answered = [&] { return answers_->in_flight == 0; };
      ASSERT_TRUE(answers_->mutex.AwaitWithTimeout(absl::Condition(&answered),
                                                   absl::FromChrono(kKafkaPatience)))
          << answers_->in_flight << " appends were never answered";
      EXPECT_EQ(answers_->failures, 0);
      EXPECT_EQ(answers_->acknowledged.size(), sent_);
    }
    drained_ = true;
    follower_.join();
    reader_.reset();
    const auto stored = ReadAll(log_, Topic::kChanges, partition_, sent_);
    ASSERT_EQ(stored.size(), sent_);
    ASSERT_EQ(followed_.size(), sent_) << "the reader that went through it all has missed some";
    const auto range = log_.Range(Topic::kChanges, partition_);
    ASSERT_TRUE(range.ok()) << range.status();
    EXPECT_EQ(range->end.value(), stored.back().offset.value() + 1)
        << "something is in the log twice";
    const absl::MutexLock lock(&answers_->mutex);
    for (size_t i = 0; i < stored.size(); ++i) {
      ASSERT_EQ(stored[i].event.value, std::to_string(i));
      ASSERT_EQ(answers_->acknowledged[stored[i].offset], stored[i].event.value);
      ASSERT_EQ(followed_[i].offset, stored[i].offset);
      ASSERT_EQ(followed_[i].event, stored[i].event);
    }
  }

 private:
  // What the log's callbacks tell. They may come after a load that has given up.
  struct Answers {
    absl::Mutex mutex;
    int in_flight = 0;
    int failures = 0;
    std::map<Offset, std::string> acknowledged;
  };

  void Append() {
    while (!stopping_) {
      {
        const absl::MutexLock lock(&answers_->mutex);
        const auto room = [&] { return answers_->in_flight < 50; };
        if (!answers_->mutex.AwaitWithDeadline(absl::Condition(&room), Deadline())) {
          ADD_FAILURE() << "appends to partition " << partition_.value() << " are not answered";
          return;
        }
        ++answers_->in_flight;
      }
      std::vector<Event> batch;
      for (size_t i = 0; i <= sent_ % 3; ++i) {
        batch.push_back(MakeKafkaEvent("acme", std::to_string(sent_ + i)));
      }
      const size_t first = sent_;
      sent_ += batch.size();
      log_.AppendAsync(Topic::kChanges, partition_, std::move(batch),
                       [answers = answers_, first](absl::StatusOr<std::vector<Offset>> result) {
                         const absl::MutexLock lock(&answers->mutex);
                         --answers->in_flight;
                         if (!result.ok()) {
                           ADD_FAILURE() << result.status();
                           ++answers->failures;
                           return;
                         }
                         for (size_t i = 0; i < result->size(); ++i) {
                           answers->acknowledged[(*result)[i]] = std::to_string(first + i);
                         }
                       });
    }
  }

  void Follow() {
    // Ends at the log's end, once nothing is in flight.
    while (!drained_ || reader_->next() < End()) {
      if (std::chrono::steady_clock::now() > deadline_) {
        ADD_FAILURE() << "the reader of partition " << partition_.value() << " is still at "
                      << reader_->next().value();
        return;
      }
      const auto more = reader_->Read({.wait_max = std::chrono::milliseconds(200)});
      if (more.ok()) {
        followed_.insert(followed_.end(), more->begin(), more->end());
      } else if (more.status().code() != StatusCode::kUnavailable) {
        ADD_FAILURE() << more.status();
        return;
      }
    }
  }

  Offset End() {
    const auto range = log_.Range(Topic::kChanges, partition_);
    return range.ok() ? range->end : Offset(std::numeric_limits<int64_t>::max());
  }

  // The same moment by the clock that Abseil's waits go by.
  absl::Time Deadline() const {
    return absl::Now() + absl::FromChrono(deadline_ - std::chrono::steady_clock::now());
  }

  Log& log_;
  const PartitionId partition_;
  const std::chrono::steady_clock::time_point deadline_;
  const std::shared_ptr<Answers> answers_ = std::make_shared<Answers>();
  std::unique_ptr<Reader> reader_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> drained_ = false;
  std::atomic<size_t> sent_ = 0;
  std::vector<StoredEvent> followed_;  // the follower's, until it has ended
  std::thread appender_;
  std::thread follower_;
};

// The status that `look` gives once it is, or is no more, kUnavailable.
template <typename Look>
absl::Status AwaitAvailability(bool available, Look look) {
  const auto deadline = std::chrono::steady_clock::now() + kKafkaPatience;
  absl::Status status = look();
  while ((status.code() != StatusCode::kUnavailable) != available &&
         std::chrono::steady_clock::now() < deadline) {
    status = look();
  }
  return status;
}

TEST(KafkaOutageTest, NothingIsLostOrDoubledWhileTheBrokerIsKilledAgainAndAgain) {
  auto broker = TestBroker::Start();
  ASSERT_TRUE(broker.ok()) << broker.status();
  KafkaLogOptions options = TestOptions((*broker)->brokers());
  ASSERT_TRUE((*broker)->Kill().ok());

  // Down at the start: an error in time, and another try works when it is back.
  options.connect_timeout = std::chrono::milliseconds(1'500);
  EXPECT_EQ(KafkaLog::Open(options).status().code(), StatusCode::kUnavailable);
  ASSERT_TRUE((*broker)->Restart().ok());
  options.connect_timeout = kKafkaPatience;
  options.health_interval = std::chrono::milliseconds(200);
  auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  auto reader = (*log)->OpenReader(Topic::kWork, PartitionId(0), Offset(0));
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto health = [&] { return (*log)->Health(); };
  const auto read = [&] {
    return (*reader)->Read({.wait_max = std::chrono::milliseconds(50)}).status();
  };

  {
    Load load_0(**log, PartitionId(0));
    Load load_1(**log, PartitionId(1));
    for (int cycle = 0; cycle < 2; ++cycle) {
      ASSERT_TRUE(load_0.AwaitAcknowledged(300));
      ASSERT_TRUE(load_1.AwaitAcknowledged(300));
      EXPECT_TRUE(health().ok()) << health();
      ASSERT_TRUE((*broker)->Kill().ok());
      ASSERT_EQ(AwaitAvailability(false, health).code(), StatusCode::kUnavailable);
      ASSERT_EQ(AwaitAvailability(false, read).code(), StatusCode::kUnavailable);
      ASSERT_TRUE((*broker)->Restart().ok());
      ASSERT_TRUE(AwaitAvailability(true, health).ok()) << health();
      ASSERT_TRUE(AwaitAvailability(true, read).ok()) << read();
    }
    ASSERT_TRUE(load_0.AwaitAcknowledged(300));
    ASSERT_TRUE(load_1.AwaitAcknowledged(300));
    load_0.StopAndCheck();
    load_1.StopAndCheck();
  }

  // Away for longer than an append may wait.
  ASSERT_TRUE((*log)->Append(Topic::kWork, PartitionId(0), {MakeKafkaEvent("a", "1")}).ok());
  reader->reset();
  log->reset();
  options.append_timeout = std::chrono::milliseconds(1'000);
  log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  ASSERT_TRUE((*broker)->Kill().ok());
  EXPECT_EQ(
      (*log)->Append(Topic::kWork, PartitionId(0), {MakeKafkaEvent("a", "2")}).status().code(),
      StatusCode::kUnavailable);
}

// Most of it is in the reader's queue by then, and nothing is an error to whoever reads on.
TEST(KafkaOutageTest, WhatComesOverANewConnectionIsToldApart) {
  auto broker = TestBroker::Start();
  ASSERT_TRUE(broker.ok()) << broker.status();
  auto log = KafkaLog::Open(TestOptions((*broker)->brokers(), 1));
  ASSERT_TRUE(log.ok()) << log.status();
  std::vector<Event> batch;
  for (int i = 0; i < 1'000; ++i) {
    batch.push_back(MakeKafkaEvent("acme", std::to_string(i)));
  }
  ASSERT_TRUE((*log)->Append(Topic::kChanges, PartitionId(0), batch).ok());
  auto reader = (*log)->OpenReader(Topic::kChanges, PartitionId(0), Offset(0));
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto read = [&] { return (*reader)->Read({.events_max = 10, .wait_max = kKafkaPatience}); };
  ASSERT_TRUE(read().ok());
  const uint64_t session = (*reader)->session();
  ASSERT_TRUE(read().ok());
  EXPECT_EQ((*reader)->session(), session) << "the connection is the same";
  ASSERT_TRUE((*broker)->Kill().ok());
  ASSERT_TRUE((*broker)->Restart().ok());
  auto events = read();
  while (absl::IsUnavailable(events.status())) {
    events = read();
  }
  ASSERT_TRUE(events.ok()) << events.status();
  ASSERT_FALSE(events->empty());
  EXPECT_EQ(events->front().offset, Offset(20))
      << "what had been read over the old one comes again";
  EXPECT_NE((*reader)->session(), session);
}

TEST(KafkaOutageTest, OneBrokerOfThreeMayFail) {
  auto broker = TestBroker::Start(3);
  ASSERT_TRUE(broker.ok()) << broker.status();
  KafkaLogOptions options = TestOptions((*broker)->brokers(), 3);
  options.replication_factor = 3;
  auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  std::vector<std::unique_ptr<Load>> loads;
  for (int32_t p = 0; p < 3; ++p) {
    loads.push_back(std::make_unique<Load>(**log, PartitionId(p)));
  }
  for (const auto& load : loads) {
    ASSERT_TRUE(load->AwaitAcknowledged(100));
  }
  // Each broker leads some of the partitions.
  ASSERT_TRUE((*broker)->Kill(2).ok());
  for (const auto& load : loads) {
    ASSERT_TRUE(load->AwaitAcknowledged(300));
    load->StopAndCheck();
  }
  EXPECT_TRUE(AwaitAvailability(true, [&] { return (*log)->Health(); }).ok());
}

}  // namespace
}  // namespace sluice::eventlog
