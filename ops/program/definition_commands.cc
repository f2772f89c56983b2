// `org`, `entity`, `profile`, `role` and `source`: what an organisation is and what it lets go off
// line; and `schema export`.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <nlohmann/json.hpp>

#include "ops/program/admin_client.h"
#include "ops/program/answer_text.h"
#include "ops/program/command.h"
#include "schemas/base/printable.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"
#include "schemas/base/text_values.h"

namespace sluice::ops {
namespace {

using Json = nlohmann::json;

struct DefinitionArguments {
  Connection connection;
  std::string org;
  std::string name;
  std::string file;
  std::string display_name;
  std::string if_match;
  std::string wait = "10s";
};

absl::Status SendAndPrint(const Invocation& invocation, const DefinitionArguments& arguments,
                          AdminClient::Request request) {
  if (const auto wait = ParseDuration(arguments.wait); !arguments.wait.empty() && !wait.ok()) {
    return WrongUsage(fmt::format("--wait: {}", Message(wait.status())));
  }
  ASSIGN_OR_RETURN(const auto client, AdminClient::Create(arguments.connection));
  if (!arguments.if_match.empty()) {
    request.headers.emplace_back("If-Match", arguments.if_match);
  }
  if (request.method != "GET" && !arguments.wait.empty()) {
    request.path += "?wait=" + PathSegment(arguments.wait);
  }
  ASSIGN_OR_RETURN(const auto response, client->Send(request));
  return PrintAnswer(invocation, response.body);
}

// Calls `visit` with each page of the list of organisations.
template <typename Visit>
absl::Status ForEachPageOfOrgs(AdminClient& client, Visit visit) {
  std::string page_token;
  do {
    ASSIGN_OR_RETURN(
        const auto response,
        client.Send({.path = "/v1/orgs?page_size=1000&page_token=" + PathSegment(page_token)}));
    const Json page = Json::parse(response.body, nullptr, false);
    if (!page.is_object() || !page.contains("orgs")) {
      return absl::InternalError("the server's list of organisations can't be read");
    }
    RETURN_IF_ERROR(visit(page["orgs"]));
    page_token = page.value("next_page_token", "");
  } while (!page_token.empty());
  return absl::OkStatus();
}

// Pages through all organisations, so that the caller sees one list.
absl::Status ListOrgs(const Invocation& invocation, const DefinitionArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Create(arguments.connection));
  Json all = Json::array();
  RETURN_IF_ERROR(ForEachPageOfOrgs(*client, [&](const Json& orgs) {
    all.insert(all.end(), orgs.begin(), orgs.end());
    return absl::OkStatus();
  }));
  return PrintAnswer(invocation, Json{{"orgs", all}}.dump());
}

// An empty name would be another path: that of the list, or of the organisation itself.
CLI::Option* AddName(CLI::App& command, const char* name, std::string& value,
                     const std::string& help = "") {
  return command.add_option(name, value, help)->required()->check([](const std::string& text) {
    return text.empty() ? std::string("it must not be empty") : std::string();
  });
}

std::string OrgPath(const DefinitionArguments& arguments) {
  return "/v1/orgs/" + PathSegment(arguments.org);
}

CLI::App* AddCommand(CLI::App& group, const std::string& name, const std::string& help,
                     DefinitionArguments& arguments, const std::string& example) {
  CLI::App* command = group.add_subcommand(name, help);
  AddConnectionOptions(*command, arguments.connection);
  command->footer("Example:\n  " + example);
  return command;
}

void AddWait(CLI::App* command, DefinitionArguments& arguments) {
  command
      ->add_option("--wait", arguments.wait,
                   "How long to wait until it is applied; empty: not at all")
      ->capture_default_str();
}

struct Verb {
  const char* name;
  const char* method;
  const char* help;
  const char* operands;  // in the example, behind the organisation; {} is the kind
};
constexpr Verb kVerbs[] = {{"put", "PUT", "Define or replace one", " NAME {}.json"},
                           {"get", "GET", "Show one", " NAME"},
                           {"list", "GET", "Show all", ""},
                           {"delete", "DELETE", "Remove one", " NAME"}};

// All verbs for one kind of definition: "entity" under the path "entities", ...
void AddDefinitionGroup(CLI::App& app, Invocation& invocation, const std::string& kind,
                        const std::string& plural, const std::string& help) {
  CLI::App* group = app.add_subcommand(kind, help);
  group->require_subcommand(1);
  for (const Verb& verb : kVerbs) {
    auto arguments = std::make_shared<DefinitionArguments>();
    const std::string operands = fmt::format(fmt::runtime(verb.operands), kind);
    CLI::App* command = AddCommand(*group, verb.name, verb.help, *arguments,
                                   fmt::format("sluice {} {} acme{}", kind, verb.name, operands));
    AddName(*command, "ORG", arguments->org);
    if (!operands.empty()) {
      AddName(*command, "NAME", arguments->name);
    }
    if (verb.method == std::string_view("PUT")) {
      command->add_option("FILE", arguments->file, "JSON definition; - for standard input")
          ->required();
    }
    if (verb.method != std::string_view("GET")) {
      command->add_option("--if-match", arguments->if_match, "ETag that it must have now");
      AddWait(command, *arguments);
    }
    RunBy(command, invocation, [=, &verb, &invocation]() -> absl::Status {
      const std::string name = arguments->name.empty() ? "" : "/" + PathSegment(arguments->name);
      AdminClient::Request request{.method = verb.method,
                                   .path = OrgPath(*arguments) + "/" + plural + name};
      if (!arguments->file.empty()) {
        ASSIGN_OR_RETURN(request.body, ReadInput(arguments->file));
      }
      return SendAndPrint(invocation, *arguments, std::move(request));
    });
  }
}

absl::Status Create(const Invocation& invocation, const DefinitionArguments& arguments) {
  if (!IsValidUtf8(arguments.display_name)) {
    return WrongUsage("--display-name is not UTF-8");
  }
  Json body = Json::object();
  if (!arguments.display_name.empty()) {
    body["display_name"] = arguments.display_name;
  }
  return SendAndPrint(invocation, arguments,
                      {.method = "PUT", .path = OrgPath(arguments), .body = body.dump()});
}

absl::Status Export(const DefinitionArguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Create(arguments.connection));
  ASSIGN_OR_RETURN(const auto response, client->Send({.path = OrgPath(arguments) + "/entities/" +
                                                              PathSegment(arguments.name),
                                                      .headers = {{"Accept", "text/x-protobuf"}}}));
  fmt::print("{}", PrintableLines(response.body));
  return absl::OkStatus();
}

// Sources whose secrets were sealed with the key that is first now, and those with which that
// failed.
class Resealer {
 public:
  explicit Resealer(AdminClient& client) : client_(client) {}

  void Reseal(const std::string& org, const std::string& source) {
    const auto answer = client_.Send({.method = "POST",
                                      .path = fmt::format("/v1/orgs/{}/sources/{}/reseal",
                                                          PathSegment(org), PathSegment(source))});
    Note(fmt::format("{}/{}", org, source), answer.status());
  }
  // Those of the organisation that have secrets.
  void ResealAll(const std::string& org) {
    const auto listed = client_.Send({.path = "/v1/orgs/" + PathSegment(org) + "/sources"});
    const Json sources = listed.ok() ? Json::parse(listed->body, nullptr, false) : Json();
    if (!sources.is_object() || !sources.contains("sources")) {
      Note(org, listed.ok() ? absl::InternalError("the server's list of sources can't be read")
                            : listed.status());
      return;
    }
    for (const Json& source : sources["sources"]) {
      if (source.contains("secrets") && !source["secrets"].empty()) {
        Reseal(org, source.value("name", ""));
      }
    }
  }
  // An error where there is one, `listing` included, behind what was done.
  absl::Status Tell(const Invocation& invocation, const absl::Status& listing) const {
    Json told{{"resealed", resealed_}};
    if (invocation.json && !failed_.empty()) {
      told["failed"] = failed_;
    }
    RETURN_IF_ERROR(PrintAnswer(invocation, told.dump()));
    RETURN_IF_ERROR(listing);
    if (failed_.empty()) {
      return absl::OkStatus();
    }
    constexpr size_t kShown = 20;
    std::string text = fmt::format("{} not resealed:", failed_.size());
    for (size_t i = 0; i < failed_.size() && i < kShown; ++i) {
      text +=
          fmt::format("\n  {}: {}", failed_[i].value("name", ""), failed_[i].value("detail", ""));
    }
    text += failed_.size() > kShown ? "\n  ... --output json has all" : "";
    return absl::FailedPreconditionError(text);
  }

 private:
  void Note(const std::string& name, const absl::Status& status) {
    if (status.ok()) {
      resealed_.push_back({{"name", name}});
    } else {
      failed_.push_back(
          {{"name", name}, {"code", ErrorCode(status)}, {"detail", std::string(Message(status))}});
    }
  }

  AdminClient& client_;
  Json resealed_ = Json::array();
  Json failed_ = Json::array();
};

absl::Status Reseal(const Invocation& invocation, const DefinitionArguments& arguments, bool all) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Create(arguments.connection));
  Resealer resealer(*client);
  if (!all) {
    resealer.Reseal(arguments.org, arguments.name);
    return resealer.Tell(invocation, absl::OkStatus());
  }
  const absl::Status listing = ForEachPageOfOrgs(*client, [&resealer](const Json& orgs) {
    for (const Json& org : orgs) {
      if (org.value("state", "") != "closed") {
        resealer.ResealAll(org.value("org", ""));
      }
    }
    return absl::OkStatus();
  });
  return resealer.Tell(invocation, listing);
}

void AddReseal(CLI::App& group, Invocation& invocation) {
  auto arguments = std::make_shared<DefinitionArguments>();
  auto all = std::make_shared<bool>(false);
  CLI::App* reseal = AddCommand(group, "reseal", "Seal secrets with the first key of secrets.keys",
                                *arguments, "sluice source reseal --all");
  reseal->add_option("ORG", arguments->org);
  reseal->add_option("NAME", arguments->name);
  reseal->add_flag("--all", *all, "Of every source that has secrets");
  RunBy(reseal, invocation, [&invocation, arguments, all]() -> absl::Status {
    if (*all != (arguments->org.empty() && arguments->name.empty()) ||
        arguments->org.empty() != arguments->name.empty()) {
      return WrongUsage("name an organisation and a source, or --all");
    }
    return Reseal(invocation, *arguments, *all);
  });
}

// check, run and reseal beside put, get, list and delete.
void AddSourceGroup(CLI::App& app, Invocation& invocation) {
  AddDefinitionGroup(app, invocation, "source", "sources",
                     "Sources: put, get, list, delete, check, run, reseal");
  CLI::App* group = app.get_subcommand("source");
  const auto path_of = [](const DefinitionArguments& arguments, const char* what) {
    return OrgPath(arguments) + "/sources/" + PathSegment(arguments.name) + "/" + what;
  };
  auto arguments = std::make_shared<DefinitionArguments>();
  CLI::App* check = AddCommand(*group, "check", "Show what a source offers; changes nothing",
                               *arguments, "sluice source check acme crm crm.json");
  AddName(*check, "ORG", arguments->org);
  AddName(*check, "NAME", arguments->name);
  check->add_option("FILE", arguments->file, "As for put; none: the source as it is defined");
  RunBy(check, invocation, [&invocation, arguments, path_of]() -> absl::Status {
    AdminClient::Request request{.method = "POST", .path = path_of(*arguments, "check")};
    if (!arguments->file.empty()) {
      ASSIGN_OR_RETURN(request.body, ReadInput(arguments->file));
    }
    arguments->wait.clear();
    return SendAndPrint(invocation, *arguments, std::move(request));
  });
  auto run_arguments = std::make_shared<DefinitionArguments>();
  auto entity = std::make_shared<std::string>();
  auto reload = std::make_shared<bool>(false);
  CLI::App* run = AddCommand(*group, "run", "Have a source read now", *run_arguments,
                             "sluice source run acme crm --entity account");
  AddName(*run, "ORG", run_arguments->org);
  AddName(*run, "NAME", run_arguments->name);
  run->add_option("--entity", *entity, "This one alone");
  run->add_flag("--reload", *reload, "All of it, from the begin");
  RunBy(run, invocation, [&invocation, run_arguments, entity, reload, path_of]() -> absl::Status {
    Json body = Json::object();
    if (!entity->empty()) {
      body["entity"] = *entity;
    }
    if (*reload) {
      body["reload"] = true;
    }
    run_arguments->wait.clear();
    return SendAndPrint(
        invocation, *run_arguments,
        {.method = "POST", .path = path_of(*run_arguments, "run"), .body = body.dump()});
  });
  AddReseal(*group, invocation);
}

}  // namespace

void AddOrgCommands(CLI::App& app, Invocation& invocation) {
  CLI::App* group = app.add_subcommand("org", "Organisations: create, get, list, delete");
  group->require_subcommand(1);
  auto arguments = std::make_shared<DefinitionArguments>();
  CLI::App* create = AddCommand(*group, "create", "Provision an organisation, or rename it",
                                *arguments, "sluice org create acme --display-name \"Acme Ltd\"");
  AddName(*create, "ORG", arguments->org, "Name: a DNS label");
  create->add_option("--display-name", arguments->display_name, "What people call it");
  AddWait(create, *arguments);
  RunBy(create, invocation, [&invocation, arguments] { return Create(invocation, *arguments); });
  CLI::App* remove =
      AddCommand(*group, "delete", "Close an organisation: its store goes, its history stays",
                 *arguments, "sluice org delete acme");
  AddName(*remove, "ORG", arguments->org);
  AddWait(remove, *arguments);
  RunBy(remove, invocation, [&invocation, arguments] {
    return SendAndPrint(invocation, *arguments, {.method = "DELETE", .path = OrgPath(*arguments)});
  });
  CLI::App* get = AddCommand(*group, "get", "Show one", *arguments, "sluice org get acme");
  AddName(*get, "ORG", arguments->org);
  RunBy(get, invocation, [&invocation, arguments] {
    return SendAndPrint(invocation, *arguments, {.path = OrgPath(*arguments)});
  });
  RunBy(AddCommand(*group, "list", "Show all", *arguments, "sluice org list"), invocation,
        [&invocation, arguments] { return ListOrgs(invocation, *arguments); });
}

void AddDefinitionCommands(CLI::App& app, Invocation& invocation) {
  AddDefinitionGroup(app, invocation, "entity", "entities",
                     "Entities' schemas: put, get, list, delete");
  AddDefinitionGroup(app, invocation, "profile", "profiles",
                     "Sync profiles: put, get, list, delete");
  AddDefinitionGroup(app, invocation, "role", "roles", "Roles: put, get, list, delete");
  AddSourceGroup(app, invocation);
}

void AddSchemaCommand(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<DefinitionArguments>();
  CLI::App* group = app.add_subcommand("schema", "Schemas for app developers");
  group->require_subcommand(1);
  CLI::App* command =
      group->add_subcommand("export", "Print an entity's .proto, which reads its rows");
  command->add_option("ORG", arguments->org)->required();
  command->add_option("ENTITY", arguments->name)->required();
  AddConnectionOptions(*command, arguments->connection);
  command->footer("Example:\n  sluice schema export acme account > account.proto");
  RunBy(command, invocation, [arguments] { return Export(*arguments); });
}

}  // namespace sluice::ops
