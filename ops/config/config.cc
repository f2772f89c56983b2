#include "ops/config/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::ops {
namespace {

using Setter = std::function<absl::Status(Config&, std::string_view)>;

absl::Status Invalid(std::string_view message) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_argument", message);
}

// Each checks before it sets, so that a value that is refused leaves the one of before.

template <typename Field>
Setter Text(Field field) {
  return [field](Config& config, std::string_view value) {
    field(config) = std::string(value);
    return absl::OkStatus();
  };
}

// Kept as a text: a name is resolved where it is listened on, which is when it has to be right.
template <typename Field>
Setter Listen(Field field) {
  return [field](Config& config, std::string_view value) -> absl::Status {
    RETURN_IF_ERROR(ParseListenAddress(value).status());
    field(config) = std::string(value);
    return absl::OkStatus();
  };
}

// `parse` reads the value, `unit` is behind it in the error.
template <typename Field>
Setter Number(Field field, absl::StatusOr<int64_t> (*parse)(std::string_view), const char* unit,
              int64_t min, int64_t max) {
  return [=](Config& config, std::string_view value) -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t number, parse(value));
    if (number < min || number > max) {
      return Invalid(fmt::format("{}{} is out of range: use {} to {}", number, unit, min, max));
    }
    field(config) = number;
    return absl::OkStatus();
  };
}

template <typename Field>
Setter Integer(Field field, int64_t min, int64_t max = std::numeric_limits<int64_t>::max()) {
  return Number(field, &ParseInt64, "", min, max);
}

template <typename Field>
Setter Bytes(Field field, int64_t min, int64_t max = std::numeric_limits<int64_t>::max()) {
  return Number(field, &ParseBytes, " bytes", min, max);
}

// None may be 0: a loop that waits so long between its turns would never rest, and what is
// remembered for so long would be forgotten before anybody asks.
template <typename Field>
Setter Duration(Field field) {
  return [=](Config& config, std::string_view value) -> absl::Status {
    ASSIGN_OR_RETURN(const std::chrono::milliseconds duration, ParseDuration(value));
    if (duration.count() == 0) {
      return Invalid("it must be longer than nothing");
    }
    field(config) = duration;
    return absl::OkStatus();
  };
}

// Separated by commas; empty: none. What the parts may be is for who uses them to say.
template <typename Field>
Setter List(Field field) {
  return [=](Config& config, std::string_view value) -> absl::Status {
    std::vector<std::string> parts;
    if (!value.empty()) {
      for (const absl::string_view part :
           absl::StrSplit(absl::string_view(value.data(), value.size()), ',')) {
        parts.emplace_back(absl::StripAsciiWhitespace(part));
        if (parts.back().empty()) {
          return Invalid("a part of the list is empty: use a,b,c");
        }
      }
    }
    field(config) = std::move(parts);
    return absl::OkStatus();
  };
}

template <typename Field>
Setter OneOf(Field field, std::vector<std::string> allowed) {
  return [=](Config& config, std::string_view value) -> absl::Status {
    if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
      return Invalid(fmt::format("use one of: {}", fmt::join(allowed, ", ")));
    }
    field(config) = std::string(value);
    return absl::OkStatus();
  };
}

// A word that is misspelt must not start a process without a role that somebody relies on.
absl::Status SetRoles(Config& config, std::string_view value) {
  std::vector<std::string> roles;
  for (const absl::string_view part :
       absl::StrSplit(absl::string_view(value.data(), value.size()), ',')) {
    const std::string role(part);
    if (role != "all" && role != "admin" && role != "projectors" && role != "sources" &&
        role != "sync") {
      return Invalid(fmt::format(
          "\"{}\" is not a role: use all, or some of admin, projectors, sources, sync", role));
    }
    roles.push_back(role);
  }
  config.roles = std::move(roles);
  return absl::OkStatus();
}

// A pointer to a member can't name what is in a member of a member.
#define FIELD(member) [](Config& c) -> auto& { return c.member; }

// The one place that knows a key: its default, its bounds, what the page says of it and where it
// goes can't differ from one another. In the order of the page.
std::vector<Setting> CoreSettings() {
  return {
      {"data_dir", "sluice-data",
       "Folder of everything this process keeps: log, stores, the node's name, development key. "
       "Made when missing, for its owner alone.",
       Text(FIELD(data_dir))},
      {"roles", "all",
       "What this process does: all, or a comma-separated choice of admin, projectors, sources, "
       "sync. "
       "Splitting needs log.kind=kafka. A process with sync keeps its own replica of the stores.",
       SetRoles},
      {"log_level", "info", "trace, debug, info, warn or error; on standard error.",
       OneOf(FIELD(log_level), {"trace", "debug", "info", "warn", "error"})},
      {"ready_file", "",
       "Written once every listener serves: JSON with admin, sync and pid. Removed at stop, and at "
       "start where a killed process left one. Empty: none.",
       Text(FIELD(ready_file))},
      {"admin.listen", "127.0.0.1:8470",
       "Address and port of administration, ingest, audit and metrics; port 0 takes a free one.",
       Listen(FIELD(admin.listen))},
      {"admin.connections", "4096",
       "Connections kept at a time, as far as half of the process's descriptors allow; past it the "
       "one that is silent for longest makes room, else 503.",
       Integer(FIELD(admin.connections), 1, 100'000)},
      {"sync.listen", "127.0.0.1:8471",
       "Address and port of the clients' endpoint; port 0 takes a free one.",
       Listen(FIELD(sync.listen))},
      {"sync.threads", "0", "Threads of the clients' endpoint; 0 takes one a processor.",
       Integer(FIELD(sync.threads), 0, 1'024)},
      {"sync.sessions", "20000",
       "Live streams and waiting requests of clients at a time, of which one counts as one more "
       "for each 64 buckets of its caller; more are answered 503 too_many_sessions, and so is an "
       "organisation, or one `sub` of it, that would leave too few to others (at most four fifths, "
       "and half of that). Of connections a quarter more are kept, as far as descriptors allow; "
       "past it the one that is silent for longest makes room, else 503.",
       Integer(FIELD(sync.sessions), 1, 10'000'000)},
      {"sync.heartbeat", "20s", "Silence on a live stream after which a heartbeat is sent.",
       Duration(FIELD(sync.heartbeat))},
      {"sync.cursor_secret_file", "",
       "File with a secret that cursors are signed with, the same on every replica. Empty: it is "
       "derived from the log's id, which keeps mistakes out but not somebody who knows that id.",
       Text(FIELD(sync.cursor_secret_file))},
      {"sync.tombstone_horizon", "10000000",
       "Events of the organisation for which a removal is remembered. A client away for longer "
       "starts afresh. May grow on live data only for removals still to come; the same on every "
       "replica.",
       Integer(FIELD(sync.tombstone_horizon), 1)},
      {"sync.tombstone_age", "90d",
       "How long a removal is remembered, by the times of the organisation's events; it is "
       "forgotten when this or the horizon has passed. The same on every replica.",
       Duration(FIELD(sync.tombstone_age))},
      {"auth.jwks", "",
       "JWK set that tokens are checked with: a file or an http(s) URL. Empty: a development key "
       "is made in the data folder.",
       Text(FIELD(auth.jwks))},
      {"auth.jwks_ca_file", "",
       "PEM file of the authorities for an https URL; empty: the system's.",
       Text(FIELD(auth.jwks_ca_file))},
      {"auth.issuer", "", "The `iss` that tokens must have; empty: any.", Text(FIELD(auth.issuer))},
      {"auth.audience", "", "The `aud` that tokens must name; empty: any.",
       Text(FIELD(auth.audience))},
  };
}

std::vector<Setting> DataSettings() {
  return {
      {"log.kind", "embedded", "embedded (in the data folder) or kafka.",
       OneOf(FIELD(log.kind), {"embedded", "kafka"})},
      {"log.partitions", "4",
       "Partitions of each topic when it is made; an existing log keeps what it has.",
       Integer(FIELD(log.partitions), 1, 10'000)},
      {"log.topic_prefix", "sluice.", "Kafka: before the names of topics and consumer groups.",
       Text(FIELD(log.topic_prefix))},
      {"log.brokers", "", "Kafka: host:port, comma-separated.", Text(FIELD(log.brokers))},
      {"log.replication_factor", "1", "Kafka: copies of each partition when a topic is made.",
       Integer(FIELD(log.replication_factor), 1, 100)},
      // At most 512 MiB: an event is one protobuf message and one Kafka record, which end at 2 GiB,
      // and a process holds several.
      {"log.event_bytes", "8MiB",
       "Largest event; larger ones are refused with too_large. On Kafka topics that are there keep "
       "their max.message.bytes: where that is less, it is the limit.",
       Bytes(FIELD(log.event_bytes), 1 << 16, 1 << 29)},
      {"log.queue_bytes", "64MiB",
       "Events waiting to become durable; past it appends are refused until there is room. A "
       "larger event is refused with too_large.",
       Bytes(FIELD(log.queue_bytes), 1 << 20)},
      {"staging.replica_set", "main",
       "Kafka: the consumer group (behind the prefix) that shares the partitions. Each set is one "
       "whole copy of the stores.",
       Text(FIELD(staging.replica_set))},
      {"staging.node_id", "",
       "Kafka: this process's name in its group, the same after a restart. Empty: made once and "
       "kept in the data folder.",
       Text(FIELD(staging.node_id))},
      {"staging.dedup_window", "1000000",
       "Events of the organisation within which a change set sent again is recognised by its id; "
       "the same on every replica, fixed for the life of a store.",
       Integer(FIELD(staging.dedup_window), 1)},
      {"staging.checkpoint_interval", "30s",
       "Time between flushes of the stores: what a crash leaves to be read again.",
       Duration(FIELD(staging.checkpoint_interval))},
      {"staging.batch_bytes", "4MiB", "Events folded in one batch.",
       Bytes(FIELD(staging.batch_bytes), 1 << 12, 1 << 30)},
      {"staging.open_stores", "1000",
       "Stores open at a time, fewer where descriptors do not suffice (the log says so); past it "
       "idle ones are closed, and past twice as many readers are told stores_busy, to come again.",
       Integer(FIELD(staging.open_stores), 1, 1'000'000)},
      {"staging.block_cache_bytes", "256MiB", "Cache shared by all stores.",
       Bytes(FIELD(staging.block_cache_bytes), 1 << 20)},
      {"staging.write_buffer_bytes", "256MiB",
       "Unflushed writes of all stores together; past it the largest is flushed.",
       Bytes(FIELD(staging.write_buffer_bytes), 1 << 20)},
      {"secrets.keys", "",
       "Keys that seal the secrets of sources, such as k2=file:/etc/sluice/k2,k1=env:SLUICE_K1: "
       "the "
       "first seals, all open (gateways/docs/secrets.md). The same in every process with the roles "
       "admin or sources. Empty: sources can have no secrets.",
       Text(FIELD(secrets.keys))},
      {"secrets.pkcs11_module", "", "Library of the token that keys of kind pkcs11 are in.",
       Text(FIELD(secrets.pkcs11_module))},
      {"secrets.pkcs11_pin_file", "", "File of mode 0600 with the PIN of that token's user.",
       Text(FIELD(secrets.pkcs11_pin_file))},
      {"sources.interval_min", "5m", "Shortest interval that a source may be given.",
       Duration(FIELD(sources.interval_min))},
      {"sources.stall_timeout", "10m",
       "A run of a source of which nothing came for so long is ended, and tried again.",
       Duration(FIELD(sources.stall_timeout))},
      {"sources.runs", "32", "Runs of sources at once; each takes a thread.",
       Integer(FIELD(sources.runs), 1, 1'000)},
      {"sources.runs_per_org", "2", "Of them, of one organisation.",
       Integer(FIELD(sources.runs_per_org), 1, 1'000)},
      {"sources.allow_hosts", "",
       "Hosts that sources may be on, such as crm.example.org,*.example.net, also by http; empty: "
       "all, by https.",
       List(FIELD(sources.allow_hosts))},
      {"sources.allow_private", "",
       "Addresses and networks that sources may be in though they are not public, such as "
       "10.1.2.3,fd00::/8 (gateways/docs/sources.md). Who may define a source reads what answers "
       "there.",
       List(FIELD(sources.allow_private))},
      {"sources.ca_file", "", "PEM file of the authorities of sources; empty: the system's.",
       Text(FIELD(sources.ca_file))},
      {"sources.kafka_brokers", "",
       "Brokers, host:port, that sources of kind debezium may name beside those of log.brokers.",
       List(FIELD(sources.kafka_brokers))},
      {"sources.kafka_topics", "",
       "Topics that sources may read which are defined with a token of one organisation, such as "
       "{org}.*; empty: none.",
       List(FIELD(sources.kafka_topics))},
      {"events.topic", "",
       "Kafka topic that a process with the role sources reads business events from "
       "(gateways/docs/events.md). Empty: none. The same in every such process.",
       Text(FIELD(events.topic))},
      {"events.brokers", "",
       "Brokers of that topic, host:port, comma-separated. Empty: log.brokers, with log.kafka.*.",
       Text(FIELD(events.brokers))},
      // `sluice ingest` counts on this upper bound: it holds no longer line.
      {"limits.line_bytes", "1MiB", "Longest line (change set) of an ingest body.",
       Bytes(FIELD(limits.line_bytes), 1'024, 1 << 28)},
      {"limits.ops_per_set", "10000", "Operations in one change set.",
       Integer(FIELD(limits.ops_per_set), 1, 1'000'000)},
      {"limits.body_bytes", "1GiB",
       "Longest ingest body of lines, after decompression; it is streamed, never held whole. One "
       "in application/json is held, and has at most 16 MiB.",
       Bytes(FIELD(limits.body_bytes), 1'024)},
      // A cursor names the buckets: one of 2,000 still fits into a request's head.
      {"limits.buckets_per_caller", "1000",
       "Buckets that one caller's rules and claims may make; more are refused with "
       "too_many_buckets, and so are names of theirs of more than 1 KiB on the average. A cursor "
       "names them all, and one of more than some 1,400 comes as the body of a POST.",
       Integer(FIELD(limits.buckets_per_caller), 1, 2'000)},
  };
}

#undef FIELD

// librdkafka knows some hundred settings and checks them itself when the log is opened.
constexpr std::string_view kKafkaPrefix = "log.kafka.";

// Edit distance by Wagner and Fischer, for suggestions.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) {
    row[j] = j;
  }
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

// There is always one, however far: it shows what keys look like.
std::string_view NearestKey(std::string_view key) {
  std::string_view nearest;
  size_t best = std::numeric_limits<size_t>::max();
  for (const Setting& setting : AllSettings()) {
    if (const size_t distance = Distance(key, setting.key); distance < best) {
      best = distance;
      nearest = setting.key;
    }
  }
  return nearest;
}

}  // namespace

std::span<const Setting> AllSettings() {
  static const std::vector<Setting> kSettings = [] {
    std::vector<Setting> all = CoreSettings();
    for (Setting& setting : DataSettings()) {
      all.push_back(std::move(setting));
    }
    return all;
  }();
  return kSettings;
}

Config DefaultConfig() {
  Config config{};
  for (const Setting& setting : AllSettings()) {
    // The table's own defaults: a wrong one fails the first test that runs.
    if (!setting.set(config, setting.default_value).ok()) {
      std::abort();
    }
  }
  return config;
}

absl::Status SetKey(Config& config, std::string_view key, std::string_view value) {
  if (key.starts_with(kKafkaPrefix) && key.size() > kKafkaPrefix.size()) {
    config.log.kafka[std::string(key.substr(kKafkaPrefix.size()))] = std::string(value);
    return absl::OkStatus();
  }
  for (const Setting& setting : AllSettings()) {
    if (setting.key == key) {
      RETURN_IF_ERROR_CTX(setting.set(config, value),
                          fmt::format("setting {} to \"{}\"", key, value));
      return absl::OkStatus();
    }
  }
  return Invalid(fmt::format("there is no setting \"{}\"; did you mean {}?", key, NearestKey(key)));
}

// What takes more than one key to see, and so can't be said before the last of them is set: a file
// may have them in any order.
absl::Status Validate(const Config& config) {
  if (config.log.kind == "kafka" && config.log.brokers.empty()) {
    return Invalid(
        "log.kind is kafka, but log.brokers is empty: name the brokers, such as 127.0.0.1:9092");
  }
  const bool all = config.roles.size() == 1 && config.roles[0] == "all";
  if (config.log.kind == "embedded" && !all) {
    return Invalid(
        "roles can be split only over Kafka: the embedded log belongs to one process; use "
        "log.kind=kafka or roles=all");
  }
  if (!config.events.topic.empty() && config.events.brokers.empty() && config.log.brokers.empty()) {
    return Invalid(
        "events.topic names a topic, but neither events.brokers nor log.brokers say where it is");
  }
  if (config.limits.line_bytes > config.log.event_bytes) {
    return Invalid(fmt::format(
        "limits.line_bytes ({}) is above log.event_bytes ({}): a change set must fit into an event",
        config.limits.line_bytes, config.log.event_bytes));
  }
  return absl::OkStatus();
}

// A test compares it with ops/docs/configuration.md.
std::string SettingsAsMarkdown() {
  std::string out =
      "# Configuration\n\nEvery key of the YAML file; `--set KEY=VALUE` takes the same. Dots are "
      "levels: `log.kind` is `kind`\nbelow `log`. Later wins: defaults, the file, `--set`, flags. "
      "Durations are written `500ms`, `20s`, `10m`, `2h`;\nsizes `4096`, `64KiB`, `8MiB`, `1GiB`. "
      "Keys below `log.kafka.` are given to librdkafka as they are.\n\n| key | default | what it "
      "does |\n|---|---|---|\n";
  for (const Setting& setting : AllSettings()) {
    out += fmt::format("| `{}` | {} | {} |\n", setting.key,
                       setting.default_value.empty() ? std::string("(empty)")
                                                     : fmt::format("`{}`", setting.default_value),
                       setting.help);
  }
  return out;
}

}  // namespace sluice::ops
