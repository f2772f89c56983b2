// Whatever a server sends and wherever it breaks off, after a pull that succeeded the file holds
// the rows of the caller's buckets and no other, as the schema shows them, and until then it holds
// those of the last such pull.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
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

using RowId = std::pair<std::string, std::string>;  // entity, key

// account.extra is an attribute that comes, goes and comes back, each time as another of its name.
constexpr int kExtras = 3;
constexpr const char* kExtraTypes[kExtras] = {"string", "int64", "double"};
constexpr const char* kExtraKept[kExtras] = {"text", "integer", "real"};

struct Content {
  int64_t version = 0;
  int extra = -1;  // which attribute of the name it has a value of
};

// What a server knows at one position.
struct State {
  int64_t position = 1;
  Buckets buckets;  // by "account0", whatever the client's name for it
  std::map<std::string, bool> taken;
  std::map<std::string, std::map<RowId, int64_t>> gone;
  std::map<RowId, Content> rows;
  int extra = -1;  // the attribute that is shown now, if any
  int extras = 0;
  bool denied = false;    // account.secret
  int order_made = 0;     // how often the entity was made anew
  uint64_t replaced = 0;  // attributes

  // Other columns and another entity are another bucket to a client.
  std::string ClientName(const std::string& bucket) const {
    return bucket.starts_with("account") ? bucket + (denied ? "-denied" : "")
                                         : fmt::format("{}-{}", bucket, order_made);
  }
  bool OrderNumbers() const { return order_made % 2 == 0; }

  Buckets Mine() const {
    Buckets mine;
    for (const auto& [name, held] : buckets) {
      if (const auto it = taken.find(name); it == taken.end() || !it->second) {
        mine.emplace(name, held);
      }
    }
    return mine;
  }

  std::string Entities() const {
    std::string account = R"({"name":"id","type":"string"},{"name":"version","type":"int64"})";
    if (!denied) {
      account += R"(,{"name":"secret","type":"string"})";
    }
    if (extra >= 0) {
      account += fmt::format(R"(,{{"name":"extra","type":"{}"}})", kExtraTypes[extra]);
    }
    return fmt::format(
        R"({{"entities":[{{"entity":"account","primary_key":"id","attributes":[{}]}},)"
        R"({{"entity":"order","primary_key":"no","attributes":[{{"name":"no","type":"{}"}},)"
        R"({{"name":"version","type":"string"}}]}}]}})",
        account, OrderNumbers() ? "int64" : "string");
  }

  std::string Row(const RowId& id) const {
    const Content& content = rows.at(id);
    if (id.first == "order") {
      return fmt::format(R"({{"no":"{}","version":"{}"}})", id.second, content.version);
    }
    std::string row = fmt::format(R"({{"id":"{}","version":"{}")", id.second, content.version);
    if (!denied) {
      row += fmt::format(R"(,"secret":"s{}")", content.version);
    }
    if (extra >= 0 && content.extra == extra) {
      row += fmt::format(R"(,"extra":"{}")", content.version);
    }
    return row + "}";
  }

  // The caller's rows, as Held() finds them in the file.
  std::set<std::string> Visible() const {
    std::set<std::string> visible;
    for (const auto& [name, held] : Mine()) {
      for (const auto& [id, at] : held) {
        const Content& content = rows.at(id);
        if (id.first == "order") {
          visible.insert(fmt::format("order/{} {} {}", id.second, content.version,
                                     OrderNumbers() ? "integer" : "text"));
          continue;
        }
        const bool has_extra = extra >= 0 && content.extra == extra;
        visible.insert(fmt::format(
            "account/{} {} {} {}", id.second, content.version,
            denied ? "-" : fmt::format("s{}", content.version),
            has_extra ? fmt::format("{} {}", kExtraKept[extra], content.version) : "null -"));
      }
    }
    return visible;
  }
};

// A plain server. It makes a defect now and then: a frame lacks an operation.
class ModelServer {
 public:
  // A calm one keeps its schema and has one replica.
  ModelServer(uint64_t seed, bool calm) : random_(seed), calm_(calm) {}

  size_t Below(size_t bound) {
    return std::uniform_int_distribution<size_t>(0, bound - 1)(random_);
  }

  // One event.
  void Mutate() {
    older_.push_back(now_);
    if (older_.size() > 6) {
      older_.pop_front();
    }
    ++now_.position;
    const std::string entity = Below(2) == 0 ? "account" : "order";
    const RowId row = {entity, std::to_string(Below(25))};
    const std::string bucket = fmt::format("{}{}", entity, Below(4));
    const std::string at = fmt::format("{}.{}", now_.position, Below(12));
    switch (Below(16)) {
      case 0:
        now_.taken[bucket] = !now_.taken[bucket];
        return;
      case 1:
        if (!calm_) {
          ChangeSchema();
        }
        return;
      case 2:  // deleted
        for (auto& [name, rows] : now_.buckets) {
          Leave(name, row);
        }
        return;
      case 3:
      case 4:
      case 5:
      case 6:
        return Leave(bucket, row);
      case 7:
      case 8:
      case 9:  // comes into a bucket, for another row's sake
        if (now_.rows.contains(row)) {
          Enter(bucket, row, at);
          return;
        }
        break;
    }
    now_.rows[row] = {now_.position, Below(3) == 0 ? -1 : now_.extra};
    Enter(bucket, row, at);
    for (auto& [name, rows] : now_.buckets) {
      if (const auto it = rows.find(row); it != rows.end()) {
        it->second = at;
      }
    }
  }

  const std::set<std::string>& complete() const { return complete_; }
  std::string Entities() const { return entities_; }
  uint64_t defects() const { return defects_; }
  uint64_t replaced() const { return now_.replaced; }
  uint64_t behind() const { return behind_; }

  // What one request is answered with; breaks off, lies once, or goes on as chance has it.
  ScriptedAnswer Answer(const StreamRequest& request) {
    std::map<std::string, int64_t> progress;
    const nlohmann::json body = nlohmann::json::parse(request.body);
    for (const auto& have : body["have"]) {
      progress[have["bucket"]] = std::stoll(have["after"].get<std::string>());
    }
    if (Below(12) == 0) {
      return {.status = 503};
    }
    ScriptedAnswer answer;
    if (!calm_ && !older_.empty() && Below(12) == 0) {  // a replica that is behind
      ++behind_;
      const State& older = older_[Below(older_.size())];
      WriteCheckpoint(older, &progress, &answer.body, true);
      entities_ = older.Entities();
    } else {
      const size_t checkpoints = 1 + Below(2);
      for (size_t i = 0; i < checkpoints; ++i) {
        WriteCheckpoint(now_, &progress, &answer.body, i + 1 == checkpoints);
        if (i + 1 < checkpoints) {
          Mutate();
          Mutate();
        }
      }
      entities_ = now_.Entities();
    }
    if (Below(3) == 0) {
      answer.body.resize(Below(answer.body.size() + 1));
      answer.end = ScriptedAnswer::End::kCut;
    }
    return answer;
  }

 private:
  void Enter(const std::string& bucket, const RowId& row, const std::string& at) {
    now_.buckets[bucket][row] = at;
    now_.gone[bucket].erase(row);
  }
  void Leave(const std::string& bucket, const RowId& row) {
    if (now_.buckets[bucket].erase(row) > 0) {
      now_.gone[bucket][row] = now_.position;
    }
  }

  void ChangeSchema() {
    switch (Below(3)) {
      case 0:
        now_.denied = !now_.denied;
        return;
      case 1:  // shown or hidden
        if (now_.extra >= 0) {
          now_.extra = -1;
        } else if (now_.extras < kExtras) {
          now_.extra = now_.extras++;
          now_.replaced += now_.extra > 0 ? 1 : 0;
        }
        return;
      default:  // deleted and made anew, its key of another type
        ++now_.order_made;
        std::erase_if(now_.rows, [](const auto& row) { return row.first.first == "order"; });
        for (int i = 0; i < 4; ++i) {
          now_.buckets.erase(fmt::format("order{}", i));
          now_.gone.erase(fmt::format("order{}", i));
        }
    }
  }

  void WriteCheckpoint(const State& state, std::map<std::string, int64_t>* progress,
                       std::string* out, bool last) {
    Buckets named;
    for (const auto& [name, rows] : state.Mine()) {
      named.emplace(state.ClientName(name), rows);
    }
    std::vector<std::string> removed;
    for (const auto& [name, after] : *progress) {
      if (!named.contains(name) && Below(2) == 0) {
        removed.push_back(name);
      }
    }
    *out += CheckpointFrame(state.position, named, removed);
    std::erase_if(*progress, [&](const auto& held) { return !named.contains(held.first); });
    for (const auto& [name, rows] : state.Mine()) {
      const std::string client_name = state.ClientName(name);
      const auto held = progress->find(client_name);
      if (held != progress->end() && (Below(8) == 0 || held->second > state.position)) {
        *out += ResetFrame(client_name);
        progress->erase(held);
      }
      const bool whole = last || Below(2) == 0;
      WriteOps(state, name, progress, whole, out);
      if (!whole) {
        break;  // the newer checkpoint goes on here
      }
    }
    if (last) {
      *out += CompleteFrame(state.position);
      complete_ = state.Visible();
    }
  }

  void WriteOps(const State& state, const std::string& name,
                std::map<std::string, int64_t>* progress, bool whole, std::string* out) {
    const std::string client_name = state.ClientName(name);
    const auto held = progress->find(client_name);
    int64_t after = held == progress->end() ? -1 : held->second;
    const bool from_start = after < 0;
    std::multimap<int64_t, std::string> ops;
    for (const auto& [row, at] : state.buckets.at(name)) {
      if (std::stoll(at) > after) {
        ops.emplace(std::stoll(at), PutOp(row.first, row.second, at, state.Row(row)));
      }
    }
    if (const auto gone = state.gone.find(name); gone != state.gone.end() && !from_start) {
      for (const auto& [row, at] : gone->second) {
        if (at > after) {
          ops.emplace(at, RemoveOp(row.first, row.second, fmt::format("{}.0", at)));
        }
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
      *out += OpsFrame(client_name, std::max<int64_t>(after, 0), to, frame);
      after = to;
      if (!whole) {
        break;
      }
    }
    (*progress)[client_name] = whole ? state.position : after;
  }

  std::mt19937_64 random_;
  const bool calm_;
  State now_;
  std::deque<State> older_;
  std::set<std::string> complete_;  // what the last whole answer shows
  std::string entities_;            // of the state that was answered last
  uint64_t defects_ = 0;
  uint64_t behind_ = 0;
};

std::set<std::string> Held(const std::string& path) {
  SqlReader reader(path);
  if (reader.Query("SELECT 1 FROM sqlite_schema WHERE name='account'").empty()) {
    return {"nothing"};
  }
  const auto column = [&reader](const std::string& name) {
    return reader.Query("SELECT name FROM pragma_table_info('account') WHERE name='" + name + "'")
                   .empty()
               ? std::string("NULL")
               : name;
  };
  const std::string extra = column("extra");
  const std::string rows = reader.Query(fmt::format(
      "SELECT 'account/' || id || ' ' || version || ' ' || coalesce({}, '-') || ' ' || typeof({}) "
      "|| ' ' || coalesce(CAST({} AS INTEGER), '-') FROM account UNION ALL "
      "SELECT 'order/' || no || ' ' || version || ' ' || typeof(no) FROM \"order\"",
      column("secret"), extra, extra));
  std::set<std::string> held;
  for (size_t at = 0; at < rows.size();) {
    const size_t end = std::min(rows.find(';', at), rows.size());
    held.insert(rows.substr(at, end - at));
    at = end + 1;
  }
  return held;
}

struct Totals {
  int pulled = 0;
  int failed = 0;
  uint64_t reloaded = 0;
  uint64_t defects = 0;
  uint64_t replaced = 0;
  uint64_t behind = 0;
};

void Round(uint64_t seed, bool calm, Totals* totals) {
  TempDir dir;
  const std::string path = dir / "local.sqlite";
  ModelServer model(seed, calm);
  ScriptedSyncServer server("");
  server.AnswerWith([&model](const StreamRequest& request) { return model.Answer(request); },
                    [&model] { return model.Entities(); });
  std::set<std::string> shown = {"nothing"};
  uint64_t reloaded = 0;
  for (int step = 0; step < 25; ++step) {
    for (size_t changes = model.Below(20); changes > 0; --changes) {
      model.Mutate();
    }
    client::PullOptions options;
    options.url = server.url();
    options.org = "acme";
    options.db_path = path;
    options.token = [] { return absl::StatusOr<std::string>("t"); };
    options.attempts_max = 3;
    options.backoff_first = std::chrono::milliseconds(1);
    options.backoff_max = std::chrono::milliseconds(2);
    auto puller = client::Puller::Open(std::move(options));
    ASSERT_TRUE(puller.ok()) << puller.status();
    const auto result = (*puller)->Pull();
    if (result.ok()) {
      ++totals->pulled;
      reloaded += result->buckets_reloaded;
      shown = model.complete();
    } else {
      ++totals->failed;
      ASSERT_TRUE(absl::IsUnavailable(result.status()) || absl::IsDataLoss(result.status()))
          << result.status();
    }
    ASSERT_EQ(Held(path), shown) << "step " << step << ", last pull: " << result.status();
  }
  if (calm) {
    EXPECT_LE(reloaded, model.defects());  // nothing is loaded anew for a fault of the client's
  }
  totals->reloaded += reloaded;
  totals->defects += model.defects();
  totals->replaced += model.replaced();
  totals->behind += model.behind();
}

TEST(PullPropertyTest, TheFileIsTheCallersRowsAtACheckpoint) {
  const char* given = std::getenv("SLUICE_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()() % 1'000'000'000;
  std::printf("SLUICE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  Totals totals;
  for (uint64_t round = 0; round < 12; ++round) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " round " << round);
    Round(seed + round, round % 3 == 0, &totals);
    ASSERT_FALSE(HasFatalFailure());
  }
  // The test would prove little if these never happened.
  std::printf("%d pulls, %d failed, %llu buckets loaded anew, %llu replicas behind\n",
              totals.pulled, totals.failed, static_cast<unsigned long long>(totals.reloaded),
              static_cast<unsigned long long>(totals.behind));
  EXPECT_GT(totals.pulled, 100);
  EXPECT_GT(totals.failed, 0);
  EXPECT_GT(totals.reloaded, 0U);
  EXPECT_GT(totals.behind, 0U);
  EXPECT_GT(totals.replaced, 0U);
}

}  // namespace
}  // namespace sluice::testing
