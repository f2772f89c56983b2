// `store stat` and `store verify`: the staging stores in a folder, without a server.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "ops/config/config.h"
#include "ops/program/command.h"
#include "ops/program/open_log.h"
#include "ops/program/progress.h"
#include "projectors/provisioning/agreement.h"
#include "projectors/staging/history_check.h"
#include "projectors/store/store_manager.h"
#include "schemas/base/printable.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::ops {
namespace {

struct Arguments {
  std::string data_dir = "sluice-data";
  std::string org;
  std::string brokers;
  std::string topic_prefix = DefaultConfig().log.topic_prefix;
};

// The log that the stores are compared with; nullptr where none is named and none is beside them.
absl::StatusOr<std::unique_ptr<eventlog::Log>> LogOf(const Arguments& arguments) {
  Config config = DefaultConfig();
  config.data_dir = arguments.data_dir;
  config.log.topic_prefix = arguments.topic_prefix;
  if (!arguments.brokers.empty()) {
    config.log.kind = "kafka";
    config.log.brokers = arguments.brokers;
  } else if (std::error_code error; !std::filesystem::exists(arguments.data_dir + "/log", error)) {
    return nullptr;
  }
  return OpenLogToInspect(config);
}

absl::StatusOr<std::unique_ptr<projectors::StoreManager>> Open(const Arguments& arguments) {
  projectors::StoreOptions options;
  options.path = arguments.data_dir + "/stores";
  return projectors::StoreManager::Open(std::move(options));
}

absl::Status Stat(const Invocation& invocation, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto stores, Open(arguments));
  ASSIGN_OR_RETURN(const auto stats, stores->ListStores());
  nlohmann::json rows = nlohmann::json::array();
  if (!invocation.json) {
    fmt::print("{:<24} {:>9} {:>11} {:>12} {:>10} {:>12}\n", "org", "partition", "incarnation",
               "applied", "records", "disk");
  }
  for (const auto& stat : stats) {
    if (!invocation.json) {
      fmt::print("{:<24} {:>9} {:>11} {:>12} {:>10} {:>12}\n", stat.org.value(),
                 stat.partition.value(), stat.incarnation, stat.applied.position.value(),
                 stat.applied.records, FormatBytes(stat.disk_bytes));
      if (!stat.status.ok()) {
        fmt::print("{:<24} {}\n", "", Message(stat.status));
      }
    }
    rows.push_back({{"org", stat.org.value()},
                    {"partition", stat.partition.value()},
                    {"incarnation", stat.incarnation},
                    {"applied", std::to_string(stat.applied.position.value())},
                    {"records", stat.applied.records},
                    {"disk_bytes", stat.disk_bytes},
                    {"code", stat.status.ok() ? "" : ErrorCode(stat.status)}});
  }
  if (invocation.json) {
    fmt::print("{}\n", PrintableJson(nlohmann::json{{"stores", rows}}.dump()));
  }
  return stores->Close();
}

// What is remembered of a partition besides its stores: a server starts only where the log has that
// too, although it may be of a store that is gone, or that is yet to be made. And all definitions
// that were ever told, of which a server compares the newest alone.
absl::Status CheckRemembered(eventlog::Log& log, projectors::StoreManager& stores,
                             PartitionId partition) {
  RETURN_IF_ERROR_CTX(projectors::CheckHistory(log, partition, stores.CheckpointState(partition)),
                      "its checkpoint");
  RETURN_IF_ERROR_CTX(projectors::CheckHistory(log, partition, stores.LastNoted(partition)),
                      "the newest store that was made or removed");
  RETURN_IF_ERROR_CTX(projectors::CheckHistory(log, partition, stores.LastLost(partition)),
                      "an event that was found to be lost");
  RETURN_IF_ERROR_CTX(projectors::CheckAllControls(log, partition), "its definitions");
  return absl::OkStatus();
}

nlohmann::json VerifyPartitions(eventlog::Log& log, projectors::StoreManager& stores,
                                absl::Status* first_error) {
  nlohmann::json rows = nlohmann::json::array();
  for (int32_t p = 0; p < log.PartitionCount(eventlog::Topic::kChanges); ++p) {
    const absl::Status status = CheckRemembered(log, stores, PartitionId(p));
    rows.push_back({{"partition", p},
                    {"ok", status.ok()},
                    {"code", status.ok() ? "" : ErrorCode(status)},
                    {"error", std::string(Message(status))}});
    if (!status.ok() && first_error->ok()) {
      *first_error = Annotate(status, fmt::format("partition {}", p));
    }
  }
  return rows;
}

// One that was stopped amid a large change is right as far as it goes, and finished by the server.
constexpr std::string_view kUnfinished = "not_caught_up";

absl::Status Unfinished() {
  return Error(absl::StatusCode::kUnavailable, kUnfinished,
               "the server was stopped amid a large change, which its next start finishes: verify "
               "after that");
}

// In this order: a store that is damaged may name any position, which is then no word on the log.
// One that is unfinished is compared too: where the log has lost the change that it was stopped
// amid, no start finishes it.
absl::Status CheckStore(eventlog::Log* log, projectors::StoreManager& stores,
                        const projectors::StoreManager::OrgStat& stat) {
  const bool unfinished = stat.applied.partial.has_value();
  if (!unfinished) {
    RETURN_IF_ERROR(stat.status);
    RETURN_IF_ERROR(stores.Verify(stat.org));
  }
  if (log != nullptr) {
    RETURN_IF_ERROR(projectors::CheckHistory(*log, stat.partition, stat.applied));
  }
  return unfinished ? Unfinished() : absl::OkStatus();
}

std::string_view VerdictOf(const nlohmann::json& row) {
  const bool unfinished = row["code"].get<std::string>() == kUnfinished;
  return row["ok"].get<bool>() ? "ok" : unfinished ? "unfinished" : "WRONG";
}

void PrintVerified(const nlohmann::json& rows, const nlohmann::json& partitions) {
  for (const auto& row : rows) {
    fmt::print("{:<24} {:<10} position {:>10}  {:>10} records  digest {}\n",
               row["org"].get<std::string>(), VerdictOf(row), row["applied"].get<std::string>(),
               row["records"].get<uint64_t>(), row["digest"].get<std::string>());
  }
  for (const auto& row : partitions) {
    if (!row["ok"].get<bool>()) {
      fmt::print("partition {:<14} WRONG  {}\n", row["partition"].get<int32_t>(),
                 row["code"].get<std::string>());
    }
  }
}

absl::Status Verify(const Invocation& invocation, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto log, LogOf(arguments));
  if (log == nullptr) {
    invocation.screen->Say(
        "not compared with a log: name the one in Kafka with --brokers and --topic-prefix");
  }
  ASSIGN_OR_RETURN(const auto stores, Open(arguments));
  ASSIGN_OR_RETURN(const auto stats, stores->ListStores());
  nlohmann::json rows = nlohmann::json::array();
  absl::Status first_error;
  {
    Progress progress(*invocation.screen, "verify", stats.size());
    uint64_t done = 0;
    for (const auto& stat : stats) {
      if (!arguments.org.empty() && arguments.org != stat.org.value()) {
        continue;
      }
      const absl::Status status = CheckStore(log.get(), *stores, stat);
      const auto digest = stores->Digest(stat.org);
      rows.push_back({{"org", stat.org.value()},
                      {"ok", status.ok()},
                      {"applied", std::to_string(stat.applied.position.value())},
                      {"records", stat.applied.records},
                      {"digest", digest.ok() ? *digest : ""},
                      {"code", status.ok() ? "" : ErrorCode(status)},
                      {"error", std::string(Message(status))}});
      if (!status.ok() && first_error.ok()) {
        first_error = Annotate(status, stat.org.value());
      }
      progress.Update(++done, stat.org.value());
    }
  }
  const nlohmann::json partitions = log != nullptr && arguments.org.empty()
                                        ? VerifyPartitions(*log, *stores, &first_error)
                                        : nlohmann::json::array();
  if (invocation.json) {
    fmt::print("{}\n",
               PrintableJson(nlohmann::json{{"stores", rows}, {"partitions", partitions}}.dump()));
  } else {
    PrintVerified(rows, partitions);
  }
  if (rows.empty() && !arguments.org.empty()) {
    return Error(
        absl::StatusCode::kNotFound, "org_not_found",
        fmt::format("{} has no store of organisation \"{}\"", arguments.data_dir, arguments.org));
  }
  // Last: one that is wrong does not keep the others from being looked at and shown.
  RETURN_IF_ERROR(first_error);
  return stores->Close();
}

}  // namespace

void AddStoreCommands(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* group = app.add_subcommand("store", "The staging stores: stat, verify");
  group->require_subcommand(1);
  const auto add = [&](const char* name, const char* help) {
    CLI::App* command = group->add_subcommand(name, help);
    AddDataDirOption(*command, arguments->data_dir, "Folder of the server, which must be stopped");
    command->footer(fmt::format("Example:\n  sluice store {} --data-dir sluice-data", name));
    return command;
  };
  RunBy(add("stat", "Applied position, records and size of each"), invocation,
        [&invocation, arguments] { return Stat(invocation, *arguments); });
  CLI::App* verify = add(
      "verify",
      "Check every delta, count and checksum by computing them anew, and whether the log has what "
      "the stores applied");
  verify->add_option("--org", arguments->org, "Only this organisation");
  verify->add_option("--brokers", arguments->brokers,
                     "Kafka's, host:port: compare with the log there instead of the one in the "
                     "data folder");
  verify->add_option("--topic-prefix", arguments->topic_prefix, "Of Kafka's topics")
      ->capture_default_str();
  RunBy(verify, invocation, [&invocation, arguments] { return Verify(invocation, *arguments); });
}

}  // namespace sluice::ops
