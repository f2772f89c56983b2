// Whatever a server sends and wherever it breaks off, after a pull that succeeded the file holds
// the rows of the caller's buckets and no other, and until then it holds those of the last such
// pull.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "clients/cpp/pull.h"
#include "tests/support/clients/scripted_sync_server.h"
#include "tests/support/clients/sql_reader.h"
#include "tests/support/clients/sync_frames.h"
#include "tests/support/temp_dir.h"

namespace sluice::testing {
namespace {

constexpr char kEntities[] = R"({"entities":[
  {"entity":"account","primary_key":"id","attributes":[
     {"name":"id","type":"string"},{"name":"version","type":"int64"}]},
  {"entity":"order","primary_key":"no","attributes":[
     {"name":"no","type":"int64"},{"name":"version","type":"string"}]}]})";

// A plain server: buckets of rows, each row with one content wherever it is held.
class ModelServer {
 public:
  explicit ModelServer(uint64_t seed) : random_(seed) {}

  size_t Below(size_t bound) {
    return std::uniform_int_distribution<size_t>(0, bound - 1)(random_);
  }

  // One event: a row comes into a bucket, changes in all of its buckets, or leaves one.
  void Mutate() {
    ++position_;
    const std::string entity = Below(2) == 0 ? "account" : "order";
    const std::pair<std::string, std::string> row = {entity, std::to_string(Below(25))};
    const std::string bucket = fmt::format("b{}", Below(5));
    if (Below(10) == 0) {
      allowed_[bucket] = !allowed_[bucket];
    }
    const std::string at = fmt::format("{}.0", position_);
    if (Below(3) == 0) {
      if (buckets_[bucket].erase(row) > 0) {
        gone_[bucket][row] = position_;
      }
      return;
    }
    versions_[row] = position_;
    buckets_[bucket][row] = at;
    gone_[bucket].erase(row);
    for (auto& [name, rows] : buckets_) {
      if (const auto it = rows.find(row); it != rows.end()) {
        it->second = at;
      }
    }
  }

  // The caller's buckets now.
  Buckets Mine() const {
    Buckets mine;
    for (const auto& [name, rows] : buckets_) {
      if (const auto it = allowed_.find(name); it == allowed_.end() || !it->second) {
        mine.emplace(name, rows);
      }
    }
    return mine;
  }

  // "entity/key=version" of each row that one of the caller's buckets holds.
  std::set<std::string> Visible() const {
    std::set<std::string> visible;
    for (const auto& [name, rows] : Mine()) {
      for (const auto& [row, at] : rows) {
        visible.insert(fmt::format("{}/{}={}", row.first, row.second, versions_.at(row)));
      }
    }
    return visible;
  }

  uint64_t defects() const { return defects_; }

  // What one request is answered with; breaks off, lies once or goes on as chance has it.
  ScriptedAnswer Answer(const StreamRequest& request) {
    std::map<std::string, int64_t> progress;
    const nlohmann::json body = nlohmann::json::parse(request.body);
    for (const auto& have : body["have"]) {
      progress[have["bucket"]] = std::stoll(have["after"].get<std::string>());
    }
    ScriptedAnswer answer;
    if (Below(12) == 0) {
      return {.status = 503};
    }
    const size_t checkpoints = 1 + Below(2);
    for (size_t i = 0; i < checkpoints; ++i) {
      WriteCheckpoint(&progress, &answer.body, i + 1 == checkpoints);
    }
    if (Below(3) == 0) {
      answer.body.resize(Below(answer.body.size() + 1));
      answer.end = ScriptedAnswer::End::kCut;
    }
    return answer;
  }

 private:
  void WriteCheckpoint(std::map<std::string, int64_t>* progress, std::string* out, bool last) {
    const Buckets mine = Mine();
    std::vector<std::string> removed;
    for (const auto& [name, after] : *progress) {
      if (!mine.contains(name) && Below(2) == 0) {
        removed.push_back(name);
      }
    }
    *out += CheckpointFrame(position_, mine, removed);
    std::erase_if(*progress, [&](const auto& held) { return !mine.contains(held.first); });
    for (const auto& [name, rows] : mine) {
      if (progress->contains(name) && Below(8) == 0) {
        *out += ResetFrame(name);
        progress->erase(name);
      }
      const bool whole = last || Below(2) == 0;
      WriteOps(name, rows, progress, whole, out);
      if (!whole) {
        break;  // the newer checkpoint goes on here
      }
    }
    if (!last) {
      Mutate();
      Mutate();
      return;
    }
    *out += CompleteFrame(position_);
  }

  void WriteOps(const std::string& name, const BucketRows& rows,
                std::map<std::string, int64_t>* progress, bool whole, std::string* out) {
    const auto held = progress->find(name);
    int64_t after = held == progress->end() ? -1 : held->second;
    const bool from_start = after < 0;
    std::multimap<int64_t, std::string> ops;
    for (const auto& [row, at] : rows) {
      if (std::stoll(at) > after) {
        ops.emplace(std::stoll(at), Put(row, at));
      }
    }
    for (const auto& [row, at] : gone_[name]) {
      if (at > after && !from_start) {
        ops.emplace(at, RemoveOp(row.first, row.second, fmt::format("{}.0", at)));
      }
    }
    if (!ops.empty() && Below(20) == 0) {
      ops.erase(ops.begin());  // a defect: the sums will not match
      ++defects_;
    }
    while (!ops.empty()) {
      std::vector<std::string> frame;
      int64_t to = after;
      for (size_t i = 1 + Below(6); i > 0 && !ops.empty(); --i) {
        to = ops.begin()->first;
        frame.push_back(ops.begin()->second);
        ops.erase(ops.begin());
      }
      *out += OpsFrame(name, std::max<int64_t>(after, 0), to, frame);
      after = to;
      if (!whole) {
        break;
      }
    }
    (*progress)[name] = whole ? position_ : after;
  }

  std::string Put(const std::pair<std::string, std::string>& row, const std::string& at) const {
    return PutOp(row.first, row.second, at,
                 fmt::format(R"({{"{}":"{}","version":"{}"}})",
                             row.first == "account" ? "id" : "no", row.second, versions_.at(row)));
  }

  std::mt19937_64 random_;
  int64_t position_ = 1;
  uint64_t defects_ = 0;
  Buckets buckets_;
  std::map<std::string, bool> allowed_;  // true: taken from the caller
  std::map<std::string, std::map<std::pair<std::string, std::string>, int64_t>> gone_;
  std::map<std::pair<std::string, std::string>, int64_t> versions_;
};

std::set<std::string> Held(const std::string& path) {
  SqlReader reader(path);
  const std::string rows = reader.Query(
      "SELECT 'account/' || id || '=' || version FROM account "
      "UNION ALL SELECT 'order/' || no || '=' || version FROM \"order\"");
  std::set<std::string> held;
  for (size_t at = 0; at < rows.size();) {
    const size_t end = std::min(rows.find(';', at), rows.size());
    held.insert(rows.substr(at, end - at));
    at = end + 1;
  }
  return held;
}

TEST(PullPropertyTest, TheFileIsTheCallersRowsAtACheckpoint) {
  const char* given = std::getenv("SLUICE_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()() % 1'000'000'000;
  std::printf("SLUICE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  int pulled = 0;
  int failed = 0;
  uint64_t reloaded = 0;
  uint64_t defects = 0;
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " round " << round);
    TempDir dir;
    const std::string path = dir / "local.sqlite";
    const uint64_t defects_before = defects;
    ModelServer model(seed + static_cast<uint64_t>(round));
    ScriptedSyncServer server(kEntities);
    server.AnswerWith([&model](const StreamRequest& request) { return model.Answer(request); });
    std::set<std::string> shown = {"error: no such table: order"};  // nothing yet
    for (int step = 0; step < 25; ++step) {
      for (size_t changes = model.Below(20); changes > 0; --changes) {
        model.Mutate();
      }
      client::PullOptions options;
      options.url = server.url();
      options.org = "acme";
      options.db_path = path;
      options.token = [] { return absl::StatusOr<std::string>("t"); };
      options.attempts_max = 2;
      options.backoff_first = std::chrono::milliseconds(1);
      options.backoff_max = std::chrono::milliseconds(2);
      auto puller = client::Puller::Open(std::move(options));
      ASSERT_TRUE(puller.ok()) << puller.status();
      const auto result = (*puller)->Pull();
      if (result.ok()) {
        ++pulled;
        reloaded += result->buckets_reloaded;
        shown = model.Visible();
      } else {
        ++failed;
        ASSERT_TRUE(absl::IsUnavailable(result.status()) || absl::IsDataLoss(result.status()))
            << result.status();
      }
      defects = defects_before + model.defects();
      ASSERT_EQ(Held(path), shown) << "step " << step << ", last pull: " << result.status();
    }
  }
  // The test would prove little if these never happened.
  std::printf("%d pulls, %d failed, %llu buckets loaded anew\n", pulled, failed,
              static_cast<unsigned long long>(reloaded));
  EXPECT_GT(pulled, 100);
  EXPECT_GT(failed, 0);
  EXPECT_GT(reloaded, 0U);
  EXPECT_LE(reloaded, defects);  // nothing is loaded anew for a fault of the client's
}

}  // namespace
}  // namespace sluice::testing
