#include "eventlog/kafka/kafka_log.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "eventlog/kafka/admin.h"
#include "eventlog/kafka/conf.h"
#include "eventlog/murmur2.h"
#include "schemas/base/status.h"
#include "tests/integration/eventlog/kafka_test_util.h"
#include "tests/integration/eventlog/shared_broker.h"

// What other programs see of our topics, and we of theirs: kcat and Kafka's own Java tools.
namespace sluice::eventlog {
namespace {

using ::testing::HasSubstr;

std::string MustRun(const std::string& command) {
  const auto output = testing::RunCommand(command);
  EXPECT_TRUE(output.ok()) << output.status();
  return output.value_or("");
}

// Calls `visit` with each of this process's connections.
void ForEachConnection(const std::function<void(int socket, const tcp_info& info)>& visit) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int socket = std::stoi(entry.path().filename());
    tcp_info info{};
    socklen_t size = sizeof(info);
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) {
      visit(socket, info);
    }
  }
}

// Bytes that have come over those that are open.
uint64_t BytesReceived() {
  uint64_t bytes = 0;
  ForEachConnection([&](int, const tcp_info& info) { bytes += info.tcpi_bytes_received; });
  return bytes;
}

std::string Incompressible(size_t bytes) {
  static std::mt19937 random(1);
  std::string value(bytes, 'x');
  std::generate(value.begin(), value.end(), [&] { return static_cast<char>(random()); });
  return value;
}

// Under a quota, what is fetched twice may never come. A reader whose thread gets no turn between
// the end of a connection and what comes over the next one does fetch it twice, since it cannot
// tell the two apart: on a busy machine one round may be such a one, not each of five.
TEST(KafkaLogTest, WhatComesOverANewConnectionToAReaderThatWaitedIsNotFetchedTwice) {
  auto log = KafkaLog::Open(TestOptions(kBroker->brokers()));
  ASSERT_TRUE(log.ok()) << log.status();
  const auto offsets =
      (*log)->Append(Topic::kChanges, PartitionId(0), {MakeKafkaEvent("acme", "first")});
  ASSERT_TRUE(offsets.ok()) << offsets.status();
  auto reader = (*log)->OpenReader(Topic::kChanges, PartitionId(0), offsets->front());
  ASSERT_TRUE(reader.ok()) << reader.status();
  ASSERT_EQ((*reader)->Read({.wait_max = kKafkaPatience})->size(), 1U);
  constexpr size_t kBytes = 900'000;
  uint64_t fewest = std::numeric_limits<uint64_t>::max();
  for (int round = 0; round < 5 && fewest >= 2 * kBytes; ++round) {
    const uint64_t session = (*reader)->session();
    absl::StatusOr<std::vector<StoredEvent>> events;
    std::thread waits([&] {
      do {  // all connections end: for a moment no broker is there
        events = (*reader)->Read({.wait_max = kKafkaPatience});
      } while (absl::IsUnavailable(events.status()));
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    ForEachConnection([](int socket, const tcp_info&) { shutdown(socket, SHUT_RDWR); });
    std::this_thread::sleep_for(std::chrono::milliseconds(100));  // each thread has its turn
    const auto appended = (*log)->Append(Topic::kChanges, PartitionId(0),
                                         {MakeKafkaEvent("acme", Incompressible(kBytes))});
    waits.join();
    ASSERT_TRUE(appended.ok()) << appended.status();
    ASSERT_TRUE(events.ok()) << events.status();
    ASSERT_EQ(events->size(), 1U);
    EXPECT_NE((*reader)->session(), session);
    fewest = std::min(fewest, BytesReceived());  // the connections are new ones in each round
  }
  EXPECT_LT(fewest, 2 * kBytes);
}

TEST(KafkaLogTest, APointReaderBringsLittleThatWasNotAskedFor) {
  auto log = KafkaLog::Open(TestOptions(kBroker->brokers()));
  ASSERT_TRUE(log.ok()) << log.status();
  constexpr int kBatches = 300;
  constexpr size_t kBytes = 10'000;
  for (int i = 0; i < kBatches; ++i) {
    ASSERT_TRUE((*log)
                    ->Append(Topic::kChanges, PartitionId(0),
                             {MakeKafkaEvent("acme", Incompressible(kBytes))})
                    .ok());
  }
  const uint64_t before = BytesReceived();
  constexpr int kReads = 20;
  for (int i = 0; i < kReads; ++i) {
    auto reader = (*log)->OpenPointReader(Topic::kChanges, PartitionId(0), Offset(i));
    ASSERT_TRUE(reader.ok()) << reader.status();
    const auto events = (*reader)->Read({.events_max = 1, .wait_max = kKafkaPatience});
    ASSERT_TRUE(events.ok()) << events.status();
    ASSERT_EQ(events->size(), 1U);
  }
  // 3 MB lie behind each of them.
  EXPECT_LT(BytesReceived() - before, kReads * 5 * kBytes);
}

TEST(KafkaLogTest, KcatShowsHeadersKeyAndValueBytes) {
  const KafkaLogOptions options = TestOptions(kBroker->brokers());
  auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  // The worked example of eventlog/docs/event-format.md.
  Event event = MakeKafkaEvent("acme",
                               "\x0a\x02"
                               "42"
                               "\x12\x03"
                               "erp"
                               "\x1a\x09"
                               "\x08\x03\x10\x07\x1a\x03"
                               "A-1");
  ASSERT_EQ(event.value.size(), 20U);
  event.source = "sluice/admin";
  event.id = "01890a5d-ac96-774b-bcce-b302099a8057";
  event.subject = "acme/account";
  event.time = SystemTime(std::chrono::microseconds(1'769'850'300'000'250));
  event.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  event.cause = {"alice", "https://login.example.com", "01890a5d-ac8f-7d06-a2f3-5c3b7e1f9d44"};
  const PartitionId partition = (*log)->PartitionFor(Topic::kChanges, event.key);
  ASSERT_TRUE((*log)->Append(Topic::kChanges, partition, {event}).ok());
  const std::string consume =
      fmt::format("kcat -C -q -e -c 1 -b {} -t {}changes -p {} -o beginning -f ", options.brokers,
                  options.topic_prefix, partition.value());
  EXPECT_EQ(MustRun(consume + "'%k|%h'"),
            "acme|ce_specversion=1.0,ce_id=01890a5d-ac96-774b-bcce-b302099a8057,"
            "ce_source=sluice/admin,ce_type=sluice.v1.ChangeSet,ce_subject=acme/account,"
            "ce_time=2026-01-31T09:05:00.000250Z,content-type=application/protobuf,"
            "traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01,"
            "ce_causesubject=alice,ce_causeissuer=https://login.example.com,"
            "ce_causerequest=01890a5d-ac8f-7d06-a2f3-5c3b7e1f9d44");
  EXPECT_EQ(MustRun(consume + "'%s'"), event.value);
}

// Prints "key<i>:<i>" for i in [0, 200).
constexpr char kKeys[] = "seq 0 199 | sed 's/.*/key&:&/'";

// Each partition's events have keys that PartitionFor() sends there.
void ExpectOurPartitioning(Log& log, size_t count) {
  size_t seen = 0;
  for (int32_t p = 0; p < log.PartitionCount(Topic::kChanges); ++p) {
    const auto range = log.Range(Topic::kChanges, PartitionId(p));
    ASSERT_TRUE(range.ok()) << range.status();
    const auto expected = static_cast<size_t>(range->end.value());
    const auto events = ReadAll(log, Topic::kChanges, PartitionId(p), expected);
    EXPECT_EQ(events.size(), expected);
    EXPECT_GT(expected, 0U) << "the keys reach every partition";
    for (const StoredEvent& stored : events) {
      EXPECT_EQ(log.PartitionFor(Topic::kChanges, stored.event.key), PartitionId(p))
          << stored.event.key;
    }
    seen += events.size();
  }
  EXPECT_EQ(seen, count);
}

TEST(KafkaLogTest, PartitionsAgreeWithKcatsMurmur2) {
  const KafkaLogOptions options = TestOptions(kBroker->brokers(), 7);
  auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  MustRun(fmt::format("{} | kcat -P -b {} -t {}changes -K: -X partitioner=murmur2_random", kKeys,
                      options.brokers, options.topic_prefix));
  ExpectOurPartitioning(**log, 200);
}

TEST(KafkaLogTest, PartitionsAgreeWithTheJavaProducersAndForeignEventsAreDelivered) {
  const KafkaLogOptions options = TestOptions(kBroker->brokers(), 5);
  auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  const auto produced = testing::RunKafkaTool(
      fmt::format("org.apache.kafka.tools.ConsoleProducer --bootstrap-server {} --topic {}changes "
                  "--reader-property parse.key=true --reader-property key.separator=:",
                  options.brokers, options.topic_prefix),
      kKeys);
  ASSERT_TRUE(produced.ok()) << produced.status();
  ExpectOurPartitioning(**log, 200);
  const auto events = ReadAll(**log, Topic::kChanges, PartitionId(0), 1);
  ASSERT_FALSE(events.empty());
  const Event& foreign = events.front().event;
  EXPECT_EQ("key" + foreign.value, foreign.key);
  EXPECT_EQ(foreign.id + foreign.type + foreign.source + foreign.subject, "");
  EXPECT_EQ(foreign.time, SystemTime{});
}

TEST(KafkaLogTest, TopicsGetTheRetentionOfTheirKindAndKeepThePartitionsTheyHave) {
  KafkaLogOptions options = TestOptions(kBroker->brokers(), 3);
  ASSERT_TRUE(KafkaLog::Open(options).ok());
  const auto described = testing::RunKafkaTool(
      fmt::format("org.apache.kafka.tools.TopicCommand --describe --bootstrap-server {} "
                  "--topic '{}.*'",
                  options.brokers, options.topic_prefix));
  ASSERT_TRUE(described.ok()) << described.status();
  std::map<std::string, std::string> lines;
  for (size_t at = 0;
       (at = described->find("Topic: " + options.topic_prefix, at)) != std::string::npos; ++at) {
    const std::string line = described->substr(at, described->find('\n', at) - at);
    if (line.find("PartitionCount") != std::string::npos) {
      const size_t begin = 7 + options.topic_prefix.size();
      lines[line.substr(begin, line.find('\t') - begin)] = line;
    }
  }
  ASSERT_EQ(lines.size(), 7U) << *described;
  for (const auto& [topic, line] : lines) {
    EXPECT_THAT(line, HasSubstr(topic == "nodes" ? "PartitionCount: 1" : "PartitionCount: 3"));
    EXPECT_THAT(line, HasSubstr(topic == "nodes"  ? "cleanup.policy=compact"
                                : topic == "work" ? "retention.ms=604800000"
                                                  : "retention.ms=-1"));
  }
  options.partitions = 8;
  const auto again = KafkaLog::Open(options);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->PartitionCount(Topic::kChanges), 3);
}

TEST(KafkaLogTest, TopicsThatCannotBeUsedTogetherAreRefused) {
  const KafkaLogOptions options = TestOptions(kBroker->brokers());
  auto conf = MakeConf(options, {});
  ASSERT_TRUE(conf.ok()) << conf.status();
  const auto handle = MakeHandle(RD_KAFKA_PRODUCER, std::move(*conf));
  ASSERT_TRUE(handle.ok()) << handle.status();
  const auto topic = [&](Topic which, int32_t partitions) {
    return TopicToCreate{.topic = which,
                         .name = options.topic_prefix + std::string(TopicName(which)),
                         .partitions = partitions,
                         .message_bytes_max = 1 << 20};
  };
  const auto created = CreateTopics(
      handle->get(), {topic(Topic::kChanges, 2), topic(Topic::kMutations, 3)}, kKafkaPatience);
  ASSERT_TRUE(created.ok()) << created;
  const auto log = KafkaLog::Open(options);
  EXPECT_EQ(ErrorCode(log.status()), "partition_count_mismatch") << log.status();
}

TEST(KafkaLogTest, PropertiesThatTheContractDependsOnAndUnknownOnesAreRefused) {
  for (const std::string name : {"acks", "enable.idempotence", "no.such.property"}) {
    KafkaLogOptions options = TestOptions(kBroker->brokers());
    options.properties = {{name, "1"}};
    const auto log = KafkaLog::Open(options);
    EXPECT_EQ(log.status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(Message(log.status())), HasSubstr(name));
  }
}

TEST(KafkaLogTest, ReadersOfOnePartitionAreIndependentAndLimited) {
  KafkaLogOptions options = TestOptions(kBroker->brokers());
  options.readers_per_partition_max = 3;
  auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  std::vector<Event> events;
  for (int i = 0; i < 9; ++i) {
    events.push_back(MakeKafkaEvent("acme", std::to_string(i)));
  }
  ASSERT_TRUE((*log)->Append(Topic::kChanges, PartitionId(0), events).ok());
  std::vector<std::unique_ptr<Reader>> readers;
  for (int64_t i = 0; i < 3; ++i) {
    auto reader = (*log)->OpenReader(Topic::kChanges, PartitionId(0), Offset(3 * i));
    ASSERT_TRUE(reader.ok()) << reader.status();
    readers.push_back(std::move(*reader));
  }
  EXPECT_EQ(ErrorCode((*log)->OpenReader(Topic::kChanges, PartitionId(0), Offset(0)).status()),
            "too_many_readers");
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < readers.size() - (round == 0 ? 0 : 1); ++i) {
      const auto read = readers[i]->Read({.events_max = 1, .wait_max = kKafkaPatience});
      ASSERT_TRUE(read.ok() && read->size() == 1) << read.status();
      EXPECT_EQ(read->front().event.value, std::to_string(3 * static_cast<int>(i) + round));
    }
  }
  readers.pop_back();
  EXPECT_TRUE((*log)->OpenReader(Topic::kChanges, PartitionId(0), Offset(0)).ok());
}

}  // namespace
}  // namespace sluice::eventlog
