#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "gateways/auth/authenticator.h"
#include "gateways/sync/sync_server.h"
#include "schemas/base/status.h"
#include "tests/support/change_events.h"
#include "tests/support/gateways/fold_stores.h"
#include "tests/support/gateways/http_socket.h"

namespace sluice::gateways {

// Takes "Bearer {json}" for the token with those claims.
class JsonAuthenticator final : public Authenticator {
 public:
  absl::StatusOr<std::shared_ptr<const Principal>> Authenticate(std::string_view header) override {
    if (!header.starts_with("Bearer {")) {
      return Error(absl::StatusCode::kUnauthenticated, "token_missing", "give a token");
    }
    const nlohmann::json claims = nlohmann::json::parse(header.substr(7));
    auto principal = std::make_shared<Principal>();
    principal->subject = claims.value("sub", "");
    principal->org = claims.value("org", "contoso");
    principal->roles = claims.value("roles", std::vector<std::string>{"field"});
    principal->teams = claims.value("teams", std::vector<std::string>{});
    principal->scopes = claims.value("scopes", 8U);
    principal->expires =
        RealClock().Now() + std::chrono::milliseconds(claims.value("ms", int64_t{3'600'000}));
    principal->good_until = principal->expires;
    return principal;
  }
  std::optional<absl::StatusOr<std::shared_ptr<const Principal>>> TryAuthenticate(
      std::string_view header) override {
    if (header.find("slow") != std::string_view::npos && !fetched_) {
      return std::nullopt;  // as when a key has to be fetched
    }
    return Authenticate(header);
  }
  void FetchKeys() override { fetched_ = true; }
  uint64_t KeyFetches() const override { return fetched_ ? 1 : 0; }
  absl::Status Ready() const override { return absl::OkStatus(); }

 private:
  std::atomic<bool> fetched_{false};
};

// The server over the real fold, with one organisation `contoso` whose entity `account` is given to
// owners and teams.
class SyncTest : public ::testing::Test {
 protected:
  using json = nlohmann::json;

  SyncTest() {
    Define("contoso");
    options_.port = 0;
    options_.log_id = "log-1";
    options_.threads = 2;
    options_.store_threads = 2;
    options_.access_log = false;
    options_.stop_grace = std::chrono::milliseconds(2'000);
  }
  ~SyncTest() override {
    if (server_ != nullptr) {
      server_->Stop();
    }
  }

  void Start() {
    server_ = std::make_unique<SyncServer>(options_, stores_, authenticator_, clock_);
    const absl::StatusOr<uint16_t> port = server_->Start();
    ASSERT_TRUE(port.ok()) << port.status();
    port_ = *port;
  }

  void Define(const std::string& org, uint32_t incarnation = 1) {
    using sluice::testing::DefineProfile;
    stores_.Add(org, sluice::testing::OpenOrg(incarnation));
    stores_.Add(org, sluice::testing::DefineEntity(
                         1, "account", {{1, "id"}, {2, "name"}, {3, "owner"}, {4, "team"}}, 3, 4));
    stores_.Add(org, sluice::testing::DefineRole("field", true, {"account"}));
    stores_.Add(org, sluice::testing::DefineRole("office", false, {"account"}));
    stores_.Add(org, DefineProfile("p", {{"account", {v1::RULE_KIND_USER, v1::RULE_KIND_TEAM}}},
                                   {"field"}));
  }

  Offset Put(const std::string& key, const std::string& name, const std::string& owner,
             const std::string& team = "", const std::string& org = "contoso") {
    sluice::testing::RowWriter row;
    row.Text(1, key).Text(2, name).Text(3, owner);
    if (!team.empty()) {
      row.Text(4, team);
    }
    return stores_.Add(org,
                       sluice::testing::MakeSet({sluice::testing::Upsert(1, key, row.bytes())}));
  }
  Offset Delete(const std::string& key) {
    return stores_.Add("contoso", sluice::testing::MakeSet({sluice::testing::Delete(1, key)}));
  }

  static std::string Token(const json& claims) {
    return "Authorization: Bearer " + claims.dump() + "\r\n";
  }
  inline static const json kAnn = {{"sub", "ann"}};

  sluice::testing::HttpReply Get(const std::string& target, const json& claims = kAnn) {
    sluice::testing::HttpSocket socket(port_);
    socket.Request("GET", target, Token(claims));
    return socket.Read();
  }
  json Delta(const std::string& query, const json& claims = kAnn) {
    const sluice::testing::HttpReply reply = Get("/v1/orgs/contoso/delta?" + query, claims);
    EXPECT_EQ(reply.status, 200) << reply.body;
    return json::parse(reply.body);
  }
  static std::string Code(const sluice::testing::HttpReply& reply) {
    EXPECT_EQ(reply.headers.at("content-type"), "application/problem+json");
    return json::parse(reply.body)["code"];
  }

  RealClock clock_;
  sluice::testing::FoldStores stores_;
  JsonAuthenticator authenticator_;
  SyncOptions options_;
  std::unique_ptr<SyncServer> server_;
  int port_ = 0;
};

}  // namespace sluice::gateways
