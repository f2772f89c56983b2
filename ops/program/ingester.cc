#include "ops/program/ingester.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "eventlog/base/clock.h"
#include "eventlog/base/uuid.h"
#include "schemas/row_codec.h"
#include "schemas/status.h"

namespace sluice::ops {
namespace {

using nlohmann::json;

// A request holds this much: enough that many sets share one sync, little enough to show progress.
// The number of sets bounds the answer.
constexpr size_t kRequestBytes = 2 << 20;
constexpr size_t kSetsPerRequest = 4'096;
// A set of rows stays well below the server's limits, which are 1 MiB and 10,000 rows unless they
// are configured; a row that is longer goes alone.
constexpr size_t kSetBytes = 512 << 10;
constexpr size_t kRowsPerSet = 100;
// The largest that limits.line_bytes can be set to: no server takes more.
constexpr size_t kLineBytesMax = 1 << 28;

constexpr int kTooManyRequests = 429;
constexpr int kServerError = 500;

// The server counts the operations of a set, and a row that is alone in it is the first.
std::string_view WithoutOperation(std::string_view detail) {
  constexpr std::string_view kFirst = "operation 0: ";
  return detail.starts_with(kFirst) ? detail.substr(kFirst.size()) : detail;
}

std::string Text(const json& object, const char* member) {
  const auto it = object.find(member);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

}  // namespace

Ingester::Ingester(AdminClient& client, IngestOptions options, Refusal refused,
                   Progressed progressed)
    : client_(client),
      options_(std::move(options)),
      refused_(std::move(refused)),
      progressed_(std::move(progressed)),
      run_(NewUuid7(RealClock())) {}

absl::Status Ingester::Run(std::istream& in) {
  LineReader reader(in, kLineBytesMax);
  bool sent = false;
  while (true) {
    ASSIGN_OR_RETURN(std::vector<Set> sets, NextRequest(reader));
    if (sets.empty() && sent) {
      break;
    }
    // An input without lines is sent too: the organisation must be there.
    RETURN_IF_ERROR(SendAll(std::move(sets)));
    sent = true;
    progressed_(reader.bytes_read(), totals_);
  }
  if (reader.failed()) {
    return Error(absl::StatusCode::kUnavailable, "unavailable",
                 fmt::format("the input can't be read beyond {} bytes; what came before is durable",
                             reader.bytes_read()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Ingester::Set>> Ingester::NextRequest(LineReader& reader) {
  std::vector<Set> sets;
  size_t bytes = 0;
  while (bytes < kRequestBytes && sets.size() < kSetsPerRequest) {
    std::optional<InputLine> line = reader.Next();
    if (!line.has_value()) {
      break;
    }
    if (line->too_long) {
      RETURN_IF_ERROR(
          Refuse(*line, fmt::format("a line has at most {} bytes (too_large)", kLineBytesMax)));
      continue;
    }
    // A row becomes a part of a set's text: one that is no JSON, or more than one, would be read as
    // something else, or take the whole set along.
    if (!options_.entity.empty() &&
        (line->text[line->text.find_first_not_of(" \t")] != '{' || !json::accept(line->text))) {
      RETURN_IF_ERROR(Refuse(*line, "a row must be one JSON object (invalid_json)"));
      continue;
    }
    bytes += line->text.size();
    AddLine(*std::move(line), &sets);
  }
  return sets;
}

void Ingester::AddLine(InputLine line, std::vector<Set>* sets) {
  const size_t size = line.text.size();
  const bool fits = !options_.entity.empty() && !sets->empty() &&
                    sets->back().lines.size() < kRowsPerSet &&
                    sets->back().bytes + size <= kSetBytes;
  if (!fits) {
    sets->emplace_back();
  }
  sets->back().bytes += size;
  sets->back().lines.push_back(std::move(line));
}

absl::Status Ingester::SendAll(std::vector<Set> sets) {
  do {
    ASSIGN_OR_RETURN(const std::vector<Answer> answers, Post(sets));
    ASSIGN_OR_RETURN(sets, Settle(std::move(sets), answers));
  } while (!sets.empty());
  return absl::OkStatus();
}

void Ingester::Render(const Set& set, std::string* body) {
  if (options_.entity.empty()) {
    *body += set.lines.front().text + "\n";
    return;
  }
  // An id of our own makes it harmless to send the set again.
  *body += fmt::format(R"({{"id":"{}-{}","source":)", run_, sets_made_++);
  schemas::AppendJsonString(options_.source, body);
  *body += R"(,"ops":[)";
  const char* separator = "";
  for (const InputLine& line : set.lines) {
    *body += separator;
    *body += R"({"op":"upsert","entity":)";
    schemas::AppendJsonString(options_.entity, body);
    *body += R"(,"row":)" + line.text + "}";
    separator = ",";
  }
  *body += "]}\n";
}

Ingester::Answer Ingester::ReadAnswer(std::string_view line) const {
  const json answer = json::parse(line.begin(), line.end(), nullptr, false);
  if (!answer.is_object()) {
    return {.status = kServerError, .reason = "the server's answer can't be read"};
  }
  const auto error = answer.find("error");
  if (error == answer.end()) {
    return {.position = Text(answer, "position")};
  }
  const auto status = error->find("status");
  const std::string detail = Text(*error, "detail");
  const std::string_view shown =
      options_.entity.empty() ? std::string_view(detail) : WithoutOperation(detail);
  return {.status = status != error->end() && status->is_number_integer() ? status->get<int>()
                                                                          : kServerError,
          .reason = fmt::format("{} ({})", shown, Text(*error, "code"))};
}

absl::StatusOr<std::vector<Ingester::Answer>> Ingester::Post(const std::vector<Set>& sets) {
  std::string body;
  for (const Set& set : sets) {
    Render(set, &body);
  }
  const auto response = client_.Send({.method = "POST",
                                      .path = "/v1/orgs/" + PathSegment(options_.org) + "/changes",
                                      .body = body,
                                      .content_type = "application/x-ndjson"});
  if (!response.ok()) {
    return sets.empty() ? response.status() : Unconfirmed(sets.front(), response.status());
  }
  totals_.bytes += body.size();
  std::vector<Answer> answers;
  std::string_view text = response->body;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    answers.push_back(ReadAnswer(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (answers.size() != sets.size()) {
    return Unconfirmed(sets.front(), Error(absl::StatusCode::kUnavailable, "unavailable",
                                           fmt::format("the server answered {} of {} change sets",
                                                       answers.size(), sets.size())));
  }
  return answers;
}

absl::StatusOr<std::vector<Ingester::Set>> Ingester::Settle(std::vector<Set> sets,
                                                            const std::vector<Answer>& answers) {
  std::vector<Set> again;
  for (size_t i = 0; i < sets.size(); ++i) {
    const Answer& answer = answers[i];
    if (answer.status == kTooManyRequests || answer.status >= kServerError) {
      return Unconfirmed(again.empty() ? sets[i] : again.front(),
                         Error(absl::StatusCode::kUnavailable, "unavailable", answer.reason));
    }
    if (!answer.reason.empty() && sets[i].lines.size() == 1) {
      ++totals_.sets;
      RETURN_IF_ERROR(Refuse(sets[i].lines.front(), answer.reason));
    } else if (!answer.reason.empty()) {
      for (InputLine& line : sets[i].lines) {
        const size_t bytes = line.text.size();
        again.push_back({{std::move(line)}, bytes});
      }
    } else if (again.empty()) {
      ++totals_.sets;
      totals_.rows += options_.entity.empty() ? 0 : sets[i].lines.size();
      totals_.position = answer.position;
    } else {
      again.push_back(std::move(sets[i]));
    }
  }
  return again;
}

absl::Status Ingester::Refuse(const InputLine& line, std::string_view reason) {
  ++totals_.refused;
  return refused_(line, reason);
}

absl::Status Ingester::Unconfirmed(const Set& first, const absl::Status& why) const {
  return Annotate(why, fmt::format("line {} and what follows it is not confirmed, send it again; "
                                   "last position {}",
                                   first.lines.front().number,
                                   totals_.position.empty() ? "none" : totals_.position));
}

}  // namespace sluice::ops
