// The `sluice` program: reads the command line, runs one command, and says how it went.
#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include "absl/synchronization/mutex.h"
#include "ops/config/config.h"
#include "ops/program/command.h"
#include "schemas/status.h"

namespace sluice::ops {
namespace {

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;

void AddConfigCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command =
      app.add_subcommand("config", "Print the reference of all settings, as Markdown");
  command->footer("Example:\n  sluice config | less");
  command->callback([&invocation] {
    invocation.run = [] {
      fmt::print("{}", SettingsAsMarkdown());
      return absl::OkStatus();
    };
  });
}

int Main(int argc, char** argv) {
  CLI::App app(
      "Sluice keeps mobile clients in step with an organisation's business data, off line first.",
      "sluice");
  app.require_subcommand(1);
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
  AddServeCommand(app, invocation);
  AddOrgCommands(app, invocation);
  AddDefinitionCommands(app, invocation);
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
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kWrongUsage;
  }
  invocation.json = output == "json";
  // What a command prints is its result; the modules' warnings are for `serve`, which says how
  // much.
  auto logger = spdlog::stderr_color_mt("sluice");
  logger->set_level(spdlog::level::err);
  spdlog::set_default_logger(std::move(logger));
  // The distribution's Abseil is built to look for deadlocks at every lock: 5% of ingest's time.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  if (const absl::Status status = invocation.run(); !status.ok()) {
    fmt::print(stderr, "sluice: {}\n", Message(status));
    return ErrorCode(status) == "wrong_usage" ? kWrongUsage : kFailed;
  }
  return kDone;
}

}  // namespace
}  // namespace sluice::ops

int main(int argc, char** argv) { return sluice::ops::Main(argc, argv); }
