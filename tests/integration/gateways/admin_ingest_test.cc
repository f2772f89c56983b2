// Ingest over real HTTP, on the embedded log: answers, errors, duplicates, broken connections.
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "tests/integration/gateways/admin_fixture.h"

namespace sluice::testing {
namespace {

using nlohmann::json;

std::vector<json> ParseLines(const std::string& body) {
  std::vector<json> lines;
  std::istringstream stream(body);
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(json::parse(line));
  }
  return lines;
}

class AdminIngestTest : public ::testing::Test {
 protected:
  AdminIngestTest() { admin_.MakeOrg("contoso"); }

  std::vector<json> Post(const std::string& body) {
    const auto result = client_.Post(kChanges, body, kLines);
    EXPECT_TRUE(result && result->status == 200);
    return result ? ParseLines(result->body) : std::vector<json>();
  }

  // The ids of the change sets in the log, with their positions.
  std::multimap<std::string, std::string> SetsInLog() {
    std::multimap<std::string, std::string> sets;
    const auto partition = admin_.log().PartitionFor(eventlog::Topic::kChanges, "contoso");
    const auto end = admin_.log().Range(eventlog::Topic::kChanges, partition)->end;
    auto reader = *admin_.log().OpenReader(eventlog::Topic::kChanges, partition, Offset(0));
    while (reader->next() < end) {
      const auto batch = *reader->Read({});
      for (const auto& event : batch) {
        v1::ChangeSet set;
        if (event.event.type == "sluice.v1.ChangeSet" && event.event.key == "contoso") {
          EXPECT_TRUE(set.ParseFromString(event.event.value));
          sets.emplace(set.id(), std::to_string(event.offset.value()));
        }
      }
    }
    return sets;
  }

  AdminFixture admin_{{.ingest = {.set_limits = {.line_bytes_max = 10'000, .ops_max = 3}}}};
  httplib::Client client_ = admin_.Client();
};

TEST_F(AdminIngestTest, AnswersInOrderWithTheDurablePosition) {
  std::string body;
  for (int i = 0; i < 2'000; ++i) {
    body += SetLine(std::to_string(i), "A" + std::to_string(i)) + "\n";
  }
  const auto answers = Post(body);
  ASSERT_EQ(answers.size(), 2'000U);
  const auto in_log = SetsInLog();
  ASSERT_EQ(in_log.size(), 2'000U);
  for (size_t i = 0; i < answers.size(); ++i) {
    ASSERT_EQ(answers[i]["id"], std::to_string(i));
    EXPECT_EQ(in_log.find(std::to_string(i))->second, answers[i]["position"].get<std::string>());
  }
  const auto waited = client_.Post(std::string(kChanges) + "?wait=30s", SetLine("w", "A"), kLines);
  EXPECT_EQ(waited->status, 200);
  const auto org = json::parse(client_.Get("/v1/orgs/contoso")->body);
  EXPECT_EQ(org["applied"], ParseLines(waited->body)[0]["position"]);
}

// For a sender who sends these again behind it: the order of two changes to one row is that of the
// whole.
TEST_F(AdminIngestTest, NothingIsTakenBehindARefusedSetWhereThatIsAskedFor) {
  const std::string misfit =
      R"({"id":"m","ops":[{"op":"upsert","entity":"account","row":{"accountid":"M","gone":1}}]})";
  for (const std::string& bad : {std::string("rubbish"), std::string(20'000, 'x'), misfit}) {
    const std::string body = SetLine("before", "A") + "\n" + bad + "\n" + SetLine("behind", "B") +
                             "\n" + bad + "\n" + SetLine("last", "C");
    const auto stopped = client_.Post(std::string(kChanges) + "?stop_on=error", body, kLines);
    const auto answers = ParseLines(stopped->body);
    ASSERT_EQ(answers.size(), 5U);
    EXPECT_TRUE(answers[0].contains("position"));
    EXPECT_EQ(answers[1]["error"]["status"].get<int>() / 100, 4);
    EXPECT_NE(answers[1]["error"]["code"], "not_tried");
    for (const size_t i : {2U, 4U}) {
      EXPECT_EQ(answers[i]["error"]["code"], "not_tried");
      EXPECT_EQ(answers[i]["error"]["status"], 424);
    }
    EXPECT_EQ(answers[2]["id"], "behind");
    EXPECT_EQ(SetsInLog().size(), 1U);
  }
  const std::string array =
      "[" + SetLine("before", "A") + "," + misfit + "," + SetLine("behind", "B") + "]";
  const auto in_array =
      client_.Post(std::string(kChanges) + "?stop_on=error", array, "application/json");
  EXPECT_EQ(json::parse(in_array->body)[2]["error"]["code"], "not_tried");
  // What is wrong for good is not sent again, and holds back nobody.
  const std::string body = SetLine("before", "A") + "\n" + misfit + "\n" + SetLine("behind", "B");
  const auto result = client_.Post(std::string(kChanges) + "?stop_on=unavailable", body, kLines);
  EXPECT_TRUE(ParseLines(result->body)[2].contains("position"));
  const auto wrong = client_.Post(std::string(kChanges) + "?stop_on=all", body, kLines);
  EXPECT_EQ(wrong->status, 400);
  EXPECT_EQ(CodeOf(wrong), "invalid_argument");
}

TEST_F(AdminIngestTest, ConcurrentDuplicatesAreOne) {
  std::vector<std::vector<json>> answers(8);
  std::vector<std::thread> threads;
  for (auto& mine : answers) {
    threads.emplace_back([&] {
      std::string body;
      for (int i = 0; i < 300; ++i) {
        body += SetLine(std::to_string(i), "A") + "\n";
      }
      auto client = admin_.Client();
      const auto result = client.Post(kChanges, body, kLines);
      ASSERT_TRUE(result);
      mine = ParseLines(result->body);
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (const auto& mine : answers) {
    EXPECT_EQ(mine, answers[0]);
  }
  EXPECT_EQ(SetsInLog().size(), 300U);
}

TEST_F(AdminIngestTest, ChunkedAndCompressedBodies) {
  const auto chunked = client_.Post(
      kChanges,
      [](size_t offset, httplib::DataSink& sink) {
        const std::string line = SetLine(std::to_string(offset), "A") + "\n";
        sink.os << line;
        if (offset > 500) {
          sink.done();
        }
        return true;
      },
      kLines);
  ASSERT_TRUE(chunked);
  EXPECT_GT(ParseLines(chunked->body).size(), 3U);
  client_.set_compress(true);
  EXPECT_FALSE(Post(SetLine("zipped", "A"))[0].contains("error"));
}

TEST(AdminLimitsTest, ConnectionsBeyondTheLimitAreTurnedAway) {
  AdminFixture admin({.connections_max = 2});
  auto first = admin.Client();
  auto second = admin.Client();
  EXPECT_EQ(first.Get("/healthz")->status, 200);
  EXPECT_EQ(second.Get("/healthz")->status, 200);
  auto third = admin.Client();
  EXPECT_EQ(CodeOf(third.Get("/v1/orgs")), "too_busy");
  EXPECT_EQ(third.Get("/healthz")->status, 200) << "health has places of its own";
  EXPECT_EQ(first.Get("/healthz")->status, 200);
}

TEST(AdminLimitsTest, StopsWithIdleConnectionsAndWaitsUnderWay) {
  AdminFixture admin;
  admin.MakeOrg("contoso");
  admin.stores().SetPaused(true);
  auto idle = admin.Client();
  EXPECT_EQ(idle.Get("/healthz")->status, 200);
  int status = 0;
  std::thread waiting([&] {
    auto client = admin.Client();
    const auto put = client.Put("/v1/orgs/contoso/roles/r?wait=60s", "{}", "application/json");
    status = put ? put->status : -1;
  });
  const auto deadline = std::chrono::steady_clock::now() + kAdminPatience;
  const auto stored = [&] {
    const auto got = idle.Get("/v1/orgs/contoso/roles/r");
    return got && got->status == 200;
  };
  while (!stored() && std::chrono::steady_clock::now() < deadline) {
  }
  const auto begun = std::chrono::steady_clock::now();
  admin.server().Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(5));
  waiting.join();
  EXPECT_EQ(status, 202);
}

class AdminBareTest : public ::testing::Test {
 protected:
  std::unique_ptr<gateways::AdminServer> Server(const std::string& listen) {
    return std::make_unique<gateways::AdminServer>(
        gateways::AdminServerOptions{.listen = listen},
        gateways::AdminServerDeps{.log = admin_.log(),
                                  .directory = directory_,
                                  .authenticator = authenticator_,
                                  .clock = clock_,
                                  .stores = nullptr,
                                  .remote_applied = {},
                                  .health = {},
                                  .registry = nullptr});
  }

  AdminFixture admin_;
  ScopeAuthenticator authenticator_;
  const RealClock clock_;
  projectors::DirectoryFollower directory_{admin_.log(), clock_, nullptr};
};

// Each refusal takes more than the element that is refused.
TEST(AdminLimitsTest, AnArrayWithTooManyAnswersEndsWithTheOneThatSaysSo) {
  AdminFixture admin({.ingest = {.answer_bytes_max = size_t{64} << 10}});
  admin.MakeOrg("contoso");
  std::string body = "[1";
  for (int i = 0; i < 100'000; ++i) {
    body += ",1";
  }
  const auto answer =
      admin.Client().Post("/v1/orgs/contoso/changes", body + "]", "application/json");
  ASSERT_TRUE(answer);
  EXPECT_LT(answer->body.size(), size_t{80} << 10);
  const json answers = json::parse(answer->body);
  EXPECT_EQ(answers.back()["error"]["code"], "too_large");
  EXPECT_EQ(answers.front()["error"]["code"], "invalid_json");
}

TEST_F(AdminBareTest, APortInUseIsAnError) {
  const auto other = Server("127.0.0.1:" + std::to_string(admin_.port()));
  EXPECT_EQ(ErrorCode(other->Start().status()), "address_in_use");
}

TEST_F(AdminBareTest, NothingIsSaidOfOrganisationsUntilTheDirectoryHasBeenRead) {
  admin_.MakeOrg("contoso");
  const auto server = Server("127.0.0.1:0");
  httplib::Client client("127.0.0.1", *server->Start());
  client.set_default_headers({{"Authorization", "Bearer sluice.admin"}});
  EXPECT_EQ(CodeOf(client.Get("/v1/orgs/contoso")), "not_caught_up");
  EXPECT_EQ(CodeOf(client.Get("/v1/orgs/nobody")), "not_caught_up");
  ASSERT_TRUE(directory_.Start().ok());
  AwaitDirectory(directory_);
  EXPECT_EQ(client.Get("/v1/orgs/contoso")->status, 200);
  EXPECT_EQ(CodeOf(client.Get("/v1/orgs/nobody")), "org_not_found");
  server->Stop();
  directory_.Stop();
}

}  // namespace
}  // namespace sluice::testing
