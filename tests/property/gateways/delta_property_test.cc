#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>

#include "gateways/sync/cursor.h"
#include "gateways/sync/delta_page.h"
#include "gateways/sync/delta_plan.h"
#include "gateways/sync/json_encoder.h"
#include "schemas/base/status.h"
#include "tests/support/gateways/plain_world.h"

// Random organisations and clients that page through them: whenever a page says that there is no
// more, the client's rows are exactly the caller's; no operation names a row that was never the
// caller's; and no row is sent that the client has already, but where gateways/docs/sync.md says
// so. The seed is printed; SLUICE_SEED replays it, SLUICE_STEPS multiplies their number.
namespace sluice::gateways {
namespace {

using nlohmann::json;
using sluice::testing::HeldRows;
using sluice::testing::PlainWorld;

// What the caller sees of a bucket, and since which definition it surely had it.
struct HeldBucket {
  bool all_columns = true;
  Offset defined = kNoOffset;
  friend bool operator==(const HeldBucket&, const HeldBucket&) = default;
};
using HeldBuckets = std::map<BucketKey, HeldBucket>;
using RowName = HeldRows::key_type;

struct Client {
  PlainWorld::Caller caller;
  HeldRows rows;
  std::string cursor;
  HeldBuckets buckets;               // of the last page
  std::vector<std::string> earlier;  // cursors since those buckets became the caller's
  int64_t settled = -1;              // the position of its last complete page

  std::set<RowName> nameable;  // rows that were the caller's since the first of `earlier`
  // Since its last complete page:
  HeldBuckets at_base;       // of that page
  int64_t first = -1;        // the applied position of the first page
  std::set<RowName> steady;  // rows of the caller's at every position, or sent since
  std::set<RowName> taken;   // of these, what a change of rules took: the caller's no more
  bool exact = false;        // nothing came about that may make the server send rows again

  void Forget() {
    rows.clear();
    cursor.clear();
    earlier.clear();
    nameable.clear();
    first = -1;
    exact = false;
  }
};

class DeltaProperty {
 public:
  explicit DeltaProperty(uint64_t seed) : world_(seed), codec_("log", ""), clients_(4) {}

  void Run(int steps) {
    for (Client& client : clients_) {
      client.caller = world_.RandomCaller();
    }
    for (int step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
      for (size_t events = world_.Below(4); events > 0; --events) {
        Step();
      }
      if (world_.Below(30) == 0) {
        world_.Prune();
      }
      Client& client = clients_[world_.Below(clients_.size())];
      Disturb(&client);
      for (size_t pages = world_.Below(5); pages > 0; --pages) {
        Page(&client);
        // Now and then so many that a right goes and comes back between two pages.
        for (size_t i = world_.Below(8) == 0 ? world_.Below(32) : world_.Below(3) / 2; i > 0; --i) {
          Step();
        }
      }
      if (world_.Below(2) == 0) {
        for (int i = 0; Page(&client); ++i) {
          ASSERT_LT(i, 10'000) << "pages without end";
        }
      }
    }
    EXPECT_GT(complete_, steps / 10);
  }

  int complete() const { return complete_; }
  int restarts() const { return restarts_; }
  int exact() const { return exact_; }
  int restless() const { return restless_; }

 private:
  void Step() {
    const PlainWorld::Event event = world_.Step();
    for (Client& client : clients_) {
      Observe(&client, event);
    }
  }

  // After an event; other claims are as other rules.
  void Observe(Client* client, PlainWorld::Event event) {
    See(client);
    // A role that is away takes no row out of its buckets: what it gives back is as it was.
    const HeldRows rows = world_.RowsOfClaims(client->caller);
    for (const RowName& name : client->steady) {
      if (event == PlainWorld::Event::kRules && !rows.contains(name)) {
        client->taken.insert(name);
      }
    }
    std::erase_if(client->steady, [&](const RowName& name) {
      return !rows.contains(name) &&
             (event == PlainWorld::Event::kEntity || !client->taken.contains(name));
    });
    client->exact = client->exact && (event == PlainWorld::Event::kRows || client->first < 0);
  }

  void See(Client* client) {
    for (const auto& [name, row] : world_.RowsOf(client->caller)) {
      client->nameable.insert(name);
    }
  }

  void Disturb(Client* client) {
    const size_t kind = world_.Below(16);
    if (kind < 4) {
      if (kind == 0) {
        client->caller = world_.RandomCaller();
      } else {
        world_.ChangeClaims(&client->caller);
      }
      client->earlier.clear();
      Observe(client, PlainWorld::Event::kRules);
      Page(client);  // claims that come and go between pages are not seen by anybody
    } else if (kind < 7 && !client->earlier.empty() &&
               Held(world_.BucketsOf(client->caller)) == client->buckets) {
      // The promise ends where rules or claims change before the cursor is used again.
      client->cursor = client->earlier[world_.Below(client->earlier.size())];
      client->exact = false;
      Page(client);
    }
  }

  // One page; true when there is more.
  bool Page(Client* client) {
    const auto snapshot = world_.Snapshot();
    Cursor cursor;
    if (!client->cursor.empty()) {
      cursor = codec_.Decode("contoso", client->cursor).value();
      if (const absl::Status usable = CheckCursor(cursor, 1, *snapshot); !usable.ok()) {
        EXPECT_EQ(ErrorCode(usable), "cursor_expired");
        ++restarts_;
        client->Forget();
        See(client);
        return true;
      }
    }
    if (client->first < 0) {
      client->first = snapshot->applied().position.value();
    }
    const auto buckets = world_.BucketsOf(client->caller);
    DeltaLimits limits;
    limits.ops_max = 1 + world_.Below(12);
    if (world_.Below(4) == 0) {
      limits.scanned_max = 1 + world_.Below(6);
    }
    std::string ops;
    const auto page =
        BuildDeltaPage(*snapshot, 1, buckets, cursor, limits, JsonOperations(), pieces_, &ops);
    if (!page.ok()) {
      EXPECT_EQ(ErrorCode(page.status()), "cursor_expired");
      ++restless_;
      client->Forget();
      See(client);
      return true;
    }
    EXPECT_LE(page->ops, limits.ops_max);
    Take(client, ops, page->ops);
    if (const HeldBuckets now = Held(buckets); now != client->buckets) {
      client->buckets = now;
      client->earlier.clear();
    }
    client->cursor = codec_.Encode("contoso", page->cursor);
    client->earlier.push_back(client->cursor);
    if (!page->more) {
      Compare(client, *page);
    }
    return page->more;
  }

  static HeldBuckets Held(const std::vector<projectors::CallerBucket>& buckets) {
    HeldBuckets held;
    for (const projectors::CallerBucket& bucket : buckets) {
      held.emplace(bucket.bucket.key, HeldBucket{bucket.entity->denied.empty(), bucket.defined});
    }
    return held;
  }

  void Take(Client* client, const std::string& ops, size_t count) {
    const json parsed = json::parse("[" + ops + "]");
    EXPECT_EQ(parsed.size(), count);
    for (const json& op : parsed) {
      const RowName name = {op["entity"], op["key"]};
      EXPECT_TRUE(client->nameable.contains(name) || Vague(op)) << op << " was never shown";
      if (op["op"] == "put") {
        const HeldRows::mapped_type row = {op["row"]["first"], op["row"].value("second", "")};
        const auto has = client->rows.find(name);
        if (has != client->rows.end() && has->second == row) {
          CheckRepeat(*client, name, op);
        }
        client->rows[name] = row;
        client->steady.insert(name);
      } else {
        client->rows.erase(name);
      }
    }
  }

  // Does a bucket hide when the row was in it, because it came and went too often? What may have
  // been there while the bucket was the caller's is named.
  bool Vague(const json& op) const {
    const std::string name = op["key"];
    const std::string position = op["position"];
    for (const auto& [key, record] : world_.org().records) {
      for (const projectors::Membership& m : record.memberships) {
        if (key.key == name && m.vague && m.position.ToString() == position) {
          return true;
        }
      }
    }
    return false;
  }

  // A row that the client has was sent.
  void CheckRepeat(const Client& client, const RowName& name, const json& op) {
    const int64_t position = std::stoll(op["position"].get<std::string>());
    const bool named = !client.exact ||                  // in a first load, or amid pages
                       !client.steady.contains(name) ||  // away in between
                       position > client.first ||        // moved amid pages
                       MovedOften(client, name);
    EXPECT_TRUE(named) << op << " was sent to a client that has it";
  }

  // Was the row in a bucket that was the caller's at neither end of the way from the client's last
  // complete page to its next, or did it leave one amid pages, or come and go too often to tell?
  bool MovedOften(const Client& client, const RowName& name) const {
    const auto buckets = world_.BucketsOf(client.caller);
    const HeldBuckets now = Held(buckets);
    for (const projectors::CallerBucket& bucket : buckets) {
      const auto it = world_.org().records.find({bucket.entity->schema->id(), name.second});
      if (bucket.entity->schema->name() == name.first && it != world_.org().records.end()) {
        return std::ranges::any_of(it->second.memberships, [&](const auto& membership) {
          const bool based = client.at_base.contains(membership.bucket);
          const bool away = !membership.member || !now.contains(membership.bucket);
          return membership.vague ||
                 (!membership.member && membership.position.offset.value() > client.first) ||
                 (!based && away && membership.entered.value() > client.settled) ||
                 (!based && std::ranges::any_of(membership.earlier, [&](const auto& stay) {
                   return stay.until.value() > client.settled;
                 }));
        });
      }
    }
    return false;
  }

  void Compare(Client* client, const DeltaPage& page) {
    ++complete_;
    exact_ += client->exact ? 1 : 0;
    EXPECT_EQ(page.position, world_.org().applied.position);
    EXPECT_GE(page.position.value(), client->settled);
    EXPECT_LE(page.cursor.groups.size(), 1u);
    client->settled = page.position.value();
    EXPECT_EQ(client->rows, world_.RowsOf(client->caller)) << "at position " << client->settled;
    client->at_base = client->buckets;
    client->first = -1;
    client->exact = true;
    client->steady.clear();
    client->taken.clear();
    if (world_.Below(3) == 0) {
      client->earlier.assign(1, client->cursor);
      client->nameable.clear();
      See(client);
    }
    for (const auto& [name, row] : client->rows) {
      client->steady.insert(name);
    }
  }

  PlainWorld world_;
  PieceCache pieces_{{}};  // of all clients
  CursorCodec codec_;
  std::vector<Client> clients_;
  int complete_ = 0;
  int restarts_ = 0;  // behind the horizon
  int restless_ = 0;  // for buckets that changed too often
  int exact_ = 0;
};

uint64_t NumberFrom(const char* variable, uint64_t otherwise) {
  const char* given = std::getenv(variable);
  return given != nullptr ? std::strtoull(given, nullptr, 10) : otherwise;
}

TEST(DeltaPropertyTest, ClientsAreSentTheDifference) {
  const bool replay = std::getenv("SLUICE_SEED") != nullptr;
  const uint64_t first = NumberFrom("SLUICE_SEED", 1);
  const uint64_t rounds = replay ? 1 : 60 * NumberFrom("SLUICE_STEPS", 1);
  int complete = 0;
  int restarts = 0;
  int exact = 0;
  int restless = 0;
  for (uint64_t seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE("replay with SLUICE_SEED=" + std::to_string(seed));
    DeltaProperty property(seed);
    property.Run(400);
    complete += property.complete();
    restarts += property.restarts();
    exact += property.exact();
    restless += property.restless();
    if (::testing::Test::HasFailure()) {
      std::cerr << "seed " << seed << "\n";
      return;
    }
  }
  EXPECT_TRUE(replay || restarts > 10) << restarts;
  EXPECT_TRUE(replay || exact > complete / 4) << exact << " of " << complete;
  // More than some 30 changes before all pages are read.
  EXPECT_TRUE(replay || restless < complete / 1000) << restless;
  std::cerr << "seeds from " << first << ": " << complete << " complete pages, " << exact
            << " of them checked for repeats, " << restarts << " fresh starts behind the horizon, "
            << restless << " after changes without end\n";
}

}  // namespace
}  // namespace sluice::gateways
