#include "gateways/http/head_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

std::string Head(const std::string& lines) {
  return "POST /v1/x?a=b HTTP/1.1\r\nHost: x\r\n" + lines + "\r\n";
}

TEST(HeadParserTest, ReadsWhatIsPlain) {
  const auto head =
      ParseHead(Head("Content-Length: 12\r\nX-Request-Id:  my-id \r\naccept:\ta\r\nEmpty:\r\n"));
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(head->method, "POST");
  EXPECT_EQ(head->path, "/v1/x");
  EXPECT_EQ(head->query, "a=b");
  EXPECT_EQ(head->content_length, 12U);
  EXPECT_TRUE(head->has_body());
  EXPECT_TRUE(head->keep_alive);
  EXPECT_EQ(head->request_id, "my-id");
  EXPECT_EQ(head->Header("ACCEPT"), "a");
  EXPECT_EQ(head->Header("Empty"), "");
  EXPECT_EQ(head->Query("a"), "b");
  EXPECT_EQ(head->Query("c"), std::nullopt);
}

TEST(HeadParserTest, KeepAliveFollowsVersionAndConnection) {
  EXPECT_FALSE(ParseHead("GET / HTTP/1.1\r\nHost: x\r\nConnection: x, Close\r\n\r\n")->keep_alive);
  EXPECT_FALSE(ParseHead("GET / HTTP/1.0\r\n\r\n")->keep_alive);
  EXPECT_TRUE(ParseHead("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")->keep_alive);
}

TEST(HeadParserTest, RefusesWhatCanBeReadInTwoWays) {
  for (const std::string& lines :
       std::vector<std::string>{"Content-Length : 5\r\n",
                                "Content-Length\t: 5\r\n",
                                " Content-Length: 5\r\n",
                                "X: a\r\n b\r\n",
                                "X: a\r\n\tb\r\n",
                                "Content-Length: 5\r\nContent-Length: 5\r\n",
                                "Content-Length: 5\r\ncontent-length: 6\r\n",
                                "Content-Length: 5, 5\r\n",
                                "Content-Length: +5\r\n",
                                "Content-Length: 0x5\r\n",
                                "Content-Length:\r\n",
                                "Content-Length: 99999999999999999999\r\n",
                                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                                "Transfer-Encoding: gzip, chunked\r\n",
                                "Transfer-Encoding: identity\r\n",
                                "Transfer-Encoding:\r\n",
                                "Authorization: a\r\nAuthorization: b\r\n",
                                "Host: a\r\nHost: b\r\n",
                                "X\r\n",
                                ": x\r\n",
                                "X Y: z\r\n"}) {
    EXPECT_EQ(ErrorCode(ParseHead(Head(lines)).status()), "invalid_argument") << lines;
  }
  EXPECT_FALSE(ParseHead(Head(std::string("X: a\0b\r\n", 8))).ok());
  EXPECT_FALSE(ParseHead("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").ok());
}

TEST(HeadParserTest, RefusesOtherRequestLines) {
  for (const std::string& line : std::vector<std::string>{
           "nonsense", "GET /", "GET  HTTP/1.1", "GET / HTTP/9.9", "GET / http/1.1",
           "G(T / HTTP/1.1", "GET x HTTP/1.1", "GET ftp://x/ HTTP/1.1", "GET http:///a HTTP/1.1",
           "GET http://u@h/a HTTP/1.1", "GET http:a HTTP/1.1", "GET //a://b HTTP/1.2",
           "GET /a b HTTP/1.1", "GET /\x01 HTTP/1.1", "", " / HTTP/1.1"}) {
    EXPECT_FALSE(ParseHead(line + "\r\nHost: x\r\n\r\n").ok()) << line;
  }
  EXPECT_FALSE(
      ParseHead("GET /" + std::string(kPathBytesMax, 'x') + " HTTP/1.1\r\nHost: x\r\n\r\n").ok());
}

// RFC 9112, section 3.2: a server has to take the first and to refuse the second.
TEST(HeadParserTest, TakesAbsoluteTargetsAndWantsAHost) {
  const auto target = [](const std::string& text) {
    const auto head = ParseHead("GET " + text + " HTTP/1.1\r\nHost: y\r\n\r\n");
    return head.ok() ? head->path + "?" + head->query : head.status().ToString();
  };
  EXPECT_EQ(target("http://x:8470/v1/orgs/a%2Fb?c=d"), "/v1/orgs/a%2Fb?c=d");
  EXPECT_EQ(target("HTTPS://[::1]/"), "/?");
  EXPECT_EQ(target("http://x"), "/?");
  EXPECT_EQ(target("/a?b=http://c/d"), "/a?b=http://c/d");
  EXPECT_FALSE(ParseHead("GET / HTTP/1.1\r\n\r\n").ok());
  EXPECT_FALSE(ParseHead("GET / HTTP/1.1\r\nHost: a b\r\n\r\n").ok());
  EXPECT_FALSE(ParseHead("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n").ok());
  EXPECT_TRUE(ParseHead("GET / HTTP/1.1\r\nHost:\r\n\r\n").ok());
  EXPECT_TRUE(ParseHead("GET / HTTP/1.0\r\n\r\n").ok());
}

TEST(HeadParserTest, HeaderLinesAreCounted) {
  std::string lines;
  for (size_t i = 1; i < kHeaderLinesMax; ++i) {
    lines += "X: y\r\n";
  }
  EXPECT_TRUE(ParseHead(Head(lines)).ok());
  EXPECT_FALSE(ParseHead(Head(lines + "X: y\r\n")).ok());
}

TEST(HeadParserTest, FindsTheEndHoweverTheBytesCome) {
  const std::string text = "GET / HTTP/1.1\r\nA: b\r\n\r\nrest";
  const size_t end = text.size() - 4;
  for (size_t first = 0; first <= text.size(); ++first) {
    const auto early = FindHeadEnd(std::string_view(text).substr(0, first), 0);
    ASSERT_TRUE(early.ok()) << first;
    EXPECT_EQ(*early, first >= end ? end : 0U) << first;
    const auto late = FindHeadEnd(text, first < end ? first : 0);
    ASSERT_TRUE(late.ok()) << first;
    EXPECT_EQ(*late, end) << first;
  }
  EXPECT_FALSE(FindHeadEnd("GET / HTTP/1.1\nA: b\n\n", 0).ok());
  EXPECT_FALSE(FindHeadEnd("GET / HTTP/1.1\r\nA: b\n", 0).ok());
  EXPECT_FALSE(FindHeadEnd("GET / HTTP/1.1\rA: b", 0).ok());
}

TEST(HttpTypesTest, ReasonsNameCodesAndPartitionsOnly) {
  EXPECT_EQ(PublicReason(Error(absl::StatusCode::kUnavailable, "log_truncated",
                               "organisation acme at /var/lib: partition 3 and partition 12x of "
                               "changes, user bob, partition x")),
            "log_truncated, partition 3, partition 12");
  EXPECT_EQ(PublicReason(absl::UnavailableError("10.0.0.1:9092 refused")), "unavailable");
}

TEST(HttpTypesTest, PercentDecoding) {
  EXPECT_EQ(PercentDecode("a%2Fb%00"), std::string("a/b\0", 4));
  EXPECT_EQ(PercentDecode("%"), std::nullopt);
  EXPECT_EQ(PercentDecode("%2"), std::nullopt);
  EXPECT_EQ(PercentDecode("%zz"), std::nullopt);
}

}  // namespace
}  // namespace sluice::gateways
