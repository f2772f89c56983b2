#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "eventlog/kafka/conf.h"
#include "eventlog/kafka/kafka_log.h"
#include "schemas/base/status.h"
#include "schemas/sluice/v1/events.pb.h"
#include "tests/integration/eventlog/kafka_test_util.h"
#include "tests/integration/eventlog/shared_broker.h"

// One log, one history, over a real broker: topics that are made anew, a declared epoch, and
// topics whose partitions, settings or begins do not fit any more.
namespace sluice::eventlog {
namespace {

constexpr PartitionId kP0{0};
constexpr int kAdminMillis = 30'000;

KafkaLogOptions WatchedOptions() {
  KafkaLogOptions options = TestOptions(kBroker->brokers(), 2);
  options.health_interval = std::chrono::milliseconds(50);
  options.topic_check_interval = std::chrono::milliseconds(50);
  return options;
}

std::string FullName(const KafkaLogOptions& options, Topic topic) {
  return options.topic_prefix + std::string(TopicName(topic));
}

// What an operator does to topics, through librdkafka's admin interface: Kafka's own tools take
// seconds each.
class Operator {
 public:
  explicit Operator(const KafkaLogOptions& options) : options_(options) {
    auto conf = MakeConf(options, {});
    EXPECT_TRUE(conf.ok()) << conf.status();
    auto handle = MakeHandle(RD_KAFKA_PRODUCER, std::move(*conf));
    EXPECT_TRUE(handle.ok()) << handle.status();
    handle_ = std::move(*handle);
    queue_.reset(rd_kafka_queue_new(handle_.get()));
  }

  // Replaces all settings of the topic.
  void Configure(Topic topic, const std::map<std::string, std::string>& settings) {
    rd_kafka_ConfigResource_t* resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, FullName(options_, topic).c_str());
    for (const auto& [name, value] : settings) {
      rd_kafka_ConfigResource_set_config(resource, name.c_str(), value.c_str());
    }
    rd_kafka_AlterConfigs(handle_.get(), &resource, 1, nullptr, queue_.get());
    Await([](rd_kafka_event_t* event) {
      size_t count = 0;
      const auto** resources =
          rd_kafka_AlterConfigs_result_resources(rd_kafka_event_AlterConfigs_result(event), &count);
      return count == 1 ? rd_kafka_ConfigResource_error(resources[0]) : RD_KAFKA_RESP_ERR__FAIL;
    });
    rd_kafka_ConfigResource_destroy(resource);
  }

  void AddPartitions(Topic topic, size_t count) {
    std::array<char, 256> reason{};
    rd_kafka_NewPartitions_t* added = rd_kafka_NewPartitions_new(
        FullName(options_, topic).c_str(), count, reason.data(), reason.size());
    ASSERT_NE(added, nullptr) << reason.data();
    rd_kafka_CreatePartitions(handle_.get(), &added, 1, nullptr, queue_.get());
    AwaitTopic(rd_kafka_event_CreatePartitions_result, rd_kafka_CreatePartitions_result_topics);
    rd_kafka_NewPartitions_destroy(added);
  }

  // With as many partitions as the log has.
  void CreateTopic(Topic topic) { EXPECT_EQ(CodeOfCreating(topic), RD_KAFKA_RESP_ERR_NO_ERROR); }
  rd_kafka_resp_err_t CodeOfCreating(Topic topic) {
    std::array<char, 256> reason{};
    rd_kafka_NewTopic_t* created = rd_kafka_NewTopic_new(
        FullName(options_, topic).c_str(), options_.partitions, 1, reason.data(), reason.size());
    EXPECT_NE(created, nullptr) << reason.data();
    rd_kafka_NewTopic_set_config(created, "retention.ms", "-1");
    rd_kafka_CreateTopics(handle_.get(), &created, 1, nullptr, queue_.get());
    const auto code =
        AnswerAbout(rd_kafka_event_CreateTopics_result, rd_kafka_CreateTopics_result_topics);
    rd_kafka_NewTopic_destroy(created);
    return code;
  }

  // Beside the log, as it is there whatever a process may append.
  void Produce(Topic topic, PartitionId partition, const std::string& value) {
    const std::string name = FullName(options_, topic);
    ASSERT_EQ(rd_kafka_producev(
                  handle_.get(), RD_KAFKA_V_TOPIC(name.c_str()),
                  RD_KAFKA_V_PARTITION(partition.value()), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                  RD_KAFKA_V_VALUE(const_cast<char*>(value.data()), value.size()), RD_KAFKA_V_END),
              RD_KAFKA_RESP_ERR_NO_ERROR);
    ASSERT_EQ(rd_kafka_flush(handle_.get(), kAdminMillis), RD_KAFKA_RESP_ERR_NO_ERROR);
  }

  // As a broker's lost disk leaves it.
  void Empty(Topic topic) {
    DeleteTopic(topic);
    const auto deadline = std::chrono::steady_clock::now() + kKafkaPatience;
    while (CodeOfCreating(topic) == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS &&
           std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }

  void DeleteTopic(Topic topic) {
    rd_kafka_DeleteTopic_t* deleted = rd_kafka_DeleteTopic_new(FullName(options_, topic).c_str());
    rd_kafka_DeleteTopics(handle_.get(), &deleted, 1, nullptr, queue_.get());
    AwaitTopic(rd_kafka_event_DeleteTopics_result, rd_kafka_DeleteTopics_result_topics);
    rd_kafka_DeleteTopic_destroy(deleted);
  }

 private:
  // The answer about one topic: `result` of the event, `topics` of that.
  template <typename Result>
  void AwaitTopic(const Result* (*result)(rd_kafka_event_t*),
                  const rd_kafka_topic_result_t** (*topics)(const Result*, size_t*)) {
    EXPECT_EQ(AnswerAbout(result, topics), RD_KAFKA_RESP_ERR_NO_ERROR);
  }
  template <typename Result>
  rd_kafka_resp_err_t AnswerAbout(const Result* (*result)(rd_kafka_event_t*),
                                  const rd_kafka_topic_result_t** (*topics)(const Result*,
                                                                            size_t*)) {
    rd_kafka_resp_err_t answer = RD_KAFKA_RESP_ERR__FAIL;
    Await([&](rd_kafka_event_t* event) {
      size_t count = 0;
      const rd_kafka_topic_result_t** found = topics(result(event), &count);
      answer = count == 1 ? rd_kafka_topic_result_error(found[0]) : answer;
      return RD_KAFKA_RESP_ERR_NO_ERROR;
    });
    return answer;
  }

  template <typename ErrorOf>
  void Await(ErrorOf error_of) {
    rd_kafka_event_t* event = rd_kafka_queue_poll(queue_.get(), kAdminMillis);
    ASSERT_NE(event, nullptr) << "the broker does not answer";
    ASSERT_EQ(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR)
        << rd_kafka_event_error_string(event);
    EXPECT_EQ(error_of(event), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_event_destroy(event);
  }

  const KafkaLogOptions options_;
  KafkaHandle handle_;
  KafkaQueue queue_;
};

// Until Health() has the code ("" for ok); what it has at last.
std::string AwaitHealth(Log& log, const std::string& code) {
  const auto deadline = std::chrono::steady_clock::now() + kKafkaPatience;
  const auto now = [&log] {
    const absl::Status health = log.Health();
    return health.ok() ? std::string() : ErrorCode(health);
  };
  while (now() != code && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return now();
}

std::string CodeOfAppend(Log& log, Topic topic) {
  const auto appended = log.Append(topic, kP0, {MakeKafkaEvent("acme", "x")});
  return appended.ok() ? "" : ErrorCode(appended.status());
}

std::string CodeOfOpening(const KafkaLogOptions& options) {
  const auto opened = KafkaLog::Open(options);
  return opened.ok() ? "" : ErrorCode(opened.status());
}

TEST(KafkaWatch, ProcessesThatStartOnFreshTopicsAgreeOnTheEpochAndKeepIt) {
  const KafkaLogOptions options = WatchedOptions();
  std::array<std::string, 4> ids;
  std::vector<std::thread> processes;
  for (std::string& id : ids) {
    processes.emplace_back([&id, &options] {
      const auto log = KafkaLog::Open(options);
      EXPECT_TRUE(log.ok()) << log.status();
      id = log.ok() ? (*log)->id() : "";
    });
  }
  for (std::thread& process : processes) {
    process.join();
  }
  for (const std::string& id : ids) {
    EXPECT_EQ(id, ids[0]);
  }
  EXPECT_EQ(ids[0].size() - ids[0].find('#'), 17U) << ids[0];
  const auto again = KafkaLog::Open(options);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->id(), ids[0]);
}

TEST(KafkaWatch, TopicsThatAreMadeAnewAreAnotherLog) {
  KafkaLogOptions options = WatchedOptions();
  std::string before;
  {
    const auto log = KafkaLog::Open(options);
    ASSERT_TRUE(log.ok()) << log.status();
    before = (*log)->id();
    ASSERT_EQ(CodeOfAppend(**log, Topic::kChanges), "");
  }
  Operator admin(options);
  for (const Topic topic : kAllTopics) {
    admin.DeleteTopic(topic);
  }
  // A topic that was just deleted may still be shown for a moment, and is then waited for.
  options.connect_timeout = std::chrono::seconds(2);
  const auto deadline = std::chrono::steady_clock::now() + kKafkaPatience;
  std::string after = before;
  while (after == before && std::chrono::steady_clock::now() < deadline) {
    const auto log = KafkaLog::Open(options);
    after = log.ok() ? (*log)->id() : before;
  }
  EXPECT_NE(after, before);
  EXPECT_EQ(after.substr(0, after.find('#')), before.substr(0, before.find('#')));
}

// Until opening has the code ("" for ok): a topic that was just made anew may be unknown to a
// broker for a moment.
std::string AwaitOpening(const KafkaLogOptions& options, const std::string& code) {
  const auto deadline = std::chrono::steady_clock::now() + kKafkaPatience;
  std::string now = CodeOfOpening(options);
  while (now != code && std::chrono::steady_clock::now() < deadline) {
    now = CodeOfOpening(options);
  }
  return now;
}

void StartEpochBehindLoss(const KafkaLogOptions& options) {
  const auto deadline = std::chrono::steady_clock::now() + kKafkaPatience;
  absl::Status started;
  do {
    started = KafkaLog::StartEpoch(options, [](Log&) { return absl::OkStatus(); }).status();
  } while (ErrorCode(started) == "no_log" && std::chrono::steady_clock::now() < deadline);
  EXPECT_TRUE(started.ok()) << started;
}

// The disk of one broker is lost, which has led some of the partitions.
TEST(KafkaWatch, NoEpochIsWrittenBesideAHistoryWhoseFirstPartitionIsLost) {
  KafkaLogOptions options = WatchedOptions();
  options.connect_timeout = std::chrono::seconds(2);
  {
    const auto log = KafkaLog::Open(options);
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_EQ(CodeOfAppend(**log, Topic::kChanges), "");
    v1::NodeAnnouncement announcement;
    announcement.set_log_id((*log)->id());
    ASSERT_TRUE(
        (*log)
            ->Append(Topic::kNodes, kP0, {MakeKafkaEvent("node", announcement.SerializeAsString())})
            .ok());
  }
  Operator admin(options);
  admin.Empty(Topic::kProvisioning);
  admin.Produce(Topic::kProvisioning, PartitionId(1), "whole");
  EXPECT_EQ(AwaitOpening(options, "log_truncated"), "log_truncated");
  admin.Empty(Topic::kChanges);  // it has lost the same partition
  EXPECT_EQ(AwaitOpening(options, "log_truncated"), "log_truncated");
  admin.Empty(Topic::kProvisioning);  // only `nodes` tells that there was an epoch
  EXPECT_EQ(AwaitOpening(options, "log_truncated"), "log_truncated");
  KafkaLogOptions inspecting = options;
  inspecting.inspect = true;
  const auto inspected = KafkaLog::Open(inspecting);
  ASSERT_TRUE(inspected.ok()) << inspected.status();
  const auto range = (*inspected)->Range(Topic::kProvisioning, kP0);
  ASSERT_TRUE(range.ok()) << range.status();
  EXPECT_EQ(range->end, Offset(0)) << "something was written";
  StartEpochBehindLoss(options);  // the way on that the message names
  EXPECT_EQ(CodeOfOpening(options), "");
}

TEST(KafkaWatch, ALogOfBeforeThereWereEpochsIsGivenOne) {
  KafkaLogOptions options = WatchedOptions();
  options.connect_timeout = std::chrono::seconds(2);
  ASSERT_EQ(CodeOfOpening(options), "");
  Operator admin(options);
  admin.Empty(Topic::kProvisioning);
  for (const Topic topic : {Topic::kProvisioning, Topic::kChanges}) {
    admin.Produce(topic, kP0, "of before");
  }
  EXPECT_EQ(AwaitOpening(options, ""), "");
}

TEST(KafkaWatch, ADeclaredEpochStopsTheProcessesOfTheFormerOne) {
  const KafkaLogOptions options = WatchedOptions();
  const auto running = KafkaLog::Open(options);
  ASSERT_TRUE(running.ok()) << running.status();
  ASSERT_EQ(CodeOfAppend(**running, Topic::kChanges), "");
  const auto change = KafkaLog::StartEpoch(options, [](Log&) { return absl::OkStatus(); });
  ASSERT_TRUE(change.ok()) << change.status();
  EXPECT_EQ(change->id_before, (*running)->id());
  EXPECT_NE(change->id, change->id_before);
  EXPECT_EQ(AwaitHealth(**running, "log_epoch_changed"), "log_epoch_changed");
  EXPECT_EQ(CodeOfAppend(**running, Topic::kChanges), "log_epoch_changed");
  const auto next = KafkaLog::Open(options);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ((*next)->id(), change->id);
  EXPECT_EQ(CodeOfAppend(**next, Topic::kChanges), "");
}

// The new one lies below what the process of the former one had read, and the log goes on beyond.
TEST(KafkaWatch, AnEpochThatIsDeclaredAfterALossStopsTheProcessesOfTheFormerOne) {
  const KafkaLogOptions options = WatchedOptions();
  const auto running = KafkaLog::Open(options);
  ASSERT_TRUE(running.ok()) << running.status();
  ASSERT_EQ(CodeOfAppend(**running, Topic::kChanges), "");
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(CodeOfAppend(**running, Topic::kProvisioning), "");
  }
  Operator admin(options);
  admin.DeleteTopic(Topic::kProvisioning);
  AwaitHealth(**running, "topic_missing");
  admin.CreateTopic(Topic::kProvisioning);
  EXPECT_EQ(AwaitHealth(**running, "log_truncated"), "log_truncated");

  EXPECT_EQ(CodeOfOpening(options), "log_truncated") << "nobody exists in a log that is made anew";
  const auto change = KafkaLog::StartEpoch(options, [](Log&) { return absl::OkStatus(); });
  ASSERT_TRUE(change.ok()) << change.status();
  const auto next = KafkaLog::Open(options);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ((*next)->id(), change->id);
  for (int i = 0; i < 40; ++i) {
    ASSERT_EQ(CodeOfAppend(**next, Topic::kProvisioning), "");
  }
  EXPECT_EQ(AwaitHealth(**running, "log_epoch_changed"), "log_epoch_changed");
}

// As many events as were lost have come since, the declared epoch among them: the end is where it
// was.
TEST(KafkaWatch, AnEpochThatIsDeclaredInThePlaceOfWhatWasLostIsSeen) {
  KafkaLogOptions options = WatchedOptions();
  options.health_interval =
      std::chrono::seconds(5);  // no look in between, as of one that is paused
  const auto running = KafkaLog::Open(options);
  ASSERT_TRUE(running.ok()) << running.status();
  Operator admin(options);
  admin.Empty(Topic::kProvisioning);
  StartEpochBehindLoss(options);
  EXPECT_EQ(AwaitHealth(**running, "log_epoch_changed"), "log_epoch_changed");
}

TEST(KafkaWatch, WhoInspectsALogKnowsWhereItsTopicsAgreed) {
  const KafkaLogOptions options = WatchedOptions();
  {
    const auto log = KafkaLog::Open(options);
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_EQ(CodeOfAppend(**log, Topic::kChanges), "");
  }
  ASSERT_TRUE(KafkaLog::StartEpoch(options, [](Log&) { return absl::OkStatus(); }).ok());
  KafkaLogOptions inspecting = options;
  inspecting.inspect = true;
  const auto opened = KafkaLog::Open(options);
  const auto inspected = KafkaLog::Open(inspecting);
  ASSERT_TRUE(opened.ok() && inspected.ok()) << opened.status() << inspected.status();
  EXPECT_EQ((*inspected)->Agreed(kP0).changes, (*opened)->Agreed(kP0).changes);
  EXPECT_GT((*inspected)->Agreed(kP0).changes, Offset(0));
}

TEST(KafkaWatch, SettingsThatLoseEventsAreReportedAndRefusedUntilTheyAreMended) {
  const KafkaLogOptions options = WatchedOptions();
  const auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  const std::map<std::string, std::string> good = {
      {"cleanup.policy", "delete"}, {"retention.ms", "-1"}, {"retention.bytes", "-1"}};
  Operator admin(options);
  admin.Configure(Topic::kProvisioning, {{"retention.ms", "3600000"}, {"retention.bytes", "-1"}});
  EXPECT_EQ(AwaitHealth(**log, "topic_retention"), "topic_retention");
  EXPECT_EQ(CodeOfOpening(options), "topic_retention");
  EXPECT_EQ(CodeOfAppend(**log, Topic::kChanges), "") << "nothing is lost yet";
  admin.Configure(Topic::kProvisioning, good);
  EXPECT_EQ(AwaitHealth(**log, ""), "");

  admin.Configure(Topic::kChanges, {{"cleanup.policy", "compact"}});
  EXPECT_EQ(AwaitHealth(**log, "topic_compacted"), "topic_compacted");
  EXPECT_EQ(CodeOfAppend(**log, Topic::kChanges), "topic_compacted");
  EXPECT_EQ(CodeOfAppend(**log, Topic::kDeadletter), "");
  EXPECT_EQ(CodeOfOpening(options), "topic_compacted");
  admin.Configure(Topic::kChanges, good);
  EXPECT_EQ(AwaitHealth(**log, ""), "");
  EXPECT_EQ(CodeOfAppend(**log, Topic::kChanges), "");
  EXPECT_EQ(CodeOfOpening(options), "");
}

// A broker's refusal would end the producer, and with it what is in flight for others.
TEST(KafkaWatch, WhatATopicDoesNotTakeIsRefusedBeforeItIsSent) {
  const KafkaLogOptions options = WatchedOptions();
  const auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  const auto append = [&log](Topic topic, size_t bytes) -> std::string {
    const auto appended =
        (*log)->Append(topic, kP0, {MakeKafkaEvent("acme", std::string(bytes, 'x'))});
    return appended.ok() ? "" : ErrorCode(appended.status());
  };
  Operator admin(options);
  admin.Configure(Topic::kChanges, {{"retention.ms", "-1"}, {"max.message.bytes", "200000"}});
  const auto deadline = std::chrono::steady_clock::now() + kKafkaPatience;
  while (append(Topic::kProvisioning, 300'000) != "too_large" &&
         std::chrono::steady_clock::now() < deadline) {
  }
  EXPECT_EQ(append(Topic::kChanges, 300'000), "too_large");
  EXPECT_EQ(append(Topic::kChanges, 100'000), "");
  EXPECT_TRUE((*log)->Health().ok()) << (*log)->Health();
}

// Who may not write to it, or writes more than it takes, does so again and again.
TEST(KafkaWatch, ARefusalOfAnotherTopicLeavesTheHistoryAlone) {
  const KafkaLogOptions options = WatchedOptions();
  const auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  Operator admin(options);
  admin.Configure(Topic::kNodes, {{"cleanup.policy", "compact"}, {"max.message.bytes", "1000"}});
  std::atomic<bool> stopping = false;
  std::atomic<size_t> appended = 0;
  std::thread neighbour([&] {
    while (!stopping) {
      EXPECT_EQ(CodeOfAppend(**log, Topic::kChanges), "");
      ++appended;
    }
  });
  const auto refused = [&log] {
    // What can't be compressed.
    std::string value(5'000, '\0');
    uint32_t state = 1;
    for (char& byte : value) {
      state = state * 1664525 + 1013904223;
      byte = static_cast<char>(state >> 24);
    }
    return !(*log)->Append(Topic::kNodes, kP0, {MakeKafkaEvent("node", value)}).ok();
  };
  const auto deadline = std::chrono::steady_clock::now() + kKafkaPatience;
  int refusals = 0;
  while (refusals < 3 && std::chrono::steady_clock::now() < deadline) {
    refusals += refused() ? 1 : 0;
  }
  const size_t before = appended;
  while (appended < before + 20 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  stopping = true;
  neighbour.join();
  EXPECT_EQ(refusals, 3);
  EXPECT_GE(appended, before + 20);
}

TEST(KafkaWatch, AddedPartitionsStopAppendsAndRefuseTheLog) {
  const KafkaLogOptions options = WatchedOptions();
  const auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  Operator admin(options);
  for (const Topic topic : kAllTopics) {
    if (topic != Topic::kNodes) {
      admin.AddPartitions(topic, 3);
    }
  }
  EXPECT_EQ(AwaitHealth(**log, "topic_partitions_changed"), "topic_partitions_changed");
  EXPECT_EQ(CodeOfAppend(**log, Topic::kProvisioning), "topic_partitions_changed");
  // All topics agree, so only the log's first event tells.
  EXPECT_EQ(CodeOfOpening(options), "topic_partitions_changed");
}

TEST(KafkaWatch, OneTopicThatGotPartitionsIsNamedAndToolsStillLook) {
  KafkaLogOptions options = WatchedOptions();
  ASSERT_EQ(CodeOfOpening(options), "");
  Operator(options).AddPartitions(Topic::kChanges, 3);
  const absl::Status refused = KafkaLog::Open(options).status();
  EXPECT_EQ(ErrorCode(refused), "topic_partitions_changed") << refused;
  EXPECT_NE(Message(refused).find(FullName(options, Topic::kChanges)), std::string::npos);
  const absl::Status no_epoch =
      KafkaLog::StartEpoch(options, [](Log&) { return absl::OkStatus(); }).status();
  EXPECT_EQ(ErrorCode(no_epoch), "topic_partitions_changed") << no_epoch;
  EXPECT_NE(Message(no_epoch).find("nothing was written"), std::string::npos) << no_epoch;
  options.inspect = true;
  EXPECT_EQ(CodeOfOpening(options), "");
}

TEST(KafkaWatch, AMissingTopicIsNotMadeAnewBesideAHistory) {
  for (const Topic lost : {Topic::kProvisioning, Topic::kChanges}) {
    const KafkaLogOptions options = WatchedOptions();
    {
      const auto log = KafkaLog::Open(options);
      ASSERT_TRUE(log.ok()) << log.status();
      ASSERT_EQ(CodeOfAppend(**log, Topic::kChanges), "");
      Operator(options).DeleteTopic(lost);
      EXPECT_EQ(AwaitHealth(**log, "topic_missing"), "topic_missing");
      EXPECT_NE(CodeOfAppend(**log, Topic::kChanges), "");
    }
    EXPECT_EQ(CodeOfOpening(options), "topic_missing");
    EXPECT_EQ(CodeOfOpening(options), "topic_missing") << "the refusal made it";
  }
}

TEST(KafkaWatch, OrganisationsAreNotForgottenWithTheBeginningOfProvisioning) {
  const KafkaLogOptions options = WatchedOptions();
  {
    const auto log = KafkaLog::Open(options);
    ASSERT_TRUE(log.ok()) << log.status();
    for (const Topic topic : {Topic::kChanges, Topic::kProvisioning}) {
      ASSERT_EQ(CodeOfAppend(**log, topic), "");
    }
    ASSERT_TRUE((*log)->TruncateBefore(Topic::kChanges, kP0, Offset(1)).ok());
    EXPECT_EQ(CodeOfOpening(options), "") << "stores may hold what is gone: they decide";
    bool asked = false;
    const auto change = KafkaLog::StartEpoch(options, [&asked](Log&) {
      asked = true;
      return absl::OkStatus();
    });
    EXPECT_EQ(ErrorCode(change.status()), "log_begins_late") << "stores cannot be built anew";
    EXPECT_FALSE(asked);
    ASSERT_TRUE((*log)->TruncateBefore(Topic::kProvisioning, kP0, Offset(1)).ok());
    EXPECT_EQ(AwaitHealth(**log, "log_begins_late"), "log_begins_late");
  }
  EXPECT_EQ(CodeOfOpening(options), "log_begins_late");
}

TEST(KafkaWatch, ToolsThatLookMakeNothing) {
  KafkaLogOptions options = WatchedOptions();
  options.inspect = true;
  EXPECT_EQ(CodeOfOpening(options), "no_log");
  EXPECT_EQ(
      ErrorCode(KafkaLog::StartEpoch(options, [](Log&) { return absl::OkStatus(); }).status()),
      "no_log");
  options.inspect = false;
  ASSERT_EQ(CodeOfOpening(options), "");
  options.inspect = true;
  const auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  const auto range = (*log)->Range(Topic::kProvisioning, kP0);
  ASSERT_TRUE(range.ok()) << range.status();
  EXPECT_EQ(range->end, Offset(1)) << "the log's first event, and no other";
}

}  // namespace
}  // namespace sluice::eventlog
