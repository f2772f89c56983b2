#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <sstream>

#include "gateways/sync/touched_buckets.h"
#include "tests/support/change_events.h"
#include "tests/support/gateways/fold_stores.h"

// Live sessions that look only at what the news name, against sessions that load everything: random
// changes, definitions and horizons, news that come late, and snapshots that are ahead of them.
// After every checkpoint a session's client has exactly what a new one would be given by that
// snapshot, and once all news have come nobody still waits for something. The seed is printed;
// SLUICE_SEED replays it, SLUICE_STEPS multiplies their number.
namespace sluice::gateways {
namespace {

using nlohmann::json;
using projectors::OrgSnapshot;

constexpr char kOrg[] = "contoso";

size_t Env(const char* name, size_t otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? std::strtoull(value, nullptr, 10) : otherwise;
}

// The rows that frames make, by bucket and key.
struct Copy {
  std::map<std::string, std::map<std::string, std::string>> rows;
  std::map<std::string, std::pair<std::string, std::string>> summaries;  // count and checksum

  void Apply(const std::string& frames) {
    std::istringstream lines(frames);
    for (std::string line; std::getline(lines, line);) {
      const json frame = json::parse(line);
      if (frame.contains("checkpoint")) {
        summaries.clear();
        for (const json& bucket : frame["checkpoint"]["buckets"]) {
          summaries[bucket["bucket"]] = {bucket["count"], bucket["checksum"]};
        }
        for (const json& bucket : frame["checkpoint"]["removed"]) {
          rows.erase(bucket.get<std::string>());
        }
      } else if (frame.contains("reset")) {
        rows.erase(frame["reset"]["bucket"].get<std::string>());
      } else if (frame.contains("ops")) {
        auto& bucket = rows[frame["ops"]["bucket"]];
        for (const json& op : frame["ops"]["ops"]) {
          if (op["op"] == "put") {
            bucket[op["key"]] = op["row"].dump() + op["position"].get<std::string>();
          } else {
            bucket.erase(op["key"].get<std::string>());
          }
        }
        if (bucket.empty()) {
          rows.erase(frame["ops"]["bucket"].get<std::string>());
        }
      }
    }
  }
};

projectors::CallerClaims Claims(size_t number) {
  projectors::CallerClaims claims;
  claims.user = "u" + std::to_string(number % 3);
  claims.roles = {number % 4 == 3 ? "other" : "field"};
  for (size_t team = 0; team < 6; ++team) {
    if ((number + team) % 3 != 0) {
      claims.teams.push_back("t" + std::to_string(team));
    }
  }
  return claims;
}

StreamState NewState(CallerColumnsTable& columns, PieceCache& pieces, size_t number) {
  return StreamState({.log_id = "log", .frame_ops = 3}, columns, pieces, Claims(number), {},
                     FrameFormat::kNdjson);
}

// As a session of the stream handler goes on, one step at a time.
class Session {
 public:
  Session(ChangeHub& hub, sluice::testing::FoldStores& stores, PieceCache& pieces, size_t number)
      : stores_(stores),
        number_(number),
        watch_(hub, *OrgId::Parse(kOrg)),
        touched_(watch_),
        state_(NewState(columns_, pieces, number)) {}

  bool idle() const { return step_ == 0 && !state_.sending() && !watch_.changed(); }
  size_t looks() const { return looks_; }

  void Step(bool supersede) {
    std::string frames;
    if (step_ == 0 && state_.sending() && !supersede) {
      FrameBuffer filled;
      ASSERT_TRUE(state_.Fill(1, &filled).ok());
      copy_.Apply(fmt::format("{}", fmt::join(filled.Parts(), "")));
      if (!state_.sending()) {
        Compare(*sent_);
      }
    } else if (step_ == 0) {
      if (watch_.changed() || !state_.begun() || state_.sending()) {
        touched_.TakeNews();
        ++looks_;
        step_ = 1;
      } else {
        state_.SetQuiet(watch_.applied());
      }
    } else if (step_ == 1) {
      snapshot_ = stores_.Snapshot(*OrgId::Parse(kOrg)).value();
      step_ = 2;
    } else {
      const auto began = state_.Begin(snapshot_, touched_.At(snapshot_->applied().position));
      ASSERT_TRUE(began.ok()) << began.status();
      state_.WriteCheckpoint(SIZE_MAX, &frames);
      copy_.Apply(frames);
      touched_.Looked(state_);
      sent_ = std::move(snapshot_);
      if (!*began) {
        Compare(*sent_);
      }
      step_ = 0;
    }
  }

  // What a new client is given by the snapshot.
  void Compare(const OrgSnapshot& snapshot) {
    Copy fresh;
    PieceCache nothing({});
    StreamState state = NewState(columns_, nothing, number_);
    FrameBuffer frames;
    ASSERT_TRUE(state.Begin({&snapshot, [](auto*) {}}).ok());
    state.WriteCheckpoint(SIZE_MAX, &frames.text());
    ASSERT_TRUE(state.Fill(SIZE_MAX, &frames).ok());
    fresh.Apply(fmt::format("{}", fmt::join(frames.Parts(), "")));
    EXPECT_EQ(copy_.rows, fresh.rows)
        << "session " << number_ << " at " << snapshot.applied().position.value();
  }
  void ExpectSettled() {
    const auto snapshot = stores_.Snapshot(*OrgId::Parse(kOrg)).value();
    Compare(*snapshot);
  }

 private:
  sluice::testing::FoldStores& stores_;
  const size_t number_;
  ChangeHub::Watch watch_;
  TouchedBuckets touched_;
  CallerColumnsTable columns_;
  StreamState state_;
  Copy copy_;
  int step_ = 0;
  size_t looks_ = 0;
  std::shared_ptr<const OrgSnapshot> snapshot_;
  std::shared_ptr<const OrgSnapshot> sent_;
};

class World {
 public:
  explicit World(uint64_t seed) : random_(seed), hub_(io_, stores_) {
    using namespace sluice::testing;
    stores_.Add(kOrg, OpenOrg(1));
    stores_.Add(kOrg,
                DefineEntity(1, "account", {{1, "id"}, {2, "n"}, {3, "owner"}, {4, "team"}}, 3, 4));
    stores_.Add(kOrg, DefineRole("field", true, {"account"}));
    stores_.Add(kOrg, DefineRole("other", true, {"account"}));
    DefineRules();
  }

  void Run(size_t steps) {
    for (size_t step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
      Event();
    }
    Settle();
  }
  size_t looks() const { return looks_; }
  size_t hits() const { return hits_; }

 private:
  size_t Below(size_t n) { return random_() % n; }

  void Event() {
    const size_t dice = Below(100);
    if (dice < 25) {
      Change();
    } else if (dice < 26) {
      DefineRules();
    } else if (dice < 28) {
      stores_.HoldNews(Below(2) == 0);
    } else if (dice < 35) {
      stores_.TellNext();
    } else if (dice < 50) {
      io_.poll();
      io_.restart();
    } else if (dice < 52 && sessions_.size() < 12) {
      sessions_.push_back(std::make_unique<Session>(hub_, stores_, pieces_, Below(40)));
    } else if (dice < 53 && !sessions_.empty()) {
      Drop(Below(sessions_.size()));
    } else if (dice < 54) {
      const auto applied = stores_.AppliedOf(*OrgId::Parse(kOrg));
      stores_.SetHorizon(kOrg, Offset(std::max<int64_t>(applied.value() - 20, 0)));
    } else if (!sessions_.empty()) {
      sessions_[Below(sessions_.size())]->Step(Below(8) == 0);
    }
  }

  void Drop(size_t at) {
    looks_ += sessions_[at]->looks();
    sessions_.erase(sessions_.begin() + static_cast<ptrdiff_t>(at));
  }

  void Change() {
    using namespace sluice::testing;
    std::vector<v1::Operation> ops;
    for (size_t i = Below(3) + 1; i > 0; --i) {
      const std::string key = "k" + std::to_string(Below(40));
      if (Below(4) == 0) {
        ops.push_back(Delete(1, key));
        continue;
      }
      RowWriter row;
      row.Text(1, key).Text(2, std::to_string(Below(9))).Text(3, "u" + std::to_string(Below(4)));
      row.Text(4, "t" + std::to_string(Below(8)));
      ops.push_back(Upsert(1, key, row.bytes()));
    }
    stores_.Add(kOrg, MakeSet(ops));
  }

  void DefineRules() {
    std::vector<v1::RuleKind> kinds;
    for (const v1::RuleKind kind : {v1::RULE_KIND_USER, v1::RULE_KIND_TEAM, v1::RULE_KIND_ALL}) {
      if (Below(kind == v1::RULE_KIND_ALL ? 6 : 2) == 0) {
        kinds.push_back(kind);
      }
    }
    if (kinds.empty()) {
      kinds.push_back(v1::RULE_KIND_USER);
    }
    stores_.Add(kOrg, sluice::testing::DefineProfile(
                          "p", {{"account", kinds}},
                          Below(3) == 0 ? std::vector<std::string>{"field"}
                                        : std::vector<std::string>{"field", "other"}));
  }

  // All news come, everybody goes on until there is nothing to do.
  void Settle() {
    stores_.HoldNews(false);
    while (stores_.TellNext()) {
    }
    for (int round = 0; round < 2'000; ++round) {
      io_.poll();
      io_.restart();
      for (const auto& session : sessions_) {
        session->Step(false);
      }
      if (std::ranges::all_of(sessions_, [](const auto& session) { return session->idle(); })) {
        break;
      }
    }
    for (const auto& session : sessions_) {
      EXPECT_TRUE(session->idle());
      session->ExpectSettled();
    }
    while (!sessions_.empty()) {
      Drop(0);
    }
    EXPECT_EQ(stores_.subscriptions(), 0u);
  }

  std::mt19937_64 random_;
  sluice::testing::FoldStores stores_;
  boost::asio::io_context io_;
  ChangeHub hub_;
  size_t hits_ = 0;
  PieceCache pieces_{{.on_find = [this](bool hit) { hits_ += hit ? 1 : 0; }}};
  std::vector<std::unique_ptr<Session>> sessions_;
  size_t looks_ = 0;
};

TEST(LiveSessionsPropertyTest, NobodyMissesAChange) {
  const size_t first = Env("SLUICE_SEED", std::random_device{}());
  const size_t rounds = std::getenv("SLUICE_SEED") != nullptr ? 1 : 60 * Env("SLUICE_STEPS", 1);
  size_t looks = 0;
  size_t hits = 0;
  for (size_t round = 0; round < rounds && !::testing::Test::HasFailure(); ++round) {
    const uint64_t seed = (first + round) % 1'000'000'000;
    std::cout << "SLUICE_SEED=" << seed << "\n";
    World world(seed);
    world.Run(600);
    looks += world.looks();
    hits += world.hits();
  }
  std::cout << looks << " looks, " << hits << " pieces that others had made\n";
  EXPECT_GT(looks, 0u);
  EXPECT_GT(hits, 0u);
}

}  // namespace
}  // namespace sluice::gateways
