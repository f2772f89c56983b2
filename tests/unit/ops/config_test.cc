#include "ops/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "schemas/status.h"
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
