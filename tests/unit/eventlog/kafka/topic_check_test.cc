#include "eventlog/kafka/topic_check.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

std::vector<std::string> CodesOf(Topic topic, const TopicSettings& settings) {
  std::vector<std::string> codes;
  for (const TopicFault& fault :
       FaultsOfSettings(topic, "sluice.x", "b:9092", 8'454'144, settings)) {
    EXPECT_EQ(fault.topic, topic);
    codes.push_back(ErrorCode(fault.status));
  }
  return codes;
}

using Codes = std::vector<std::string>;

TEST(TopicCheck, ForEverMeansNeitherCompactionNorRetention) {
  const TopicSettings good = {
      {"cleanup.policy", "delete"}, {"retention.ms", "-1"}, {"retention.bytes", "-1"}};
  const TopicSettings days = {
      {"cleanup.policy", "delete"}, {"retention.ms", "604800000"}, {"retention.bytes", "-1"}};
  const TopicSettings small = {
      {"cleanup.policy", "delete"}, {"retention.ms", "-1"}, {"retention.bytes", "1000"}};
  for (const Topic topic : {Topic::kProvisioning, Topic::kChanges, Topic::kMutations,
                            Topic::kCheckpoints, Topic::kDeadletter}) {
    EXPECT_EQ(CodesOf(topic, good), Codes());
    EXPECT_EQ(CodesOf(topic, days), Codes{"topic_retention"});
    EXPECT_EQ(CodesOf(topic, small), Codes{"topic_retention"});
    EXPECT_EQ(CodesOf(topic, {{"cleanup.policy", "compact"}, {"retention.ms", "1"}}),
              Codes{"topic_compacted"});
    EXPECT_EQ(CodesOf(topic, {{"cleanup.policy", "compact,delete"}, {"retention.ms", "1"}}),
              (Codes{"topic_compacted", "topic_retention"}));
  }
}

TEST(TopicCheck, WorkExpiresAndNodesAreCompacted) {
  EXPECT_EQ(CodesOf(Topic::kWork, {{"cleanup.policy", "delete"}, {"retention.ms", "1000"}}),
            Codes());
  EXPECT_EQ(CodesOf(Topic::kWork, {{"cleanup.policy", "compact"}}), Codes{"topic_compacted"});
  EXPECT_EQ(CodesOf(Topic::kNodes, {{"cleanup.policy", "compact"}, {"retention.ms", "1000"}}),
            Codes());
}

TEST(TopicCheck, EventsThatATopicDoesNotTake) {
  const Codes small = {"topic_message_bytes"};
  EXPECT_EQ(CodesOf(Topic::kChanges, {{"max.message.bytes", "1048588"}}), small);
  EXPECT_EQ(CodesOf(Topic::kDeadletter, {{"max.message.bytes", "1048588"}}), small);
  EXPECT_EQ(CodesOf(Topic::kChanges, {{"max.message.bytes", "8454144"}}), Codes());
  EXPECT_EQ(CodesOf(Topic::kNodes, {{"max.message.bytes", "1048588"}}), Codes());
  EXPECT_EQ(RecordBytesMax({{"max.message.bytes", "1048588"}}), 1'048'588U);
  EXPECT_EQ(RecordBytesMax({}), SIZE_MAX);
}

// Where it takes no batch either, whatever is in flight with one would be refused, but of letters.
TEST(TopicCheck, BatchesThatATopicDoesNotTake) {
  const auto effect = [](Topic topic, const std::string& bytes) {
    const auto faults =
        FaultsOfSettings(topic, "sluice.x", "b:9092", 8'454'144, {{"max.message.bytes", bytes}});
    EXPECT_EQ(faults.size(), 1U);
    return faults.at(0).effect;
  };
  for (const Topic topic : {Topic::kProvisioning, Topic::kChanges}) {
    EXPECT_EQ(effect(topic, "100000"), FaultEffect::kNoAppendToTopic);
    EXPECT_EQ(effect(topic, "1048588"), FaultEffect::kReport);
  }
  EXPECT_EQ(effect(Topic::kDeadletter, "100000"), FaultEffect::kReport);
  const auto faults = FaultsOfSettings(Topic::kChanges, "sluice.x", "b:9092", 8'454'144,
                                       {{"max.message.bytes", "100000"}});
  EXPECT_NE(Message(faults.at(0).status).find("nothing is appended"), std::string_view::npos);
}

TEST(TopicCheck, SaysWhichSettingAndHowToMendIt) {
  const auto faults =
      FaultsOfSettings(Topic::kChanges, "sluice.changes", "b:9092", 8'454'144,
                       {{"cleanup.policy", "delete"}, {"retention.ms", "604800000"}});
  ASSERT_EQ(faults.size(), 1U);
  EXPECT_EQ(faults[0].status.code(), absl::StatusCode::kFailedPrecondition);
  for (const char* part : {"sluice.changes", "retention.ms=604800000", "--bootstrap-server b:9092",
                           "--entity-name sluice.changes", "--add-config retention.ms=-1"}) {
    EXPECT_NE(Message(faults[0].status).find(part), std::string_view::npos) << part;
  }
}

}  // namespace
}  // namespace sluice::eventlog
