// `deadletter`: what could not be taken, why, and what becomes of it.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "ops/program/admin_client.h"
#include "ops/program/answer_text.h"
#include "ops/program/command.h"
#include "schemas/base/printable.h"
#include "schemas/base/status.h"

namespace sluice::ops {
namespace {

using LettersJson = nlohmann::json;

constexpr size_t kLettersAPage = 1'000;

struct LetterArguments {
  Connection connection;
  std::string org;
  std::string id;
  size_t limit = 100;
};

std::string LettersPath(const LetterArguments& arguments) {
  return "/v1/orgs/" + PathSegment(arguments.org) + "/deadletters";
}

// Pages through the letters, newest first, until there are as many as asked for.
absl::Status ListLetters(const Invocation& invocation, const LetterArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Create(arguments.connection));
  LettersJson letters = LettersJson::array();
  std::string page_token;
  bool forgot = false;
  do {
    const size_t left = arguments.limit == 0 ? kLettersAPage : arguments.limit - letters.size();
    ASSIGN_OR_RETURN(const auto response,
                     client->Send({.path = fmt::format(
                                       "{}?page_size={}&page_token={}", LettersPath(arguments),
                                       std::min(left, kLettersAPage), PathSegment(page_token))}));
    const LettersJson page = LettersJson::parse(response.body, nullptr, false);
    if (!page.is_object() || !page.contains("deadletters")) {
      return absl::InternalError("the server's list of dead letters can't be read");
    }
    letters.insert(letters.end(), page["deadletters"].begin(), page["deadletters"].end());
    page_token = page.value("next_page_token", "");
    forgot = page.value("older_not_listed", false);
  } while (!page_token.empty() && (arguments.limit == 0 || letters.size() < arguments.limit));
  if (invocation.json) {
    const LettersJson all{
        {"deadletters", letters}, {"older_not_listed", forgot}, {"more", !page_token.empty()}};
    fmt::print("{}\n", PrintableJson(all.dump()));
    return absl::OkStatus();
  }
  fmt::print("{}", AnswerText(LettersJson{{"deadletters", letters}}.dump()));
  if (!page_token.empty()) {
    fmt::print(stderr, "there are more: --limit 0 lists all\n");
  } else if (forgot) {
    fmt::print(stderr, "older ones are not listed: `sluice log dump` has them\n");
  }
  return absl::OkStatus();
}

absl::Status SendLetter(const Invocation& invocation, const LetterArguments& arguments,
                        const std::string& method, const std::string& suffix) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Create(arguments.connection));
  ASSIGN_OR_RETURN(const auto response, client->Send({.method = method,
                                                      .path = LettersPath(arguments) + "/" +
                                                              PathSegment(arguments.id) + suffix}));
  return PrintAnswer(invocation, response.body);
}

CLI::App* AddLetterCommand(CLI::App& group, const std::string& name, const std::string& help,
                           LetterArguments& arguments, const std::string& example) {
  CLI::App* command = group.add_subcommand(name, help);
  AddConnectionOptions(*command, arguments.connection);
  command->add_option("ORG", arguments.org)->required();
  command->footer("Example:\n  " + example);
  return command;
}

}  // namespace

void AddDeadLetterCommands(CLI::App& app, Invocation& invocation) {
  CLI::App* group =
      app.add_subcommand("deadletter", "What could not be taken: list, show, replay, drop");
  group->require_subcommand(1);
  auto listed = std::make_shared<LetterArguments>();
  CLI::App* list =
      AddLetterCommand(*group, "list", "Show those that nobody has handled, newest first", *listed,
                       "sluice deadletter list acme");
  list->add_option("--limit", listed->limit, "How many; 0: all")->capture_default_str();
  RunBy(list, invocation, [&invocation, listed] { return ListLetters(invocation, *listed); });
  struct Verb {
    const char* name;
    const char* method;
    const char* suffix;
    const char* help;
  };
  for (const Verb& verb :
       {Verb{"show", "GET", "", "Show one with its value"},
        Verb{"replay", "POST", "/replay", "Have it tried again, once its cause is mended"},
        Verb{"drop", "DELETE", "", "Say that it needs nothing more"}}) {
    auto arguments = std::make_shared<LetterArguments>();
    CLI::App* command =
        AddLetterCommand(*group, verb.name, verb.help, *arguments,
                         fmt::format("sluice deadletter {} acme changes-0-1042-0", verb.name));
    command->add_option("ID", arguments->id)->required()->check([](const std::string& text) {
      return text.empty() ? std::string("it must not be empty") : std::string();
    });
    RunBy(command, invocation, [&invocation, arguments, verb] {
      return SendLetter(invocation, *arguments, verb.method, verb.suffix);
    });
  }
}

}  // namespace sluice::ops
