// `token`: a bearer token signed with the development key, or another private key.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <iterator>
#include <memory>
#include <sstream>
#include <string_view>

#include "ops/program/command.h"
#include "ops/program/signing.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::ops {
namespace {

constexpr std::string_view kScopes[] = {"sluice.admin", "sluice.ingest", "sluice.audit",
                                        "sluice.metrics", "sluice.sync"};

// A hundred years: whoever wants no end of it at all.
constexpr std::chrono::milliseconds kLifetimeMax = std::chrono::hours(24 * 36'500);

struct TokenArguments {
  std::string data_dir = "sluice-data";
  std::string key;
  std::string lifetime = "1h";
  std::string business_unit;
  gateways::TokenSpec spec;
};

// A word that is misspelt would make a token that every route refuses. None at all is a token
// without a scope, which is what somebody asked for.
absl::Status CheckScope(const std::string& scope) {
  std::istringstream words(scope);
  for (std::string word; words >> word;) {
    if (std::find(std::begin(kScopes), std::end(kScopes), word) == std::end(kScopes)) {
      return WrongUsage(
          fmt::format("--scope: there is no \"{}\"; use some of {}, with blanks between them", word,
                      fmt::join(kScopes, ", ")));
    }
  }
  return absl::OkStatus();
}

absl::Status PrintToken(const Invocation& invocation, const TokenArguments& arguments) {
  RETURN_IF_ERROR(CheckScope(arguments.spec.scope));
  gateways::TokenSpec spec = arguments.spec;
  if (!arguments.business_unit.empty()) {
    spec.business_unit = arguments.business_unit;
  }
  const auto lifetime = ParseDuration(arguments.lifetime);
  if (!lifetime.ok()) {
    return WrongUsage(fmt::format("--expires: {}", Message(lifetime.status())));
  }
  if (*lifetime < std::chrono::seconds(1) || *lifetime > kLifetimeMax) {
    return WrongUsage(fmt::format("--expires: {} is not from 1s to {}", arguments.lifetime,
                                  FormatDuration(kLifetimeMax)));
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
  auto arguments = std::make_shared<TokenArguments>();
  auto& spec = arguments->spec;
  spec.subject = "sluice-cli";
  spec.scope = "sluice.sync";
  CLI::App* command = app.add_subcommand("token", "Sign a bearer token with the development key");
  command->add_option("--sub", spec.subject, "User id")->capture_default_str();
  command
      ->add_option("--scope", spec.scope,
                   fmt::format("Some of {}, with blanks between", fmt::join(kScopes, ", ")))
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
  AddDataDirOption(*command, arguments->data_dir, "Where the development key is");
  command->footer("Example:\n  sluice token --sub anna --org acme --role field-sales --team north");
  RunBy(command, invocation,
        [&invocation, arguments] { return PrintToken(invocation, *arguments); });
}

}  // namespace sluice::ops
