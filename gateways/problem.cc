#include "gateways/problem.h"

#include <absl/strings/cord.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr size_t kDetailBytesMax = 2048;
constexpr char kWipePayload[] = "sluice.dev/wipe";
constexpr int kRetryAfterDefault = 5;

struct CodeRow {
  std::string_view code;
  int http_status;
  std::string_view title;
  int retry_after = 0;       // seconds; 0: kRetryAfterDefault where the status asks for one
  bool is_internal = false;  // its messages name folders or brokers: they are for the log
};

constexpr bool kInternal = true;

// Every code that an answer can have (structure_test.py compares them with the sources), sorted. A
// row is more than its code's kind, which is its layer's word: that a store is of another log is a
// failed precondition of opening it, and nothing that a caller could mend.
constexpr auto kCodes = std::to_array<CodeRow>({
    {"aborted", 409, "Changed by somebody else meanwhile"},
    {"already_exists", 409, "Exists already"},
    {"answers_queue_full", 503, "Too many answers are being sent", 1},
    {"append_queue_full", 503, "Too many writes are waiting", 1},
    {"attribute_in_use", 409, "Attribute is in use"},
    {"cancelled", 503, "The server is stopping"},
    {"circular_rules", 400, "Rules form a circle"},
    {"cursor_expired", 410, "Cursor is too old"},
    {"cursor_invalid", 400, "Not a cursor"},
    {"cursor_other_log", 410, "Cursor of another log"},
    {"cursor_other_org", 403, "Cursor of another organisation"},
    {"deadletter_not_found", 404, "No such dead letter"},
    {"deadletter_not_replayable", 409, "A dead letter cannot be replayed"},
    {"deadline_exceeded", 503, "Not done in time", 1},
    {"disk_full", 503, "No room on a disk", 0, kInternal},
    {"entity_has_source", 409, "A source has the entity's rows"},
    {"entity_not_found", 404, "No such entity"},
    {"failed_precondition", 409, "Not possible in this state"},
    {"forbidden", 403, "Not allowed"},
    {"incompatible_schema", 409, "Incompatible schema"},
    {"incompatible_source", 409, "Incompatible source"},
    {"invalid_argument", 400, "Invalid request"},
    {"invalid_event", 400, "Not an event"},
    {"invalid_filter", 400, "Invalid filter"},
    {"invalid_json", 400, "Not valid JSON"},
    {"invalid_key", 400, "Invalid key"},
    {"keys_unavailable", 503, "Keys can't be had", 1},
    {"log_begins_late", 503, "The log has lost its beginning"},
    {"log_corrupt", 503, "The log is damaged"},
    {"log_diverged", 503, "The log holds another history"},
    {"log_end_doubted", 503, "Whether the log has lost its end is not known yet", 1},
    {"log_epoch_changed", 503, "The log was begun anew", 1},
    {"log_permission_denied", 503, "The log cannot be used"},
    {"log_read_failed", 503, "The log cannot be read", 0, kInternal},
    {"log_refused", 503, "The log cannot be used"},
    {"log_truncated", 503, "The log has lost its end"},
    {"log_unavailable", 503, "The log does not answer"},
    {"log_write_failed", 503, "The log cannot be written", 0, kInternal},
    {"method_not_allowed", 405, "Method not allowed"},
    {"missing_key", 400, "Key is missing"},
    {"no_threads", 503, "Too few threads"},
    {"not_acceptable", 406, "No acceptable representation"},
    {"not_caught_up", 503, "Not caught up yet", 1},
    {"not_found", 404, "Not found"},
    {"not_ready", 503, "Not ready to serve"},
    {"not_served_here", 503, "Served by another node", 1},
    {"not_tried", 424, "A set before this one was not taken"},
    {"offline_not_allowed", 403, "No role allows offline use"},
    {"offset_below_begin", 503, "The log no longer holds what is needed"},
    {"offset_beyond_end", 503, "The log ends before what is needed"},
    {"org_not_found", 404, "No such organisation"},
    {"org_not_ready", 409, "Organisation is not ready"},
    {"org_reprovisioned", 410, "Organisation was provisioned anew"},
    {"out_of_range", 400, "Out of range"},
    {"precondition_failed", 412, "ETag does not match"},
    {"profile_not_found", 404, "No such profile"},
    {"provisioning_unavailable", 503, "Provisioning takes too long", 1},
    {"rate_limited", 429, "Too many requests", 1},
    {"request_timeout", 408, "Request took too long to arrive"},
    {"resource_exhausted", 429, "Too many requests", 1},
    {"role_not_found", 404, "No such role"},
    {"rules_too_deep", 400, "Chain of rules is too long"},
    {"sealing_key_unavailable", 503, "A key for secrets cannot be used", 0, kInternal},
    {"secret_unreadable", 409, "A secret cannot be opened"},
    {"secrets_key_missing", 409, "No key for secrets"},
    {"secrets_required", 409, "Secrets have to be given again"},
    {"source_not_allowed", 400, "Source not allowed"},
    {"source_not_found", 404, "No such source"},
    {"store_busy", 503, "The store is being opened anew", 1, kInternal},
    {"store_corrupt", 503, "The store is damaged and is built anew", 1, kInternal},
    {"store_fatal", 503, "The store cannot be used", 0, kInternal},
    {"store_format_newer", 503, "The store cannot be used", 0, kInternal},
    {"store_format_older", 503, "The store cannot be used", 0, kInternal},
    {"store_in_use", 503, "The store cannot be used", 0, kInternal},
    {"store_io_error", 503, "The store cannot be used", 0, kInternal},
    {"store_missing", 503, "The store is built anew", 0, kInternal},
    {"store_of_other_log", 503, "The store cannot be used", 0, kInternal},
    {"store_read_only", 503, "The store cannot be used", 0, kInternal},
    {"store_reading", 503, "The store is being read as a whole", 1, kInternal},
    {"store_reopened", 503, "The store was opened anew", 1, kInternal},
    {"store_rewound", 503, "The store is behind", 1, kInternal},
    {"stores_busy", 503, "Too many stores are in use", 1},
    {"token_expired", 401, "Token has expired"},
    {"token_invalid", 401, "Token is not valid"},
    {"token_missing", 401, "Token is missing"},
    {"too_busy", 503, "Too busy", 1},
    {"too_large", 413, "Too large"},
    {"too_many_buckets", 403, "Too many buckets"},
    {"too_many_definitions", 400, "Too many definitions"},
    {"too_many_readers", 503, "Too many readers of the log", 1},
    {"too_many_rules", 400, "Too many rules"},
    {"too_many_sessions", 503, "Too many sessions"},
    {"topic_compacted", 503, "The log cannot be written", 0, kInternal},
    {"topic_message_bytes", 503, "The log cannot be written", 0, kInternal},
    {"topic_missing", 503, "The log cannot be written", 0, kInternal},
    {"topic_partitions_changed", 503, "The log cannot be written", 0, kInternal},
    {"topic_retention", 503, "The log cannot be written", 0, kInternal},
    {"type_mismatch", 400, "Value does not fit its type"},
    {"unauthenticated", 401, "Not authenticated"},
    {"unavailable", 503, "Temporarily unavailable"},
    {"unknown_attribute", 400, "Unknown attribute"},
    {"unknown_entity", 400, "Unknown entity"},
    {"unsupported_media_type", 415, "Unsupported media type"},
});
static_assert(std::ranges::is_sorted(kCodes, {}, &CodeRow::code));

const CodeRow* FindCode(std::string_view code) {
  const auto* row = std::ranges::lower_bound(kCodes, code, {}, &CodeRow::code);
  return row != kCodes.end() && row->code == code ? row : nullptr;
}

bool IsOurDefect(absl::StatusCode kind) {
  return kind == absl::StatusCode::kInternal || kind == absl::StatusCode::kUnknown ||
         kind == absl::StatusCode::kDataLoss;
}

// The row of a code that the table lacks: that of its kind's default code.
const CodeRow* FindKind(absl::StatusCode kind) {
  return FindCode(ErrorCode(absl::Status(kind, "")));
}

// Whoever gets this has no right to what its device holds any more.
bool IsWipe(const absl::Status& status) {
  return ErrorCode(status) == "offline_not_allowed" || status.GetPayload(kWipePayload).has_value();
}

std::string_view TitleOf(int http_status) {
  return http_status == 501 ? "Not available here" : "Internal error";
}

// Whether the message is for the log alone, or may come from a library or the machine rather than
// from Error(): no code of its own was given, and the kind is one that a caller cannot mend.
bool HidesMessage(const absl::Status& status) {
  const std::string code = ErrorCode(status);
  if (const CodeRow* row = FindCode(code); row != nullptr && row->is_internal) {
    return true;
  }
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kAborted:
      return code == ErrorCode(absl::Status(status.code(), ""));
    default:
      return HttpStatusOf(status) == 500;
  }
}

std::string DetailOf(const absl::Status& status) {
  if (HidesMessage(status)) {
    return HttpStatusOf(status) == 500 ? "The server could not answer; its log has the reason."
                                       : "The server cannot do this at the moment; try again.";
  }
  return std::string(Message(status).substr(0, kDetailBytesMax));
}

}  // namespace

absl::Status WithWipe(absl::Status status) {
  if (!status.ok()) {
    status.SetPayload(kWipePayload, absl::Cord());
  }
  return status;
}

int HttpStatusOf(const absl::Status& status) {
  if (status.ok()) {
    return 200;
  }
  const CodeRow* row = FindCode(ErrorCode(status));
  // A damaged store is set apart within moments and built anew: worth coming again.
  if (IsOurDefect(status.code()) && (row == nullptr || row->code != "store_corrupt")) {
    return 500;
  }
  if (row != nullptr) {
    return row->http_status;
  }
  if (status.code() == absl::StatusCode::kUnimplemented) {
    return 501;
  }
  row = FindKind(status.code());
  return row != nullptr ? row->http_status : 500;
}

std::string ProblemCode(const absl::Status& status) {
  const int http_status = HttpStatusOf(status);
  if (http_status == 500) {
    return "internal";
  }
  std::string code = ErrorCode(status);
  return http_status == 501 && code == "internal" ? "unsupported" : code;
}

std::string ProblemJson(const absl::Status& status, std::optional<int> sent_as) {
  const int http_status = HttpStatusOf(status);
  const std::string code = ProblemCode(status);
  const CodeRow* row = FindCode(code);
  if (row == nullptr && http_status != 500) {
    row = FindKind(status.code());
  }
  nlohmann::ordered_json problem;
  problem["type"] = "urn:sluice:problem:" + code;
  problem["title"] = std::string(row != nullptr ? row->title : TitleOf(http_status));
  problem["status"] = sent_as.value_or(http_status);
  problem["detail"] = DetailOf(status);
  problem["code"] = code;
  if (const auto column = ErrorColumn(status); column.has_value() && http_status != 500) {
    problem["column"] = *column;
  }
  if (http_status != 500 && IsWipe(status)) {
    problem["wipe"] = true;
  }
  // Bytes that are not UTF-8 (also a character cut in two) become U+FFFD.
  return problem.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::optional<int> RetryAfterSeconds(const absl::Status& status) {
  const int http_status = HttpStatusOf(status);
  if (http_status != 429 && http_status != 503) {
    return std::nullopt;
  }
  const CodeRow* row = FindCode(ErrorCode(status));
  return row != nullptr && row->retry_after != 0 ? row->retry_after : kRetryAfterDefault;
}

std::optional<std::string> WwwAuthenticate(const absl::Status& status) {
  if (HttpStatusOf(status) != 401) {
    return std::nullopt;
  }
  return ErrorCode(status) == "token_missing" ? "Bearer" : "Bearer error=\"invalid_token\"";
}

}  // namespace sluice::gateways
