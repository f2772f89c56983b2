#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ops/program/screen.h"

namespace CLI {
class App;
}

// The command line: each file of this folder adds one group of subcommands to the application.
namespace sluice::ops {

// What every command shares. Filled while the arguments are parsed; `run` is then called once.
struct Invocation {
  bool json = false;  // --output json
  std::function<absl::Status()> run;
  // Standard error: messages, progress and the program's log.
  std::shared_ptr<Screen> screen = std::make_shared<Screen>();
};

// How a command reaches a running server.
struct Connection {
  std::string url = "http://127.0.0.1:8470";
  std::string token;                     // empty: one is signed with the development key
  std::string data_dir = "sluice-data";  // where the development key is
};

// What such a command does: `run` is called with the arguments that were parsed. All of its
// captures must outlive the parsing and the run.
void RunBy(CLI::App* command, Invocation& invocation, std::function<absl::Status()> run);

// Adds --url, --token and --data-dir. `connection` must outlive the parsing and the run.
void AddConnectionOptions(CLI::App& command, Connection& connection);
void AddDataDirOption(CLI::App& command, std::string& data_dir, const std::string& help);

void AddServeCommand(CLI::App& app, Invocation& invocation);
void AddOrgCommands(CLI::App& app, Invocation& invocation);
void AddDefinitionCommands(CLI::App& app, Invocation& invocation);
void AddDeadLetterCommands(CLI::App& app, Invocation& invocation);
void AddIngestCommand(CLI::App& app, Invocation& invocation);
void AddPullCommand(CLI::App& app, Invocation& invocation);
void AddTokenCommand(CLI::App& app, Invocation& invocation);
void AddSchemaCommand(CLI::App& app, Invocation& invocation);
void AddStoreCommands(CLI::App& app, Invocation& invocation);
void AddLogCommands(CLI::App& app, Invocation& invocation);

// An error of the command line: the program ends with 2.
[[nodiscard]] absl::Status WrongUsage(std::string_view message);

// The whole of a file, or of standard input for "-". Errors where it is a folder or can't be read.
[[nodiscard]] absl::StatusOr<std::string> ReadInput(const std::string& path);

}  // namespace sluice::ops
