#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

// The settings of `sluice serve`: a YAML file, --set KEY=VALUE and flags, in rising precedence. One
// table (AllSettings) is the reading, the checking and the documentation of every key.
namespace sluice::ops {

struct Config {
  std::string data_dir;
  std::vector<std::string> roles;
  std::string log_level;
  std::string ready_file;

  struct {
    std::string listen;
    int64_t connections;
  } admin;

  struct {
    std::string listen;
    int64_t threads;
    int64_t sessions;
    int64_t tombstone_horizon;
    std::chrono::milliseconds tombstone_age;
    std::chrono::milliseconds heartbeat;
    std::string cursor_secret_file;
  } sync;

  struct {
    std::string jwks;
    std::string jwks_ca_file;
    std::string issuer;
    std::string audience;
  } auth;

  struct {
    std::string kind;
    int64_t partitions;
    std::string topic_prefix;
    std::string brokers;
    int64_t replication_factor;
    int64_t event_bytes;
    int64_t queue_bytes;
    std::map<std::string, std::string> kafka;  // passed on to librdkafka
  } log;

  struct {
    std::string replica_set;
    std::string node_id;
    int64_t dedup_window;
    std::chrono::milliseconds checkpoint_interval;
    int64_t batch_bytes;
    int64_t open_stores;
    int64_t block_cache_bytes;
    int64_t write_buffer_bytes;
  } staging;

  struct {
    std::string keys;
    std::string pkcs11_module;
    std::string pkcs11_pin_file;
  } secrets;

  struct {
    std::chrono::milliseconds interval_min;
    std::chrono::milliseconds stall_timeout;
    int64_t runs;
    int64_t runs_per_org;
    std::vector<std::string> allow_hosts;
    std::vector<std::string> allow_private;
    std::string ca_file;
    std::vector<std::string> kafka_brokers;
    std::vector<std::string> kafka_topics;
  } sources;

  struct {
    std::string topic;
    std::string brokers;
  } events;

  struct {
    int64_t line_bytes;
    int64_t ops_per_set;
    int64_t body_bytes;
    int64_t buckets_per_caller;
  } limits;
};

struct Setting {
  std::string key;            // "log.topic_prefix"
  std::string default_value;  // as it would be written
  std::string help;           // unit, effect, whether it may change on live data
  std::function<absl::Status(Config&, std::string_view value)> set;
};

// Every setting, in the order in which the documentation lists them.
[[nodiscard]] std::span<const Setting> AllSettings();

// Every setting at its default.
[[nodiscard]] Config DefaultConfig();

// Sets one key. kInvalidArgument names the key and the value; an unknown key's nearest is
// suggested.
[[nodiscard]] absl::Status SetKey(Config& config, std::string_view key, std::string_view value);

// Reads a YAML file onto `config`. Errors name the file, the line and the key.
[[nodiscard]] absl::Status LoadYaml(const std::string& path, Config& config);

// Checks that the settings fit together.
[[nodiscard]] absl::Status Validate(const Config& config);

// The reference of all settings as Markdown: ops/docs/configuration.md.
[[nodiscard]] std::string SettingsAsMarkdown();

}  // namespace sluice::ops
