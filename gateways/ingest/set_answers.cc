#include "gateways/ingest/set_answers.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "gateways/problem.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

// Whether the set may be taken when it is sent again as it is.
bool IsForLater(const absl::Status& status) {
  const int http = HttpStatusOf(status);
  return http == 429 || http >= 500 || ErrorCode(status) == "not_tried";
}

}  // namespace

absl::Status NotSent() {
  return absl::UnavailableError(
      "the request that brought the set ended before it could be appended; send it again");
}

bool StopMark::StopsAt(const absl::Status& status) const {
  return !status.ok() &&
         (stop_on_ == StopOn::kError || (stop_on_ == StopOn::kUnavailable && IsForLater(status)));
}

void StopMark::NoteRefused(const absl::Status& status) {
  if (StopsAt(status)) {
    Set();
  }
}

void SetAnswers::Refuse(std::string id, const absl::Status& status) {
  stop_->NoteRefused(status);
  waiting_.push_back({.id = std::move(id), .error = status, .ticket = nullptr});
}

void SetAnswers::Await(std::string id, std::shared_ptr<SetTicket> ticket) {
  waiting_.push_back({std::move(id), absl::OkStatus(), std::move(ticket)});
}

void SetAnswers::Drain() {
  for (; !waiting_.empty(); waiting_.pop_front()) {
    const Answer& answer = waiting_.front();
    if (answer.ticket == nullptr) {
      Write(answer, answer.error);
      continue;
    }
    const std::optional<absl::StatusOr<Offset>> result = answer.ticket->Peek();
    if (!result.has_value()) {
      return;
    }
    Write(answer, *result);
  }
}

void SetAnswers::GiveUp(const absl::Status& late) {
  for (; !waiting_.empty(); waiting_.pop_front()) {
    const Answer& answer = waiting_.front();
    Write(answer, answer.ticket == nullptr ? answer.error : answer.ticket->Peek().value_or(late));
  }
}

bool SetAnswers::due() const {
  return !waiting_.empty() &&
         (waiting_.front().ticket == nullptr || waiting_.front().ticket->Peek().has_value());
}

std::shared_ptr<SetTicket> SetAnswers::Unresolved() const {
  for (auto answer = waiting_.rbegin(); answer != waiting_.rend(); ++answer) {
    if (answer->ticket != nullptr && !answer->ticket->Peek().has_value()) {
      return answer->ticket;
    }
  }
  return nullptr;
}

size_t SetAnswers::BeforeStop(std::span<const std::shared_ptr<SetTicket>> tickets) const {
  bool stop = stop_written_;
  size_t before = 0;
  for (const Answer& answer : waiting_) {
    if (stop || before == tickets.size()) {
      break;
    }
    if (answer.ticket == tickets[before]) {
      ++before;
    } else if (answer.ticket == nullptr) {
      stop = stop_->StopsAt(answer.error);
    } else if (const auto result = answer.ticket->Peek(); result.has_value()) {
      stop = stop_->StopsAt(result->status());
    }
  }
  return before;
}

void SetAnswers::Write(const Answer& answer, const absl::StatusOr<Offset>& result) {
  if (written_++ > 0) {
    text_.append(separator_);
  }
  text_.push_back('{');
  if (!answer.id.empty()) {
    text_.append("\"id\":");
    AppendJsonString(answer.id, &text_);
    text_.push_back(',');
  }
  if (result.ok()) {
    last_ = std::max(last_, *result);
    fmt::format_to(std::back_inserter(text_), "\"position\":\"{}\"}}", result->value());
    return;
  }
  // Also that of a set which another request had in flight, and stopped before.
  const bool elsewhere = !stop_->stops() && ErrorCode(result.status()) == "not_tried";
  const absl::Status error = elsewhere ? NotSent() : result.status();
  stop_->NoteRefused(error);
  stop_written_ = stop_written_ || stop_->StopsAt(error);
  on_refused_(ProblemCode(error));
  text_.append("\"error\":");
  text_.append(ProblemJson(error));
  text_.push_back('}');
}

}  // namespace sluice::gateways
