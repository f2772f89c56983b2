// `org`, `entity`, `profile` and `role`: what an organisation is and what it lets go off line.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <nlohmann/json.hpp>

#include "eventlog/base/text_values.h"
#include "ops/program/admin_client.h"
#include "ops/program/command.h"
#include "schemas/status.h"

namespace sluice::ops {
namespace {

using nlohmann::json;

struct Arguments {
  Connection connection;
  std::string org;
  std::string name;
  std::string file;
  std::string display_name;
  std::string if_match;
  std::string wait = "10s";
};

void PrintFields(const json& object) {
  for (const auto& [key, value] : object.items()) {
    fmt::print("{:<14} {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
  }
}

// One row an organisation or definition; the columns are what most people look for.
void PrintTable(const json& rows, std::initializer_list<const char*> columns) {
  const auto text = [](const json& row, const char* column) {
    const auto it = row.find(column);
    return it == row.end() ? std::string() : it->is_string() ? it->get<std::string>() : it->dump();
  };
  std::vector<size_t> widths;
  for (const char* column : columns) {
    size_t width = std::string_view(column).size();
    for (const json& row : rows) {
      width = std::max(width, text(row, column).size());
    }
    widths.push_back(width);
  }
  size_t i = 0;
  for (const char* column : columns) {
    fmt::print("{:<{}}  ", column, widths[i++]);
  }
  fmt::print("\n");
  for (const json& row : rows) {
    i = 0;
    for (const char* column : columns) {
      fmt::print("{:<{}}  ", text(row, column), widths[i++]);
    }
    fmt::print("\n");
  }
}

absl::Status Print(const Invocation& invocation, const std::string& body) {
  if (invocation.json) {
    fmt::print("{}\n", body);
    return absl::OkStatus();
  }
  const json document = json::parse(body, nullptr, false);
  if (!document.is_object()) {
    fmt::print("{}\n", body);
    return absl::OkStatus();
  }
  if (document.size() <= 2 && document.begin()->is_array()) {
    PrintTable(*document.begin(),
               document.contains("orgs")
                   ? std::initializer_list<const char*>{"org", "state", "applied", "display_name"}
                   : std::initializer_list<const char*>{"name"});
    return absl::OkStatus();
  }
  PrintFields(document);
  return absl::OkStatus();
}

absl::Status SendAndPrint(const Invocation& invocation, const Arguments& arguments,
                          AdminClient::Request request) {
  if (const auto wait = ParseDuration(arguments.wait); !arguments.wait.empty() && !wait.ok()) {
    return Error(absl::StatusCode::kInvalidArgument, "wrong_usage",
                 fmt::format("--wait: {}", Message(wait.status())));
  }
  ASSIGN_OR_RETURN(const auto client, AdminClient::Create(arguments.connection));
  if (!arguments.if_match.empty()) {
    request.headers.emplace_back("If-Match", arguments.if_match);
  }
  if (request.method != "GET" && !arguments.wait.empty()) {
    request.path += "?wait=" + PathSegment(arguments.wait);
  }
  ASSIGN_OR_RETURN(const auto response, client->Send(request));
  return Print(invocation, response.body);
}

// Pages through all organisations, so that the caller sees one list.
absl::Status ListOrgs(const Invocation& invocation, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Create(arguments.connection));
  json all = json::array();
  std::string page_token;
  do {
    ASSIGN_OR_RETURN(
        const auto response,
        client->Send({.path = "/v1/orgs?page_size=1000&page_token=" + PathSegment(page_token)}));
    const json page = json::parse(response.body, nullptr, false);
    if (!page.is_object() || !page.contains("orgs")) {
      return absl::InternalError("the server's list of organisations can't be read");
    }
    all.insert(all.end(), page["orgs"].begin(), page["orgs"].end());
    page_token = page.value("next_page_token", "");
  } while (!page_token.empty());
  return Print(invocation, json{{"orgs", all}}.dump());
}

std::string OrgPath(const Arguments& arguments) { return "/v1/orgs/" + PathSegment(arguments.org); }

CLI::App* AddCommand(CLI::App& group, const std::string& name, const std::string& help,
                     Arguments& arguments, const std::string& example) {
  CLI::App* command = group.add_subcommand(name, help);
  AddConnectionOptions(*command, arguments.connection);
  command->footer("Example:\n  " + example);
  return command;
}

void AddWait(CLI::App* command, Arguments& arguments) {
  command
      ->add_option("--wait", arguments.wait,
                   "How long to wait until it is applied; empty: not at all")
      ->capture_default_str();
}

void AddOrgChanges(CLI::App& group, Invocation& invocation,
                   const std::shared_ptr<Arguments>& arguments) {
  CLI::App* create = AddCommand(group, "create", "Provision an organisation, or rename it",
                                *arguments, "sluice org create acme --display-name \"Acme Ltd\"");
  create->add_option("ORG", arguments->org, "Name: a DNS label")->required();
  create->add_option("--display-name", arguments->display_name, "What people call it");
  AddWait(create, *arguments);
  create->callback([&invocation, arguments] {
    invocation.run = [&invocation, arguments] {
      json body = json::object();
      if (!arguments->display_name.empty()) {
        body["display_name"] = arguments->display_name;
      }
      return SendAndPrint(invocation, *arguments,
                          {.method = "PUT", .path = OrgPath(*arguments), .body = body.dump()});
    };
  });
  CLI::App* remove =
      AddCommand(group, "delete", "Close an organisation: its store goes, its history stays",
                 *arguments, "sluice org delete acme");
  remove->add_option("ORG", arguments->org)->required();
  AddWait(remove, *arguments);
  remove->callback([&invocation, arguments] {
    invocation.run = [&invocation, arguments] {
      return SendAndPrint(invocation, *arguments,
                          {.method = "DELETE", .path = OrgPath(*arguments)});
    };
  });
}

// put, get, list and delete of one kind of definition: "entity" under the path "entities", ...
void AddDefinitionGroup(CLI::App& app, Invocation& invocation, const std::string& kind,
                        const std::string& plural, const std::string& help) {
  CLI::App* group = app.add_subcommand(kind, help);
  group->require_subcommand(1);
  const auto add =
      [&](const std::string& name, const std::string& what, const std::string& example, bool named,
          const std::function<AdminClient::Request(const Arguments&, std::string)>& request) {
        auto arguments = std::make_shared<Arguments>();
        CLI::App* command = AddCommand(*group, name, what, *arguments, example);
        command->add_option("ORG", arguments->org)->required();
        if (named) {
          command->add_option("NAME", arguments->name)->required();
        }
        if (name == "put") {
          command->add_option("FILE", arguments->file, "JSON definition; - for standard input")
              ->required();
        }
        if (name == "put" || name == "delete") {
          command->add_option("--if-match", arguments->if_match, "ETag that it must have now");
          AddWait(command, *arguments);
        }
        command->callback([=, &invocation] {
          invocation.run = [=, &invocation]() -> absl::Status {
            const std::string path = OrgPath(*arguments) + "/" + plural +
                                     (named ? "/" + PathSegment(arguments->name) : std::string());
            AdminClient::Request to_send = request(*arguments, path);
            if (!arguments->file.empty()) {
              ASSIGN_OR_RETURN(to_send.body, ReadInput(arguments->file));
            }
            return SendAndPrint(invocation, *arguments, std::move(to_send));
          };
        });
      };
  add("put", "Define or replace one", fmt::format("sluice {} put acme NAME {}.json", kind, kind),
      true, [](const Arguments&, std::string path) {
        return AdminClient::Request{.method = "PUT", .path = std::move(path)};
      });
  add("get", "Show one", fmt::format("sluice {} get acme NAME", kind), true,
      [](const Arguments&, std::string path) {
        return AdminClient::Request{.path = std::move(path)};
      });
  add("list", "Show all", fmt::format("sluice {} list acme", kind), false,
      [](const Arguments&, std::string path) {
        return AdminClient::Request{.path = std::move(path)};
      });
  add("delete", "Remove one", fmt::format("sluice {} delete acme NAME", kind), true,
      [](const Arguments&, std::string path) {
        return AdminClient::Request{.method = "DELETE", .path = std::move(path)};
      });
}

}  // namespace

void AddOrgCommands(CLI::App& app, Invocation& invocation) {
  CLI::App* group = app.add_subcommand("org", "Organisations: create, get, list, delete");
  group->require_subcommand(1);
  auto arguments = std::make_shared<Arguments>();
  AddOrgChanges(*group, invocation, arguments);
  CLI::App* get = AddCommand(*group, "get", "Show one", *arguments, "sluice org get acme");
  get->add_option("ORG", arguments->org)->required();
  get->callback([&invocation, arguments] {
    invocation.run = [&invocation, arguments] {
      return SendAndPrint(invocation, *arguments, {.path = OrgPath(*arguments)});
    };
  });
  CLI::App* list = AddCommand(*group, "list", "Show all", *arguments, "sluice org list");
  list->callback([&invocation, arguments] {
    invocation.run = [&invocation, arguments] { return ListOrgs(invocation, *arguments); };
  });
}

void AddDefinitionCommands(CLI::App& app, Invocation& invocation) {
  AddDefinitionGroup(app, invocation, "entity", "entities",
                     "Entities' schemas: put, get, list, delete");
  AddDefinitionGroup(app, invocation, "profile", "profiles",
                     "Sync profiles: put, get, list, delete");
  AddDefinitionGroup(app, invocation, "role", "roles", "Roles: put, get, list, delete");
}

}  // namespace sluice::ops
