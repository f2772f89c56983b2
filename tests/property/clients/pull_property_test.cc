// Whatever a server sends and wherever it breaks off, after a pull that succeeded the file holds
// the rows of the caller's buckets and no other, as the schema shows them, and until then it holds
// those of the last such pull.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <utility>

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

// What a round's servers are like.
struct Kind {
  bool calm = false;      // one replica, and the schema stays
  bool older = false;     // sometimes sends neither columns nor history, as servers once did
  bool restores = false;  // its log is now and then restored to an earlier state
};

// What a server knows at one position.
struct State {
  int history = 0;
  int64_t position = 1;
  Buckets buckets;  // by "account0", whatever the client's name for it
  std::map<std::string, bool> taken;
  std::map<std::string, std::map<RowId, int64_t>> gone;
  std::map<RowId, Content> rows;
  int extra = -1;  // the attribute that is shown now, if any
  int extras = 0;
  bool denied = false;        // account.secret
  bool renames = true;        // an attribute defined anew is another bucket
  int order_made = 0;         // how often the entity was made anew
  bool order_numbers = true;  // its key's type, so in another history perhaps another one
  uint64_t replaced = 0;      // attributes

  // Other columns and another entity are another bucket to a client.
  std::string ClientName(const std::string& bucket) const {
    if (!bucket.starts_with("account")) {
      return fmt::format("{}-{}", bucket, order_made);
    }
    return fmt::format("{}{}{}", bucket, denied ? "-denied" : "",
                       renames && extras > 1 ? fmt::format("-{}", extras - 1) : "");
  }
  std::string HistoryText() const { return fmt::format("h{}.{}", history, position); }

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
        R"("entities":[{{"entity":"account","primary_key":"id","attributes":[{}]}},)"
        R"({{"entity":"order","primary_key":"no","attributes":[{{"name":"no","type":"{}"}},)"
        R"({{"name":"version","type":"string"}}]}}])",
        account, order_numbers ? "int64" : "string");
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
                                     order_numbers ? "integer" : "text"));
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
  ModelServer(uint64_t seed, const Kind& kind) : random_(seed), kind_(kind) {
    now_.renames = !kind.older;
  }
  // Its nodes, which point to each other.
  void SetNodes(std::vector<std::string> urls) { urls_ = std::move(urls); }

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
    if (kind_.restores && Below(40) == 0) {
      return Restore();
    }
    switch (Below(16)) {
      case 0:
        now_.taken[bucket] = !now_.taken[bucket];
        return;
      case 1:
        if (!kind_.calm) {
          ChangeSchema();
          if (Below(4) == 0) {  // and quickly back
            ++now_.position;
            now_.denied = !now_.denied;
          }
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
    now_.rows[row] = {now_.history * int64_t{1'000'000} + now_.position,
                      Below(3) == 0 ? -1 : now_.extra};
    Enter(bucket, row, at);
    for (auto& [name, rows] : now_.buckets) {
      if (const auto it = rows.find(row); it != rows.end()) {
        it->second = at;
      }
    }
  }

  // What the checkpoints that were sent whole since the last call show, the newest last.
  std::vector<std::set<std::string>> TakeCompleted() { return std::exchange(completed_, {}); }
  std::string Entities() const { return "{" + entities_ + "}"; }
  uint64_t restored() const { return static_cast<uint64_t>(now_.history); }
  uint64_t redirects() const { return redirects_; }
  uint64_t defects() const { return defects_; }
  uint64_t replaced() const { return now_.replaced; }
  uint64_t behind() const { return behind_; }

  // What one request to node `node` is answered with; breaks off, lies once, points to another
  // node, or goes on as chance has it.
  ScriptedAnswer Answer(size_t node, const StreamRequest& request) {
    if (Below(12) == 0) {
      return {.status = 503, .body = R"({"code":"not_caught_up"})", .retry_after = "1"};
    }
    if (Below(8) == 0) {
      ++redirects_;
      return {.status = 307, .location = urls_[1 - node] + "/v1/orgs/acme/stream"};
    }
    std::map<std::string, int64_t> progress;
    const nlohmann::json body = nlohmann::json::parse(request.body);
    for (const auto& have : body["have"]) {
      progress[have["bucket"]] = std::stoll(have["after"].get<std::string>());
    }
    const std::string history = body.value("history", "");
    EXPECT_TRUE(kind_.older || progress.empty() || !history.empty()) << request.body;
    resets_all_ = !history.empty() && !Knows(history);
    named_ = PositionOf(history);
    before_answer_ = progress;
    sends_columns_ = !kind_.older || Below(2) == 0;
    sent_entities_.clear();
    ends_.clear();
    ScriptedAnswer answer;
    if (!kind_.calm && !older_.empty() && Below(12) == 0) {  // a replica that is behind
      ++behind_;
      WriteCheckpoint(older_[Below(older_.size())], &progress, &answer.body, true);
    } else {
      WriteCheckpoints(&progress, &answer.body);
    }
    if (Below(3) == 0) {
      answer.body.resize(Below(answer.body.size() + 1));
      answer.end = ScriptedAnswer::End::kCut;
    }
    for (const auto& [end, visible] : ends_) {
      if (end <= answer.body.size()) {
        completed_.push_back(visible);
      }
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

  // The log loses what came after an earlier state, and goes on as another history.
  void Restore() {
    now_ = older_[Below(older_.size())];
    std::erase_if(older_, [this](const State& state) { return state.position > now_.position; });
    for (auto& [history, until] : known_) {
      until = std::min(until, now_.position);
    }
    known_.emplace(now_.history, now_.position);
    now_.history = ++histories_;
  }

  // Of a history's name; beyond everything where none is given.
  static int64_t PositionOf(const std::string& text) {
    const size_t point = text.find('.');
    return point == std::string::npos ? INT64_MAX : std::stoll(text.substr(point + 1));
  }

  // Whether the log of today has that history at that position.
  bool Knows(const std::string& text) const {
    int history = 0;
    long long position = 0;
    EXPECT_EQ(std::sscanf(text.c_str(), "h%d.%lld", &history, &position), 2) << text;
    const auto it = known_.find(history);
    return history == now_.history || (it != known_.end() && position <= it->second);
  }

  // One or several, of which the last is whole; a live stream brings as many one after the other.
  void WriteCheckpoints(std::map<std::string, int64_t>* progress, std::string* out) {
    const size_t checkpoints = 1 + Below(3);
    for (size_t i = 1; i <= checkpoints; ++i) {
      const int history = now_.history;
      WriteCheckpoint(now_, progress, out, i == checkpoints || (!kind_.older && Below(2) == 0));
      if (i == checkpoints) {
        return;
      }
      Mutate();
      Mutate();
      if (now_.history != history) {
        return;  // the process that answers has ended
      }
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
        now_.order_numbers = Below(2) == 0;
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
    *out += CheckpointFrame(state.position, named, removed, MoreOf(state));
    std::erase_if(*progress, [&](const auto& held) { return !named.contains(held.first); });
    const bool resets_all = std::exchange(resets_all_, false);
    const bool resets_first = Below(2) == 0;
    if (resets_all && resets_first) {
      for (const auto& [name, after] : *progress) {
        *out += ResetFrame(name);
      }
      progress->clear();
    }
    const std::map<std::string, int64_t> before = *progress;
    if (resets_all && !before.empty()) {  // some reset is before the first operation
      *out += ResetFrame(before.begin()->first);
      progress->erase(before.begin()->first);
    }
    for (const auto& [name, rows] : state.Mine()) {
      const std::string client_name = state.ClientName(name);
      const auto held = progress->find(client_name);
      if (held != progress->end() &&
          ((resets_all && before.contains(client_name)) || Below(8) == 0 ||
           held->second > state.position ||
           (before.contains(client_name) && before_answer_.contains(client_name) &&
            before_answer_.at(client_name) > named_))) {
        *out += ResetFrame(client_name);
        progress->erase(held);
        before_answer_.erase(client_name);
      }
      const bool whole = last || resets_all || Below(2) == 0;
      WriteOps(state, name, progress, whole, out);
      if (!whole) {
        break;  // the newer checkpoint goes on here
      }
    }
    if (last) {
      *out += CompleteFrame(state.position);
      ends_.emplace_back(out->size(), state.Visible());
    }
    entities_ = state.Entities();
  }

  // Columns with the first checkpoint and where they changed, and the history.
  std::string MoreOf(const State& state) {
    if (!sends_columns_) {
      return {};
    }
    std::string more = fmt::format(R"("history":"{}")", state.HistoryText());
    if (const std::string entities = state.Entities(); entities != sent_entities_) {
      more += "," + entities;
      sent_entities_ = entities;
    }
    return more;
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
  const Kind kind_;
  std::vector<std::string> urls_;
  State now_;
  std::deque<State> older_;
  std::map<int, int64_t> known_;  // histories before, and up to where the log still has them
  int histories_ = 0;
  std::vector<std::set<std::string>> completed_;
  std::string entities_;  // of the state that was answered last
  // Of the answer that is being written.
  bool resets_all_ = false;
  int64_t named_ = 0;  // what is held beyond the history that the request names may be another's
  std::map<std::string, int64_t> before_answer_;  // what the request said, of what was not reset
  bool sends_columns_ = true;
  std::string sent_entities_;
  std::vector<std::pair<size_t, std::set<std::string>>> ends_;
  uint64_t redirects_ = 0;
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
  uint64_t restored = 0;
  uint64_t redirects = 0;
};

client::PullOptions OptionsFor(const std::string& url, const std::string& path) {
  client::PullOptions options;
  options.url = url;
  options.org = "acme";
  options.db_path = path;
  options.token = [] { return absl::StatusOr<std::string>("t"); };
  options.attempts_max = 3;
  options.backoff_first = std::chrono::milliseconds(1);
  options.backoff_max = std::chrono::milliseconds(2);
  return options;
}

void Round(uint64_t seed, const Kind& kind, Totals* totals) {
  TempDir dir;
  const std::string path = dir / "local.sqlite";
  ModelServer model(seed, kind);
  ScriptedSyncServer nodes[2] = {ScriptedSyncServer(""), ScriptedSyncServer("")};
  for (size_t node = 0; node < 2; ++node) {
    nodes[node].AnswerWith(
        [&model, node](const StreamRequest& request) { return model.Answer(node, request); },
        [&model] { return model.Entities(); });
  }
  model.SetNodes({nodes[0].url(), nodes[1].url()});
  std::set<std::string> shown = {"nothing"};
  uint64_t reloaded = 0;
  for (int step = 0; step < 25; ++step) {
    for (size_t changes = model.Below(20); changes > 0; --changes) {
      model.Mutate();
    }
    auto puller = client::Puller::Open(OptionsFor(nodes[step % 2].url(), path));
    ASSERT_TRUE(puller.ok()) << puller.status();
    const auto result = (*puller)->Pull();
    const std::vector<std::set<std::string>> completed = model.TakeCompleted();
    const std::set<std::string> held = Held(path);
    if (result.ok()) {
      ++totals->pulled;
      reloaded += result->buckets_reloaded;
      ASSERT_FALSE(completed.empty());
      shown = completed.back();
      EXPECT_EQ(result->rows, shown.size());
    } else {
      ++totals->failed;
      ASSERT_TRUE(absl::IsUnavailable(result.status()) || absl::IsDataLoss(result.status()))
          << result.status();
      // One may be complete before the next fails.
      if (std::ranges::find(completed, held) != completed.end()) {
        shown = held;
      }
    }
    ASSERT_EQ(held, shown) << "step " << step << ", last pull: " << result.status();
  }
  if (!kind.older) {
    EXPECT_LE(reloaded, model.defects());  // nothing is loaded anew for a fault of the client's
  }
  totals->reloaded += reloaded;
  totals->defects += model.defects();
  totals->replaced += model.replaced();
  totals->behind += model.behind();
  totals->restored += model.restored();
  totals->redirects += model.redirects();
}

TEST(PullPropertyTest, TheFileIsTheCallersRowsAtACheckpoint) {
  const char* given = std::getenv("SLUICE_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()() % 1'000'000'000;
  std::printf("SLUICE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  Totals totals;
  const Kind kinds[] = {{.calm = true}, {.older = true}, {.restores = true}, {}};
  for (uint64_t round = 0; round < 16; ++round) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " round " << round);
    Round(seed + round, kinds[round % std::size(kinds)], &totals);
    ASSERT_FALSE(HasFatalFailure());
  }
  // The test would prove little if these never happened.
  std::printf(
      "%d pulls, %d failed, %llu buckets loaded anew, %llu replicas behind, %llu logs "
      "restored\n",
      totals.pulled, totals.failed, static_cast<unsigned long long>(totals.reloaded),
      static_cast<unsigned long long>(totals.behind),
      static_cast<unsigned long long>(totals.restored));
  EXPECT_GT(totals.pulled, 100);
  EXPECT_GT(totals.failed, 0);
  EXPECT_GT(totals.reloaded, 0U);
  EXPECT_GT(totals.behind, 0U);
  EXPECT_GT(totals.replaced, 0U);
  EXPECT_GT(totals.restored, 0U);
  EXPECT_GT(totals.redirects, 0U);
}

}  // namespace
}  // namespace sluice::testing
