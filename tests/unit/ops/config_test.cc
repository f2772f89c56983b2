#include "ops/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "eventlog/log.h"
#include "gateways/sync/sync_server.h"
#include "projectors/fold/fold.h"
#include "schemas/base/status.h"
#include "tests/support/temp_dir.h"

namespace sluice::ops {
namespace {

using ::testing::HasSubstr;

std::string MessageOf(const absl::Status& status) { return std::string(Message(status)); }

class ConfigTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& text) {
    const std::string path = dir_ / "sluice.yaml";
    std::ofstream(path) << text;
    return path;
  }
  sluice::testing::TempDir dir_;
  Config config_ = DefaultConfig();
};

TEST_F(ConfigTest, DefaultsAreValid) {
  EXPECT_TRUE(Validate(config_).ok());
  EXPECT_EQ(config_.admin.listen, "127.0.0.1:8470");
  EXPECT_EQ(config_.sync.listen, "127.0.0.1:8471");
  EXPECT_EQ(config_.limits.buckets_per_caller, 1000);
}

TEST_F(ConfigTest, ReadsNestedAndDottedKeysAndLists) {
  const auto path = Write(
      "data_dir: /data\nlog:\n  kind: kafka\n  brokers: [a:1, b:2]\n  kafka:\n    debug: broker\n"
      "roles: [admin, sync]\nsync.heartbeat: 5s\n");
  ASSERT_TRUE(LoadYaml(path, config_).ok());
  EXPECT_EQ(config_.data_dir, "/data");
  EXPECT_EQ(config_.log.brokers, "a:1,b:2");
  EXPECT_EQ(config_.log.kafka.at("debug"), "broker");
  EXPECT_EQ(config_.roles, (std::vector<std::string>{"admin", "sync"}));
  EXPECT_EQ(config_.sync.heartbeat, std::chrono::seconds(5));
}

TEST_F(ConfigTest, ListsOfSourcesAreSplitAndEmptyIsNone) {
  ASSERT_TRUE(SetKey(config_, "sources.allow_hosts", "a.example.org, *.example.net").ok());
  EXPECT_EQ(config_.sources.allow_hosts,
            (std::vector<std::string>{"a.example.org", "*.example.net"}));
  EXPECT_THAT(MessageOf(SetKey(config_, "sources.allow_hosts", "a.example.org,")),
              HasSubstr("a part of the list is empty"));
  EXPECT_EQ(config_.sources.allow_hosts.size(), 2);
  ASSERT_TRUE(SetKey(config_, "sources.allow_hosts", "").ok());
  EXPECT_TRUE(config_.sources.allow_hosts.empty());
}

TEST_F(ConfigTest, AnUnknownKeyIsAnErrorThatNamesFileLineAndNearest) {
  const auto path = Write("log:\n  kind: embedded\n  partitons: 3\n");
  const auto status = LoadYaml(path, config_);
  EXPECT_THAT(MessageOf(status), HasSubstr("line 3"));
  EXPECT_THAT(MessageOf(status), HasSubstr("log.partitons"));
  EXPECT_THAT(MessageOf(status), HasSubstr("log.partitions?"));
}

TEST_F(ConfigTest, BadValuesNameKeyAndValue) {
  EXPECT_THAT(MessageOf(SetKey(config_, "sync.heartbeat", "soon")),
              HasSubstr("sync.heartbeat to \"soon\""));
  EXPECT_THAT(MessageOf(SetKey(config_, "log.partitions", "0")), HasSubstr("out of range"));
  EXPECT_THAT(MessageOf(SetKey(config_, "admin.listen", "8470")), HasSubstr("HOST:PORT"));
  EXPECT_THAT(MessageOf(SetKey(config_, "sync.listen", ":8471")), HasSubstr("HOST:PORT"));
  EXPECT_THAT(MessageOf(SetKey(config_, "log.kind", "pulsar")), HasSubstr("embedded, kafka"));
  EXPECT_THAT(MessageOf(SetKey(config_, "roles", "admin,chef")),
              HasSubstr("\"chef\" is not a role"));
  EXPECT_FALSE(SetKey(config_, "limits.line_bytes", "1XB").ok());
}

TEST_F(ConfigTest, MalformedYamlNamesTheLine) {
  const auto path = Write("data_dir: [\n");
  EXPECT_THAT(MessageOf(LoadYaml(path, config_)), HasSubstr("sluice.yaml, line"));
  EXPECT_EQ(LoadYaml("/nonexistent/x.yaml", config_).code(), absl::StatusCode::kNotFound);
}

TEST_F(ConfigTest, SettingsThatDoNotFitTogetherAreRefused) {
  config_.log.kind = "kafka";
  EXPECT_THAT(MessageOf(Validate(config_)), HasSubstr("log.brokers"));
  config_ = DefaultConfig();
  config_.roles = {"admin"};
  EXPECT_THAT(MessageOf(Validate(config_)), HasSubstr("only over Kafka"));
  config_ = DefaultConfig();
  config_.events.topic = "crm-events";
  EXPECT_THAT(MessageOf(Validate(config_)), HasSubstr("events.brokers"));
  config_.events.brokers = "127.0.0.1:9092";
  EXPECT_TRUE(Validate(config_).ok());
}

// What a module takes where nobody tells it is what the page promises.
TEST_F(ConfigTest, DefaultsAreThoseOfTheModules) {
  const eventlog::AppendLimits append;
  EXPECT_EQ(static_cast<size_t>(config_.log.event_bytes), append.event_bytes_max);
  EXPECT_EQ(static_cast<size_t>(config_.log.queue_bytes), append.queue_bytes_max);
  const projectors::FoldOptions fold;
  EXPECT_EQ(config_.staging.dedup_window, fold.dedup_window);
  EXPECT_EQ(config_.sync.tombstone_horizon, fold.tombstone_horizon);
  const gateways::SyncOptions sync;
  EXPECT_EQ(static_cast<size_t>(config_.sync.sessions), sync.sessions_max);
  EXPECT_EQ(sync.connections_max, sync.sessions_max + sync.sessions_max / 4);
  EXPECT_EQ(static_cast<size_t>(config_.limits.buckets_per_caller), sync.buckets_per_caller);
  EXPECT_EQ(config_.sync.heartbeat, sync.heartbeat);
}

// A line of the page can be copied into --set: its key is known and its default is what is there
// without it.
TEST_F(ConfigTest, EveryLineOfThePageCanBeSet) {
  std::ifstream file(std::string(SLUICE_SOURCE_DIR) + "/ops/docs/configuration.md");
  size_t lines = 0;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| `")) {
      continue;
    }
    const size_t key_end = line.find('`', 3);
    const size_t value = key_end + 4;  // behind "` | "
    const std::string text = line[value] == '`'
                                 ? line.substr(value + 1, line.find('`', value + 1) - value - 1)
                                 : std::string();
    const std::string key = line.substr(3, key_end - 3);
    EXPECT_TRUE(SetKey(config_, key, text).ok()) << line;
    EXPECT_EQ(AllSettings()[lines].key, key);
    EXPECT_EQ(AllSettings()[lines].default_value, text);
    ++lines;
  }
  EXPECT_EQ(lines, AllSettings().size());
}

TEST_F(ConfigTest, TheReferencePageIsTheTable) {
  std::ifstream file(std::string(SLUICE_SOURCE_DIR) + "/ops/docs/configuration.md");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), SettingsAsMarkdown())
      << "write it anew with: build/release/bin/sluice config > ops/docs/configuration.md";
}

}  // namespace
}  // namespace sluice::ops
