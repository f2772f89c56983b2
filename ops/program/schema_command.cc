// `schema export` and `version`.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <nlohmann/json.hpp>

#include "ops/program/admin_client.h"
#include "ops/program/command.h"
#include "schemas/base/printable.h"
#include "schemas/base/status.h"

namespace sluice::ops {
namespace {

struct SchemaArguments {
  Connection connection;
  std::string org;
  std::string entity;
};

absl::Status Export(const SchemaArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Create(arguments.connection));
  ASSIGN_OR_RETURN(const auto response,
                   client->Send({.path = "/v1/orgs/" + PathSegment(arguments.org) + "/entities/" +
                                         PathSegment(arguments.entity),
                                 .headers = {{"Accept", "text/x-protobuf"}}}));
  fmt::print("{}", PrintableLines(response.body));
  return absl::OkStatus();
}

}  // namespace

void AddSchemaCommand(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<SchemaArguments>();
  CLI::App* group = app.add_subcommand("schema", "Schemas for app developers");
  group->require_subcommand(1);
  CLI::App* command =
      group->add_subcommand("export", "Print an entity's .proto, which reads its rows");
  command->add_option("ORG", arguments->org)->required();
  command->add_option("ENTITY", arguments->entity)->required();
  AddConnectionOptions(*command, arguments->connection);
  command->footer("Example:\n  sluice schema export acme account > account.proto");
  command->callback(
      [&invocation, arguments] { invocation.run = [arguments] { return Export(*arguments); }; });
}

absl::Status PrintVersion(const Invocation& invocation) {
  if (invocation.json) {
    fmt::print("{}\n", nlohmann::json{{"version", SLUICE_VERSION}}.dump());
  } else {
    fmt::print("sluice {}\n", SLUICE_VERSION);
  }
  return absl::OkStatus();
}

void AddVersionCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("version", "Print the version");
  command->footer("Example:\n  sluice version --output json");
  command->callback(
      [&invocation] { invocation.run = [&invocation] { return PrintVersion(invocation); }; });
}

}  // namespace sluice::ops
