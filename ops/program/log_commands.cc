// `log stat` and `log dump`: what is in the log, without a server; `log new-epoch`.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "ops/program/command.h"
#include "ops/program/event_json.h"
#include "ops/program/open_log.h"
#include "ops/program/progress.h"
#include "ops/program/screen.h"
#include "projectors/nodes/node_announcer.h"
#include "projectors/nodes/node_directory.h"
#include "projectors/provisioning/reconciler.h"
#include "schemas/base/datetime.h"
#include "schemas/base/printable.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::ops {
namespace {

using eventlog::Topic;

// Beyond the interval at which servers announce themselves: what an append may take.
constexpr std::chrono::milliseconds kAnnouncementMargin{2'000};

struct LogArguments {
  Config config = DefaultConfig();
  std::string config_file;
  std::string topic = "changes";
  int32_t partition = -1;
  int64_t from = -1;
  int64_t limit = 100;
  std::string since;
  bool raw = false;
  std::vector<std::string> close_orgs;
  EventFilter filter;
};

absl::Status Complete(LogArguments& arguments) {
  if (!arguments.config_file.empty()) {
    RETURN_IF_ERROR(LoadYaml(arguments.config_file, arguments.config));
  }
  if (!arguments.config.log.brokers.empty()) {
    arguments.config.log.kind = "kafka";
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<eventlog::Log>> Open(LogArguments& arguments) {
  RETURN_IF_ERROR(Complete(arguments));
  return OpenLogToInspect(arguments.config);
}

absl::Status Stat(const Invocation& invocation, LogArguments& arguments) {
  ASSIGN_OR_RETURN(const auto log, Open(arguments));
  nlohmann::json partitions = nlohmann::json::array();
  for (const Topic topic : eventlog::kAllTopics) {
    for (int32_t p = 0; p < log->PartitionCount(topic); ++p) {
      ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log->Range(topic, PartitionId(p)));
      partitions.push_back({{"topic", eventlog::TopicName(topic)},
                            {"partition", p},
                            {"begin", std::to_string(range.begin.value())},
                            {"end", std::to_string(range.end.value())}});
    }
  }
  if (invocation.json) {
    fmt::print("{}\n", nlohmann::json{{"log", log->id()}, {"partitions", partitions}}.dump());
    return absl::OkStatus();
  }
  fmt::print("log {}\n{:<14} {:>9} {:>12} {:>12}\n", log->id(), "topic", "partition", "begin",
             "end");
  for (const auto& row : partitions) {
    fmt::print("{:<14} {:>9} {:>12} {:>12}\n", row["topic"].get<std::string>(),
               row["partition"].get<int>(), row["begin"].get<std::string>(),
               row["end"].get<std::string>());
  }
  return absl::OkStatus();
}

// "2h" ago, or a time as it is written in RFC 3339.
absl::StatusOr<SystemTime> ParseSince(const std::string& text) {
  if (const auto ago = ParseDuration(text); ago.ok()) {
    return RealClock().Now() - *ago;
  }
  const auto micros = ParseDatetime(text);
  if (!micros.ok()) {
    return WrongUsage(
        fmt::format("--since \"{}\" is neither a duration such as 2h nor a time such as "
                    "2026-01-31T09:00:00Z",
                    text));
  }
  return SystemTime(std::chrono::microseconds(*micros));
}

// Ends a reading that has printed enough.
absl::Status Enough() { return absl::CancelledError("enough"); }

absl::Status DumpPartition(eventlog::Log& log, Topic topic, PartitionId partition,
                           const LogArguments& arguments, EventJson& json) {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log.Range(topic, partition));
  const Offset from(std::max(arguments.from, range.begin.value()));
  // What rows mean is told by the definitions before them.
  const Offset learn_from = topic == Topic::kChanges && !arguments.raw ? range.begin : from;
  int64_t left = arguments.limit;
  Offset stopped = kNoOffset;
  const absl::Status read = eventlog::ReadUntil(
      log, topic, partition, learn_from, range.end, [&](const eventlog::StoredEvent& stored) {
        if (!arguments.raw) {
          json.Learn(stored.event);
        }
        const auto line = stored.offset < from ? std::nullopt : json.Line(topic, partition, stored);
        if (!line.has_value()) {
          return absl::OkStatus();
        }
        if (left == 0) {
          stopped = stored.offset;
          return Enough();
        }
        --left;
        fmt::print("{}\n", PrintableJson(line->dump(-1, ' ', false,
                                                    nlohmann::json::error_handler_t::replace)));
        return absl::OkStatus();
      });
  if (stopped != kNoOffset) {
    fmt::print(stderr,
               "sluice: {}-{} has more: stopped after {} events; go on with --partition {} --from "
               "{}, or give a greater --limit\n",
               eventlog::TopicName(topic), partition.value(), arguments.limit, partition.value(),
               stopped.value());
    return absl::OkStatus();
  }
  RETURN_IF_ERROR_CTX(read, fmt::format("{}-{} was not read to its end", eventlog::TopicName(topic),
                                        partition.value()));
  return absl::OkStatus();
}

absl::Status Dump(LogArguments& arguments) {
  const auto* topic = std::find_if(
      std::begin(eventlog::kAllTopics), std::end(eventlog::kAllTopics),
      [&](const Topic candidate) { return eventlog::TopicName(candidate) == arguments.topic; });
  if (topic == std::end(eventlog::kAllTopics)) {
    return WrongUsage(
        fmt::format("there is no topic \"{}\": `sluice log stat` lists them", arguments.topic));
  }
  if (!arguments.since.empty()) {
    ASSIGN_OR_RETURN(arguments.filter.since, ParseSince(arguments.since));
  }
  ASSIGN_OR_RETURN(const auto log, Open(arguments));
  if (arguments.partition >= log->PartitionCount(*topic)) {
    return WrongUsage(fmt::format("{} has no partition {}: it has {}, from 0", arguments.topic,
                                  arguments.partition, log->PartitionCount(*topic)));
  }
  if (arguments.partition < 0 && !arguments.filter.org.empty()) {
    arguments.partition = log->PartitionFor(*topic, arguments.filter.org).value();
  }
  for (int32_t p = 0; p < log->PartitionCount(*topic); ++p) {
    if (arguments.partition < 0 || arguments.partition == p) {
      EventJson json(arguments.filter);
      RETURN_IF_ERROR(DumpPartition(*log, *topic, PartitionId(p), arguments, json));
    }
  }
  return absl::OkStatus();
}

// Makes the topics agree, and adds up what was done for it in all partitions.
absl::Status Reconcile(eventlog::Log& log, Screen& screen, const std::set<std::string>& close,
                       projectors::Reconciled& sum) {
  const RealClock clock;
  const int32_t partitions = log.PartitionCount(Topic::kChanges);
  for (int32_t p = 0; p < partitions; ++p) {
    Progress progress(screen, fmt::format("partition {} of {}", p, partitions), 1'000);
    const auto update = [&progress](int64_t read, int64_t of) {
      progress.Update(static_cast<uint64_t>(read * 1'000 / std::max<int64_t>(of, 1)),
                      fmt::format("{} events", read));
    };
    ASSIGN_OR_RETURN(const projectors::Reconciled one,
                     projectors::Reconcile(log, clock, PartitionId(p), update, close));
    sum.outcomes += one.outcomes;
    sum.controls += one.controls;
    sum.closed += one.closed;
    sum.refused += one.refused;
    sum.skipped += one.skipped;
    sum.unsettled.insert(sum.unsettled.end(), one.unsettled.begin(), one.unsettled.end());
  }
  return absl::OkStatus();
}

void Print(const projectors::Reconciled& sum) {
  if (sum.nothing()) {
    return;
  }
  fmt::print(
      "One of the topics had lost its end. What either holds counts: {} definitions of changes\n"
      "are known to provisioning again, {} of provisioning are in changes again, {} positions\n"
      "were passed over, and {} requests that waited were refused (they are to be sent again).\n",
      sum.outcomes, sum.controls, sum.skipped, sum.refused);
  if (sum.closed > 0) {
    fmt::print(
        "{} organisations were closed, with all their rows: PUT them again, and have their "
        "sources\n"
        "send everything.\n",
        sum.closed);
  }
  for (const std::string& org : sum.unsettled) {
    fmt::print(
        "The definitions of organisation {} contradict one another in the two topics: compare\n"
        "them with what they should be, and put those again that are not, or DELETE and PUT\n"
        "the organisation.\n",
        org);
  }
}

// A server decides requests while the topics are made to agree, and what it decides then would be
// refused in one of them and in force in the other. The lock of an embedded log says whether one
// runs; in Kafka each one announces itself, so that it is waited for as long as that takes.
absl::Status RequireNoServers(eventlog::Log& log, const Config& config, Screen& screen) {
  const auto wait = projectors::kAnnouncementIntervalMax + kAnnouncementMargin;
  screen.Say(fmt::format("sluice: looking for servers that use the log, for {} s",
                         std::chrono::ceil<std::chrono::seconds>(wait).count()));
  const RealClock clock;
  ASSIGN_OR_RETURN(const auto running, projectors::AwaitAnnouncements(log, clock, wait));
  if (running.empty()) {
    return absl::OkStatus();
  }
  return Error(absl::StatusCode::kFailedPrecondition, "servers_running",
               fmt::format("the log at {} (topic prefix \"{}\") is used by {}: stop every server, "
                           "and run this again; no epoch is declared, and nothing was written",
                           config.log.brokers, config.log.topic_prefix, fmt::join(running, ", ")));
}

absl::Status StartEpoch(const Invocation& invocation, LogArguments& arguments) {
  RETURN_IF_ERROR(Complete(arguments));
  const std::set<std::string> close(arguments.close_orgs.begin(), arguments.close_orgs.end());
  if (!close.empty() && arguments.config.log.kind != "kafka") {
    return WrongUsage(
        "--close-org is for a log in Kafka: the topics of an embedded one lose their ends "
        "together, and contradict one another in nothing");
  }
  projectors::Reconciled agreed;
  ASSIGN_OR_RETURN(
      const eventlog::EpochChange change, StartLogEpoch(arguments.config, [&](eventlog::Log& log) {
        const absl::Status alone = RequireNoServers(log, arguments.config, *invocation.screen);
        return alone.ok() ? Reconcile(log, *invocation.screen, close, agreed) : alone;
      }));
  if (invocation.json) {
    fmt::print("{}\n", nlohmann::json{{"log_before", change.id_before},
                                      {"log", change.id},
                                      {"definitions_told_again", agreed.outcomes},
                                      {"definitions_put_again", agreed.controls},
                                      {"positions_skipped", agreed.skipped},
                                      {"requests_refused", agreed.refused},
                                      {"organisations_closed", agreed.closed},
                                      {"unsettled", agreed.unsettled}}
                           .dump());
    return absl::OkStatus();
  }
  Print(agreed);
  fmt::print(
      "the log {} is {} from now on\n"
      "What it holds counts, and nothing else: start the servers now. Each builds its stores\n"
      "anew, and each client is sent its rows anew, once.\n",
      change.id_before, change.id);
  return absl::OkStatus();
}

void AddLogOptions(CLI::App& command, LogArguments& arguments) {
  AddDataDirOption(command, arguments.config.data_dir,
                   "Folder of an embedded log (its server must be stopped)");
  command.add_option("--log", arguments.config.log.kind, "embedded or kafka; --brokers is kafka")
      ->check(CLI::IsMember({"embedded", "kafka"}))
      ->capture_default_str();
  command.add_option("--brokers", arguments.config.log.brokers,
                     "Kafka's brokers instead, host:port");
  command.add_option("--topic-prefix", arguments.config.log.topic_prefix, "Of Kafka's topics")
      ->capture_default_str();
  command.add_option("--config", arguments.config_file, "The server's YAML file");
}

void AddDump(CLI::App& group, Invocation& invocation,
             const std::shared_ptr<LogArguments>& arguments) {
  CLI::App* dump = group.add_subcommand("dump", "Print events, one JSON object a line");
  AddLogOptions(*dump, *arguments);
  dump->add_option("TOPIC", arguments->topic, "Such as changes or provisioning")
      ->capture_default_str();
  dump->add_option("--partition", arguments->partition, "Only this one");
  dump->add_option("--from", arguments->from, "First offset");
  dump->add_option("--limit", arguments->limit, "Events a partition")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  dump->add_option("--org", arguments->filter.org, "Only this organisation's");
  dump->add_option("--entity", arguments->filter.entity, "Only what changes this entity, by name");
  dump->add_option("--key", arguments->filter.key, "Only what changes the row with this key");
  dump->add_option("--since", arguments->since,
                   "Only from this time on: 2026-01-31T09:00:00Z, or 2h for two hours ago");
  dump->add_flag("--raw", arguments->raw,
                 "Rows as they are stored, in base64: quicker with --from, because the definitions "
                 "before it are not read");
  dump->footer(
      "Examples:\n  sluice log dump changes --from 1000 --limit 5\n"
      "  sluice log dump changes --org acme --entity account --key A1 --since 2h");
  RunBy(dump, invocation, [arguments] { return Dump(*arguments); });
}

}  // namespace

void AddLogCommands(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<LogArguments>();
  CLI::App* group = app.add_subcommand("log", "The log: stat, dump, new-epoch");
  group->require_subcommand(1);
  CLI::App* stat = group->add_subcommand("stat", "Begin and end of every partition");
  AddLogOptions(*stat, *arguments);
  stat->footer("Example:\n  sluice log stat --brokers 127.0.0.1:9092");
  RunBy(stat, invocation, [&invocation, arguments] { return Stat(invocation, *arguments); });
  AddDump(*group, invocation, arguments);
  CLI::App* epoch = group->add_subcommand(
      "new-epoch", "Go on with what the log holds, after events were lost or a backup came back");
  AddLogOptions(*epoch, *arguments);
  epoch->add_option("--close-org", arguments->close_orgs,
                    "In Kafka, an organisation to close with all its rows, as the two topics gave "
                    "one id to two of its definitions; may be given several times");
  epoch->footer(
      "Stores are then built anew from the log and clients are sent their rows anew. Stop the\n"
      "servers first, and start them again afterwards: while one runs this is refused. In Kafka\n"
      "the topics provisioning and changes are read whole, and made to agree where one of them\n"
      "has lost its end.\n"
      "Example:\n  sluice log new-epoch --data-dir /var/lib/sluice\n"
      "  sluice log new-epoch --log kafka --brokers 127.0.0.1:9092");
  RunBy(epoch, invocation, [&invocation, arguments] { return StartEpoch(invocation, *arguments); });
}

}  // namespace sluice::ops
