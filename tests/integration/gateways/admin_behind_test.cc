// A process whose directory is behind what another one has decided and acknowledged: it refuses
// nothing for good of what it does not know yet.
#include <gmock/gmock.h>

#include <optional>
#include <thread>

#include "tests/integration/gateways/admin_fixture.h"
#include "tests/support/stalling_log.h"

namespace sluice::testing {
namespace {

using eventlog::Topic;
using nlohmann::json;
using ::testing::HasSubstr;

constexpr char kEntity[] = "/v1/orgs/contoso/entities/account";
constexpr char kWithNew[] =
    R"({"primary_key":"accountid","attributes":[{"name":"accountid","type":"string"},)"
    R"({"name":"name","type":"string"},{"name":"employees","type":"int32"},)"
    R"({"name":"ownerid","type":"string"},{"name":"new","type":"string"}],)"
    R"("ownership":{"user":"ownerid"}})";

// A set that names the attribute which the node behind does not know.
std::string NewLine(const std::string& id) {
  return R"({)" + (id.empty() ? "" : R"("id":")" + id + R"(",)") +
         R"("source":"crm","ops":[{"op":"upsert","entity":"account","row":)" +
         R"({"accountid":"A","new":"x"}}]})";
}

// That of a machine which was suspended for an hour since it began, as BootTimeClock has it there.
class SuspendedClock final : public Clock {
 public:
  SystemTime Now() const override { return clock_.Now(); }
  SteadyTime SteadyNow() const override { return clock_.SteadyNow() + std::chrono::hours(1); }

 private:
  RealClock clock_;
};

// Two servers on the log: a hasty and a patient one, with one directory, whose reads stop where the
// log ended when it was made. The directory goes by another clock than the servers, as in a
// process.
class AdminBehindTest : public ::testing::Test {
 protected:
  AdminBehindTest() {
    admin_.MakeOrg("contoso");
    const auto partition = admin_.log().PartitionFor(Topic::kProvisioning, "contoso");
    while (admin_.log().PartitionFor(Topic::kProvisioning, other_) != partition) {
      other_ += "x";  // the reads of another partition would go on for a while
    }
    log_ = std::make_unique<StallingLog>(admin_.log(), Topic::kProvisioning,
                                         admin_.log().Range(Topic::kProvisioning, partition)->end);
    directory_ = std::make_unique<projectors::DirectoryFollower>(*log_, clock_, nullptr);
    EXPECT_TRUE(directory_->Start().ok());
    AwaitDirectory(*directory_);
    hasty_ = Server(std::chrono::milliseconds(20), &hasty_port_);
    patient_ = Server(kAdminPatience, &patient_port_);
  }
  ~AdminBehindTest() override {
    hasty_->Stop();
    patient_->Stop();
    directory_->Stop();
  }

  httplib::Client Hasty() const { return ClientOf(hasty_port_); }
  httplib::Client Patient() const { return ClientOf(patient_port_); }
  // What another process does, and acknowledges.
  void Put(const std::string& path, const std::string& body = "{}") {
    const auto put = admin_.Client().Put(path, body, "application/json");
    ASSERT_TRUE(put && put->status / 100 == 2);
  }
  // Has the directory read on once the patient server has been asked.
  template <typename Ask>
  httplib::Result AskAndRelease(Ask ask) {
    std::optional<httplib::Result> answer;
    std::thread asking([&] { answer.emplace(ask()); });
    log_->Release();
    asking.join();
    return *std::move(answer);
  }
  // The code of each line's error, or "taken".
  static std::vector<std::string> Outcomes(const httplib::Result& result) {
    EXPECT_TRUE(result && result->status == 200);
    std::vector<std::string> outcomes;
    std::istringstream stream(result ? result->body : "");
    for (std::string line; std::getline(stream, line);) {
      const json answer = json::parse(line);
      outcomes.push_back(answer.contains("error") ? answer["error"]["code"].get<std::string>()
                                                  : "taken");
    }
    return outcomes;
  }

  AdminFixture admin_;
  SuspendedClock clock_;
  std::string other_ = "fabrikam";
  std::unique_ptr<StallingLog> log_;
  std::unique_ptr<projectors::DirectoryFollower> directory_;

 private:
  static httplib::Client ClientOf(int port) {
    httplib::Client client("127.0.0.1", port);
    client.set_read_timeout(kAdminPatience);
    client.set_default_headers({{"Authorization", "Bearer sluice.admin sluice.ingest"}});
    return client;
  }
  std::unique_ptr<gateways::AdminServer> Server(std::chrono::milliseconds patience, int* port) {
    auto server = std::make_unique<gateways::AdminServer>(
        gateways::AdminServerOptions{.listen = "127.0.0.1:0",
                                     .ingest = {.directory_patience = patience}},
        gateways::AdminServerDeps{.log = *log_,
                                  .directory = *directory_,
                                  .authenticator = authenticator_,
                                  .clock = admin_.clock(),
                                  .stores = &admin_.stores(),
                                  .remote_applied = {},
                                  .health = {},
                                  .registry = nullptr});
    *port = server->Start().value_or(0);
    return server;
  }

  ScopeAuthenticator authenticator_;
  std::unique_ptr<gateways::AdminServer> hasty_;
  std::unique_ptr<gateways::AdminServer> patient_;
  int hasty_port_ = 0;
  int patient_port_ = 0;
};

TEST_F(AdminBehindTest, WhatIsNotKnownYetIsNotSaidToBeMissing) {
  EXPECT_EQ(CodeOf(Hasty().Get("/v1/orgs/contoso/roles/r")), "role_not_found");
  Put("/v1/orgs/contoso/roles/r");
  Put("/v1/orgs/contoso/entities/item", kAccount);
  const std::string other = "/v1/orgs/" + other_;
  Put(other);
  for (const std::string& path : std::vector<std::string>{
           "/v1/orgs/contoso/roles/r", "/v1/orgs/contoso/entities/item",
           "/v1/orgs/contoso/profiles/nobody", other, other + "/entities", other + "/roles/r"}) {
    const auto answer = Hasty().Get(path);
    EXPECT_EQ(CodeOf(answer), "not_caught_up") << path;
    EXPECT_EQ(answer->status, 503) << path;
  }
  EXPECT_EQ(Hasty().Get(kEntity)->status, 200);
  EXPECT_EQ(AskAndRelease([&] { return Patient().Get("/v1/orgs/contoso/roles/r"); })->status, 200);
  EXPECT_EQ(Patient().Get("/v1/orgs/contoso/entities/item")->status, 200);
  EXPECT_EQ(CodeOf(Patient().Get("/v1/orgs/contoso/profiles/nobody")), "profile_not_found");
  EXPECT_EQ(Patient().Get(other)->status, 200);
}

TEST_F(AdminBehindTest, SetsForAnOrganisationThatIsNotKnownYetAreNotRefusedForGood) {
  admin_.MakeOrg(other_);
  const std::string changes = "/v1/orgs/" + other_ + "/changes";
  for (const char* type : {kLines, "application/json"}) {
    const auto answer = Hasty().Post(changes, SetLine("1", "A"), type);
    EXPECT_EQ(CodeOf(answer), "not_caught_up") << type;
    EXPECT_EQ(answer->status, 503) << type;
  }
  const auto taken =
      AskAndRelease([&] { return Patient().Post(changes, SetLine("1", "A"), kLines); });
  EXPECT_THAT(Outcomes(taken), ::testing::ElementsAre("taken"));
  EXPECT_EQ(Patient().Post(changes, SetLine("2", "A"), "application/json")->status, 200);
  EXPECT_EQ(CodeOf(Patient().Post("/v1/orgs/nobody/changes", SetLine("1", "A"), kLines)),
            "org_not_found");
}

TEST_F(AdminBehindTest, SetsThatFitDefinitionsOfNowAreTakenInTheirOrder) {
  Put(kEntity, kWithNew);
  const std::string body = NewLine("new") + "\n" + NewLine("") + "\n" + SetLine("old", "A") + "\n" +
                           R"({"id":"odd","ops":[{"op":"turn","entity":"account"}]})" + "\n";
  // Nobody can tell yet, of sets without an id neither; what fits what is known is taken.
  EXPECT_THAT(
      Outcomes(Hasty().Post(kChanges, body, kLines)),
      ::testing::ElementsAre("not_caught_up", "not_caught_up", "taken", "invalid_argument"));
  EXPECT_THAT(
      Outcomes(Hasty().Post(std::string(kChanges) + "?stop_on=unavailable",
                            SetLine("0", "A") + "\n" + body, kLines)),
      ::testing::ElementsAre("taken", "not_caught_up", "not_tried", "not_tried", "not_tried"));
  const std::string again = NewLine("new") + "\n" + NewLine("") + "\n" + SetLine("behind", "A");
  const auto taken = AskAndRelease([&] { return Patient().Post(kChanges, again, kLines); });
  EXPECT_THAT(Outcomes(taken), ::testing::ElementsAre("taken", "taken", "taken"));
  int64_t last = -1;
  std::istringstream lines(taken->body);
  for (std::string line; std::getline(lines, line);) {
    const int64_t position = std::stoll(json::parse(line)["position"].get<std::string>());
    EXPECT_GT(position, last) << taken->body;
    last = position;
  }
}

TEST_F(AdminBehindTest, WhatFitsNoDefinitionsOfNowIsRefusedForGood) {
  log_->Release();
  EXPECT_THAT(Outcomes(Patient().Post(kChanges, NewLine("1") + "\n" + NewLine(""), kLines)),
              ::testing::ElementsAre("unknown_attribute", "unknown_attribute"));
  const auto told = Hasty().Post(kChanges, NewLine("2"), "application/json");
  EXPECT_THAT(told->body, HasSubstr("unknown_attribute"));
}

// A set that was taken is recognised also where nobody can tell what is defined now.
TEST_F(AdminBehindTest, ASetSentAgainIsKnownWhateverTheDirectoryLacks) {
  Put(kEntity, kWithNew);
  const auto first =
      admin_.Client().Post(std::string(kChanges) + "?wait=30s", NewLine("1"), kLines);
  ASSERT_EQ(first->status, 200);
  EXPECT_EQ(Hasty().Post(kChanges, NewLine("1"), kLines)->body, first->body);
}

}  // namespace
}  // namespace sluice::testing
