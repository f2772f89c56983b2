// What `sluice ingest` sends, and sends again, to a server that can't take everything at once.
#include "ops/program/ingester.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "schemas/base/status.h"
#include "tests/support/fake_clock.h"

namespace sluice::ops {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What the server does with one set.
enum class Fate { kTaken, kRefused, kNotNow, kTakenButNotSaid, kTokenEnds };

// Takes sets into a log, once for each id, as the test has it.
class Server {
 public:
  Server() {
    http_.Post(R"(/v1/orgs/([^/]+)/changes)",
               [this](const httplib::Request& request, httplib::Response& response) {
                 Answer(request.body, request.get_param_value("stop_on"), response);
               });
    port_ = http_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { http_.listen_after_bind(); });
    while (!http_.is_running()) {  // or stop() would not reach it
      std::this_thread::yield();
    }
  }
  ~Server() { Stop(); }
  void Stop() {
    http_.stop();
    if (thread_.joinable()) {
      thread_.join();
    }
  }
  std::string url() const { return fmt::format("http://127.0.0.1:{}", port_); }

  // Of the next requests: each the HTTP status that it gets as a whole; 200 after them.
  std::deque<int> whole;
  // By the key of the set's first row, what happens to it, the last again and again. A set with a
  // row "bad" is refused.
  std::map<std::string, std::deque<Fate>> fates;
  // Gives only so many answers to the next request.
  std::optional<size_t> answers_max;
  bool stops = true;             // where it is asked to
  std::vector<std::string> log;  // "key=value" of each row that was applied
  std::vector<std::string> ids;  // of all sets that came
  std::vector<size_t> requests;  // how many sets each had

 private:
  Fate FateOf(const json& set) {
    if (std::ranges::any_of(set["ops"], [](const json& op) { return op["row"]["id"] == "bad"; })) {
      return Fate::kRefused;
    }
    const auto it = fates.find(set["ops"][0]["row"]["id"]);
    if (it == fates.end()) {
      return Fate::kTaken;
    }
    const Fate fate = it->second.front();
    if (it->second.size() > 1) {
      it->second.pop_front();
    }
    return fate;
  }

  json Take(const json& set) {
    const std::string id = set.value("id", "");
    ids.push_back(id);
    const Fate fate = FateOf(set);
    const auto error = [&id](int status, const char* code) {
      return json{{"id", id}, {"error", {{"status", status}, {"code", code}, {"detail", "why"}}}};
    };
    if (fate == Fate::kRefused) {
      return error(400, "unknown_attribute");
    }
    if (fate == Fate::kTokenEnds) {
      return {{"error", {{"status", 401}, {"code", "token_expired"}, {"detail", "why"}}}};
    }
    const bool known = !id.empty() && positions_.contains(id);
    if (fate == Fate::kNotNow && !known) {
      return error(503, "not_caught_up");
    }
    if (!known) {
      for (const json& op : set["ops"]) {
        log.push_back(
            fmt::format("{}={}", op["row"]["id"].get<std::string>(), op["row"]["n"].get<int>()));
      }
      positions_[id] = ++position_;
    }
    return fate == Fate::kTakenButNotSaid
               ? error(503, "unavailable")
               : json{{"id", id}, {"position", std::to_string(positions_[id])}};
  }

  void Answer(const std::string& body, const std::string& stop_on, httplib::Response& response) {
    if (!whole.empty()) {
      response.status = whole.front();
      whole.pop_front();
      if (response.status != 200) {
        response.set_header("Retry-After", "7");
        response.set_content(R"({"code":"too_busy","detail":"busy"})", "application/problem+json");
        return;
      }
    }
    std::istringstream lines(body);
    std::string answers;
    size_t sets = 0;
    bool stopped = false;
    for (std::string line; std::getline(lines, line); ++sets) {
      const json set = json::parse(line);
      const json said =
          stopped ? json{{"id", set.value("id", "")},
                         {"error", {{"status", 424}, {"code", "not_tried"}, {"detail", "behind"}}}}
                  : Take(set);
      const int status = said.contains("error") ? said["error"]["status"].get<int>() : 200;
      stopped = stopped ||
                (stops && status >= 400 && (stop_on == "error" || status >= 500 || status == 401));
      const std::string answer = said.dump() + "\n";
      if (!answers_max.has_value() || sets < *answers_max) {
        answers += answer;
      }
    }
    answers_max.reset();
    requests.push_back(sets);
    response.set_content(answers, "application/x-ndjson");
  }

  httplib::Server http_;
  std::thread thread_;
  int port_ = 0;
  std::map<std::string, int> positions_;
  int position_ = 0;
};

class IngesterTest : public ::testing::Test {
 protected:
  absl::Status Ingest(const std::vector<std::string>& lines, const std::string& entity = "") {
    const auto client = AdminClient::Create({.url = server.url(), .token = "t"});
    Ingester ingester(
        **client, clock, {.org = "acme", .entity = entity, .source = "s"},
        [this](const InputLine& line, std::string_view reason) {
          refused.push_back(fmt::format("{}: {}", line.number, reason));
          return absl::OkStatus();
        },
        [](uint64_t, const IngestTotals&) {},
        [this](std::chrono::milliseconds wait, std::string_view why) {
          clock.Advance(wait);
          waits.push_back(wait);
          whys.emplace_back(why);
        });
    std::istringstream in(fmt::format("{}\n", fmt::join(lines, "\n")));
    const absl::Status status = ingester.Run(in);
    totals = ingester.totals();
    return status;
  }
  // A line with a change set of one row, with an id or without.
  static std::string Line(const std::string& key, int n, const std::string& id = "") {
    return fmt::format(R"({{{}"ops":[{{"op":"upsert","entity":"e","row":{{"id":"{}","n":{}}}}}]}})",
                       id.empty() ? "" : fmt::format(R"("id" : "{}", )", id), key, n);
  }
  static std::string Row(const std::string& key, int n) {
    return fmt::format(R"({{"id":"{}","n":{}}})", key, n);
  }

  sluice::testing::FakeClock clock;
  Server server;
  std::vector<std::string> refused;
  std::vector<std::chrono::milliseconds> waits;
  std::vector<std::string> whys;
  IngestTotals totals;
};

TEST_F(IngesterTest, ASetThatTheServerCanNotTakeNowIsSentAgain) {
  server.fates["b"] = {Fate::kNotNow, Fate::kNotNow, Fate::kTaken};
  ASSERT_TRUE(Ingest({Line("a", 1), Line("b", 2), Line("c", 3), Line("c", 4)}).ok());
  // Nothing overtakes b, so that the file's order decides.
  EXPECT_THAT(server.log, ElementsAre("a=1", "b=2", "c=3", "c=4"));
  EXPECT_THAT(server.requests, ElementsAre(4, 1, 1, 2));
  EXPECT_EQ(totals.sets, 4U);
  EXPECT_EQ(totals.position, "4");
  EXPECT_THAT(refused, IsEmpty());
  EXPECT_THAT(whys, ElementsAre("line 2: why (not_caught_up)", "line 2: why (not_caught_up)"));
}

TEST_F(IngesterTest, WhatWasTakenButNotSaidIsNotTakenTwice) {
  server.fates["a"] = {Fate::kTakenButNotSaid, Fate::kTaken};
  for (const std::string entity : {"", "e"}) {
    server.log.clear();
    server.fates["a"] = {Fate::kTakenButNotSaid, Fate::kTaken};
    ASSERT_TRUE(Ingest({entity.empty() ? Line("a", 1) : Row("a", 1)}, entity).ok());
    EXPECT_THAT(server.log, ElementsAre("a=1"));
    EXPECT_EQ(totals.sets, 1U);
  }
  // An id of the sender's own is kept.
  server.log.clear();
  server.ids.clear();
  server.fates["a"] = {Fate::kTakenButNotSaid, Fate::kTaken};
  ASSERT_TRUE(Ingest({Line("a", 5, "mine")}).ok());
  EXPECT_THAT(server.log, ElementsAre("a=5"));
  EXPECT_THAT(server.ids, ElementsAre("mine", "mine"));
}

// What was acknowledged is not sent again, under whatever id: what somebody else has written to its
// row since would be lost.
TEST_F(IngesterTest, WhatWasAcknowledgedIsNotSentAgain) {
  server.fates["k"] = {Fate::kNotNow, Fate::kTaken};
  ASSERT_TRUE(Ingest({Line("k", 1, "first"), Line("k", 2, "second"), Line("k", 3)}).ok());
  EXPECT_THAT(server.log, ElementsAre("k=1", "k=2", "k=3"));
  // Also by a server that takes what is behind a set that it did not take.
  server.log.clear();
  server.stops = false;
  server.fates["k"] = {Fate::kNotNow, Fate::kTaken};
  ASSERT_TRUE(Ingest({Line("k", 4, "third"), Line("k", 5, "fourth"), Line("k", 6)}).ok());
  EXPECT_THAT(server.log, ElementsAre("k=5", "k=6", "k=4"));
}

TEST_F(IngesterTest, BadRowsCostNoSquareOfTheFile) {
  std::vector<std::string> rows;
  for (int i = 0; i < 20'000; ++i) {
    rows.push_back(Row(i % 100 == 50 ? "bad" : fmt::format("k{}", i % 300), i));
  }
  ASSERT_TRUE(Ingest(rows, "e").ok());
  EXPECT_EQ(refused.size(), 200U);
  EXPECT_EQ(totals.rows, 19'800U);
  EXPECT_EQ(server.log.size(), 19'800U) << "each row once";
  EXPECT_TRUE(std::ranges::is_sorted(server.log, {}, [](const std::string& row) {
    return std::stoi(row.substr(row.find('=') + 1));
  }));
  size_t sets = 0;
  for (const size_t request : server.requests) {
    sets += request;
  }
  EXPECT_LT(sets, 22'000U) << "20,000 rows alone, and few sets of a hundred again";
}

TEST_F(IngesterTest, ABusyServerIsAskedAgainAfterTheTimeThatItNames) {
  server.whole = {200, 503, 429, 502};
  std::vector<std::string> rows;
  for (int i = 0; i < 3; ++i) {  // a request each
    rows.push_back(
        fmt::format(R"({{"id":"k{}","n":{},"text":"{}"}})", i, i, std::string(3 << 20, 'x')));
  }
  ASSERT_TRUE(Ingest(rows, "e").ok());
  EXPECT_THAT(server.log, ElementsAre("k0=0", "k1=1", "k2=2"));
  EXPECT_EQ(totals.rows, 3U);
  ASSERT_EQ(waits.size(), 3U);
  EXPECT_GE(waits[0], std::chrono::seconds(7));
  EXPECT_EQ(whys[0], "line 2: busy (too_busy)");
}

TEST_F(IngesterTest, AnAnswerThatBreaksOffIsGoneOnWith) {
  server.answers_max = 2;
  ASSERT_TRUE(Ingest({Line("a", 1), Line("b", 2), Line("c", 3), Line("d", 4)}).ok());
  EXPECT_THAT(server.log, ElementsAre("a=1", "b=2", "c=3", "d=4"));
  EXPECT_EQ(totals.sets, 4U);
}

TEST_F(IngesterTest, ARefusedRowAmongSetsThatHaveToWait) {
  std::vector<std::string> rows;
  for (int i = 0; i < 250; ++i) {
    rows.push_back(Row(i == 150 ? "bad" : fmt::format("k{}", i % 20), i));
  }
  server.fates["k0"] = {Fate::kNotNow, Fate::kTaken, Fate::kNotNow, Fate::kTaken};
  ASSERT_TRUE(Ingest(rows, "e").ok());
  EXPECT_THAT(refused, ElementsAre("151: why (unknown_attribute)"));
  EXPECT_EQ(totals.rows, 249U);
  std::map<std::string, std::string> last, want;
  for (const std::string& row : server.log) {
    last[row.substr(0, row.find('='))] = row.substr(row.find('=') + 1);
  }
  for (int i = 0; i < 250; ++i) {
    if (i != 150) {
      want[fmt::format("k{}", i % 20)] = std::to_string(i);
    }
  }
  EXPECT_EQ(last, want);
}

TEST_F(IngesterTest, ItGivesUpAndSaysFromWhereOnNothingIsConfirmed) {
  server.fates["b"] = {Fate::kNotNow};
  const absl::Status status = Ingest({Line("a", 1), Line("b", 2), Line("c", 3)});
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(Message(status)), HasSubstr("line 2 and what follows it"));
  EXPECT_THAT(std::string(Message(status)), HasSubstr("last position 1"));
  EXPECT_THAT(std::string(Message(status)), HasSubstr("given up after 5 minutes: why"));
  std::chrono::milliseconds waited{0};
  for (const auto wait : waits) {
    waited += wait;
    EXPECT_LE(wait, std::chrono::seconds(60));
  }
  EXPECT_GE(waited, Ingester::kPatience);
  EXPECT_LE(waited, Ingester::kPatience + std::chrono::minutes(1));
}

// The set at which it ends is the last that is answered.
TEST_F(IngesterTest, ATokenThatEndsRefusesNoLine) {
  for (const std::vector<std::string>& lines :
       {std::vector<std::string>{Line("a", 1), Line("b", 2)},
        std::vector<std::string>{Line("a", 1), Line("b", 2), Line("c", 3)}}) {
    server.fates["b"] = {Fate::kTokenEnds};
    server.answers_max = 2;
    const absl::Status status = Ingest(lines);
    EXPECT_THAT(std::string(Message(status)), HasSubstr("token_expired"));
    EXPECT_THAT(std::string(Message(status)), HasSubstr("is not confirmed"));
    EXPECT_THAT(refused, IsEmpty());
    EXPECT_THAT(waits, IsEmpty());
  }
}

TEST_F(IngesterTest, AServerThatNeverAnsweredIsAnErrorAtOnce) {
  server.Stop();
  const absl::Status status = Ingest({Line("a", 1)});
  EXPECT_THAT(std::string(Message(status)), HasSubstr("is `sluice serve` running there?"));
  EXPECT_THAT(waits, IsEmpty());
}

TEST(IngestSetTest, IdsAreSetWhereTheyBelong) {
  for (const auto& [line, needs, with] : std::vector<std::tuple<std::string, bool, std::string>>{
           {R"({"ops":[{"id":"x"}]})", true, R"({"id":"new","ops":[{"id":"x"}]})"},
           {R"({ "source":"id", "ops":[]})", true, R"({"id":"new", "source":"id", "ops":[]})"},
           {R"({"a":"\"id\":{","id":"old" ,"ops":[]})", false,
            R"({"a":"\"id\":{","id":"new" ,"ops":[]})"},
           {R"({"ops":[{"row":{"id":1}}],"id" : "o\"}"})", false,
            R"({"ops":[{"row":{"id":1}}],"id" : "new"})"},
           {R"({"id":null,"ops":[]})", true, R"({"id":"new","ops":[]})"},
           {R"({"id":"","ops":[]})", true, R"({"id":"new","ops":[]})"},
           {R"({"id":7})", false, R"({"id":"new"})"},
           {R"({})", true, R"({"id":"new"})"}}) {
    EXPECT_EQ(NeedsId(line), needs) << line;
    EXPECT_EQ(WithId(line, "new"), with);
  }
  EXPECT_FALSE(NeedsId("[1]"));
  // What is broken stays broken, and nothing is read beyond its end.
  for (const std::string line : {"{", "{\"id", "{\"id\"", "{\"id\":", "{\"id\":\"", "{\"id\":\"\\",
                                 "{\"id\":7", "{bad", "{]]}}\"id\":1"}) {
    static_cast<void>(NeedsId(line));
    EXPECT_FALSE(json::accept(WithId(line, "new"))) << line;
  }
}

}  // namespace
}  // namespace sluice::ops
