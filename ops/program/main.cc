// The `sluice` program: reads the command line, runs one command, and says how it went.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "ops/config/config.h"
#include "ops/program/command.h"
#include "ops/program/files.h"
#include "schemas/base/status.h"

namespace sluice::ops {
namespace {

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;

void AddConfigCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command =
      app.add_subcommand("config", "Print the reference of all settings, as Markdown");
  command->footer("Example:\n  sluice config | less");
  RunBy(command, invocation, [] {
    fmt::print("{}", SettingsAsMarkdown());
    return absl::OkStatus();
  });
}

absl::Status PrintVersion(const Invocation& invocation) {
  fmt::print("{}\n", invocation.json ? nlohmann::json{{"version", SLUICE_VERSION}}.dump()
                                     : "sluice " SLUICE_VERSION);
  return absl::OkStatus();
}

void AddVersionCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("version", "Print the version");
  command->footer("Example:\n  sluice version --output json");
  RunBy(command, invocation, [&invocation] { return PrintVersion(invocation); });
}

// What a command prints is its result; the modules' warnings are for `serve`, which says how much.
void StartLogging(const Invocation& invocation) {
  auto logger = std::make_shared<spdlog::logger>("sluice", LogTo(invocation.screen));
  logger->set_level(spdlog::level::err);
  spdlog::set_default_logger(std::move(logger));
}

// A result that did not reach its file is no result. A reader that went away (`| head`) has what it
// wanted. fmt throws where what it prints can't be written.
absl::Status Run(const Invocation& invocation) {
  try {
    RETURN_IF_ERROR(invocation.run());
  } catch (const std::system_error& error) {
    return error.code().value() == EPIPE ? absl::OkStatus() : absl::InternalError(error.what());
  }
  if (std::fflush(stdout) == 0 || errno == EPIPE) {
    return absl::OkStatus();
  }
  return absl::DataLossError(fmt::format("the output can't be written: {}", std::strerror(errno)));
}

int Main(int argc, char** argv) {
  // Folders with people's rows, keys and refused lines: whatever a command makes is its user's.
  KeepFilesPrivate();
  // A connection or a pipe that the other end has closed is an error of the write.
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app(
      "Sluice keeps mobile clients in step with an organisation's business data, off line first.",
      "sluice");
  app.require_subcommand(0, 1);
  app.fallthrough();
  app.set_help_all_flag("--help-all", "Help of every command");
  app.footer(
      "Examples:\n  sluice serve                          the whole of it on this machine\n"
      "  sluice org create acme                an organisation\n"
      "  sluice pull --org acme --db my.sqlite the caller's rows, into SQLite\n"
      "  sluice COMMAND --help                 more of each");
  Invocation invocation;
  std::string output = "text";
  app.add_option("--output", output, "text or json")->check(CLI::IsMember({"text", "json"}));
  bool version = false;
  app.add_flag("--version", version, "Print the version");
  AddServeCommand(app, invocation);
  AddOrgCommands(app, invocation);
  AddDefinitionCommands(app, invocation);
  AddDeadLetterCommands(app, invocation);
  AddIngestCommand(app, invocation);
  AddPullCommand(app, invocation);
  AddTokenCommand(app, invocation);
  AddSchemaCommand(app, invocation);
  AddStoreCommands(app, invocation);
  AddLogCommands(app, invocation);
  AddConfigCommand(app, invocation);
  AddVersionCommand(app, invocation);
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty() && !version) {
      throw CLI::RequiredError::Subcommand(1);
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kWrongUsage;
  }
  invocation.json = output == "json";
  if (version) {
    invocation.run = [&invocation] { return PrintVersion(invocation); };
  }
  StartLogging(invocation);
  // The distribution's Abseil is built to look for deadlocks at every lock: 5% of ingest's time.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  if (const absl::Status status = Run(invocation); !status.ok()) {
    invocation.screen->Say(fmt::format("sluice: {}", Message(status)));
    return ErrorCode(status) == "wrong_usage" ? kWrongUsage : kFailed;
  }
  return kDone;
}

}  // namespace
}  // namespace sluice::ops

int main(int argc, char** argv) { return sluice::ops::Main(argc, argv); }
