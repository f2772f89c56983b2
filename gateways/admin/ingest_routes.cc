#include "gateways/admin/ingest_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "schemas/base/ascii.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr size_t kTraceparentBytes = 55;  // of version 00

absl::Status LineTooLong(size_t line_bytes_max) {
  return Error(absl::StatusCode::kInvalidArgument, "too_large",
               fmt::format("a line has at most {} bytes; split the change set", line_bytes_max));
}

absl::Status AnswerTooLong(size_t answer_bytes_max) {
  return Error(absl::StatusCode::kInvalidArgument, "too_large",
               fmt::format("the answer has reached {} bytes; send this set and what follows in "
                           "another request",
                           answer_bytes_max));
}

std::string TraceparentOf(const HttpHead& http) {
  const std::string_view value = http.Header("traceparent");
  const bool plausible =
      value.size() == kTraceparentBytes &&
      std::ranges::all_of(value, [](unsigned char c) { return c == '-' || std::isxdigit(c) != 0; });
  return plausible ? std::string(value) : std::string();
}

absl::StatusOr<StopOn> StopOnOf(const HttpHead& http) {
  const std::string value = http.Query("stop_on").value_or("");
  if (value == "unavailable") {
    return StopOn::kUnavailable;
  }
  if (value == "error") {
    return StopOn::kError;
  }
  if (value.empty()) {
    return StopOn::kNothing;
  }
  return absl::InvalidArgumentError(
      fmt::format("stop_on is \"unavailable\" or \"error\", not \"{}\"",
                  std::string_view(value).substr(0, 128)));
}

RelayCaller CallerOf(const HttpHead& http) {
  return {.authorization = std::string(http.Header("Authorization")),
          .traceparent = TraceparentOf(http),
          .request_id = http.request_id,
          .relayed = !http.Header(kRelayedHeader).empty()};
}

}  // namespace

IngestLines::IngestLines(IngestService& service, const RequestContext& context, const OrgId& org,
                         std::unique_ptr<ContentDecoder> decoder, uint64_t body_bytes_max,
                         StopOn stop_on)
    : options_(service.options()),
      clock_(service.clock()),
      principal_(context.principal),
      session_(service, org, TraceparentOf(context.http), context.Cause(), CallerOf(context.http),
               stop_on),
      decoder_(std::move(decoder)),
      body_bytes_max_(body_bytes_max),
      splitter_(options_.set_limits.line_bytes_max) {
  session_.set_separator("\n");
}

// A sender may hold its request open for ever with a set now and then: that neither its answers nor
// its token last as long is looked at for each set.
absl::Status IngestLines::MayTake() const {
  if (session_.full()) {
    return AnswerTooLong(options_.answer_bytes_max);
  }
  return principal_ == nullptr ? absl::OkStatus() : RequireUnexpired(*principal_, clock_.Now());
}

void IngestLines::Take(std::string_view line, bool too_long) {
  if (cut_) {
    return;
  }
  if (const absl::Status may = MayTake(); !may.ok()) {
    // The sets before it keep their answers; this one's says why the request ends with it.
    cut_ = true;
    session_.Refuse(may);
  } else if (too_long) {
    session_.Refuse(LineTooLong(options_.set_limits.line_bytes_max));
  } else {
    session_.Add(line);
  }
}

// The order matters: the organisation is looked at anew before each piece, because a body may last
// for hours, and what the piece completed is given to the log before an error of it is returned.
// Whoever breaks off, or damages the encoding half-way, keeps what was whole before.
absl::Status IngestLines::Feed(std::string_view piece) {
  (void)session_.Refresh();  // an error of it is the answer of each set that follows
  const absl::Status decoded = decoder_->Feed(piece, [this](std::string_view text) {
    bytes_ += text.size();
    // Counted as it comes out of the decoder, so that a small body can't become a large one.
    if (bytes_ <= body_bytes_max_) {
      splitter_.Feed(text, [this](std::string_view line, bool too_long) { Take(line, too_long); });
    }
    return bytes_ <= body_bytes_max_ && !cut_;
  });
  session_.Pause();
  RETURN_IF_ERROR(decoded);
  if (bytes_ > body_bytes_max_) {
    return Error(absl::StatusCode::kInvalidArgument, "too_large",
                 fmt::format("the body has more than {} bytes", body_bytes_max_));
  }
  return absl::OkStatus();
}

absl::Status IngestLines::End(bool whole) {
  const absl::Status ended = whole && !cut_ && bytes_ > 0 ? decoder_->Finish() : absl::OkStatus();
  if (whole && ended.ok()) {
    // Only now is what has no end of line known to be a line: a body that was cut off may have been
    // so in the middle of its last set, and half of one can be a set, too.
    splitter_.Finish([this](std::string_view line, bool too_long) { Take(line, too_long); });
  }
  session_.End();
  return ended;
}

absl::StatusOr<IngestRoutes::Format> IngestRoutes::FormatOf(const HttpHead& http) {
  const std::string_view header = http.Header("Content-Type");
  const std::string type = ToLower(TrimBlanks(header.substr(0, header.find(';'))));
  if (type.empty() || type == "application/x-ndjson" || type == "application/ndjson" ||
      type == "application/jsonl") {
    return Format::kLines;
  }
  if (type == "application/json") {
    return Format::kJson;
  }
  return Error(absl::StatusCode::kInvalidArgument, "unsupported_media_type",
               fmt::format("Content-Type is application/x-ndjson or application/json, not '{}'",
                           type.substr(0, 128)));
}

absl::StatusOr<std::unique_ptr<IngestLines>> IngestRoutes::BeginLines(
    const RequestContext& context, ContentDecoder::MayHold may_hold) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  // Everything that can be refused is refused before the first set is taken: afterwards the answer
  // is 200 with a line for each.
  RETURN_IF_ERROR(WaitOf(context.http).status());
  ASSIGN_OR_RETURN(const StopOn stop_on, StopOnOf(context.http));
  if (context.http.Header("Content-Encoding").empty() &&
      context.http.content_length.value_or(0) > body_bytes_max_) {
    return Error(absl::StatusCode::kInvalidArgument, "too_large",
                 fmt::format("the body has {} bytes, at most {} are taken",
                             *context.http.content_length, body_bytes_max_));
  }
  ASSIGN_OR_RETURN(auto decoder, ContentDecoder::For(context.http.Header("Content-Encoding"),
                                                     std::move(may_hold)));
  auto lines = std::make_unique<IngestLines>(service_, context, org, std::move(decoder),
                                             body_bytes_max_, stop_on);
  RETURN_IF_ERROR(lines->Begin());
  return lines;
}

absl::StatusOr<std::unique_ptr<IngestJson>> IngestRoutes::BeginJson(
    const RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  RETURN_IF_ERROR(WaitOf(context.http).status());
  ASSIGN_OR_RETURN(const StopOn stop_on, StopOnOf(context.http));
  auto json = std::unique_ptr<IngestJson>(
      new IngestJson{.session = IngestSession(service_, org, TraceparentOf(context.http),
                                              context.Cause(), CallerOf(context.http), stop_on),
                     .shape = JsonShape::kObject});
  RETURN_IF_ERROR(json->session.Refresh());
  // The whole body first, although it is parsed again set by set: an array whose end is no JSON is
  // 400 and nothing of it is appended.
  ASSIGN_OR_RETURN(json->shape, CheckJson(context.body));
  IngestSession& session = json->session;
  session.set_separator(",");
  if (json->shape == JsonShape::kObject) {
    session.Add(context.body);
  } else {
    // As with lines, the answer that says why the request ends is its last one: there may be
    // millions of elements, and each refusal takes more than its element.
    ForEachArrayElement(context.body, [&](std::string_view element) {
      const bool full = session.full();
      if (full) {
        session.Refuse(AnswerTooLong(service_.options().answer_bytes_max));
      } else {
        session.Add(element);
      }
      return !full;
    });
  }
  session.End();
  return json;
}

absl::StatusOr<Answer> IngestRoutes::EndJson(const RequestContext& context,
                                             IngestJson& json) const {
  const bool array = json.shape == JsonShape::kArray;
  HttpResponse response;
  response.body = array ? "[" : "";
  response.body.append(json.session.TakeAnswers());
  response.body.append(array ? "]" : "");
  Answer answer(std::move(response));
  ASSIGN_OR_RETURN(answer.wait, Wait(context, json.session.last()));
  return answer;
}

absl::StatusOr<std::optional<AnswerWait>> IngestRoutes::Wait(const RequestContext& context,
                                                             Offset last) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(const auto wait, WaitOf(context.http));
  if (!wait.has_value() || last == kNoOffset) {
    return std::nullopt;
  }
  return AnswerWait{.reached = applied_.Reached(org, last), .timeout = *wait};
}

}  // namespace sluice::gateways
