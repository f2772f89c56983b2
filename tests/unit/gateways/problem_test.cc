#include "gateways/problem.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using nlohmann::json;

json Problem(const absl::Status& status) { return json::parse(ProblemJson(status)); }

absl::Status WithCode(std::string_view code,
                      absl::StatusCode kind = absl::StatusCode::kInvalidArgument) {
  return Error(kind, code, "x");
}

TEST(ProblemTest, NamedCodesDecideTheStatus) {
  const std::vector<std::pair<std::string, int>> want = {
      {"org_not_found", 404},       {"org_not_ready", 409},      {"attribute_in_use", 409},
      {"incompatible_schema", 409}, {"too_large", 413},          {"precondition_failed", 412},
      {"not_caught_up", 503},       {"cursor_expired", 410},     {"org_reprovisioned", 410},
      {"cursor_other_log", 410},    {"cursor_invalid", 400},     {"cursor_other_org", 403},
      {"offline_not_allowed", 403}, {"too_many_buckets", 403},   {"append_queue_full", 503},
      {"unavailable", 503},         {"token_missing", 401},      {"token_invalid", 401},
      {"token_expired", 401},       {"forbidden", 403},          {"unknown_entity", 400},
      {"unknown_attribute", 400},   {"type_mismatch", 400},      {"missing_key", 400},
      {"invalid_key", 400},         {"invalid_json", 400},       {"invalid_filter", 400},
      {"circular_rules", 400},      {"rules_too_deep", 400},     {"too_many_rules", 400},
      {"invalid_argument", 400},    {"resource_exhausted", 429}, {"method_not_allowed", 405},
      {"not_served_here", 503},     {"answers_queue_full", 503}, {"log_truncated", 503},
      {"log_diverged", 503},        {"keys_unavailable", 503},   {"too_busy", 503},
      {"no_threads", 503}};
  for (const auto& [code, http_status] : want) {
    const absl::Status status = WithCode(code);
    EXPECT_EQ(HttpStatusOf(status), http_status) << code;
    EXPECT_EQ(Problem(status)["code"], code);
    EXPECT_EQ(Problem(status)["status"], http_status);
    EXPECT_EQ(Problem(status)["type"], "urn:sluice:problem:" + code);
    EXPECT_NE(Problem(status)["title"], "Internal error") << code;
  }
}

TEST(ProblemTest, TheTitleIsTheCodes) {
  EXPECT_EQ(Problem(WithCode("too_many_rules"))["title"], "Too many rules");
  EXPECT_EQ(Problem(WithCode("too_many_definitions"))["title"], "Too many definitions");
  EXPECT_EQ(HttpStatusOf(WithCode("too_many_definitions")), 400);
}

// A client deletes its rows for it: it is said only where that is known.
TEST(ProblemTest, WipeIsSaidOnlyOfWhatIsLostForGood) {
  EXPECT_EQ(Problem(WithCode("offline_not_allowed"))["wipe"], true);
  const absl::Status gone = WithCode("org_not_found", absl::StatusCode::kNotFound);
  EXPECT_FALSE(Problem(gone).contains("wipe"));
  EXPECT_EQ(Problem(WithWipe(gone))["wipe"], true);
  EXPECT_EQ(Problem(WithWipe(gone))["code"], "org_not_found");
  EXPECT_EQ(Problem(Annotate(WithWipe(gone), "here"))["wipe"], true);
  EXPECT_FALSE(Problem(WithWipe(absl::InternalError("x"))).contains("wipe"));
  EXPECT_FALSE(Problem(WithCode("forbidden")).contains("wipe"));
}

TEST(ProblemTest, UnknownCodesFollowTheirKind) {
  const absl::Status status = WithCode("brand_new", absl::StatusCode::kNotFound);
  EXPECT_EQ(HttpStatusOf(status), 404);
  EXPECT_EQ(Problem(status)["code"], "brand_new");
  EXPECT_EQ(Problem(status)["title"], "Not found");
  EXPECT_EQ(Problem(status)["detail"], "x");
}

TEST(ProblemTest, EveryKindHasAStatus) {
  for (int kind = 1; kind <= 16; ++kind) {
    const absl::Status status(static_cast<absl::StatusCode>(kind), "x");
    EXPECT_GE(HttpStatusOf(status), 400) << kind;
    EXPECT_FALSE(Problem(status)["title"].get<std::string>().empty()) << kind;
    const int http_status = HttpStatusOf(status);
    EXPECT_EQ(RetryAfterSeconds(status).has_value(), http_status == 429 || http_status == 503);
  }
  EXPECT_EQ(HttpStatusOf(absl::OkStatus()), 200);
}

TEST(ProblemTest, DefectsShowNothingOfTheInside) {
  for (const absl::Status& status :
       {absl::InternalError("/var/lib/secret"), absl::DataLossError("/var/lib/secret"),
        absl::UnknownError("/var/lib/secret"),
        WithCode("too_large", absl::StatusCode::kInternal)}) {
    EXPECT_EQ(HttpStatusOf(status), 500);
    EXPECT_EQ(Problem(status)["code"], "internal");
    EXPECT_EQ(Problem(status)["title"], "Internal error");
    EXPECT_THAT(ProblemJson(status), testing::Not(testing::HasSubstr("secret")));
  }
}

TEST(ProblemTest, UnavailableWithoutACodeOfItsOwnIsGeneric) {
  const absl::Status status = absl::UnavailableError("broker 10.1.2.3:9092 refused");
  EXPECT_EQ(HttpStatusOf(status), 503);
  EXPECT_THAT(ProblemJson(status), testing::Not(testing::HasSubstr("10.1.2.3")));
  EXPECT_EQ(Problem(WithCode("not_caught_up", absl::StatusCode::kUnavailable))["detail"], "x");
}

TEST(ProblemTest, FoldersAndBrokersAreNotTold) {
  for (const auto& [kind, code] :
       {std::pair(absl::StatusCode::kUnavailable, "store_io_error"),
        std::pair(absl::StatusCode::kFailedPrecondition, "store_read_only"),
        std::pair(absl::StatusCode::kResourceExhausted, "disk_full"),
        std::pair(absl::StatusCode::kUnavailable, "log_write_failed"),
        std::pair(absl::StatusCode::kUnavailable, "log_read_failed"),
        std::pair(absl::StatusCode::kFailedPrecondition, "topic_compacted")}) {
    const absl::Status status = Error(kind, code, "scanning deltas of store /var/lib/secret");
    EXPECT_THAT(ProblemJson(status), testing::Not(testing::HasSubstr("secret"))) << code;
    EXPECT_EQ(Problem(status)["code"], code);
  }
}

// What no caller can mend is 503, whatever it is to the layer that found it.
TEST(ProblemTest, WhatIsWrongWithTheServerIsNotTheCallers) {
  for (const auto& [kind, code] :
       {std::pair(absl::StatusCode::kResourceExhausted, "stores_busy"),
        std::pair(absl::StatusCode::kResourceExhausted, "too_many_readers"),
        std::pair(absl::StatusCode::kResourceExhausted, "disk_full"),
        std::pair(absl::StatusCode::kPermissionDenied, "log_permission_denied"),
        std::pair(absl::StatusCode::kFailedPrecondition, "log_refused"),
        std::pair(absl::StatusCode::kFailedPrecondition, "store_of_other_log"),
        std::pair(absl::StatusCode::kFailedPrecondition, "topic_message_bytes"),
        std::pair(absl::StatusCode::kNotFound, "store_missing"),
        std::pair(absl::StatusCode::kAborted, "store_rewound"),
        std::pair(absl::StatusCode::kOutOfRange, "offset_beyond_end")}) {
    const absl::Status status = Error(kind, code, "x");
    EXPECT_EQ(HttpStatusOf(status), 503) << code;
    EXPECT_EQ(Problem(status)["code"], code);
    EXPECT_TRUE(RetryAfterSeconds(status).has_value()) << code;
  }
}

// Whoever meets it comes again: the store is built anew.
TEST(ProblemTest, ADamagedStoreIsNoDefect) {
  const absl::Status status =
      Error(absl::StatusCode::kDataLoss, "store_corrupt", "reading records of store /srv/secret");
  EXPECT_EQ(HttpStatusOf(status), 503);
  EXPECT_EQ(Problem(status)["code"], "store_corrupt");
  EXPECT_EQ(RetryAfterSeconds(status), 1);
  EXPECT_THAT(ProblemJson(status), testing::Not(testing::HasSubstr("secret")));
}

TEST(ProblemTest, DetailIsValidUtf8AndBounded) {
  const std::string bytes = std::string("a\xff\xc3") + "\"\n";
  const json problem = Problem(absl::InvalidArgumentError(bytes));
  EXPECT_EQ(problem["detail"], "a\xEF\xBF\xBD\xEF\xBF\xBD\"\n");

  std::string wide;
  while (wide.size() < 4096) {
    wide += "\xE2\x82\xAC";
  }
  EXPECT_LE(Problem(absl::InvalidArgumentError(wide))["detail"].get<std::string>().size(), 2051u);
}

TEST(ProblemTest, AColumnIsAMember) {
  const absl::Status status = Annotate(WithColumn(WithCode("invalid_filter"), 12), "profile 'p'");
  EXPECT_EQ(Problem(status)["column"], 12);
  EXPECT_EQ(Problem(status)["detail"], "profile 'p': x");
  EXPECT_FALSE(Problem(WithCode("invalid_filter")).contains("column"));
  EXPECT_FALSE(Problem(WithColumn(absl::InternalError("x"), 12)).contains("column"));
}

TEST(ProblemTest, RetryAfter) {
  EXPECT_EQ(RetryAfterSeconds(WithCode("append_queue_full")), 1);
  EXPECT_EQ(RetryAfterSeconds(WithCode("unavailable")), 5);
  EXPECT_EQ(RetryAfterSeconds(WithCode("forbidden")), std::nullopt);
}

TEST(ProblemTest, WwwAuthenticate) {
  EXPECT_EQ(WwwAuthenticate(WithCode("token_missing")), "Bearer");
  EXPECT_EQ(WwwAuthenticate(WithCode("token_expired")), "Bearer error=\"invalid_token\"");
  EXPECT_EQ(WwwAuthenticate(WithCode("forbidden")), std::nullopt);
}

}  // namespace
}  // namespace sluice::gateways
