#include "gateways/sync/sync_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Have(const std::string& element) { return R"({"have":[)" + element + "]}"; }

TEST(StreamRequestTest, WhatIsTaken) {
  EXPECT_TRUE(ParseStreamRequest(" \n").value().have.empty());
  const auto request = ParseStreamRequest(
      R"({"have":[{"bucket":"b-1_Z","after":"0"},{"x":[],"after":9223372036854775807,"bucket":"c"},
          {"bucket":"d","after":"0042"}],"live":true,"history":"1.7.00ff","more":{}})");
  ASSERT_TRUE(request.ok()) << request.status();
  ASSERT_EQ(request->have.size(), 3u);
  EXPECT_EQ(request->have[0].bucket, "b-1_Z");
  EXPECT_EQ(request->have[0].after, Offset(0));
  EXPECT_EQ(request->have[1].after, Offset(INT64_MAX));
  EXPECT_EQ(request->have[2].after, Offset(42));
  EXPECT_EQ(request->history, "1.7.00ff");
  EXPECT_TRUE(request->live);
}

// What was not checked is neither taken nor shown.
TEST(StreamRequestTest, WhatIsNoBucketOrNoPosition) {
  const std::string good = R"({"bucket":"b","after":"1"},)";
  for (const std::string& element : {
           std::string(R"({"bucket":"","after":"1"})"),
           R"({"bucket":")" + std::string(65, 'a') + R"(","after":"1"})",
           std::string(R"({"bucket":"evil\"}]}","after":"1"})"),
           std::string(R"({"bucket":"evil\n","after":"1"})"),
           std::string(R"({"bucket":"evil b","after":"1"})"),
           std::string("{\"bucket\":\"evil\xc3\xa4\",\"after\":\"1\"}"),
           std::string(R"({"bucket":7,"after":"1"})"),
           std::string(R"({"bucket":null,"after":"1"})"),
           std::string(R"({"bucket":"c","bucket":"evil","after":"1"})"),
           std::string(R"({"bucket":"c"})"),
           std::string(R"({"after":"1"})"),
           std::string(R"({"bucket":"c","after":"evil"})"),
           std::string(R"({"bucket":"c","after":""})"),
           std::string(R"({"bucket":"c","after":"-1"})"),
           std::string(R"({"bucket":"c","after":"+1"})"),
           std::string(R"({"bucket":"c","after":" 1"})"),
           std::string(R"({"bucket":"c","after":"9223372036854775808"})"),
           std::string(R"({"bucket":"c","after":9223372036854775808})"),
           std::string(R"({"bucket":"c","after":-1})"),
           std::string(R"({"bucket":"c","after":1.0})"),
           std::string(R"({"bucket":"c","after":null})"),
           std::string(R"({"bucket":"c","after":"1","after":"2"})"),
           std::string(R"({"bucket":"b","after":"1"})"),  // named before
           std::string(R"("evil")"),
           std::string("[]"),
       }) {
    const absl::Status status = ParseStreamRequest(Have(good + element)).status();
    EXPECT_EQ(ErrorCode(status), "invalid_argument") << element;
    EXPECT_THAT(std::string(Message(status)), HasSubstr("have[1]")) << element;
    EXPECT_THAT(std::string(Message(status)), Not(HasSubstr("evil")));
  }
  for (const char* body :
       {R"({"have":{}})", R"({"live":1})", R"({"history":7})", R"({"history":""})",
        R"({"history":"a b"})", R"({"live":true,"live":true})", R"({"have":[],"have":[]})", "[]"}) {
    EXPECT_EQ(ErrorCode(ParseStreamRequest(body).status()), "invalid_argument") << body;
  }
  EXPECT_EQ(
      ErrorCode(ParseStreamRequest(R"({"history":")" + std::string(65, '1') + "\"}").status()),
      "invalid_argument");
  EXPECT_EQ(ErrorCode(ParseStreamRequest("{").status()), "invalid_json");
}

TEST(StreamRequestTest, TheNumberOfBucketsIsLimited) {
  std::string elements;
  for (size_t i = 0; i < kHaveMax; ++i) {
    elements += (i == 0 ? "" : ",") + (R"({"bucket":"b)" + std::to_string(i)) + R"(","after":1})";
  }
  EXPECT_TRUE(ParseStreamRequest(Have(elements)).ok());
  const auto more = ParseStreamRequest(Have(elements + R"(,{"bucket":"c","after":1})"));
  EXPECT_EQ(ErrorCode(more.status()), "invalid_argument");
}

TEST(DeltaBodyTest, TheSameAsAQuery) {
  const auto request =
      ParseDeltaBody(R"({"cursor":"abc","limit":7,"wait":"2s","min_position":"99","other":null})");
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->cursor, "abc");
  EXPECT_EQ(request->limit, 7u);
  EXPECT_EQ(request->wait, std::chrono::seconds(2));
  EXPECT_EQ(request->min_position, Offset(99));
  EXPECT_TRUE(ParseDeltaBody("").ok());
  EXPECT_TRUE(ParseDeltaBody(R"({"cursor":null,"wait":null})").ok());
  for (const char* body :
       {R"({"limit":0})", R"({"limit":"x"})", R"({"limit":[1]})", R"({"cursor":{}})",
        R"({"wait":5})", R"({"min_position":-1})", R"({"limit":1,"limit":2})"}) {
    EXPECT_EQ(ErrorCode(ParseDeltaBody(body).status()), "invalid_argument") << body;
  }
  EXPECT_EQ(ErrorCode(ParseDeltaBody("nothing").status()), "invalid_json");
}

}  // namespace
}  // namespace sluice::gateways
