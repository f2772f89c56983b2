#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "gateways/sync/cursor.h"
#include "gateways/sync/delta_page.h"
#include "gateways/sync/delta_plan.h"
#include "schemas/status.h"
#include "tests/support/gateways/plain_world.h"

// Random organisations and clients that page through them: whenever a page says that there is no
// more, the client's rows are exactly the caller's. The seed is printed; SLUICE_SEED replays it.
namespace sluice::gateways {
namespace {

using nlohmann::json;
using sluice::testing::HeldRows;
using sluice::testing::PlainWorld;

using HeldBuckets = std::map<BucketKey, bool>;

struct Client {
  PlainWorld::Caller caller;
  HeldRows rows;
  std::string cursor;
  HeldBuckets buckets;               // of the last page
  std::vector<std::string> earlier;  // cursors since those buckets became the caller's
  int64_t settled = -1;              // the position of its last complete page

  void Forget() {
    rows.clear();
    cursor.clear();
    earlier.clear();
  }
};

class DeltaProperty {
 public:
  explicit DeltaProperty(uint64_t seed) : world_(seed), codec_("log", "") {}

  void Run(int steps) {
    std::vector<Client> clients(4);
    for (Client& client : clients) {
      client.caller = world_.RandomCaller();
    }
    for (int step = 0; step < steps && !::testing::Test::HasFatalFailure(); ++step) {
      for (size_t events = world_.Below(4); events > 0; --events) {
        world_.Step();
      }
      if (world_.Below(30) == 0) {
        world_.Prune();
      }
      Client& client = clients[world_.Below(clients.size())];
      Disturb(&client);
      for (size_t pages = world_.Below(5); pages > 0; --pages) {
        Page(&client);
        if (world_.Below(3) == 0) {
          world_.Step();
        }
      }
      if (world_.Below(4) == 0) {
        for (int i = 0; Page(&client); ++i) {
          ASSERT_LT(i, 10'000) << "pages without end";
        }
      }
    }
    EXPECT_GT(complete_, steps / 10);
  }

  int complete() const { return complete_; }
  int restarts() const { return restarts_; }

 private:
  void Disturb(Client* client) {
    if (world_.Below(8) == 0) {
      client->caller = world_.RandomCaller();
      client->earlier.clear();
    } else if (world_.Below(5) == 0 && !client->earlier.empty()) {
      client->cursor = client->earlier[world_.Below(client->earlier.size())];
    }
  }

  // One page; true when there is more.
  bool Page(Client* client) {
    const auto snapshot = world_.Snapshot();
    Cursor cursor;
    if (!client->cursor.empty()) {
      cursor = codec_.Decode("contoso", client->cursor).value();
      if (const absl::Status usable = CheckCursor(cursor, 1, snapshot->applied()); !usable.ok()) {
        EXPECT_EQ(ErrorCode(usable), "cursor_expired");
        ++restarts_;
        client->Forget();
        return true;
      }
    }
    const auto buckets = world_.BucketsOf(client->caller);
    DeltaLimits limits;
    limits.ops_max = 1 + world_.Below(12);
    if (world_.Below(4) == 0) {
      limits.scanned_max = 1 + world_.Below(6);
    }
    std::string ops;
    const auto page = BuildDeltaPage(*snapshot, 1, buckets, cursor, limits, &ops);
    EXPECT_TRUE(page.ok()) << page.status();
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
      held.emplace(bucket.bucket.key, bucket.denied.empty());
    }
    return held;
  }

  static void Take(Client* client, const std::string& ops, size_t count) {
    const json parsed = json::parse("[" + ops + "]");
    EXPECT_EQ(parsed.size(), count);
    for (const json& op : parsed) {
      const std::pair<std::string, std::string> key = {op["entity"], op["key"]};
      if (op["op"] == "put") {
        client->rows[key] = {op["row"]["first"], op["row"].value("second", "")};
      } else {
        client->rows.erase(key);
      }
    }
  }

  void Compare(Client* client, const DeltaPage& page) {
    ++complete_;
    EXPECT_EQ(page.position, world_.org().applied.position);
    EXPECT_GE(page.position.value(), client->settled);
    EXPECT_LE(page.cursor.groups.size(), 1u);
    client->settled = page.position.value();
    ASSERT_EQ(client->rows, world_.RowsOf(client->caller)) << "at position " << client->settled;
  }

  PlainWorld world_;
  CursorCodec codec_;
  int complete_ = 0;
  int restarts_ = 0;
};

TEST(DeltaPropertyTest, ClientsEndWithTheCallersRows) {
  const char* given = std::getenv("SLUICE_SEED");
  const uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
  const uint64_t rounds = given != nullptr ? 1 : 60;
  int complete = 0;
  int restarts = 0;
  for (uint64_t seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE("replay with SLUICE_SEED=" + std::to_string(seed));
    DeltaProperty property(seed);
    property.Run(400);
    complete += property.complete();
    restarts += property.restarts();
    if (::testing::Test::HasFailure()) {
      std::cerr << "seed " << seed << "\n";
      return;
    }
  }
  EXPECT_TRUE(given != nullptr || restarts > 10) << restarts;
  std::cerr << "seeds from " << first << ": " << complete << " complete pages, " << restarts
            << " fresh starts\n";
}

}  // namespace
}  // namespace sluice::gateways
