#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/kafka/kafka_log.h"
#include "tests/integration/eventlog/kafka_test_util.h"
#include "tests/support/broker/test_broker.h"

// A broker that hangs for about as long as an append waits: what is given up, and what is not.
namespace sluice::eventlog {
namespace {

using std::chrono::milliseconds;
using testing::TestBroker;
using Time = std::chrono::steady_clock::time_point;

constexpr milliseconds kAppendTimeout{1'000};
constexpr size_t kBatchEvents = 100;

// Appends batch after batch to one partition without waiting for answers, and keeps when each was
// handed over and answered.
class Appender {
 public:
  struct Call {
    Time appended;  // AppendAsync() had returned by then
    std::optional<Time> answered;
    absl::StatusOr<std::vector<Offset>> answer = absl::UnknownError("no answer");
  };

  Appender(Log& log, PartitionId partition) : log_(log), partition_(partition) {
    thread_ = std::thread([this] { Run(); });
  }
  ~Appender() { Stop(); }

  // Ends the appending; all that was begun has its answer then.
  const std::vector<Call>& Stop() {
    stopping_ = true;
    if (thread_.joinable()) {
      thread_.join();
    }
    const absl::MutexLock lock(&mutex_);
    const auto answered = [this] { return answered_ == calls_.size(); };
    EXPECT_TRUE(
        mutex_.AwaitWithTimeout(absl::Condition(&answered), absl::FromChrono(kKafkaPatience)))
        << "appends were never answered";
    return calls_;
  }

  // Waits for so many more successes.
  bool AwaitSuccesses(size_t more) {
    const absl::MutexLock lock(&mutex_);
    const size_t target = successes_ + more;
    const auto reached = [&] { return successes_ >= target; };
    return mutex_.AwaitWithTimeout(absl::Condition(&reached), absl::FromChrono(kKafkaPatience));
  }

 private:
  void Run() {
    while (!stopping_) {
      size_t call = 0;
      {
        const absl::MutexLock lock(&mutex_);
        call = calls_.size();
        calls_.emplace_back();
      }
      std::vector<Event> batch;
      for (size_t i = 0; i < kBatchEvents; ++i) {
        batch.push_back(MakeKafkaEvent("acme", std::to_string(call) + "/" + std::to_string(i)));
      }
      log_.AppendAsync(Topic::kChanges, partition_, std::move(batch),
                       [this, call](absl::StatusOr<std::vector<Offset>> answer) {
                         const absl::MutexLock lock(&mutex_);
                         calls_[call].answered = std::chrono::steady_clock::now();
                         calls_[call].answer = std::move(answer);
                         ++answered_;
                         successes_ += calls_[call].answer.ok() ? 1 : 0;
                       });
      const absl::MutexLock lock(&mutex_);
      calls_[call].appended = std::chrono::steady_clock::now();
      // The load's rate: some 100,000 events in a pause.
      const auto stopping = [this] { return stopping_.load(); };
      mutex_.AwaitWithTimeout(absl::Condition(&stopping), absl::Milliseconds(2));
    }
  }

  Log& log_;
  const PartitionId partition_;
  absl::Mutex mutex_;
  std::vector<Call> calls_;
  size_t answered_ = 0;
  size_t successes_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

// How many events of each call are in the log. They are there in their order, none without those
// before it, and each once.
void CountStored(Log& log, PartitionId partition, std::vector<size_t>* stored) {
  const Time deadline = std::chrono::steady_clock::now() + kKafkaPatience;
  while (!log.Health().ok() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(10));  // as of the last look: the broker hung
  }
  const auto range = log.Range(Topic::kChanges, partition);
  ASSERT_TRUE(range.ok()) << range.status();
  size_t torn = 0;
  const absl::Status read = ReadUntil(
      log, Topic::kChanges, partition, range->begin, range->end, [&](const StoredEvent& event) {
        const std::vector<std::string> parts = absl::StrSplit(event.event.value, '/');
        size_t call = 0;
        size_t index = 0;
        EXPECT_TRUE(absl::SimpleAtoi(parts.at(0), &call));
        EXPECT_TRUE(absl::SimpleAtoi(parts.at(1), &index));
        torn += index == (*stored)[call] ? 0 : 1;
        (*stored)[call] = index + 1;
        return absl::OkStatus();
      });
  EXPECT_TRUE(read.ok()) << read;
  EXPECT_EQ(torn, 0) << "events are durable without those before them in their batch";
}

void Check(const std::vector<Appender::Call>& calls, const std::vector<size_t>& stored) {
  size_t failed = 0;
  size_t overtaken = 0;
  size_t cut = 0;
  std::optional<Time> cut_at;  // when the last answer of a batch came that is not there in full
  for (size_t i = 0; i < calls.size(); ++i) {
    const Appender::Call& call = calls[i];
    if (call.answer.ok()) {
      EXPECT_EQ(stored[i], kBatchEvents) << "batch " << i << " was acknowledged";
    } else {
      ++failed;
      EXPECT_EQ(call.answer.status().code(), absl::StatusCode::kUnavailable);
      EXPECT_THAT(std::string(call.answer.status().message()),
                  ::testing::Not(::testing::HasSubstr("Local:")));
    }
    if (stored[i] > 0 && cut_at.has_value() && call.appended < *cut_at) {
      ++overtaken;
      const auto ms = [&](Time time) {
        return std::chrono::duration<double, std::milli>(time - calls[0].appended).count();
      };
      ADD_FAILURE() << "batch " << i << " (" << stored[i] << " stored, appended by "
                    << ms(call.appended) << ", answered at " << ms(*call.answered) << ": "
                    << call.answer.status() << ") is behind batch " << cut << " (" << stored[cut]
                    << " stored, appended by " << ms(calls[cut].appended) << ", answered at "
                    << ms(*calls[cut].answered) << ": " << calls[cut].answer.status() << ")";
    }
    if (stored[i] < kBatchEvents && *call.answered >= cut_at.value_or(Time{})) {
      cut_at = call.answered;
      cut = i;
    }
  }
  EXPECT_EQ(overtaken, 0) << "batches are durable behind others that were given up, though they "
                             "were appended before that was known";
  EXPECT_GT(failed, 0) << "no pause was long enough for anything to be given up";
}

TEST(KafkaGiveUpTest, NothingIsDurableBehindWhatIsGivenUp) {
  auto broker = TestBroker::Start();
  ASSERT_TRUE(broker.ok()) << broker.status();
  KafkaLogOptions options = TestOptions((*broker)->brokers());
  options.append_timeout = kAppendTimeout;
  options.limits.queue_events_max = 1'000'000;
  auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  Appender appender(**log, PartitionId(0));
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(appender.AwaitSuccesses(20));
    ASSERT_TRUE((*broker)->Pause().ok());
    // How long the broker hangs is what the test is about: around what an append waits.
    std::this_thread::sleep_for(kAppendTimeout * (8 + 2 * i) / 10);
    ASSERT_TRUE((*broker)->Resume().ok());
  }
  ASSERT_TRUE(appender.AwaitSuccesses(20));
  const auto& calls = appender.Stop();
  std::vector<size_t> stored(calls.size(), 0);
  CountStored(**log, PartitionId(0), &stored);
  Check(calls, stored);
}

// A topic that somebody made takes smaller events than Sluice does. What is behind one that it
// refuses, and would be taken, goes with it.
TEST(KafkaGiveUpTest, NothingIsDurableBehindWhatABrokerRefuses) {
  auto broker = TestBroker::Shared();
  ASSERT_TRUE(broker.ok()) << broker.status();
  KafkaLogOptions options = TestOptions((*broker)->brokers(), 1);
  const auto created = testing::RunKafkaTool(
      "org.apache.kafka.tools.TopicCommand --bootstrap-server " + options.brokers +
      " --create --topic " + options.topic_prefix +
      "changes --partitions 1 --config retention.ms=-1 --config max.message.bytes=5000");
  ASSERT_TRUE(created.ok()) << created.status();
  options.properties["batch.num.messages"] = "1";  // so that it is refused alone
  options.check_settings = false;                  // or it would be refused before it is sent
  auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  const auto append = [&](std::vector<Event> batch) {
    return (*log)->Append(Topic::kChanges, PartitionId(0), std::move(batch)).status();
  };
  ASSERT_TRUE(append({MakeKafkaEvent("acme", "first")}).ok());
  std::string noise(10'000, 'x');
  std::mt19937 random(1);  // LZ4 must not make it fit
  std::generate(noise.begin(), noise.end(), [&] { return static_cast<char>(random()); });
  std::vector<Event> batch{MakeKafkaEvent("acme", noise)};
  for (int i = 0; i < 20; ++i) {
    batch.push_back(MakeKafkaEvent("acme", "behind it"));
  }
  const absl::Status refused = append(batch);
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << refused;
  const auto deadline = std::chrono::steady_clock::now() + kKafkaPatience;
  absl::Status next = refused;
  while (!next.ok() && std::chrono::steady_clock::now() < deadline) {
    next = append({MakeKafkaEvent("acme", "next")});
  }
  EXPECT_TRUE(next.ok()) << next;
  const auto stored = ReadAll(**log, Topic::kChanges, PartitionId(0), 2);
  ASSERT_GE(stored.size(), 2U);
  EXPECT_EQ(stored[1].event.value, "next");
}

}  // namespace
}  // namespace sluice::eventlog
