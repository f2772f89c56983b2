#include "gateways/outbound/address_rule.h"

#include <gtest/gtest.h>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

AddressRule Rule(const std::vector<std::string>& hosts = {},
                 const std::vector<std::string>& networks = {}) {
  auto rule = AddressRule::Create(hosts, networks);
  EXPECT_TRUE(rule.ok()) << rule.status();
  return *std::move(rule);
}

std::string Check(const AddressRule& rule, std::string_view url) {
  const absl::Status status = rule.CheckUrl(*Url::Parse(url));
  return status.ok() ? "ok" : ErrorCode(status);
}

constexpr char kNo[] = "source_not_allowed";

TEST(AddressRuleTest, PublicAddressesAreAllowed) {
  for (const char* address : {"93.184.216.34", "8.8.8.8", "172.15.255.255", "172.32.0.1",
                              "100.128.0.1", "2606:4700::1111", "2a00:1450:4001::200e"}) {
    EXPECT_TRUE(Rule().CheckAddress(address).ok()) << address;
  }
}

TEST(AddressRuleTest, SpecialAddressesAreNot) {
  for (const char* address : {"0.0.0.0",
                              "10.0.0.1",
                              "100.64.0.1",
                              "100.127.255.255",
                              "127.0.0.1",
                              "127.255.255.254",
                              "172.16.0.1",
                              "172.31.255.255",
                              "192.0.0.192",
                              "192.0.2.1",
                              "192.88.99.1",
                              "192.168.1.1",
                              "198.18.0.1",
                              "198.51.100.1",
                              "203.0.113.1",
                              "224.0.0.1",
                              "240.0.0.1",
                              "255.255.255.255",
                              "::",
                              "::1",
                              "fc00::1",
                              "fd00:ec2::254",
                              "fe80::1",
                              "ff02::1",
                              "2001:db8::1",
                              "2001::1",
                              "2002:0a00:0001::1",
                              "3fff::1",
                              "100::1",
                              "64:ff9b:1::1",
                              "4000::1",
                              "",
                              "localhost",
                              "10.0.0.1%eth0"}) {
    EXPECT_EQ(ErrorCode(Rule().CheckAddress(address)), kNo) << address;
  }
}

TEST(AddressRuleTest, Metadata) {
  // Where clouds tell an instance its credentials, and what they keep for themselves.
  for (const char* address :
       {"169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "fd00:ec2::254"}) {
    EXPECT_EQ(ErrorCode(Rule().CheckAddress(address)), kNo) << address;
  }
}

TEST(AddressRuleTest, V4Mapped) {
  EXPECT_EQ(ErrorCode(Rule().CheckAddress("::ffff:10.0.0.1")), kNo);
  EXPECT_EQ(ErrorCode(Rule().CheckAddress("::ffff:7f00:1")), kNo);
  EXPECT_TRUE(Rule().CheckAddress("::ffff:8.8.8.8").ok());
  EXPECT_EQ(ErrorCode(Rule().CheckAddress("::10.0.0.1")), kNo) << "compatible, not mapped";
  EXPECT_TRUE(Rule({}, {"10.0.0.0/8"}).CheckAddress("::ffff:10.0.0.1").ok());
}

TEST(AddressRuleTest, Nat64) {
  EXPECT_EQ(ErrorCode(Rule().CheckAddress("64:ff9b::10.0.0.1")), kNo);
  EXPECT_EQ(ErrorCode(Rule().CheckAddress("64:ff9b::a9fe:a9fe")), kNo);
  EXPECT_TRUE(Rule().CheckAddress("64:ff9b::8.8.8.8").ok());
}

TEST(AddressRuleTest, PrivateNetworksThatAreConfigured) {
  const AddressRule rule = Rule({}, {"10.1.0.0/16", "127.0.0.1", "fd00::/8"});
  EXPECT_TRUE(rule.CheckAddress("10.1.255.255").ok());
  EXPECT_TRUE(rule.CheckAddress("fd12::1").ok());
  const AddressRule narrow = Rule({}, {"10.1.0.0/17", "127.0.0.1"});
  EXPECT_TRUE(narrow.CheckAddress("10.1.127.255").ok());
  EXPECT_FALSE(narrow.CheckAddress("10.1.128.0").ok());
  EXPECT_TRUE(narrow.CheckAddress("127.0.0.1").ok());
  EXPECT_FALSE(narrow.CheckAddress("127.0.0.2").ok());
  EXPECT_FALSE(narrow.CheckAddress("::1").ok());
}

TEST(AddressRuleTest, Hosts) {
  const AddressRule rule = Rule({"CRM.example.org", "*.api.example.org", "plain.example"});
  EXPECT_EQ(Check(rule, "https://crm.example.org/x"), "ok");
  EXPECT_EQ(Check(rule, "https://a.api.example.org/"), "ok");
  EXPECT_EQ(Check(rule, "https://a.b.api.example.org/"), "ok");
  EXPECT_EQ(Check(rule, "https://api.example.org/"), kNo);
  EXPECT_EQ(Check(rule, "https://evilapi.example.org/"), kNo);
  EXPECT_EQ(Check(rule, "https://crm.example.org.evil.example/"), kNo);
  EXPECT_EQ(Check(rule, "http://plain.example/"), "ok");
  EXPECT_EQ(Check(Rule(), "https://any.example/"), "ok");
  EXPECT_EQ(Check(Rule(), "http://any.example/"), kNo) << "plain http is for listed hosts";
}

TEST(AddressRuleTest, PortsAndAddressesInUrls) {
  for (const char* url : {"https://a.example:80/", "https://a.example:1024/", "https://8.8.8.8/",
                          "https://a.example:65535/"}) {
    EXPECT_EQ(Check(Rule(), url), "ok") << url;
  }
  for (const char* url :
       {"https://a.example:22/", "https://a.example:25/", "https://a.example:1023/",
        "https://169.254.169.254/latest", "https://[::1]/", "https://[::ffff:127.0.0.1]/",
        "https://10.0.0.1:8443/"}) {
    EXPECT_EQ(Check(Rule(), url), kNo) << url;
  }
  // Listing a host says nothing about its address.
  EXPECT_EQ(Check(Rule({"10.0.0.1"}), "https://10.0.0.1/"), kNo);
  EXPECT_EQ(Check(Rule({"10.0.0.1", "::1"}, {"10.0.0.1", "::1"}), "http://10.0.0.1/"), "ok");
  EXPECT_EQ(Check(Rule({"10.0.0.1", "::1"}, {"10.0.0.1", "::1"}), "http://[::1]:8080/"), "ok");
}

TEST(AddressRuleTest, EntriesThatAreNone) {
  for (const char* host :
       {"", "*", "https://a.example", "a.example:443", "a.example/x", "*.*.x y"}) {
    EXPECT_EQ(ErrorCode(AddressRule::Create({host}, {}).status()), "invalid_argument") << host;
  }
  for (const char* network : {"", "10", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::/129", "a"}) {
    EXPECT_EQ(ErrorCode(AddressRule::Create({}, {network}).status()), "invalid_argument")
        << network;
  }
}

}  // namespace
}  // namespace sluice::gateways
