#include "gateways/outbound/url.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

std::string Read(std::string_view text) {
  const auto url = Url::Parse(text);
  return url.ok() ? url->ToString() : ErrorCode(url.status());
}

TEST(UrlTest, HasOneForm) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"https://CRM.Example.org", "https://crm.example.org/"},
      {"HTTPS://a.example:443/x?", "https://a.example/x?"},
      {"http://a.example:80?q=1", "http://a.example/?q=1"},
      {"https://a.example:/x", "https://a.example/x"},
      {"https://a.example:8443/x#part", "https://a.example:8443/x"},
      {"https://[2001:DB8:0:0::1]:444/", "https://[2001:db8::1]:444/"},
      {"https://a.example/a/./b/../c/", "https://a.example/a/c/"},
      {"https://a.example/../../c/..", "https://a.example/"},
      {"https://a.example/a//b", "https://a.example/a//b"},
      // As services write them, though a URL must not hold these.
      {"https://a.example/S?$filter=n eq 'ä'&x={y}",
       "https://a.example/S?$filter=n%20eq%20'%C3%A4'&x=%7By%7D"},
      {"https://a.example/S?$select=a%2Cb", "https://a.example/S?$select=a%2Cb"},
      {"https://a_b.example/", "https://a_b.example/"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_EQ(Read(text), expected) << text;
  }
}

TEST(UrlTest, WhatCouldBeReadDifferentlyIsRefused) {
  for (const char* text : {"",
                           "crm.example.org",
                           "//crm.example.org",
                           "/x",
                           "ftp://a.example/",
                           "file:///etc/passwd",
                           "https:a.example",
                           "https:/a.example",
                           "https://",
                           "https:///x",
                           "https://user@a.example/",
                           "https://user:pass@a.example/",
                           "https://a.example@10.0.0.1/",
                           "https://a.example\\@b/",
                           "https://a.example/\r\nX: y",
                           "https://a.example/\tb",
                           "https://a.example./",
                           "https://a..example/",
                           "https://a.example:0/",
                           "https://a.example:65536/",
                           "https://a.example:8x/",
                           "https://a.example:-1/",
                           "https://127.1/",
                           "https://2130706433/",
                           "https://0x7f000001/",
                           "https://0177.0.0.1/",
                           "https://1.2.3.4.5/",
                           "https://[::1/",
                           "https://[fe80::1%25eth0]/",
                           "https://[1.2.3.4]/",
                           "https://%61.example/",
                           "https://b\xc3\xbc"
                           "cher.example/",
                           "https://a b.example/"}) {
    EXPECT_EQ(Read(text), "invalid_argument") << text;
  }
  EXPECT_EQ(Read("https://a.example/" + std::string(kUrlBytesMax, 'x')), "invalid_argument");
  EXPECT_EQ(Read("https://" + std::string(64, 'a') + ".example/"), "invalid_argument");
}

TEST(UrlTest, TheMessageKeepsTheTextToItself) {
  const auto url = Url::Parse("https://user:hunter2@a.example/");
  EXPECT_EQ(std::string(Message(url.status())).find("hunter2"), std::string::npos);
  EXPECT_EQ(Url::Parse("https://a.example/x?token=secret")->WithoutQuery(), "https://a.example/x");
}

// The examples of RFC 3986, section 5.4, as far as they are of http.
TEST(UrlTest, ResolvesReferences) {
  const auto base = Url::Parse("http://a/b/c/d;p?q");
  ASSERT_TRUE(base.ok());
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"g", "http://a/b/c/g"},
      {"./g", "http://a/b/c/g"},
      {"g/", "http://a/b/c/g/"},
      {"/g", "http://a/g"},
      {"//g", "http://g/"},
      {"?y", "http://a/b/c/d;p?y"},
      {"g?y", "http://a/b/c/g?y"},
      {"#s", "http://a/b/c/d;p?q"},
      {"g#s", "http://a/b/c/g"},
      {";x", "http://a/b/c/;x"},
      {"", "http://a/b/c/d;p?q"},
      {".", "http://a/b/c/"},
      {"..", "http://a/b/"},
      {"../g", "http://a/b/g"},
      {"../..", "http://a/"},
      {"../../../g", "http://a/g"},
      {"/./g", "http://a/g"},
      {"g.", "http://a/b/c/g."},
      {"g;x=1/../y", "http://a/b/c/y"},
      {"http://x/y", "http://x/y"},
      // As services send them: what stands before the colon is no scheme.
      {"Customers('a:b')?$skiptoken=c:d", "http://a/b/c/Customers('a:b')?$skiptoken=c:d"},
      {"Clients?%24select=ID&%24skiptoken=100",
       "http://a/b/c/Clients?%24select=ID&%24skiptoken=100"},
  };
  for (const auto& [reference, expected] : cases) {
    const auto resolved = base->Resolve(reference);
    ASSERT_TRUE(resolved.ok()) << reference << ": " << resolved.status();
    EXPECT_EQ(resolved->ToString(), expected) << reference;
  }
  EXPECT_FALSE(base->Resolve("javascript:alert(1)").ok());
  EXPECT_FALSE(base->Resolve("//user@b/").ok());
}

TEST(UrlTest, OriginIsSchemeHostAndPort) {
  const auto url = *Url::Parse("https://a.example/x");
  EXPECT_TRUE(url.SameOrigin(*Url::Parse("https://A.example:443/y")));
  EXPECT_FALSE(url.SameOrigin(*Url::Parse("http://a.example/x")));
  EXPECT_FALSE(url.SameOrigin(*Url::Parse("https://a.example:444/x")));
  EXPECT_FALSE(url.SameOrigin(*Url::Parse("https://b.a.example/x")));
}

}  // namespace
}  // namespace sluice::gateways
