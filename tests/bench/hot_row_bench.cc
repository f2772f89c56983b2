// What a row costs that many point at: orders of as many users that name one product, which each of
// the users is to have. For a growing number of orders: changes a second where they come in batches
// and one at a time, a change of the product itself, and the process's memory. Prints a line each.
//   hot_row_bench [ORDERS...]      default 1000 10000 30000
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "projectors/store/store_manager.h"
#include "tests/support/change_events.h"
#include "tests/support/temp_dir.h"

namespace sluice {
namespace {

using eventlog::StoredEvent;
using projectors::StoreManager;
using std::chrono::steady_clock;

constexpr size_t kBatch = 1'000;
constexpr size_t kAlone = 50;
constexpr uint32_t kProduct = 1;
constexpr uint32_t kOrder = 2;

double MebibytesResident() {
  size_t pages = 0;
  size_t resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

class HotRow {
 public:
  HotRow() {
    projectors::StoreOptions options;
    options.path = dir_ / "stores";
    options.log_id = "bench";
    stores_ = StoreManager::Open(std::move(options)).value();
    v1::EntityDefined order =
        testing::DefineEntity(kOrder, "order", {{1, "id"}, {2, "owner"}, {3, "productid"}}, 2);
    order.mutable_schema()->mutable_attributes(2)->set_references("product");
    v1::ProfileDefined defined;
    v1::Profile& profile = *defined.mutable_profile();
    profile.set_name("p");
    profile.add_roles("field");
    v1::EntityRules& orders = *profile.add_entities();
    orders.set_entity("order");
    orders.add_rules()->set_kind(v1::RULE_KIND_USER);
    v1::EntityRules& products = *profile.add_entities();
    products.set_entity("product");
    v1::Rule& related = *products.add_rules();
    related.set_kind(v1::RULE_KIND_RELATED);
    related.set_through("order.productid");
    Apply({Event(testing::OpenOrg(1)),
           Event(testing::DefineEntity(kProduct, "product", {{1, "id"}, {2, "name"}})),
           Event(order), Event(testing::DefineRole("field", true, {"product", "order"})),
           Event(defined), Product("hot")});
  }
  ~HotRow() { (void)stores_->Close(); }

  // Goes on to `orders` orders.
  void GrowTo(size_t orders) {
    std::vector<StoredEvent> events;
    while (orders_ < orders) {
      events.push_back(Order());
    }
    const double seconds = Apply(events);
    std::vector<StoredEvent> alone;
    for (size_t i = 0; i < kAlone; ++i) {
      alone.push_back(Order());
    }
    double alone_seconds = 0;
    for (const StoredEvent& event : alone) {
      alone_seconds += Apply({event});
    }
    const double product_seconds = Apply({Product(fmt::format("hot{}", orders))});
    fmt::print(
        "{} orders: {:.0f} changes/s in batches of {}, {:.2f} ms for one alone, {:.3f} s for "
        "a change of the product, {:.0f} MiB resident\n",
        orders, static_cast<double>(events.size()) / seconds, kBatch, alone_seconds / kAlone * 1e3,
        product_seconds, MebibytesResident());
  }

 private:
  StoredEvent Event(const google::protobuf::Message& payload) {
    return testing::MakeEvent(offset_++, payload);
  }
  StoredEvent Product(const std::string& name) {
    return Event(testing::MakeSet(
        {testing::Upsert(kProduct, "P", testing::RowWriter().Text(1, "P").Text(2, name).bytes())}));
  }
  StoredEvent Order() {
    const std::string key = fmt::format("o{}", orders_);
    const std::string row = testing::RowWriter()
                                .Text(1, key)
                                .Text(2, fmt::format("user{}", orders_++))
                                .Text(3, "P")
                                .bytes();
    return Event(testing::MakeSet({testing::Upsert(kOrder, key, row)}));
  }
  double Apply(const std::vector<StoredEvent>& events) {
    const auto start = steady_clock::now();
    for (std::span<const StoredEvent> rest(events); !rest.empty();) {
      const size_t count = std::min(rest.size(), kBatch);
      const auto applied = stores_->Apply(PartitionId(0), rest.first(count));
      if (!applied.ok() || !applied->rejected.empty()) {
        fmt::print(stderr, "the events were not applied: {}\n", applied.status().ToString());
        std::exit(1);
      }
      rest = rest.subspan(count);
    }
    return std::chrono::duration<double>(steady_clock::now() - start).count();
  }

  testing::TempDir dir_;
  int64_t offset_ = 0;
  size_t orders_ = 0;
  std::unique_ptr<StoreManager> stores_;
};

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  sluice::HotRow row;
  if (argc < 2) {
    for (const size_t orders : {1'000, 10'000, 30'000}) {
      row.GrowTo(orders);
    }
  }
  for (int i = 1; i < argc; ++i) {
    row.GrowTo(std::strtoull(argv[i], nullptr, 10));
  }
  return 0;
}
