#include "gateways/admin/ingest_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>

#include "gateways/admin/json_check.h"
#include "gateways/admin/json_split.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

// application/json is held whole, to be answered 400 where it is no JSON; NDJSON is not.
constexpr size_t kJsonBodyBytesMax = 16 << 20;
constexpr size_t kTraceparentBytes = 55;  // of version 00

enum class Format { kLines, kJson };

absl::StatusOr<Format> FormatOf(const HttpRequest& http) {
  std::string type = http.Header("Content-Type");
  type = type.substr(0, type.find(';'));
  while (!type.empty() && type.back() == ' ') {
    type.pop_back();
  }
  std::ranges::transform(type, type.begin(), [](unsigned char c) { return std::tolower(c); });
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

std::string TraceparentOf(const HttpRequest& http) {
  std::string value = http.Header("traceparent");
  const bool plausible =
      value.size() == kTraceparentBytes &&
      std::ranges::all_of(value, [](unsigned char c) { return c == '-' || std::isxdigit(c) != 0; });
  return plausible ? value : std::string();
}

}  // namespace

absl::StatusOr<HttpResponse> IngestRoutes::PostLines(IngestSession& session,
                                                     HttpRequest& http) const {
  const IngestOptions& options = service_.options();
  session.set_separator("\n");
  HttpResponse response;
  response.content_type = "application/x-ndjson";
  LineSplitter splitter(options.set_limits.line_bytes_max);
  bool cut = false;  // what came was more than can be answered
  const auto take = [&](std::string_view line, bool too_long) {
    if (cut) {
      return;
    }
    cut = session.full();
    if (cut) {
      session.Refuse(AnswerTooLong(options.answer_bytes_max));
    } else if (too_long) {
      session.Refuse(LineTooLong(options.set_limits.line_bytes_max));
    } else {
      session.Add(line);
    }
  };
  const absl::Status read = http.ReadBody([&](std::string_view piece) {
    (void)session.Refresh();  // an error of it is the answer of each set that follows
    splitter.Feed(piece, take);
    session.Pause();
    response.body.append(session.TakeAnswers());
    return !cut;
  });
  if (read.ok()) {
    splitter.Finish(
        take);  // a body that was cut off may have been so in the middle of its last line
  }
  session.Finish();
  RETURN_IF_ERROR(read);
  response.body.append(session.TakeAnswers());
  if (!response.body.empty()) {
    response.body.push_back('\n');
  }
  return response;
}

absl::StatusOr<HttpResponse> IngestRoutes::PostJson(IngestSession& session,
                                                    HttpRequest& http) const {
  ASSIGN_OR_RETURN(const std::string body, http.ReadWholeBody(kJsonBodyBytesMax));
  ASSIGN_OR_RETURN(const JsonShape shape, CheckJson(body));
  session.set_separator(",");
  HttpResponse response;
  if (shape == JsonShape::kObject) {
    session.Add(body);
  } else {
    response.body = "[";
    ForEachArrayElement(body, [&](std::string_view element) {
      if (session.full()) {
        session.Refuse(AnswerTooLong(service_.options().answer_bytes_max));
      } else {
        session.Add(element);
      }
    });
  }
  session.Finish();
  response.body.append(session.TakeAnswers());
  if (shape == JsonShape::kArray) {
    response.body.push_back(']');
  }
  return response;
}

absl::StatusOr<HttpResponse> IngestRoutes::Post(RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(const auto wait, WaitOf(context.http));
  ASSIGN_OR_RETURN(const Format format, FormatOf(context.http));
  IngestSession session(service_, org, TraceparentOf(context.http));
  RETURN_IF_ERROR(session.Refresh());
  auto response =
      format == Format::kLines ? PostLines(session, context.http) : PostJson(session, context.http);
  if (response.ok() && wait.has_value() && session.last() != kNoOffset &&
      !applied_.Wait(org, session.last(), *wait, context.http)) {
    response->status = 202;
  }
  return response;
}

}  // namespace sluice::gateways
