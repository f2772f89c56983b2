#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "tests/support/change_events.h"

namespace sluice::testing {

// A product that the orders of many users point at, each of whom is to have it: order N is of user
// N, and points at product P.
class HotRowEvents {
 public:
  static constexpr uint32_t kProduct = 1;
  static constexpr uint32_t kOrder = 2;

  // The entities, a role, and the profile, but no row.
  std::vector<eventlog::StoredEvent> Definitions() {
    const v1::EntityDefined order = DefineEntity(
        kOrder, "order",
        {{1, "id"}, {2, "owner"}, {.id = 3, .name = "productid", .references = "product"}}, 2);
    return {At(OpenOrg(1)), At(DefineEntity(kProduct, "product", {{1, "id"}, {2, "name"}})),
            At(order), At(DefineRole("field", true, {"product", "order"})), Profile(true)};
  }
  // Users have their orders, and with `products` what these point at.
  eventlog::StoredEvent Profile(bool products) {
    v1::ProfileDefined defined = DefineProfile("p", {{"order", {v1::RULE_KIND_USER}}}, {"field"});
    if (products) {
      AddRules("product", {RelatedRule("order.productid")}, &defined);
    }
    return At(defined);
  }
  eventlog::StoredEvent Product(std::string_view name) {
    return At(MakeSet({Upsert(kProduct, "P", RowWriter().Text(1, "P").Text(2, name).bytes())}));
  }
  eventlog::StoredEvent NoProduct() { return At(MakeSet({Delete(kProduct, "P")})); }
  // Orders `from` up to before `to`, in one set.
  eventlog::StoredEvent Orders(int from, int to) {
    std::vector<v1::Operation> ops;
    for (int i = from; i < to; ++i) {
      const std::string key = fmt::format("o{}", i);
      const std::string owner = fmt::format("user{}", i);
      ops.push_back(
          Upsert(kOrder, key, RowWriter().Text(1, key).Text(2, owner).Text(3, "P").bytes()));
    }
    return At(MakeSet(ops));
  }
  eventlog::StoredEvent Order(int number) { return Orders(number, number + 1); }
  eventlog::StoredEvent NoOrder(int number) {
    return At(MakeSet({Delete(kOrder, fmt::format("o{}", number))}));
  }

  // The next event of the log.
  template <typename Payload>
  eventlog::StoredEvent At(const Payload& payload) {
    return MakeEvent(offset_++, payload, "acme");
  }

 private:
  int64_t offset_ = 0;
};

}  // namespace sluice::testing
