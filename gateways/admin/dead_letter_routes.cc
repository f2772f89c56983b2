#include "gateways/admin/dead_letter_routes.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gateways/admin/org_entry.h"
#include "gateways/ingest/ingest_session.h"
#include "gateways/ingest/set_relay.h"
#include "schemas/base/datetime.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"
#include "schemas/base/text_values.h"

namespace sluice::gateways {
namespace {

using eventlog::Topic;
using LetterJson = nlohmann::ordered_json;

constexpr std::chrono::milliseconds kReplayLook{50};

std::string LetterText(const LetterJson& json) {
  // What is no UTF-8 becomes U+FFFD: it came from elsewhere.
  return json.dump(-1, ' ', false, LetterJson::error_handler_t::replace);
}

bool IsOfChanges(const v1::DeadLetter& letter) {
  return letter.topic() == eventlog::TopicName(Topic::kChanges);
}

bool IsWorkItem(const v1::DeadLetter& letter) {
  return letter.topic() == eventlog::TopicName(Topic::kWork);
}

// What a source has, and what can be read there again.
bool IsOfSource(const v1::DeadLetter& letter) {
  return !letter.source().empty() &&
         (letter.topic().starts_with("source:") || IsWorkItem(letter) || IsOfChanges(letter));
}

absl::Status NotReplayable(const StoredLetter& letter, std::string_view why) {
  return Error(absl::StatusCode::kFailedPrecondition, "deadletter_not_replayable",
               fmt::format("dead letter '{}' can't be replayed: {}", letter.id, why));
}

void PutLetterText(LetterJson& json, const char* name, const std::string& text) {
  if (!text.empty()) {
    json[name] = text;
  }
}

LetterJson DescribeLetter(const StoredLetter& stored) {
  const v1::DeadLetter& letter = stored.letter;
  LetterJson json;
  json["id"] = stored.id;
  json["at"] = FormatDatetime(stored.at.time_since_epoch().count());
  json["topic"] = letter.topic();
  json["code"] = letter.code();
  json["reason"] = letter.reason();
  PutLetterText(json, "type", letter.type());
  PutLetterText(json, "source", letter.source());
  PutLetterText(json, "entity", letter.entity());
  PutLetterText(json, "key", letter.key());
  if (IsOfChanges(letter)) {
    json["event"] = letter.id();
    json["position"] = std::to_string(letter.offset());
    json["op_index"] = letter.op_index();
  }
  json["value_bytes"] = stored.value_bytes;
  return json;
}

// Blocks until every set has its answer; the log owes it within the session's time.
void AwaitAnswers(IngestSession& session) {
  while (session.waiting()) {
    const auto done = std::make_shared<absl::Notification>();
    const auto waker = std::make_shared<TicketWaker>([done] { done->Notify(); });
    const std::shared_ptr<SetTicket> ticket = session.Unresolved();
    if (ticket != nullptr && ticket->WakeWhenResolved(waker)) {
      done->WaitForNotificationWithTimeout(absl::FromChrono(kReplayLook));
    }
    waker->Close();
    session.Settle();
  }
}

}  // namespace

absl::StatusOr<Answer> DeadLetterRoutes::List(const RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  RETURN_IF_ERROR(FindOrg(directory_.directory(), org).status());
  ASSIGN_OR_RETURN(const size_t page_size, PageSizeOf(context.http));
  Offset before = kNoOffset;
  if (const auto token = context.http.Query("page_token"); token.has_value() && !token->empty()) {
    const absl::StatusOr<int64_t> place = ParseInt64(*token);
    if (!place.ok() || *place < 0) {
      return absl::InvalidArgumentError("page_token is not one that this server gave");
    }
    before = Offset(*place);
  }
  ASSIGN_OR_RETURN(const DeadLetters::Page page, letters_.List(org, before, page_size));
  LetterJson letters = LetterJson::array();
  for (const StoredLetter& letter : page.letters) {
    letters.push_back(DescribeLetter(letter));
  }
  LetterJson json;
  json["deadletters"] = std::move(letters);
  json["older_not_listed"] = page.forgot;
  json["next_page_token"] = page.more && !page.letters.empty()
                                ? std::to_string(page.letters.back().place.value())
                                : std::string();
  return HttpResponse{.body = LetterText(json)};
}

absl::StatusOr<Answer> DeadLetterRoutes::Get(const RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  RETURN_IF_ERROR(FindOrg(directory_.directory(), org).status());
  ASSIGN_OR_RETURN(const StoredLetter letter, letters_.Find(org, context.match.name));
  LetterJson json = DescribeLetter(letter);
  const std::string& value = letter.letter.value();
  if (letter.letter.type().starts_with("sluice.v1.") || !IsValidUtf8(value)) {
    json["value_base64"] = absl::Base64Escape(value);
  } else {
    json["value"] = value;
  }
  return HttpResponse{.body = LetterText(json)};
}

absl::StatusOr<Answer> DeadLetterRoutes::Drop(const RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  RETURN_IF_ERROR(FindOrg(directory_.directory(), org).status());
  ASSIGN_OR_RETURN(const StoredLetter letter, letters_.Find(org, context.match.name));
  RETURN_IF_ERROR(letters_.Handle(org, letter, context.Cause()).status());
  LetterJson json;
  json["id"] = letter.id;
  json["handled"] = true;
  return HttpResponse{.body = LetterText(json)};
}

absl::StatusOr<Answer> DeadLetterRoutes::Replay(const RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  RETURN_IF_ERROR(FindOrg(directory_.directory(), org).status());
  ASSIGN_OR_RETURN(const auto wait, WaitOf(context.http));
  ASSIGN_OR_RETURN(const StoredLetter letter, letters_.Find(org, context.match.name));
  ASSIGN_OR_RETURN(const Offset position, TryAgain(org, letter, context));
  // Behind it: a crash between the two leaves the letter open, and to replay it once more does no
  // harm, as a set has the same id again. A row of a source stays: its source may have no reason to
  // send it again, and nobody would know of it any more.
  const bool handled = IsWorkItem(letter.letter) || !IsOfSource(letter.letter);
  if (handled) {
    RETURN_IF_ERROR(letters_.Handle(org, letter, context.Cause()).status());
  }
  LetterJson json;
  json["id"] = letter.id;
  json["handled"] = handled;
  json["position"] = std::to_string(position.value());
  Answer answer(HttpResponse{.body = LetterText(json)});
  if (wait.has_value()) {
    answer.wait = AnswerWait{.reached = applied_.Reached(org, position), .timeout = *wait};
  }
  return answer;
}

absl::StatusOr<Offset> DeadLetterRoutes::TryAgain(const OrgId& org, const StoredLetter& letter,
                                                  const RequestContext& context) const {
  if (IsOfSource(letter.letter)) {
    return RunSource(org, letter.letter, context);
  }
  if (!IsOfChanges(letter.letter)) {
    return NotReplayable(letter, "have its sender send it again, and drop the letter");
  }
  ASSIGN_OR_RETURN(v1::ChangeSet set, SetOf(letter));
  // Another id than the one that the fold has refused, and the same however often this is asked. By
  // the event and not by its place: after a lost end another event may come to lie there.
  set.set_id(fmt::format("replay/{}/{}", letter.letter.id(), letter.letter.op_index()));
  return SendSet(org, std::move(set), context);
}

absl::StatusOr<Offset> DeadLetterRoutes::RunSource(const OrgId& org, const v1::DeadLetter& letter,
                                                   const RequestContext& context) const {
  v1::ProvisioningRequest request;
  request.mutable_run_source()->set_name(letter.source());
  request.mutable_run_source()->set_entity(letter.entity());
  ASSIGN_OR_RETURN(const auto outcome, directory_.Request(org, std::move(request),
                                                          provisioning_timeout_, context.Cause()));
  RETURN_IF_ERROR(outcome.status);
  ASSIGN_OR_RETURN(const auto entry, FindOrg(directory_.directory(), org));
  return outcome.changes_offset == kNoOffset ? entry->last_control : outcome.changes_offset;
}

absl::StatusOr<v1::ChangeSet> DeadLetterRoutes::SetOf(const StoredLetter& letter) const {
  v1::ChangeSet set;
  if (letter.letter.type() != v1::ChangeSet::descriptor()->full_name()) {
    return NotReplayable(letter, "it tells of no change set; drop it");
  }
  std::string value = letter.letter.value();
  if (value.empty()) {
    const auto visit = [&](const eventlog::StoredEvent& event) {
      if (event.event.id == letter.letter.id()) {
        value = event.event.value;
      }
      return absl::OkStatus();
    };
    const Offset place(letter.letter.offset());
    RETURN_IF_ERROR(eventlog::ReadUntil(ingest_.log(), Topic::kChanges,
                                        PartitionId(letter.letter.partition()), place,
                                        Offset(place.value() + 1), visit));
  }
  if (value.empty() || !set.ParseFromString(value)) {
    return NotReplayable(letter, "its change set can't be read; drop it");
  }
  return set;
}

absl::StatusOr<Offset> DeadLetterRoutes::SendSet(const OrgId& org, v1::ChangeSet set,
                                                 const RequestContext& context) const {
  IngestSession session(ingest_, org, /*traceparent=*/"", context.Cause());
  RETURN_IF_ERROR(session.Refresh());
  const std::string id = set.id();
  session.Add(std::move(set));
  session.End();
  AwaitAnswers(session);
  const auto answer = ReadSetAnswer(session.TakeAnswers(), id);
  return answer.has_value() ? *answer
                            : absl::InternalError("a set that was replayed could not be taken");
}

}  // namespace sluice::gateways
