// What a row costs that many point at: orders of as many users that name one product, which each of
// the users is to have. For a growing number of orders: changes a second where they come in batches
// and one at a time, a change of the product itself, and the process's memory. Prints a line each.
//   hot_row_bench [ORDERS...]      default 1000 10000 30000
#include <fmt/format.h>

#include <cstdlib>
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
    const double product_seconds = store_.Apply({events_.Product(fmt::format("hot{}", orders))}, 1);
    fmt::print(
        "{} orders: {:.0f} changes/s in batches of {}, {:.2f} ms for one alone, {:.3f} s for "
        "a change of the product, {:.0f} MiB resident\n",
        orders, static_cast<double>(events.size()) / seconds, kBatch, alone_seconds / kAlone * 1e3,
        product_seconds, bench::MebibytesResident());
  }

 private:
  bench::BenchStore store_;
  testing::HotRowEvents events_;
  int orders_ = 0;
};

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  sluice::HotRow row;
  if (argc < 2) {
    for (const int orders : {1'000, 10'000, 30'000}) {
      row.GrowTo(orders);
    }
  }
  for (int i = 1; i < argc; ++i) {
    row.GrowTo(std::atoi(argv[i]));
  }
  return 0;
}
