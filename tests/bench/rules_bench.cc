// What row choice costs: the fold against the number of rules, of buckets a row is in, and of
// related rows; a profile change over many rows; an owner change with many related rows, and how
// long readers see the state before it; serving rows with and without masked columns. Prints a line
// each.
//   rules_bench [EVENTS [ROWS [RELATED]]]      defaults 100000, 1000000, 100000
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gateways/sync/delta_page.h"
#include "gateways/sync/json_encoder.h"
#include "projectors/store/store_manager.h"
#include "tests/bench/bench_store.h"
#include "tests/support/change_events.h"
#include "tests/support/write_checkpoint.h"

namespace sluice {
namespace {

using bench::SecondsSince;
using eventlog::StoredEvent;
using std::chrono::steady_clock;

constexpr size_t kBatch = 10'000;
constexpr uint32_t kAccount = 1;
constexpr uint32_t kContact = 2;

// One organisation's store.
class Org : public bench::BenchStore {
 public:
  using BenchStore::BenchStore;

  double Apply(const std::vector<StoredEvent>& events) { return BenchStore::Apply(events, kBatch); }
  double ApplyOne(const google::protobuf::Message& payload) { return Apply({Event(payload)}); }

  // Accounts with an owner (2), sixteen texts to filter by (3 to 18) and a note (19); contacts that
  // point at accounts (2).
  void Define() {
    std::vector<testing::TestAttribute> attributes = {{1, "id"}, {2, "owner"}};
    for (uint32_t i = 3; i < 19; ++i) {
      attributes.push_back({i, fmt::format("t{}", i)});
    }
    attributes.push_back({19, "note"});
    const v1::EntityDefined contact = testing::DefineEntity(
        kContact, "contact",
        {{1, "id"}, {.id = 2, .name = "accountid", .references = "account"}, {3, "note"}});
    Apply({Event(testing::OpenOrg(1)),
           Event(testing::DefineEntity(kAccount, "account", attributes, 2)), Event(contact),
           Event(testing::DefineRole("field", true, {"account", "contact"}))});
  }
};

v1::ProfileDefined Profile(const std::vector<v1::Rule>& account,
                           const std::vector<v1::Rule>& contact = {}) {
  v1::ProfileDefined defined = testing::DefineProfile("p", {}, {"field"});
  testing::AddRules("account", account, &defined);
  testing::AddRules("contact", contact, &defined);
  return defined;
}

std::string AccountKey(size_t i) { return fmt::format("account-{:08}", i); }

std::string AccountRow(size_t i, const std::string& owner) {
  testing::RowWriter row;
  row.Text(1, AccountKey(i)).Text(2, owner);
  for (uint32_t a = 3; a < 19; ++a) {
    row.Text(a, fmt::format("t{}", i % 20));
  }
  return row.Text(19, std::string(60, 'n')).bytes();
}

std::string ContactRow(size_t i, size_t account) {
  return testing::RowWriter()
      .Text(1, fmt::format("contact-{:08}", i))
      .Text(2, AccountKey(account))
      .Text(3, std::string(120, 'n'))
      .bytes();
}

std::vector<StoredEvent> Accounts(Org& org, size_t count, const std::string& owner,
                                  size_t per_set) {
  std::vector<StoredEvent> events;
  for (size_t i = 0; i < count; i += per_set) {
    std::vector<v1::Operation> ops;
    for (size_t j = i; j < std::min(count, i + per_set); ++j) {
      ops.push_back(
          testing::Upsert(kAccount, AccountKey(j),
                          AccountRow(j, owner.empty() ? fmt::format("u{}", j % 500) : owner)));
    }
    events.push_back(org.Event(testing::MakeSet(ops)));
  }
  return events;
}

// `rules` filters that a row does not pass, and `buckets` that it does.
void FoldWithRules(size_t events, size_t rules, size_t buckets) {
  Org org;
  org.Define();
  std::vector<v1::Rule> all;
  for (size_t i = 0; i < buckets; ++i) {
    all.push_back(testing::FilterRule(fmt::format("t{} in @teams", 3 + i)));
  }
  for (size_t i = all.size(); i < rules; ++i) {
    all.push_back(testing::FilterRule(fmt::format("note eq 'none{}'", i)));
  }
  org.ApplyOne(Profile(all));
  const auto load = Accounts(org, events, "", 1);
  const double seconds = org.Apply(load);
  fmt::print("fold: {:2} rules, row in {:2} buckets      {:8.0f} events/s\n", rules, buckets,
             static_cast<double>(events) / seconds);
}

// Every event moves an account to another owner, and `fan_out` contacts with it.
void FoldRelated(size_t events, size_t fan_out) {
  Org org;
  org.Define();
  org.ApplyOne(Profile({testing::KindRule(v1::RULE_KIND_USER)},
                       {testing::RelatedRule("contact.accountid")}));
  const size_t accounts = std::max<size_t>(1, 100'000 / std::max<size_t>(fan_out, 1) / 10);
  org.Apply(Accounts(org, accounts, "u0", 1));
  std::vector<StoredEvent> contacts;
  for (size_t i = 0; i < accounts * fan_out; ++i) {
    contacts.push_back(org.Event(testing::MakeSet({testing::Upsert(
        kContact, fmt::format("contact-{:08}", i), ContactRow(i, i % accounts))})));
  }
  const double load = org.Apply(contacts);
  std::vector<StoredEvent> moves;
  const size_t count = std::max<size_t>(20, events / 10 / std::max<size_t>(fan_out, 1));
  for (size_t i = 0; i < count; ++i) {
    moves.push_back(org.Event(testing::MakeSet({testing::Patch(
        kAccount, AccountKey(i % accounts),
        testing::RowWriter().Text(2, fmt::format("u{}", i / accounts + 1)).bytes())})));
  }
  const double seconds = org.Apply(moves);
  fmt::print(
      "fold: related rows, fan-out {:5}        {:8.0f} events/s, {:8.0f} rows moved/s; "
      "loading the related rows {:8.0f} events/s\n",
      fan_out, static_cast<double>(count) / seconds,
      static_cast<double>(count * (fan_out + 1)) / seconds,
      static_cast<double>(contacts.size()) / load);
}

// What a caller's pages hold from `cursor` on.
size_t PullBytes(Org& org, const std::string& user, gateways::Cursor* cursor, size_t* ops) {
  const auto snapshot = org.stores().Snapshot(OrgId::Parse("acme").value()).value();
  const projectors::CallerClaims caller{user, {"field"}, {"t1"}, std::nullopt};
  const auto buckets = snapshot->model()->BucketsOf(caller, 1'000).value();
  gateways::PieceCache pieces({});
  size_t bytes = 0;
  for (bool more = true; more;) {
    std::string out;
    const auto page = gateways::BuildDeltaPage(*snapshot, 1, buckets, *cursor, {.ops_max = 10'000},
                                               gateways::JsonOperations(), pieces, &out)
                          .value();
    bytes += out.size();
    *ops += page.ops;
    *cursor = page.cursor;
    more = page.more;
  }
  return bytes;
}

// A profile's rule is replaced over `rows` rows, one of which out of 20 the caller gains.
void ProfileChange(size_t rows) {
  Org org;
  org.Define();
  org.ApplyOne(Profile({testing::KindRule(v1::RULE_KIND_USER)}));
  org.Apply(Accounts(org, rows, "", 1'000));
  gateways::Cursor cursor;
  size_t ops = 0;
  PullBytes(org, "u7", &cursor, &ops);
  ops = 0;
  const double seconds = org.ApplyOne(
      Profile({testing::KindRule(v1::RULE_KIND_USER), testing::FilterRule("t3 in @teams")}));
  const size_t bytes = PullBytes(org, "u7", &cursor, &ops);
  fmt::print(
      "profile change over {} rows: applied in {:.1f} s ({:.0f} rows/s), the caller gains {} "
      "rows in {:.1f} MiB\n",
      rows, seconds, static_cast<double>(rows) / seconds, ops,
      static_cast<double>(bytes) / (1 << 20));
}

// One event takes `related` contacts from one caller to another; readers see the state before it.
void OwnerChange(size_t related) {
  Org org;
  org.Define();
  org.ApplyOne(Profile({testing::KindRule(v1::RULE_KIND_USER)},
                       {testing::RelatedRule("contact.accountid")}));
  org.Apply(Accounts(org, 1, "ann", 1));
  std::vector<StoredEvent> contacts;
  for (size_t i = 0; i < related; i += 1'000) {
    std::vector<v1::Operation> ops;
    for (size_t j = i; j < std::min(related, i + 1'000); ++j) {
      ops.push_back(testing::Upsert(kContact, fmt::format("contact-{:08}", j), ContactRow(j, 0)));
    }
    contacts.push_back(org.Event(testing::MakeSet(ops)));
  }
  org.Apply(contacts);
  gateways::Cursor ann;
  gateways::Cursor bert;
  size_t ops = 0;
  PullBytes(org, "ann", &ann, &ops);
  PullBytes(org, "bert", &bert, &ops);
  const double seconds = org.ApplyOne(testing::MakeSet(
      {testing::Patch(kAccount, AccountKey(0), testing::RowWriter().Text(2, "bert").bytes())}));
  size_t gained = 0;
  size_t lost = 0;
  const auto start = steady_clock::now();
  const size_t bytes = PullBytes(org, "bert", &bert, &gained);
  const size_t removed = PullBytes(org, "ann", &ann, &lost);
  fmt::print(
      "owner change with {} related rows: applied, and waited for by readers of newer rows, "
      "{:.2f} s ({:.0f} rows/s); {} rows in {:.1f} MiB gained, {} removals in {:.1f} MiB, "
      "served in {:.2f} s\n",
      related, seconds, static_cast<double>(related) / seconds, gained,
      static_cast<double>(bytes) / (1 << 20), lost, static_cast<double>(removed) / (1 << 20),
      SecondsSince(start));
}

// A full load with every column, and with one, and eight, of nineteen denied.
void MaskedColumns(size_t rows) {
  Org org;
  org.Define();
  org.ApplyOne(Profile({testing::KindRule(v1::RULE_KIND_ALL)}));
  org.Apply(Accounts(org, rows, "", 1'000));
  for (const int denied : {0, 1, 8}) {
    v1::RoleDefined role = testing::DefineRole("field", true, {"account", "contact"});
    for (int i = 0; i < denied; ++i) {
      role.mutable_role()->mutable_entities(0)->add_deny_columns(fmt::format("t{}", 3 + i));
    }
    org.ApplyOne(role);
    double best = 1e9;
    size_t bytes = 0;
    for (int round = 0; round < 5; ++round) {
      gateways::Cursor cursor;
      size_t ops = 0;
      const auto start = steady_clock::now();
      bytes = PullBytes(org, "u7", &cursor, &ops);
      best = std::min(best, SecondsSince(start));
    }
    fmt::print("serving {} rows, {} of 19 columns denied: {:.2f}M rows/s, {:.0f} MB/s\n", rows,
               denied, static_cast<double>(rows) / best / 1e6,
               static_cast<double>(bytes) / best / 1e6);
  }
}

// Every row is updated 100 times, each time by another owner: the store's size, when its horizon is
// two rounds of updates long, against that after the load.
void StoreSize(size_t rows) {
  Org org({.dedup_window = static_cast<int64_t>(2 * rows),
           .tombstone_horizon = static_cast<int64_t>(2 * rows)});
  org.Define();
  org.ApplyOne(Profile({testing::KindRule(v1::RULE_KIND_USER)}));
  const auto mebibytes = [&org] {
    (void)testing::WriteCheckpoint(org.stores(), PartitionId(0));
    return static_cast<double>(org.stores().ListStores().value()[0].disk_bytes) / (1 << 20);
  };
  org.Apply(Accounts(org, rows, "u0", 1));
  fmt::print("store of {} rows: {:.1f} MiB after the load", rows, mebibytes());
  for (int round = 1; round <= 100; ++round) {
    org.Apply(Accounts(org, rows, fmt::format("u{}", round), 1));
    if (round == 10 || round == 50 || round == 100) {
      fmt::print(", {:.1f} MiB after {} updates of each", mebibytes(), round);
    }
  }
  fmt::print("\n");
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  const size_t events = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100'000;
  const size_t rows = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1'000'000;
  const size_t related = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 100'000;
  for (const size_t buckets : {1, 4, 16}) {
    sluice::FoldWithRules(events, buckets, buckets);
  }
  for (const size_t rules : {4, 16}) {
    sluice::FoldWithRules(events, rules, 1);
  }
  for (const size_t fan_out : {1, 10, 1'000}) {
    sluice::FoldRelated(events, fan_out);
  }
  sluice::ProfileChange(rows);
  sluice::OwnerChange(related);
  sluice::MaskedColumns(std::min<size_t>(rows, 200'000));
  sluice::StoreSize(std::min<size_t>(rows, 20'000));
  return 0;
}
