#include "schemas/base/text_values.h"

#include <gmock/gmock.h>

#include "schemas/base/status.h"

namespace sluice {
namespace {

TEST(TextValuesTest, ListenAddressesNameAHostAndAPort) {
  const auto v4 = ParseListenAddress("127.0.0.1:8470");
  ASSERT_TRUE(v4.ok()) << v4.status();
  EXPECT_EQ(v4->host, "127.0.0.1");
  EXPECT_EQ(v4->port, 8470);
  const auto v6 = ParseListenAddress("[::1]:0");
  ASSERT_TRUE(v6.ok()) << v6.status();
  EXPECT_EQ(v6->host, "::1");
  EXPECT_EQ(v6->port, 0);
  EXPECT_EQ(ParseListenAddress("localhost:65535")->port, 65'535);
}

TEST(TextValuesTest, WhatIsNoListenAddressIsRefused) {
  for (const char* text :
       {"", ":", "127.0.0.1", "127.0.0.1:", ":8470", "[]:8470", "::1:8470", "127.0.0.1:65536",
        "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1:80x", "127.0.0.1: 80", "http://127.0.0.1:80"}) {
    const auto address = ParseListenAddress(text);
    EXPECT_EQ(ErrorCode(address.status()), "invalid_argument") << text;
  }
  EXPECT_THAT(Message(ParseListenAddress("8470").status()), ::testing::HasSubstr("\"8470\""));
}

}  // namespace
}  // namespace sluice
