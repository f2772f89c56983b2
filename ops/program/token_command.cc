// `token`: a bearer token signed with the development key, or another private key.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>

#include "eventlog/base/clock.h"
#include "eventlog/base/text_values.h"
#include "ops/program/command.h"
#include "ops/program/signing.h"
#include "schemas/status.h"

namespace sluice::ops {
namespace {

struct Arguments {
  std::string data_dir = "sluice-data";
  std::string key;
  std::string lifetime = "1h";
  std::string business_unit;
  gateways::TokenSpec spec;
};

absl::Status PrintToken(const Invocation& invocation, const Arguments& arguments) {
  gateways::TokenSpec spec = arguments.spec;
  if (!arguments.business_unit.empty()) {
    spec.business_unit = arguments.business_unit;
  }
  const auto lifetime = ParseDuration(arguments.lifetime);
  if (!lifetime.ok()) {
    return Error(absl::StatusCode::kInvalidArgument, "wrong_usage",
                 fmt::format("--expires: {}", Message(lifetime.status())));
  }
  spec.lifetime = std::chrono::duration_cast<std::chrono::seconds>(*lifetime);
  ASSIGN_OR_RETURN(const std::string token, arguments.key.empty()
                                                ? SignWithDevelopmentKey(arguments.data_dir, spec)
                                                : SignWithKeyFile(arguments.key, spec));
  fmt::print("{}\n", invocation.json ? nlohmann::json{{"token", token}}.dump() : token);
  return absl::OkStatus();
}

}  // namespace

void AddTokenCommand(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<Arguments>();
  auto& spec = arguments->spec;
  spec.scope = "sluice.sync";
  CLI::App* command = app.add_subcommand("token", "Sign a bearer token with the development key");
  command->add_option("--sub", spec.subject, "User id")->required();
  command
      ->add_option("--scope", spec.scope,
                   "Of sluice.admin, sluice.ingest, sluice.audit, sluice.sync")
      ->capture_default_str();
  command->add_option("--org", spec.org, "Organisation");
  command->add_option("--role", spec.roles, "Role; may be repeated");
  command->add_option("--team", spec.teams, "Team; may be repeated");
  command->add_option("--business-unit", arguments->business_unit, "Business unit");
  command->add_option("--issuer", spec.issuer, "iss");
  command->add_option("--audience", spec.audience, "aud");
  command->add_option("--expires", arguments->lifetime, "Lifetime, such as 1h")
      ->capture_default_str();
  command->add_option("--key", arguments->key, "Private JWK file instead of the development key");
  command->add_option("--data-dir", arguments->data_dir, "Where the development key is")
      ->envname("SLUICE_DATA_DIR")
      ->capture_default_str();
  command->footer("Example:\n  sluice token --sub anna --org acme --role field-sales --team north");
  command->callback([&invocation, arguments] {
    invocation.run = [&invocation, arguments] { return PrintToken(invocation, *arguments); };
  });
}

}  // namespace sluice::ops
