// Change sets that were taken under definitions of then, sent again to a process that does not know
// them: another node, one without stores, or the same after a start.
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "tests/integration/gateways/admin_fixture.h"

namespace sluice::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kWithGone[] =
    R"({"primary_key":"accountid","attributes":[{"name":"accountid","type":"string"},)"
    R"({"name":"name","type":"string"},{"name":"employees","type":"int32"},)"
    R"({"name":"ownerid","type":"string"},{"name":"gone","type":"string"}],)"
    R"("ownership":{"user":"ownerid"}})";

// A set that names the attribute which is removed later.
std::string GoneLine(const std::string& id) {
  return R"({"id":")" + id + R"(","source":"crm","ops":[{"op":"upsert","entity":"account","row":)" +
         R"({"accountid":"A","gone":"x"}}]})";
}

absl::Status ServedElsewhere() {
  return Error(absl::StatusCode::kUnavailable, "not_served_here", "another node serves it");
}

// Another process on the same log: it remembers nothing of what the first one took.
class Node {
 public:
  Node(AdminFixture& admin, projectors::StoreReader* stores,
       const std::function<void(gateways::AdminServerDeps&)>& change = {},
       gateways::AdminServerOptions options = {}) {
    options.listen = "127.0.0.1:0";
    gateways::AdminServerDeps deps{.log = admin.log(),
                                   .directory = admin.directory(),
                                   .authenticator = authenticator_,
                                   .clock = admin.clock(),
                                   .stores = stores,
                                   .remote_applied = {},
                                   .health = {},
                                   .registry = nullptr};
    if (change) {
      change(deps);
    }
    server_ = std::make_unique<gateways::AdminServer>(std::move(options), std::move(deps));
    port_ = server_->Start().value_or(0);
  }
  ~Node() { server_->Stop(); }

  std::string query;
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

  httplib::Result Send(const std::string& body, const char* type = kLines,
                       httplib::Headers headers = {}) const {
    httplib::Client client("127.0.0.1", port_);
    client.set_read_timeout(kAdminPatience);
    headers.emplace("Authorization", "Bearer sluice.ingest");
    return client.Post(kChanges + query, headers, body, type);
  }
  // Each line's answer.
  std::vector<json> Post(const std::string& body, httplib::Headers headers = {}) const {
    const auto result = Send(body, kLines, std::move(headers));
    EXPECT_TRUE(result && result->status == 200);
    std::vector<json> lines;
    std::istringstream stream(result ? result->body : "");
    for (std::string line; std::getline(stream, line);) {
      lines.push_back(json::parse(line));
    }
    return lines;
  }
  // The first answer's position, or its error's code.
  std::string Outcome(const std::string& body, httplib::Headers headers = {}) const {
    const auto answers = Post(body, std::move(headers));
    if (answers.empty()) {
      return "no answer";
    }
    return answers[0].contains("error") ? answers[0]["error"]["code"].get<std::string>()
                                        : answers[0]["position"].get<std::string>();
  }

 private:
  ScopeAuthenticator authenticator_;
  std::unique_ptr<gateways::AdminServer> server_;
  int port_ = 0;
};

class AdminSentAgainTest : public ::testing::Test {
 protected:
  AdminSentAgainTest() {
    admin_.MakeOrg("contoso");
    Define(kWithGone, "?wait=30s");
  }

  void Define(const std::string& entity, const std::string& query = "") {
    const auto put = admin_.Client().Put("/v1/orgs/contoso/entities/account" + query, entity,
                                         "application/json");
    ASSERT_TRUE(put && put->status == 200);
  }
  // Has the set taken under the definitions of now, and returns its position.
  std::string Take(const std::string& line, const std::string& query = "?wait=30s") {
    const auto result = admin_.Client().Post(kChanges + query, line, kLines);
    EXPECT_TRUE(result && result->status == 200);
    return result ? json::parse(result->body).value("position", "none") : "none";
  }
  // A node that names `at` as the one that serves the organisation.
  std::function<void(gateways::AdminServerDeps&)> Elsewhere(const std::string& at) {
    return [at](gateways::AdminServerDeps& deps) {
      deps.may_serve = [](const OrgId&) { return ServedElsewhere(); };
      deps.served_at = [at](const OrgId&) { return std::make_optional(at); };
      deps.relay_to = deps.served_at;
    };
  }
  std::string admin_url() const { return "http://127.0.0.1:" + std::to_string(admin_.port()); }

  AdminFixture admin_;
};

TEST_F(AdminSentAgainTest, WithoutAStoreTheLastWordIsNotSpoken) {
  const std::string position = Take(GoneLine("s1"));
  Define(kAccount);
  const Node bare(admin_, nullptr);
  const auto answers = bare.Post(GoneLine("s1") + "\n" + GoneLine("never"));
  ASSERT_EQ(answers.size(), 2U);
  for (const json& answer : answers) {
    EXPECT_EQ(answer["error"]["status"], 503);
    EXPECT_EQ(answer["error"]["code"], "not_served_here");
    // A human is told all the same what does not fit.
    EXPECT_THAT(answer["error"]["detail"].get<std::string>(), HasSubstr("unknown_attribute"));
    EXPECT_THAT(answer["error"]["detail"].get<std::string>(), HasSubstr("gone"));
  }
  EXPECT_EQ(bare.Outcome(R"({"source":"crm","ops":[{"op":"upsert","entity":"account","row":)"
                         R"({"accountid":"A","gone":"x"}}]})"),
            "unknown_attribute");  // without an id it can't have been sent before
  EXPECT_EQ(bare.Outcome(R"({"id":"s9","ops":[{"op":"turn","entity":"account"}]})"),
            "invalid_argument");  // which no definitions ever allowed
  EXPECT_EQ(bare.Outcome(R"({"id":"s8","ops":[{"op":"delete","entity":"former","key":"A"}]})"),
            "not_served_here");
  // The one that has the store does know.
  const Node knows(admin_, &admin_.stores());
  EXPECT_EQ(knows.Outcome(GoneLine("s1")), position);
  EXPECT_EQ(knows.Outcome(GoneLine("never")), "unknown_attribute");
}

TEST_F(AdminSentAgainTest, AStoreThatWentToAnotherNodeSaysNothingOfWhatItLacks) {
  const Node frozen(admin_, &admin_.stores(), [](gateways::AdminServerDeps& deps) {
    deps.may_serve = [](const OrgId&) { return ServedElsewhere(); };
  });
  const std::string position = Take(GoneLine("s1"));
  Define(kAccount);
  EXPECT_EQ(frozen.Outcome(GoneLine("never")), "not_served_here");
  EXPECT_EQ(frozen.Outcome(GoneLine("s1")), position);  // what it has was taken
}

TEST_F(AdminSentAgainTest, TheNodeThatServesItIsAsked) {
  const std::string position = Take(GoneLine("s1"));
  Define(kAccount, "?wait=30s");
  const Node bare(admin_, nullptr, Elsewhere(admin_url() + "/"));
  const auto answers =
      bare.Post(SetLine("good-1", "A") + "\n" + GoneLine("s1") + "\n" + SetLine("good-2", "A") +
                "\n" + GoneLine("never") + "\n" + SetLine("good-3", "A"));
  ASSERT_EQ(answers.size(), 5U);
  EXPECT_EQ(answers[0]["id"], "good-1");
  EXPECT_EQ(answers[1]["id"], "s1");
  EXPECT_EQ(answers[1].value("position", ""), position);
  EXPECT_EQ(answers[3]["id"], "never");
  EXPECT_EQ(answers[3]["error"]["code"], "unknown_attribute");
  EXPECT_EQ(answers[3]["error"]["status"], 400);
  for (const int good : {0, 2, 4}) {
    EXPECT_TRUE(answers[good].contains("position")) << answers[good];
  }
}

TEST_F(AdminSentAgainTest, WhatWasTakenBeforeIsNoRefusalAtWhichARequestStops) {
  const std::string position = Take(GoneLine("s1"));
  Define(kAccount, "?wait=30s");
  Node bare(admin_, nullptr, Elsewhere(admin_url()));
  bare.query = "?stop_on=error";
  const auto answers = bare.Post(GoneLine("s1") + "\n" + SetLine("good", "A") + "\n" +
                                 GoneLine("never") + "\n" + SetLine("behind", "A"));
  ASSERT_EQ(answers.size(), 4U);
  EXPECT_EQ(answers[0].value("position", ""), position);
  EXPECT_TRUE(answers[1].contains("position")) << answers[1];
  EXPECT_EQ(answers[2]["error"]["code"], "unknown_attribute");
  EXPECT_EQ(answers[3]["error"]["code"], "not_tried");
}

TEST_F(AdminSentAgainTest, SetsOfAJsonArrayAreAskedForToo) {
  const std::string position = Take(GoneLine("s1"));
  Define(kAccount, "?wait=30s");
  const Node bare(admin_, nullptr, Elsewhere(admin_url()));
  const std::string pretty = json::parse(GoneLine("s1")).dump(2);
  ASSERT_THAT(pretty, HasSubstr("\n"));
  const auto result = bare.Send("[" + pretty + "," + pretty + "]", "application/json");
  ASSERT_TRUE(result);
  const json answers = json::parse(result->body);
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[0].value("position", ""), position);
  EXPECT_EQ(answers[1].value("position", ""), position);
}

TEST_F(AdminSentAgainTest, ManyAreAskedForInPartsAndAnsweredInOrder) {
  std::string body;
  constexpr int kSets = 2'500;
  for (int i = 0; i < kSets; ++i) {
    body += GoneLine(std::to_string(i)) + "\n";
  }
  const auto first = admin_.Client().Post(std::string(kChanges) + "?wait=30s", body, kLines);
  ASSERT_TRUE(first && first->status == 200);
  Define(kAccount, "?wait=30s");
  const Node bare(admin_, nullptr, Elsewhere(admin_url()));
  const auto again = bare.Send(body);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->body, first->body);
}

TEST_F(AdminSentAgainTest, WhatWasRelayedIsNotRelayedAgain) {
  Take(GoneLine("s1"));
  Define(kAccount);
  std::string second_url;
  const Node first(admin_, nullptr, [&](gateways::AdminServerDeps& deps) {
    deps.served_at = [&](const OrgId&) { return std::make_optional(second_url); };
    deps.relay_to = deps.served_at;
  });
  std::atomic<int> asked{0};
  const Node second(admin_, nullptr, [&](gateways::AdminServerDeps& deps) {
    deps.served_at = [&](const OrgId&) {
      ++asked;
      return std::make_optional(first.url());
    };
    deps.relay_to = [&](const OrgId&) { return std::make_optional(first.url()); };
  });
  second_url = second.url();
  const auto answers = first.Post(GoneLine("s1"));
  EXPECT_EQ(answers.at(0)["error"]["code"], "not_served_here");
  EXPECT_EQ(asked, 1);
  // Nor what says that it was: the answer names the node that knows.
  const auto told = first.Post(GoneLine("s1"), {{"Sluice-Relayed", "1"}});
  EXPECT_EQ(told.at(0)["error"]["code"], "not_served_here");
  EXPECT_THAT(told.at(0)["error"]["detail"].get<std::string>(), HasSubstr(second_url));
  EXPECT_EQ(asked, 1);
}

TEST_F(AdminSentAgainTest, ANodeThatDoesNotAnswerIsNamed) {
  Take(GoneLine("s1"));
  Define(kAccount);
  const std::string gone = [&] { return Node(admin_, nullptr).url(); }();
  const Node bare(admin_, nullptr, Elsewhere(gone));
  const auto answers = bare.Post(GoneLine("s1") + "\n" + SetLine("good", "A"));
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[0]["error"]["code"], "not_served_here");
  EXPECT_THAT(answers[0]["error"]["detail"].get<std::string>(), HasSubstr(gone));
  EXPECT_TRUE(answers[1].contains("position"));
  // Nor is a token sent to what is no listener of this kind.
  const Node odd(admin_, nullptr, Elsewhere("ftp://" + admin_url()));
  EXPECT_EQ(odd.Outcome(GoneLine("s1")), "not_served_here");
}

// Where each role has processes of its own, none with the role admin has a store.
TEST_F(AdminSentAgainTest, WhoHasAStoreIsAskedWhateverItsRoles) {
  const std::string position = Take(GoneLine("s1"));
  Define(kAccount, "?wait=30s");
  gateways::AdminServerOptions other_role;
  other_role.administration = false;
  const Node store(admin_, &admin_.stores(), {}, other_role);
  const Node bare(admin_, nullptr, [&](gateways::AdminServerDeps& deps) {
    deps.relay_to = [&](const OrgId&) { return std::make_optional(store.url()); };
  });
  EXPECT_EQ(bare.Outcome(GoneLine("s1")), position);
  EXPECT_EQ(bare.Outcome(GoneLine("never")), "unknown_attribute");
  // Nobody else's sets are taken there, nor anybody's where there is no store.
  const Node neither(admin_, nullptr, {}, other_role);
  const httplib::Headers relayed{{"Sluice-Relayed", "1"}};
  for (const httplib::Result& refused :
       {store.Send(SetLine("s2", "A")), neither.Send(SetLine("s2", "A"), kLines, relayed)}) {
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->status, 503);
    EXPECT_EQ(json::parse(refused->body)["code"], "not_served_here");
  }
  httplib::Client client(store.url());
  const auto reading = client.Get(
      "/v1/orgs/contoso", {{"Authorization", "Bearer sluice.admin"}, {"Sluice-Relayed", "1"}});
  ASSERT_TRUE(reading);
  EXPECT_EQ(reading->status, 503);
}

// A sender is told of no node that would not take its sets.
TEST_F(AdminSentAgainTest, WhoIsOnlyRelayedToIsNotNamed) {
  Take(GoneLine("s1"));
  Define(kAccount);
  const std::string gone = [&] { return Node(admin_, nullptr).url(); }();
  const Node bare(admin_, nullptr, [&](gateways::AdminServerDeps& deps) {
    deps.relay_to = [&](const OrgId&) { return std::make_optional(gone); };
  });
  const auto answers = bare.Post(GoneLine("s1"));
  EXPECT_EQ(answers.at(0)["error"]["code"], "not_served_here");
  EXPECT_THAT(answers.at(0)["error"]["detail"].get<std::string>(), Not(HasSubstr("http")));
}

TEST_F(AdminSentAgainTest, TheCallersRightsCountAtTheOtherNode) {
  Take(GoneLine("s1"));
  Define(kAccount, "?wait=30s");
  const Node bare(admin_, nullptr, Elsewhere(admin_url()));
  httplib::Client client(bare.url());
  // Good for another organisation alone: refused here, before anything is sent on.
  const auto other = client.Post(kChanges, {{"Authorization", "Bearer sluice.ingest org=fabrikam"}},
                                 GoneLine("s1"), kLines);
  ASSERT_TRUE(other);
  EXPECT_EQ(other->status, 403);
  const auto own = client.Post(kChanges, {{"Authorization", "Bearer sluice.ingest org=contoso"}},
                               GoneLine("s1"), kLines);
  ASSERT_TRUE(own);
  EXPECT_TRUE(json::parse(own->body).contains("position")) << own->body;
}

TEST_F(AdminSentAgainTest, AStoreThatIsBehindIsWaitedForAShortWhile) {
  admin_.stores().SetPaused(true);
  const std::string position = Take(GoneLine("s1"), "");
  Define(kAccount);
  const Node hasty(admin_, &admin_.stores(), {},
                   {.ingest = {.store_patience = std::chrono::milliseconds(20)}});
  const auto answers = hasty.Post(SetLine("good-1", "A") + "\n" + GoneLine("s1") + "\n" +
                                  GoneLine("never") + "\n" + SetLine("good-2", "A"));
  ASSERT_EQ(answers.size(), 4U);
  EXPECT_TRUE(answers[0].contains("position"));
  EXPECT_EQ(answers[1]["error"]["code"], "not_caught_up");
  EXPECT_EQ(answers[1]["error"]["status"], 503);
  EXPECT_EQ(answers[2]["error"]["code"], "not_caught_up");
  EXPECT_TRUE(answers[3].contains("position"));
  const Node patient(admin_, &admin_.stores(), {}, {.ingest = {.store_patience = kAdminPatience}});
  std::string known;
  std::string unknown;
  std::thread first([&] { known = patient.Outcome(GoneLine("s1")); });
  std::thread second([&] { unknown = patient.Outcome(GoneLine("never")); });
  admin_.stores().SetPaused(false);
  first.join();
  second.join();
  EXPECT_EQ(known, position);
  EXPECT_EQ(unknown, "unknown_attribute");
}

TEST_F(AdminSentAgainTest, AStoreThatIsBuiltAnewRefusesNothing) {
  const std::string position = Take(GoneLine("s1"));
  Define(kAccount, "?wait=30s");
  std::atomic<bool> hidden{true};
  const Node node(admin_, &admin_.stores(), [&](gateways::AdminServerDeps& deps) {
    deps.may_serve = [&](const OrgId&) {
      return hidden ? Error(absl::StatusCode::kUnavailable, "not_caught_up", "being built anew")
                    : absl::OkStatus();
    };
  });
  EXPECT_EQ(node.Outcome(GoneLine("never")), "not_caught_up");
  hidden = false;
  // It may also turn out only as the store is asked.
  for (const absl::Status& status :
       {Error(absl::StatusCode::kUnavailable, "not_caught_up", "a large change is being applied"),
        Error(absl::StatusCode::kResourceExhausted, "stores_busy", "too many are open"),
        Error(absl::StatusCode::kNotFound, "org_not_found", "nothing of it was applied here")}) {
    admin_.stores().SetUnavailable(status);
    EXPECT_EQ(node.Outcome(GoneLine("s1")), "not_caught_up") << status;
    EXPECT_EQ(node.Outcome(GoneLine("never")), "not_caught_up") << status;
  }
  admin_.stores().SetUnavailable(absl::OkStatus());
  EXPECT_EQ(node.Outcome(GoneLine("s1")), position);
  EXPECT_EQ(node.Outcome(GoneLine("never")), "unknown_attribute");
}

TEST_F(AdminSentAgainTest, WhatTheLogHasLostSinceWasNotTaken) {
  const std::string gone = Take(GoneLine("s1"));
  const std::string kept = Take(SetLine("s2", "A"));
  Define(kAccount, "?wait=30s");
  const Node node(admin_, &admin_.stores(), [](gateways::AdminServerDeps& deps) {
    deps.may_serve = [](const OrgId&) {
      return Error(absl::StatusCode::kUnavailable, "log_diverged", "another history");
    };
  });
  EXPECT_EQ(node.Outcome(GoneLine("s1")), "not_caught_up");
  // What fits is appended anew: the store's word for its position is of the history that is gone.
  EXPECT_NE(node.Outcome(SetLine("s2", "A")), kept);
  EXPECT_NE(gone, kept);
}

// A gateway may take what the fold refuses: its directory is behind for a moment. That the set's
// position is applied says nothing of what came of it.
TEST_F(AdminSentAgainTest, ASetThatTheFoldRefusedIsTakenAnew) {
  admin_.stores().Refuse("s1");
  const std::string refused = Take(SetLine("s1", "A"));
  EXPECT_NE(Take(SetLine("s1", "A")), refused);
  // Likewise where another node folds it.
  std::atomic<int64_t> remote{-1};
  const Node bare(admin_, nullptr, [&](gateways::AdminServerDeps& deps) {
    deps.remote_applied = [&](const OrgId&) { return std::make_optional(Offset(remote)); };
  });
  const std::string position = bare.Outcome(SetLine("s1", "A"));
  EXPECT_EQ(bare.Outcome(SetLine("s1", "A")), position) << "not applied yet";
  remote = std::stoll(position);
  EXPECT_NE(bare.Outcome(SetLine("s1", "A")), position);
  // And one that does not fit any more is refused, not answered with a position.
  Take(GoneLine("s1"));
  Define(kAccount, "?wait=30s");
  const Node knows(admin_, &admin_.stores());
  EXPECT_EQ(knows.Outcome(GoneLine("s1")), "unknown_attribute");
  const auto result = admin_.Client().Post(kChanges, GoneLine("s1"), kLines);
  EXPECT_EQ(json::parse(result->body)["error"]["code"], "unknown_attribute");
}

}  // namespace
}  // namespace sluice::testing
