// The Kafka log against librdkafka with the same settings and bytes, over a real broker:
//
//   kafka_log_bench --brokers 127.0.0.1:9092 [--events 200000] [--value-bytes 200]
//
// Appends: Log::AppendAsync() in batches of 100 against rd_kafka_produceva() of the same keys,
// values and headers, both idempotent with acks=all, from start to the last acknowledgement.
// Reads: Reader::Read() of everything against rd_kafka_consume_batch_queue(), which does not look
// at headers. Prints events/s and the ratios.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "eventlog/kafka/conf.h"
#include "eventlog/kafka/kafka_log.h"
#include "eventlog/kafka/message.h"
#include "schemas/base/status.h"
#include "tests/integration/eventlog/kafka_test_util.h"

namespace sluice::eventlog {
namespace {

constexpr size_t kBatch = 100;
constexpr int kRounds = 3;
constexpr int kSingle = 300;

struct Bench {
  KafkaLogOptions options;
  size_t events = 200'000;
  size_t value_bytes = 200;
};

[[noreturn]] void Die(const absl::Status& status) {
  fmt::print(stderr, "{}\n", Message(status));
  std::exit(1);
}

template <typename Work>
double EventsPerSecond(size_t events, Work work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  return static_cast<double>(events) / took.count();
}

std::vector<Event> MakeBatch(const Bench& bench) {
  std::vector<Event> batch;
  std::string value(bench.value_bytes, '\0');
  for (size_t i = 0; i < kBatch; ++i) {
    for (char& byte : value) {
      byte = static_cast<char>('a' + std::rand() % 26);
    }
    batch.push_back(MakeKafkaEvent("acme", value));
  }
  return batch;
}

void AppendThroughLog(Log& log, const Bench& bench, const std::vector<Event>& batch) {
  const size_t batches = bench.events / kBatch;
  absl::BlockingCounter left(static_cast<int>(batches));
  std::atomic<size_t> in_flight = 0;
  for (size_t i = 0; i < batches; ++i) {
    while (in_flight >= bench.options.limits.queue_events_max - kBatch) {
      std::this_thread::yield();
    }
    in_flight += kBatch;
    log.AppendAsync(Topic::kChanges, PartitionId(0), batch, [&](auto result) {
      if (!result.ok()) {
        Die(result.status());
      }
      in_flight -= kBatch;
      left.DecrementCount();
    });
  }
  left.Wait();
}

// The same records through librdkafka alone, which copies nothing either.
void ProduceRaw(const Bench& bench, const std::vector<Event>& batch) {
  auto conf = MakeConf(bench.options, {{"enable.idempotence", "true"},
                                       {"acks", "all"},
                                       {"queue.buffering.max.messages", "10000000"},
                                       {"linger.ms", "1"},
                                       {"compression.codec", "lz4"}});
  auto handle = MakeHandle(RD_KAFKA_PRODUCER, std::move(*conf));
  const std::string name = bench.options.topic_prefix + "mutations";
  const KafkaTopic topic(rd_kafka_topic_new(handle->get(), name.c_str(), nullptr));
  for (size_t i = 0; i < bench.events; ++i) {
    const Event& event = batch[i % kBatch];
    std::array<rd_kafka_vu_t, 5> fields{};
    fields[0].vtype = RD_KAFKA_VTYPE_RKT;
    fields[0].u.rkt = topic.get();
    fields[1].vtype = RD_KAFKA_VTYPE_PARTITION;
    fields[1].u.i32 = 0;
    fields[2].vtype = RD_KAFKA_VTYPE_KEY;
    fields[2].u.mem = {const_cast<char*>(event.key.data()), event.key.size()};
    fields[3].vtype = RD_KAFKA_VTYPE_VALUE;
    fields[3].u.mem = {const_cast<char*>(event.value.data()), event.value.size()};
    fields[4].vtype = RD_KAFKA_VTYPE_HEADERS;
    fields[4].u.headers = MakeHeaders(event);
    rd_kafka_produceva(handle->get(), fields.data(), fields.size());
    while (rd_kafka_outq_len(handle->get()) >
           static_cast<int>(bench.options.limits.queue_events_max)) {
      rd_kafka_poll(handle->get(), 1);
    }
  }
  rd_kafka_flush(handle->get(), 60'000);
}

void ReadThroughLog(Log& log, size_t count) {
  auto reader = log.OpenReader(Topic::kChanges, PartitionId(0), Offset(0));
  for (size_t seen = 0; seen < count;) {
    auto events = (*reader)->Read({.wait_max = std::chrono::seconds(10)});
    if (!events.ok() || events->empty()) {
      Die(events.ok() ? absl::UnavailableError("too few events") : events.status());
    }
    seen += events->size();
  }
}

void ConsumeRaw(const Bench& bench, size_t count) {
  auto conf = MakeConf(bench.options, {{"check.crcs", "true"},
                                       {"isolation.level", "read_committed"},
                                       {"auto.offset.reset", "error"},
                                       {"fetch.message.max.bytes", "4194304"}});
  auto handle = MakeHandle(RD_KAFKA_CONSUMER, std::move(*conf));
  const std::string name = bench.options.topic_prefix + "mutations";
  const KafkaTopic topic(rd_kafka_topic_new(handle->get(), name.c_str(), nullptr));
  KafkaQueue queue(rd_kafka_queue_new(handle->get()));
  rd_kafka_consume_start_queue(topic.get(), 0, 0, queue.get());
  std::array<rd_kafka_message_t*, 512> messages{};
  for (size_t seen = 0; seen < count;) {
    const ssize_t got =
        rd_kafka_consume_batch_queue(queue.get(), 100, messages.data(), messages.size());
    for (ssize_t i = 0; i < got; ++i) {
      rd_kafka_message_destroy(messages[static_cast<size_t>(i)]);
    }
    seen += static_cast<size_t>(std::max<ssize_t>(got, 0));
  }
  rd_kafka_consume_stop(topic.get(), 0);
}

absl::Status ReadOne(Log& log, Offset offset) {
  auto reader = log.OpenPointReader(Topic::kChanges, PartitionId(0), offset);
  const auto events = (*reader)->Read({.events_max = 1, .wait_max = std::chrono::seconds(10)});
  return events.ok() && events->empty() ? absl::UnavailableError("no event") : events.status();
}

// Single events at chance places of partition 0, one after the other, while followers wait at the
// ends of both partitions, as they do in a server that has nothing to do.
void ReadSingly(Log& log) {
  std::atomic<bool> stopping = false;
  std::vector<std::thread> followers;
  for (int32_t p = 0; p < 2; ++p) {
    followers.emplace_back([&log, &stopping, p] {
      const auto range = log.Range(Topic::kChanges, PartitionId(p));
      auto reader = log.OpenReader(Topic::kChanges, PartitionId(p), range->end);
      while (!stopping) {
        (void)(*reader)->Read({.wait_max = std::chrono::milliseconds(100)});
      }
    });
  }
  const auto range = log.Range(Topic::kChanges, PartitionId(0));
  if (!range.ok()) {
    Die(range.status());
  }
  std::vector<double> took_ms;
  for (int i = 0; i < kSingle; ++i) {
    const Offset offset(std::rand() % range->end.value());
    const auto begin = std::chrono::steady_clock::now();
    if (const auto found = ReadOne(log, offset); !found.ok()) {
      Die(found);
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    took_ms.push_back(took.count());
  }
  stopping = true;
  for (std::thread& follower : followers) {
    follower.join();
  }
  std::sort(took_ms.begin(), took_ms.end());
  fmt::print("single events: p50 {:.2f} ms, p99 {:.2f} ms\n", took_ms[kSingle / 2],
             took_ms[kSingle * 99 / 100]);
}

void Run(const Bench& bench) {
  auto log = KafkaLog::Open(bench.options);
  if (!log.ok()) {
    Die(log.status());
  }
  const std::vector<Event> batch = MakeBatch(bench);
  fmt::print("{} events of {} value bytes a round; events/s\n", bench.events, bench.value_bytes);
  fmt::print("{:>8} {:>12} {:>12} {:>7}\n", "", "sluice", "librdkafka", "ratio");
  for (int round = 1; round <= kRounds; ++round) {
    const double raw = EventsPerSecond(bench.events, [&] { ProduceRaw(bench, batch); });
    const double ours =
        EventsPerSecond(bench.events, [&] { AppendThroughLog(**log, bench, batch); });
    fmt::print("{:>8} {:>12.0f} {:>12.0f} {:>7.2f}\n", "append", ours, raw, ours / raw);
  }
  const size_t total = bench.events * kRounds;
  for (int round = 1; round <= kRounds; ++round) {
    const double raw = EventsPerSecond(total, [&] { ConsumeRaw(bench, total); });
    const double ours = EventsPerSecond(total, [&] { ReadThroughLog(**log, total); });
    fmt::print("{:>8} {:>12.0f} {:>12.0f} {:>7.2f}\n", "read", ours, raw, ours / raw);
  }
  ReadSingly(**log);
}

}  // namespace
}  // namespace sluice::eventlog

int main(int argc, char** argv) {
  spdlog::set_level(spdlog::level::warn);
  sluice::eventlog::Bench bench;
  std::string brokers;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name(argv[i]);
    if (name == "--brokers") {
      brokers = argv[i + 1];
    } else if (name == "--events") {
      bench.events = std::stoul(argv[i + 1]);
    } else if (name == "--value-bytes") {
      bench.value_bytes = std::stoul(argv[i + 1]);
    }
  }
  if (brokers.empty()) {
    fmt::print(stderr,
               "usage: kafka_log_bench --brokers host:port [--events N] [--value-bytes N]\n");
    return 2;
  }
  bench.options = sluice::eventlog::TestOptions(brokers);
  sluice::eventlog::Run(bench);
  return 0;
}
