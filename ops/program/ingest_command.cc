// `ingest`: change sets, or plain rows, from a file into an organisation.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "eventlog/base/clock.h"
#include "eventlog/base/text_values.h"
#include "eventlog/base/uuid.h"
#include "ops/program/admin_client.h"
#include "ops/program/command.h"
#include "ops/program/progress.h"
#include "schemas/row_codec.h"
#include "schemas/status.h"

namespace sluice::ops {
namespace {

using nlohmann::json;

// A request holds this much: enough that many sets share one sync, little enough to show progress.
constexpr size_t kRequestBytes = 2 << 20;
constexpr size_t kRowsPerSet = 100;

struct Arguments {
  Connection connection;
  std::string org;
  std::string file;
  std::string entity;
  std::string source = "sluice-ingest";
};

struct Totals {
  uint64_t sets = 0;
  uint64_t refused = 0;
  uint64_t bytes = 0;
  std::string position;
};

// Reads lines and gathers them into change sets: as they are, or kRowsPerSet rows a set.
class SetReader {
 public:
  SetReader(std::istream& in, const Arguments& arguments)
      : in_(in),
        entity_(arguments.entity),
        source_(arguments.source),
        run_(NewUuid7(RealClock())) {}

  // Appends lines up to kRequestBytes to `body`; false at the end of the input.
  bool Fill(std::string* body) {
    while (body->size() < kRequestBytes) {
      if (!(entity_.empty() ? NextLine(body) : NextRows(body))) {
        return false;
      }
    }
    return true;
  }
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  bool GetLine(std::string* line) {
    while (std::getline(in_, *line)) {
      bytes_read_ += line->size() + 1;
      if (line->find_first_not_of(" \t\r") != std::string::npos) {
        return true;
      }
    }
    return false;
  }
  bool NextLine(std::string* body) {
    std::string line;
    if (!GetLine(&line)) {
      return false;
    }
    *body += line + "\n";
    return true;
  }
  bool NextRows(std::string* body) {
    std::string line;
    size_t rows = 0;
    while (rows < kRowsPerSet && GetLine(&line)) {
      if (rows++ == 0) {
        // An id of our own makes it harmless to send the set again.
        *body += fmt::format(R"({{"id":"{}-{}","source":)", run_, sets_++);
        schemas::AppendJsonString(source_, body);
        *body += R"(,"ops":[)";
      } else {
        *body += ',';
      }
      *body += R"({"op":"upsert","entity":)";
      schemas::AppendJsonString(entity_, body);
      *body += R"(,"row":)" + line + "}";
    }
    if (rows > 0) {
      *body += "]}\n";
    }
    return rows == kRowsPerSet;
  }

  std::istream& in_;
  std::string entity_;
  std::string source_;
  std::string run_;
  uint64_t sets_ = 0;
  uint64_t bytes_read_ = 0;
};

void ReadAnswers(const std::string& body, Totals* totals) {
  constexpr uint64_t kShown = 10;
  size_t begin = 0;
  while (begin < body.size()) {
    const size_t end = std::min(body.find('\n', begin), body.size());
    const json answer = json::parse(body.begin() + static_cast<ptrdiff_t>(begin),
                                    body.begin() + static_cast<ptrdiff_t>(end), nullptr, false);
    begin = end + 1;
    if (!answer.is_object()) {
      continue;
    }
    ++totals->sets;
    if (const auto error = answer.find("error"); error != answer.end()) {
      if (++totals->refused <= kShown) {
        fmt::print(stderr, "refused: set {} ({}): {}\n", totals->sets, answer.value("id", "no id"),
                   error->value("detail", error->dump()));
      }
    } else {
      totals->position = answer.value("position", totals->position);
    }
  }
}

absl::Status Ingest(const Invocation& invocation, const Arguments& arguments) {
  std::ifstream file;
  uint64_t size = 0;
  if (arguments.file != "-") {
    file.open(arguments.file, std::ios::binary | std::ios::ate);
    if (!file) {
      return Error(absl::StatusCode::kNotFound, "not_found",
                   fmt::format("{} can't be read", arguments.file));
    }
    size = static_cast<uint64_t>(file.tellg());
    file.seekg(0);
  }
  ASSIGN_OR_RETURN(const auto client, AdminClient::Create(arguments.connection));
  SetReader reader(arguments.file == "-" ? std::cin : file, arguments);
  Totals totals;
  const auto start = std::chrono::steady_clock::now();
  {
    Progress progress(*invocation.screen, "ingest", size);
    bool more = true;
    while (more) {
      std::string body;
      more = reader.Fill(&body);
      if (body.empty()) {
        break;
      }
      auto response = client->Send({.method = "POST",
                                    .path = "/v1/orgs/" + PathSegment(arguments.org) + "/changes",
                                    .body = body,
                                    .content_type = "application/x-ndjson"});
      RETURN_IF_ERROR_CTX(response.status(),
                          fmt::format("after {} answered sets, last position {}", totals.sets,
                                      totals.position.empty() ? "none" : totals.position));
      totals.bytes += body.size();
      ReadAnswers(response->body, &totals);
      progress.Update(reader.bytes_read(), fmt::format("{} sets", totals.sets));
    }
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (invocation.json) {
    fmt::print("{}\n", json{{"sets", totals.sets},
                            {"refused", totals.refused},
                            {"bytes", totals.bytes},
                            {"position", totals.position},
                            {"seconds", seconds}}
                           .dump());
  } else {
    fmt::print("{} change sets durable, {} refused, {} in {:.2f} s; last position {}\n",
               totals.sets - totals.refused, totals.refused, FormatBytes(totals.bytes), seconds,
               totals.position.empty() ? "none" : totals.position);
  }
  if (totals.refused > 0) {
    return Error(absl::StatusCode::kInvalidArgument, "sets_refused",
                 fmt::format("{} of {} change sets were refused; the others are durable",
                             totals.refused, totals.sets));
  }
  return absl::OkStatus();
}

}  // namespace

void AddIngestCommand(CLI::App& app, Invocation& invocation) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("ingest", "Send change sets, or plain rows, from a file");
  command->add_option("FILE", arguments->file, "NDJSON: a change set a line; - for standard input")
      ->required();
  command->add_option("--org", arguments->org, "Organisation")->required();
  command->add_option("--entity", arguments->entity,
                      "The lines are rows of this entity: they are upserted, 100 a change set");
  command->add_option("--source", arguments->source, "With --entity: the change sets' source")
      ->capture_default_str();
  AddConnectionOptions(*command, arguments->connection);
  command->footer(
      "Examples:\n  sluice ingest changes.ndjson --org acme\n"
      "  sluice ingest accounts.ndjson --org acme --entity account");
  command->callback([&invocation, arguments] {
    invocation.run = [&invocation, arguments] { return Ingest(invocation, *arguments); };
  });
}

}  // namespace sluice::ops
