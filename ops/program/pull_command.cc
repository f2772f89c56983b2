// `pull`: a caller's rows into a SQLite file.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <chrono>
#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "clients/cpp/pull.h"
#include "ops/program/command.h"
#include "ops/program/progress.h"
#include "ops/program/signals.h"
#include "ops/program/signing.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::ops {
namespace {

struct PullArguments {
  std::string url = "http://127.0.0.1:8471";
  std::string org;
  std::string db;
  std::string token;
  std::string token_file;
  std::string data_dir = "sluice-data";
  std::string ca_file;
  gateways::TokenSpec spec;  // of a token that is signed here
  std::string business_unit;
  bool follow = false;
  bool wipe_when_refused = false;
};

// Given, read anew from a file for each connection, or signed with the development key.
absl::StatusOr<std::string> Token(const PullArguments& arguments) {
  if (!arguments.token_file.empty()) {
    ASSIGN_OR_RETURN(std::string token, ReadInput(arguments.token_file));
    while (!token.empty() && std::isspace(static_cast<unsigned char>(token.back())) != 0) {
      token.pop_back();
    }
    return token;
  }
  if (!arguments.token.empty()) {
    return arguments.token;
  }
  if (arguments.spec.subject.empty()) {
    return WrongUsage(
        "say who pulls: --token (or SLUICE_TOKEN), --token-file, or --sub with --role to "
        "sign a token with the development key");
  }
  gateways::TokenSpec spec = arguments.spec;
  spec.scope = "sluice.sync";
  spec.org = arguments.org;
  if (!arguments.business_unit.empty()) {
    spec.business_unit = arguments.business_unit;
  }
  return SignWithDevelopmentKey(arguments.data_dir, spec);
}

// `reloaded`: how many of the reloaded buckets were told before.
void Print(const Invocation& invocation, const client::PullResult& result, double seconds,
           uint64_t* reloaded) {
  if (invocation.json) {
    fmt::print("{}\n", nlohmann::json{{"position", std::to_string(result.position)},
                                      {"rows", result.rows},
                                      {"rows_put", result.rows_put},
                                      {"rows_removed", result.rows_removed},
                                      {"bytes_received", result.bytes_received},
                                      {"buckets", result.buckets},
                                      {"buckets_reset", result.buckets_reset},
                                      {"buckets_reloaded", result.buckets_reloaded},
                                      {"reconnects", result.reconnects},
                                      {"checkpoints", result.checkpoints},
                                      {"seconds", seconds}}
                           .dump());
  } else {
    fmt::print("position {}: {} rows; {} put, {} removed, {} received in {:.2f} s\n",
               result.position, result.rows, result.rows_put, result.rows_removed,
               FormatBytes(result.bytes_received), seconds);
  }
  std::fflush(stdout);
  if (result.buckets_reloaded > *reloaded) {
    fmt::print(stderr,
               "sluice: {} buckets were not as the server announced them and were loaded anew\n",
               result.buckets_reloaded - std::exchange(*reloaded, result.buckets_reloaded));
  }
}

// What a refusal that is for good means for the file.
absl::Status Refused(const PullArguments& arguments, client::Puller& puller,
                     const absl::Status& status) {
  if (!client::WipeDemanded(status) || !puller.HoldsRows()) {
    return status;
  }
  std::string after;
  if (!arguments.wipe_when_refused) {
    after = fmt::format(
        "; {} still holds rows that are no longer this caller's and nothing of it was deleted: "
        "--wipe-when-refused does that",
        arguments.db);
  } else if (const absl::Status wiped = puller.Wipe(); wiped.ok()) {
    after =
        fmt::format("; what {} held of organisation {} was deleted", arguments.db, arguments.org);
  } else {
    after =
        fmt::format("; not everything in {} could be deleted: {}", arguments.db, Message(wiped));
  }
  return Error(status.code(), ErrorCode(status), std::string(Message(status)) + after);
}

absl::Status Pull(const Invocation& invocation, const PullArguments& arguments) {
  ASSIGN_OR_RETURN(const std::string checked, Token(arguments));
  client::PullOptions options;
  options.url = arguments.url;
  options.org = arguments.org;
  options.db_path = arguments.db;
  options.ca_file = arguments.ca_file;
  options.token = [&arguments] { return Token(arguments); };
  // Before any other thread begins, so that the signals reach the waiting thread alone.
  SignalWaiter signals;
  ASSIGN_OR_RETURN(const auto puller, client::Puller::Open(std::move(options)));
  signals.OnSignal([&puller] { puller->Cancel(); });

  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  uint64_t reloaded = 0;
  if (arguments.follow) {
    const absl::Status status = puller->Follow(
        [&](const client::PullResult& result) { Print(invocation, result, elapsed(), &reloaded); });
    signals.Stop();
    return Refused(arguments, *puller, status);
  }
  absl::StatusOr<client::PullResult> result;
  {
    Progress progress(*invocation.screen, "pull", 1'000'000);
    puller->OnProgress([&progress](const client::PullProgress& now) {
      const double share = now.rows_total == 0 ? 1
                                               : static_cast<double>(now.rows_done) /
                                                     static_cast<double>(now.rows_total);
      progress.Update(static_cast<uint64_t>(share * 1'000'000),
                      fmt::format("{} rows, {}", now.rows_done, FormatBytes(now.bytes_received)));
    });
    result = puller->Pull();
  }
  signals.Stop();
  if (!result.ok()) {
    return Refused(arguments, *puller, result.status());
  }
  Print(invocation, *result, elapsed(), &reloaded);
  return absl::OkStatus();
}

}  // namespace

void AddPullCommand(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<PullArguments>();
  CLI::App* command =
      app.add_subcommand("pull", "Bring a caller's rows into a SQLite file, and keep them current");
  command->add_option("--org", arguments->org, "Organisation")->required();
  command->add_option("--db", arguments->db, "SQLite file; made when missing")->required();
  command->add_flag("--follow", arguments->follow, "Stay connected and apply changes as they come");
  command->add_option("--url", arguments->url, "Sync endpoint of the server")
      ->envname("SLUICE_SYNC_URL")
      ->capture_default_str();
  command->add_option("--token", arguments->token, "Bearer token")->envname("SLUICE_TOKEN");
  command->add_option("--token-file", arguments->token_file,
                      "File with the token, read for each connection");
  command->add_option("--sub", arguments->spec.subject,
                      "Without a token: the user to sign one for, with the development key");
  command->add_option("--role", arguments->spec.roles, "With --sub: a role; may be repeated");
  command->add_option("--team", arguments->spec.teams, "With --sub: a team; may be repeated");
  command->add_option("--business-unit", arguments->business_unit,
                      "With --sub: the user's business unit");
  command->add_flag(
      "--wipe-when-refused", arguments->wipe_when_refused,
      "Delete the organisation's rows from the file when the server says that they are "
      "no longer the caller's");
  AddDataDirOption(*command, arguments->data_dir, "With --sub: where the development key is");
  command->add_option("--ca-file", arguments->ca_file,
                      "PEM file of the authorities for an https URL");
  command->footer(
      "Examples:\n  sluice pull --org acme --db acme.sqlite --sub anna --role field-sales\n"
      "  SLUICE_TOKEN=... sluice pull --org acme --db acme.sqlite --follow");
  RunBy(command, invocation, [&invocation, arguments] { return Pull(invocation, *arguments); });
}

}  // namespace sluice::ops
