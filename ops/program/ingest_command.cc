// `ingest`: change sets, or plain rows, from a file into an organisation.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "ops/program/admin_client.h"
#include "ops/program/command.h"
#include "ops/program/ingester.h"
#include "ops/program/progress.h"
#include "schemas/base/clock.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::ops {
namespace {

namespace fs = std::filesystem;

struct IngestArguments {
  Connection connection;
  IngestOptions options{.org = {}, .entity = {}, .source = "sluice-ingest"};
  std::string file;
  std::string rejects;
};

// The lines that are read: of a file, or of standard input.
struct Input {
  std::ifstream file;
  std::istream* in = &std::cin;
  std::string name = "standard input";
  uint64_t size = 0;  // 0: not known
};

absl::Status OpenInput(const IngestArguments& arguments, Input* input) {
  if (arguments.file == "-") {
    return absl::OkStatus();
  }
  std::error_code error;
  if (fs::is_directory(arguments.file, error)) {
    return absl::InvalidArgumentError(
        fmt::format("{} is a folder: name a file in it, or send several through a pipe "
                    "(cat {}/*.ndjson | sluice ingest - ...)",
                    arguments.file, arguments.file));
  }
  input->file.open(arguments.file, std::ios::binary);
  if (!input->file) {
    return absl::NotFoundError(
        fmt::format("{} can't be read: {}", arguments.file, std::strerror(errno)));
  }
  input->in = &input->file;
  input->name = arguments.file;
  if (fs::is_regular_file(arguments.file, error)) {
    input->size = fs::file_size(arguments.file, error);
  }
  return absl::OkStatus();
}

absl::Status Unwritable(absl::StatusCode kind, const IngestArguments& arguments) {
  return Error(
      kind, "file_unwritable",
      fmt::format("--rejects {} can't be written: {}", arguments.rejects, std::strerror(errno)));
}

absl::Status OpenRejects(const IngestArguments& arguments, std::ofstream* rejects) {
  if (arguments.rejects.empty()) {
    return absl::OkStatus();
  }
  std::error_code error;
  if (fs::equivalent(arguments.file, arguments.rejects, error)) {
    return WrongUsage(
        fmt::format("--rejects {} is the file that is read: name another", arguments.rejects));
  }
  rejects->open(arguments.rejects, std::ios::binary | std::ios::trunc);
  return *rejects ? absl::OkStatus() : Unwritable(absl::StatusCode::kFailedPrecondition, arguments);
}

void PrintTotals(const Invocation& invocation, const IngestArguments& arguments,
                 const IngestTotals& totals, double seconds) {
  if (invocation.json) {
    nlohmann::json result = {{"sets", totals.sets},
                             {"refused", totals.refused},
                             {"bytes", totals.bytes},
                             {"position", totals.position},
                             {"seconds", seconds}};
    if (!arguments.options.entity.empty()) {
      result["rows"] = totals.rows;
    }
    fmt::print("{}\n", result.dump());
    return;
  }
  const std::string durable = arguments.options.entity.empty()
                                  ? fmt::format("{} change sets", totals.sets - totals.refused)
                                  : fmt::format("{} rows", totals.rows);
  fmt::print("{} durable, {} refused, {} sent in {:.2f} s; last position {}\n", durable,
             totals.refused, FormatBytes(totals.bytes), seconds,
             totals.position.empty() ? "none" : totals.position);
}

std::string WhereRefusedAre(const IngestArguments& arguments, uint64_t refused, uint64_t too_long) {
  if (arguments.rejects.empty()) {
    return "; --rejects FILE keeps such lines";
  }
  if (too_long == 0) {
    return fmt::format("; they are in {}", arguments.rejects);
  }
  return fmt::format("; {} of them are in {}, {} were too long to be kept", refused - too_long,
                     arguments.rejects, too_long);
}

absl::Status Ingest(const Invocation& invocation, const IngestArguments& arguments) {
  Input input;
  RETURN_IF_ERROR(OpenInput(arguments, &input));
  std::ofstream rejects;
  RETURN_IF_ERROR(OpenRejects(arguments, &rejects));
  ASSIGN_OR_RETURN(const auto client, AdminClient::Create(arguments.connection));
  uint64_t too_long = 0;
  const auto refused = [&](const InputLine& line, std::string_view reason) {
    too_long += line.too_long ? 1 : 0;
    invocation.screen->Say(fmt::format("{}:{}: refused: {}", input.name, line.number, reason));
    if (rejects.is_open() && !line.too_long && !(rejects << line.text << '\n')) {
      return Unwritable(absl::StatusCode::kUnavailable, arguments);
    }
    return absl::OkStatus();
  };
  const bool are_rows = !arguments.options.entity.empty();
  const auto start = std::chrono::steady_clock::now();
  Progress progress(*invocation.screen, "ingest", input.size);
  const RealClock clock;
  Ingester ingester(
      *client, clock, arguments.options, refused,
      [&](uint64_t bytes_read, const IngestTotals& totals) {
        progress.Update(bytes_read, are_rows ? fmt::format("{} rows", totals.rows)
                                             : fmt::format("{} change sets", totals.sets));
      },
      [&](std::chrono::milliseconds wait, std::string_view why) {
        invocation.screen->Say(fmt::format("{}: waiting {:.1f} s, then sent again: {}", input.name,
                                           std::chrono::duration<double>(wait).count(), why));
        std::this_thread::sleep_for(wait);
      });
  const absl::Status status = ingester.Run(*input.in);
  invocation.screen->Draw("");
  if (rejects.is_open() && !rejects.flush()) {
    return Unwritable(absl::StatusCode::kUnavailable, arguments);
  }
  RETURN_IF_ERROR_CTX(status, input.name);
  const IngestTotals& totals = ingester.totals();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  PrintTotals(invocation, arguments, totals, elapsed.count());
  if (totals.refused > 0) {
    return Error(absl::StatusCode::kInvalidArgument, "lines_refused",
                 fmt::format("{} {} were refused; the others are durable{}", totals.refused,
                             are_rows ? "rows" : "change sets",
                             WhereRefusedAre(arguments, totals.refused, too_long)));
  }
  return absl::OkStatus();
}

}  // namespace

void AddIngestCommand(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<IngestArguments>();
  CLI::App* command = app.add_subcommand("ingest", "Send change sets, or plain rows, from a file");
  command->add_option("FILE", arguments->file, "NDJSON: a change set a line; - for standard input")
      ->required();
  command->add_option("--org", arguments->options.org, "Organisation")->required();
  command->add_option(
      "--entity", arguments->options.entity,
      "The lines are rows of this entity: they are upserted, up to 100 a change set");
  command
      ->add_option("--source", arguments->options.source, "With --entity: the change sets' source")
      ->capture_default_str();
  command->add_option("--rejects", arguments->rejects,
                      "File for the lines that are refused, to be mended and sent again");
  AddConnectionOptions(*command, arguments->connection);
  command->footer(
      "Examples:\n  sluice ingest changes.ndjson --org acme\n"
      "  sluice ingest accounts.ndjson --org acme --entity account --rejects refused.ndjson\n"
      "Each refusal is told on standard error with file and line; the exit code is then 1.");
  RunBy(command, invocation, [&invocation, arguments] { return Ingest(invocation, *arguments); });
}

}  // namespace sluice::ops
