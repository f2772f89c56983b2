#include "ops/program/ingester.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/base/uuid.h"

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

constexpr std::chrono::milliseconds kRetryFirst(500);
constexpr std::chrono::milliseconds kRetryMax(30'000);

constexpr int kBadRequest = 400;
constexpr int kUnauthorized = 401;
constexpr int kForbidden = 403;
constexpr int kNotTried = 424;
constexpr int kTooManyRequests = 429;
constexpr int kServerError = 500;
constexpr int kUnavailable = 503;

// The token ended amid the request, or has lost its rights: nothing is wrong with the set.
bool IsOfTheCaller(const SetAnswer& answer) {
  return answer.status == kUnauthorized || answer.status == kForbidden;
}

bool IsForLater(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status);
}

bool HasManyRows(const IngestSet& set) { return set.lines.size() > 1; }

// The server counts the operations of a set, and a row that is alone in it is the first.
std::string_view WithoutOperation(std::string_view detail) {
  constexpr std::string_view kFirst = "operation 0: ";
  return detail.starts_with(kFirst) ? detail.substr(kFirst.size()) : detail;
}

}  // namespace

Ingester::Ingester(AdminClient& client, const Clock& clock, IngestOptions options, Refusal refused,
                   Progressed progressed, Wait wait)
    : client_(client),
      clock_(clock),
      options_(std::move(options)),
      refused_(std::move(refused)),
      progressed_(std::move(progressed)),
      wait_(std::move(wait)),
      run_(NewUuid7(clock)),
      sets_of_rows_max_(kSetsPerRequest),
      backoff_(kRetryFirst, kRetryMax, Backoff::Jitter::kFull) {}

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
    return absl::UnavailableError(
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
  const bool are_rows = !options_.entity.empty();
  const bool fits = are_rows && !sets->empty() && sets->back().lines.size() < kRowsPerSet &&
                    sets->back().bytes + size <= kSetBytes;
  if (!fits) {
    sets->emplace_back();
    if (are_rows || NeedsId(line.text)) {
      sets->back().id = NewId();
    }
  }
  sets->back().bytes += size;
  sets->back().lines.push_back(std::move(line));
}

absl::Status Ingester::SendAll(std::vector<Set> sets) {
  do {
    const std::span<Set> request(sets.data(), Share(sets));
    waits_for_.clear();
    ASSIGN_OR_RETURN(const std::vector<SetAnswer> answers, Post(request));
    ASSIGN_OR_RETURN(std::vector<Set> again, Settle(request, answers));
    again.insert(again.end(),
                 std::make_move_iterator(sets.begin() + static_cast<ptrdiff_t>(request.size())),
                 std::make_move_iterator(sets.end()));
    sets = std::move(again);
    if (!waits_for_.empty()) {
      RETURN_IF_ERROR(WaitFor(sets));
    }
  } while (!sets.empty() || !waits_for_.empty());
  return absl::OkStatus();
}

// Sets of one line do not share a request with sets of more: a line that is refused is not sent
// again, and so holds back nothing. One that is waited for goes alone.
size_t Ingester::Share(std::span<const Set> sets) const {
  if (sets.empty() || backoff_.failing()) {
    return std::min<size_t>(sets.size(), 1);
  }
  const bool many = HasManyRows(sets.front());
  const auto other =
      std::ranges::find_if(sets, [many](const Set& set) { return HasManyRows(set) != many; });
  const auto alike = static_cast<size_t>(other - sets.begin());
  return many ? std::min(alike, sets_of_rows_max_) : alike;
}

std::string Ingester::NewId() { return fmt::format("{}-{}", run_, sets_made_++); }

void Ingester::Render(const Set& set, std::string* body) const {
  if (options_.entity.empty()) {
    const std::string& line = set.lines.front().text;
    *body += set.id.empty() ? line : WithId(line, set.id);
    *body += '\n';
    return;
  }
  *body += fmt::format(R"({{"id":"{}","source":)", set.id);
  AppendJsonString(options_.source, body);
  *body += R"(,"ops":[)";
  const char* separator = "";
  for (const InputLine& line : set.lines) {
    *body += separator;
    *body += R"({"op":"upsert","entity":)";
    AppendJsonString(options_.entity, body);
    *body += R"(,"row":)" + line.text + "}";
    separator = ",";
  }
  *body += "]}\n";
}

absl::StatusOr<std::vector<SetAnswer>> Ingester::Post(std::span<const Set> sets) {
  const bool of_rows = !sets.empty() && HasManyRows(sets.front());
  std::string body;
  for (const Set& set : sets) {
    Render(set, &body);
  }
  const auto response =
      client_.Send({.method = "POST",
                    .path = fmt::format("/v1/orgs/{}/changes?stop_on={}", PathSegment(options_.org),
                                        of_rows ? "error" : "unavailable"),
                    .body = body,
                    .content_type = "application/x-ndjson"});
  retry_after_ = client_.retry_after();
  if (!response.ok()) {
    // Where nobody ever answered, the address may be wrong, and who waits should know it at once.
    if (!IsForLater(response.status()) || !client_.was_answered()) {
      return Unconfirmed(sets, response.status());
    }
    waits_for_ = Message(response.status());
    return std::vector<SetAnswer>(sets.size(), {.status = kUnavailable, .reason = waits_for_});
  }
  totals_.bytes += body.size();
  auto answers = AnswersOf(response->body, sets.size());
  return answers.ok() ? std::move(answers) : Unconfirmed(sets, answers.status());
}

absl::StatusOr<std::vector<SetAnswer>> Ingester::AnswersOf(std::string_view body, size_t sets) {
  std::vector<SetAnswer> answers;
  while (!body.empty()) {
    const size_t end = std::min(body.find('\n'), body.size());
    answers.push_back(ReadSetAnswer(body.substr(0, end)));
    body.remove_prefix(std::min(end + 1, body.size()));
  }
  if (answers.size() > sets) {
    return absl::InternalError(
        fmt::format("the server gave {} answers to {} change sets", answers.size(), sets));
  }
  std::string reason =
      fmt::format("the server answered {} of {} change sets", answers.size(), sets);
  if (answers.size() == sets) {
    return answers;
  }
  // What breaks a request off is told in a line of its own, of no set.
  if (!answers.empty() && answers.back().status >= kBadRequest && !answers.back().names_set) {
    const SetAnswer last = answers.back();
    answers.pop_back();
    if (last.status < kServerError && last.status != kTooManyRequests) {
      return Error(absl::StatusCode::kInvalidArgument, "http_error", last.reason);
    }
    reason = last.reason;
  }
  answers.resize(sets, {.status = kUnavailable, .reason = reason});
  return answers;
}

absl::StatusOr<std::vector<Ingester::Set>> Ingester::Settle(std::span<Set> sets,
                                                            const std::vector<SetAnswer>& answers) {
  std::vector<Set> again;
  const uint64_t settled = totals_.sets;
  const bool of_rows = !sets.empty() && HasManyRows(sets.front());
  bool split = false;
  for (size_t i = 0; i < sets.size(); ++i) {
    const SetAnswer& answer = answers[i];
    if (answer.status == kTooManyRequests || answer.status == kUnavailable) {
      // Under the same id, since it may have been taken all the same.
      waits_for_ = waits_for_.empty() ? answer.reason : waits_for_;
      again.push_back(std::move(sets[i]));
    } else if (answer.status == kNotTried) {
      again.push_back(std::move(sets[i]));
    } else if (answer.status >= kServerError || IsOfTheCaller(answer)) {
      again.push_back(std::move(sets[i]));
      return Unconfirmed(
          again, IsOfTheCaller(answer)
                     ? Error(absl::StatusCode::kUnauthenticated, "unauthenticated", answer.reason)
                     : Error(absl::StatusCode::kUnavailable, "unavailable", answer.reason));
    } else if (answer.reason.empty()) {
      ++totals_.sets;
      totals_.rows += options_.entity.empty() ? 0 : sets[i].lines.size();
      totals_.position = answer.position;
    } else if (!HasManyRows(sets[i])) {
      ++totals_.sets;
      RETURN_IF_ERROR(Refuse(sets[i].lines.front(), options_.entity.empty()
                                                        ? std::string_view(answer.reason)
                                                        : WithoutOperation(answer.reason)));
    } else {
      split = true;
      for (InputLine& line : sets[i].lines) {
        const size_t bytes = line.text.size();
        again.push_back({{std::move(line)}, bytes, NewId()});
      }
    }
  }
  if (of_rows) {
    sets_of_rows_max_ = split ? std::max<size_t>(sets.size() / 2, 1)
                              : std::min(sets_of_rows_max_ * 2, kSetsPerRequest);
  }
  if (totals_.sets > settled || waits_for_.empty()) {
    backoff_.Reset();
  }
  return again;
}

absl::Status Ingester::WaitFor(const std::vector<Set>& sets) {
  if (!backoff_.failing()) {
    failing_since_ = clock_.SteadyNow();
  } else if (clock_.SteadyNow() - failing_since_ > kPatience) {
    return Unconfirmed(sets, absl::UnavailableError(fmt::format("given up after {} minutes: {}",
                                                                kPatience.count(), waits_for_)));
  }
  const std::string line =
      sets.empty() ? std::string() : fmt::format("line {}: ", sets.front().lines.front().number);
  wait_(backoff_.NextAfter(retry_after_), line + waits_for_);
  return absl::OkStatus();
}

absl::Status Ingester::Refuse(const InputLine& line, std::string_view reason) {
  ++totals_.refused;
  return refused_(line, reason);
}

absl::Status Ingester::Unconfirmed(std::span<const Set> sets, const absl::Status& why) const {
  if (sets.empty()) {
    return why;
  }
  return Annotate(why, fmt::format("line {} and what follows it is not confirmed, send it again; "
                                   "last position {}",
                                   sets.front().lines.front().number,
                                   totals_.position.empty() ? "none" : totals_.position));
}

}  // namespace sluice::ops
