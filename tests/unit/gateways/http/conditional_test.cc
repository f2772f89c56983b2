#include "gateways/http/conditional.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice::gateways {
namespace {

// Of a request with these lines If-None-Match.
bool IsNotModified(const std::vector<std::string>& held, const std::string& etag) {
  HttpHead head;
  for (const std::string& line : held) {
    head.headers.emplace_back("if-none-match", line);
  }
  return NotModified(head, etag);
}

TEST(ConditionalTest, OneOfAListOfTagsIsEnough) {
  const std::string etag = "\"1-a\"";
  for (const std::string held :
       {"\"1-a\"", "\"0\", \"1-a\"", "\"1-a\",\"0\"", " ,, \"0\"\t, \"1-a\" ,", "*", " * ",
        "\"a,b\",\"1-a\"", "\"\", \"1-a\""}) {
    EXPECT_TRUE(IsNotModified({held}, etag)) << held;
  }
  EXPECT_TRUE(IsNotModified({"\"0\"", "\"1-a\""}, etag)) << "several lines are one list";
  for (const std::string held : {"", "\"0\"", "1-a", "\"1-a", "1-a\"", "\"11-a\"", "\"1-a,\"",
                                 "\"0,\"1-a\",0\"", "\"*\"", "\"0\", *"}) {
    EXPECT_FALSE(IsNotModified({held}, etag)) << held;
  }
  EXPECT_FALSE(IsNotModified({}, etag));
}

// RFC 9110, section 13.1.2: a cache may have made a tag weak, as it does when it compresses.
TEST(ConditionalTest, WeakTagsMatch) {
  EXPECT_TRUE(IsNotModified({"W/\"1\""}, "\"1\""));
  EXPECT_TRUE(IsNotModified({"\"0\", W/\"1\""}, "\"1\""));
  EXPECT_TRUE(IsNotModified({"\"1\""}, "W/\"1\""));
  EXPECT_FALSE(IsNotModified({"w/\"1\""}, "\"1\"")) << "the mark is a capital";
  EXPECT_FALSE(IsNotModified({"W/\"0\""}, "\"1\""));
}

TEST(ConditionalTest, WhatHasNoTagIsAlwaysSent) {
  EXPECT_FALSE(IsNotModified({"*"}, ""));
  EXPECT_FALSE(IsNotModified({"\"\""}, ""));
  HttpResponse response;
  AddEtag("", response);
  EXPECT_TRUE(response.headers.empty());
  AddEtag("\"1\"", response);
  ASSERT_EQ(response.headers.size(), 1U);
  EXPECT_EQ(response.headers[0].first, "ETag");
  EXPECT_EQ(response.headers[0].second, "\"1\"");
}

}  // namespace
}  // namespace sluice::gateways
