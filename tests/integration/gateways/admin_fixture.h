#pragma once

#include <gtest/gtest.h>
#include <httplib.h>
#include <prometheus/registry.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "eventlog/embedded/embedded_log.h"
#include "eventlog/static_partition_group.h"
#include "gateways/admin/admin_server.h"
#include "gateways/auth/authenticator.h"
#include "projectors/provisioning/provisioning.h"
#include "schemas/base/status.h"
#include "tests/integration/gateways/applied_stores.h"
#include "tests/support/temp_dir.h"

namespace sluice::testing {

inline constexpr char kLines[] = "application/x-ndjson";
inline constexpr char kChanges[] = "/v1/orgs/contoso/changes";

// Tokens are "Bearer <scope> <scope> [ms=<lifetime>] [org=<org>]": what tokens are is tested with
// the authenticator.
class ScopeAuthenticator final : public gateways::Authenticator {
 public:
  absl::StatusOr<std::shared_ptr<const gateways::Principal>> Authenticate(
      std::string_view header) override {
    if (!header.starts_with("Bearer ")) {
      return Error(absl::StatusCode::kUnauthenticated, "token_missing", "no token");
    }
    auto principal = std::make_shared<gateways::Principal>();
    principal->subject = "tester";
    principal->issuer = "tests";
    if (const size_t org = header.find("org="); org != std::string_view::npos) {
      principal->org = header.substr(org + 4);
    }
    if (const size_t ms = header.find("ms="); ms != std::string_view::npos) {
      principal->good_until =
          RealClock().Now() +
          std::chrono::milliseconds(std::atoi(std::string(header.substr(ms + 3)).c_str()));
    }
    for (const gateways::Scope scope :
         {gateways::Scope::kAdmin, gateways::Scope::kIngest, gateways::Scope::kAudit,
          gateways::Scope::kSync, gateways::Scope::kMetrics}) {
      if (header.find(gateways::ScopeName(scope)) != std::string_view::npos) {
        principal->scopes |= static_cast<uint32_t>(scope);
      }
    }
    if (principal->scopes == 0) {
      return Error(absl::StatusCode::kUnauthenticated, "token_invalid", "bad token");
    }
    return principal;
  }
  std::optional<absl::StatusOr<std::shared_ptr<const gateways::Principal>>> TryAuthenticate(
      std::string_view header) override {
    return Authenticate(header);
  }
  absl::Status Ready() const override { return absl::OkStatus(); }
};

// Longer than anything takes that succeeds; no test waits for it to pass.
inline constexpr std::chrono::seconds kAdminPatience{60};

// Returns when the directory has read what was there at its start.
inline void AwaitDirectory(const projectors::DirectoryFollower& directory) {
  const auto deadline = std::chrono::steady_clock::now() + kAdminPatience;
  while (!directory.Health().ok()) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << directory.Health();
    std::this_thread::yield();
  }
}

// An admin server with everything behind it, on the embedded log.
class AdminFixture {
 public:
  // `change` may alter what the server works with.
  explicit AdminFixture(gateways::AdminServerOptions options = {},
                        const std::function<void(gateways::AdminServerDeps&)>& change = {},
                        gateways::Authenticator* authenticator = nullptr)
      : log_(*eventlog::EmbeddedLog::Open({.path = dir_ / "log", .partitions = 2})),
        registry_(std::make_shared<prometheus::Registry>()),
        group_(2),
        directory_(*log_, clock_, registry_, Hooks()),
        stores_(*log_),
        projector_(
            *log_, group_, clock_, [this](const OrgId& org) { return stores_.AppliedOf(org); },
            registry_) {
    options.listen = "127.0.0.1:0";
    gateways::AdminServerDeps deps{
        .log = *log_,
        .directory = directory_,
        .authenticator = authenticator != nullptr ? *authenticator : authenticator_,
        .clock = clock_,
        .stores = &stores_,
        .remote_applied = {},
        .health = {{"custom", [this] { return health_; }}},
        .registry = registry_};
    if (change) {
      change(deps);
    }
    server_ = std::make_unique<gateways::AdminServer>(std::move(options), deps);
    if (!directory_.Start().ok() || !projector_.Start().ok()) {
      std::abort();
    }
    AwaitDirectory(directory_);  // until then the server answers 503 not_ready
    port_ = server_->Start().value_or(0);
  }
  ~AdminFixture() {
    server_->Stop();
    projector_.Stop();
    directory_.Stop();
  }

  httplib::Client Client(const std::string& scopes = "sluice.admin sluice.ingest") {
    httplib::Client client("127.0.0.1", port_);
    client.set_keep_alive(true);
    client.set_tcp_nodelay(true);
    client.set_read_timeout(kAdminPatience);  // longer than any wait= of a test
    if (!scopes.empty()) {
      client.set_default_headers({{"Authorization", "Bearer " + scopes}});
    }
    return client;
  }

  // An organisation with the entity account(accountid, name, employees int32, ownerid), applied.
  void MakeOrg(const std::string& org);

  int port() const { return port_; }
  eventlog::Log& log() { return *log_; }
  projectors::DirectoryFollower& directory() { return directory_; }
  const Clock& clock() const { return clock_; }
  AppliedStores& stores() { return stores_; }
  gateways::AdminServer& server() { return *server_; }
  void set_health(absl::Status health) { health_ = std::move(health); }
  // Of all partitions, as another part of the process would find it.
  void set_history_lost(bool lost) { history_lost_ = lost; }

 private:
  projectors::DirectoryFollower::Hooks Hooks() {
    projectors::DirectoryFollower::Hooks hooks;
    hooks.may_append = [this](PartitionId) {
      return history_lost_
                 ? Error(absl::StatusCode::kUnavailable, "log_truncated", "its end is lost")
                 : absl::OkStatus();
    };
    return hooks;
  }

  const TempDir dir_;
  const RealClock clock_;
  std::unique_ptr<eventlog::EmbeddedLog> log_;
  std::shared_ptr<prometheus::Registry> registry_;
  eventlog::StaticPartitionGroup group_;
  projectors::DirectoryFollower directory_;
  AppliedStores stores_;
  projectors::ProvisioningProjector projector_;
  ScopeAuthenticator authenticator_;
  absl::Status health_;
  std::atomic<bool> history_lost_{false};
  std::unique_ptr<gateways::AdminServer> server_;
  int port_ = 0;
};

inline constexpr char kAccount[] =
    R"({"primary_key":"accountid","attributes":[{"name":"accountid","type":"string"},)"
    R"({"name":"name","type":"string"},{"name":"employees","type":"int32"},)"
    R"({"name":"ownerid","type":"string"}],"ownership":{"user":"ownerid"}})";

inline void AdminFixture::MakeOrg(const std::string& org) {
  auto client = Client();
  const auto put = [&](const std::string& path, const std::string& body) {
    const auto result = client.Put(path + "?wait=30s", body, "application/json");
    ASSERT_TRUE(result) << httplib::to_string(result.error());
    ASSERT_EQ(result->status, 200) << path << ": " << result->body;
  };
  put("/v1/orgs/" + org, R"({"display_name":"Contoso"})");
  put("/v1/orgs/" + org + "/entities/account", kAccount);
}

// {"id":..., "ops":[upsert of account `key`]}
inline std::string SetLine(const std::string& id, const std::string& key) {
  return R"({"id":")" + id + R"(","source":"crm","ops":[{"op":"upsert","entity":"account","row":)" +
         R"({"accountid":")" + key + R"(","name":"n"}}]})";
}

inline std::string CodeOf(const httplib::Result& result) {
  if (!result) {
    return "no answer";
  }
  const auto json = nlohmann::json::parse(result->body, nullptr, false);
  return json.is_object() ? json.value("code", "") : "";
}

}  // namespace sluice::testing
