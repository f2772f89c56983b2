// What a row costs that many point at: orders of as many users that name one product, which each of
// the users is to have. For a growing number of orders: changes a second where they come in batches
// and one at a time, a change of the product itself, and the process's memory; and what it takes
// where the product comes to give all its buckets to one more row, by 64 references: there they are
// 64 times as many. Prints a line each.
//   hot_row_bench [ORDERS...]      default 1000 10000 30000
#include <fmt/format.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "tests/bench/bench_store.h"
#include "tests/support/hot_row.h"

namespace sluice {
namespace {

using eventlog::StoredEvent;

constexpr size_t kBatch = 1'000;
constexpr int kAlone = 50;

class HotRow {
 public:
  HotRow() {
    store_.Apply(events_.Definitions(), kBatch);
    store_.Apply({events_.Product("hot")}, kBatch);
  }

  // Goes on to `orders` orders.
  void GrowTo(int orders) {
    std::vector<StoredEvent> events;
    while (orders_ < orders) {
      events.push_back(events_.Order(orders_++));
    }
    const double seconds = store_.Apply(events, kBatch);
    double alone_seconds = 0;
    for (int i = 0; i < kAlone; ++i) {
      alone_seconds += store_.Apply({events_.Order(orders_++)}, 1);
    }
    const bench::PeakMemory peak;
    const double product_seconds = store_.Apply({events_.Product(fmt::format("hot{}", orders))}, 1);
    fmt::print(
        "{} orders: {:.0f} changes/s in batches of {}, {:.2f} ms for one alone, {:.3f} s and "
        "{:.0f} "
        "B a bucket for a change of the product, {:.0f} MiB resident\n",
        orders, static_cast<double>(events.size()) / seconds, kBatch, alone_seconds / kAlone * 1e3,
        product_seconds, peak.Grown() / orders_, bench::MebibytesResident());
  }

 private:
  bench::BenchStore store_;
  testing::HotRowEvents events_;
  int orders_ = 0;
};

// Products of which one is in a bucket for each of `orders`, and comes to point at the other by
// each of its references.
void GiveAll(int orders) {
  constexpr uint32_t kOther = 3;
  constexpr uint32_t kReferences = 64;
  std::vector<testing::TestAttribute> attributes = {{1, "id"}, {2, "name"}};
  for (uint32_t i = 0; i < kReferences; ++i) {
    attributes.push_back({.id = 3 + i, .name = fmt::format("a{}", i), .references = "other"});
  }
  const v1::EntityDefined product =
      testing::DefineEntity(testing::HotRowEvents::kProduct, "product", attributes);
  std::vector<v1::Rule> others;
  testing::RowWriter row;
  row.Text(1, "P").Text(2, "hot");
  for (uint32_t i = 0; i < kReferences; ++i) {
    others.push_back(testing::RelatedRule(fmt::format("product.a{}", i)));
    row.Text(3 + i, "X");
  }
  v1::ProfileDefined profile = testing::DefineProfile("p", {{"order", {v1::RULE_KIND_USER}}}, {});
  testing::AddRules("product", {testing::RelatedRule("order.productid")}, &profile);
  testing::AddRules("other", others, &profile);
  testing::HotRowEvents events;
  bench::BenchStore store;
  std::vector<StoredEvent> load = events.Definitions();
  load.pop_back();  // the profile
  load.push_back(events.At(product));
  load.push_back(
      events.At(testing::DefineEntity(kOther, "other", {{1, "id"}, {2, "name"}, {3, "text"}})));
  load.push_back(events.At(profile));
  load.push_back(events.Product("hot"));
  load.push_back(events.At(
      testing::MakeSet({testing::Upsert(kOther, "X", testing::RowWriter().Text(1, "X").bytes())})));
  for (int i = 0; i < orders; ++i) {
    load.push_back(events.Order(i));
  }
  store.Apply(load, kBatch);
  const bench::PeakMemory peak;
  const double seconds = store.Apply({events.At(testing::MakeSet({testing::Upsert(
                                         testing::HotRowEvents::kProduct, "P", row.bytes())}))},
                                     1);
  const double buckets = static_cast<double>(orders) * kReferences;
  fmt::print("{} orders by {} references give one row {:.0f} buckets: {:.3f} s, {:.0f} B each\n",
             orders, kReferences, buckets, seconds, peak.Grown() / buckets);
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  sluice::HotRow row;
  if (argc < 2) {
    for (const int orders : {1'000, 10'000, 30'000}) {
      row.GrowTo(orders);
    }
    sluice::GiveAll(10'000);
  }
  for (int i = 1; i < argc; ++i) {
    row.GrowTo(std::atoi(argv[i]));
  }
  if (argc > 1) {
    sluice::GiveAll(std::atoi(argv[argc - 1]));
  }
  return 0;
}
