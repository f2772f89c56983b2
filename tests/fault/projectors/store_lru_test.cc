#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include "tests/support/store_node.h"
#include "tests/support/temp_dir.h"

// Many more organisations than stores may be open.
namespace sluice::projectors {
namespace {

using eventlog::StoredEvent;
using testing::AccountEvent;
using testing::Org;
using testing::SmallStoreOptions;
using testing::StoreNode;
using Log = std::vector<StoredEvent>;

double Gauge(const prometheus::Registry& registry, const std::string& name) {
  for (const auto& family : registry.Collect()) {
    if (family.name == name) {
      return family.metric.at(0).gauge.value;
    }
  }
  ADD_FAILURE() << "no metric " << name;
  return 0;
}

TEST(StoreLru, TwoHundredOrganisationsWithTenOpenStores) {
  const testing::TempDir dir;
  StoreOptions options = SmallStoreOptions(dir / "node");
  options.open_stores_max = 10;
  options.registry = std::make_shared<prometheus::Registry>();
  std::vector<std::string> orgs;
  Log log;
  int64_t offset = 0;
  for (int i = 0; i < 200; ++i) {
    orgs.push_back("org" + std::to_string(i));
    for (StoredEvent& event : testing::OrgWithAccounts(orgs.back(), offset)) {
      log.push_back(std::move(event));
    }
    offset += 10;
  }
  for (int i = 0; i < 200; ++i) {
    log.push_back(AccountEvent(orgs[static_cast<size_t>(i * 7 % 200)], ++offset,
                               "A" + std::to_string(i), "U1", "s" + std::to_string(i)));
  }
  StoreNode node(options);
  for (size_t count = 100; count <= log.size(); count += 100) {
    const auto applied = node->Apply(StoreNode::kPartition, {&log[count - 100], 100});
    ASSERT_TRUE(applied.ok()) << applied.status();
    EXPECT_LE(Gauge(*options.registry, "sluice_store_open_stores"), 10);
  }
  EXPECT_EQ(Gauge(*options.registry, "sluice_store_stores"), 200);
  const auto contents = testing::FoldPlainly(options.fold, log);
  for (const std::string& org : orgs) {
    EXPECT_EQ(node->Digest(Org(org)).value(),
              testing::DigestOf(contents.at(org), options.fold.dedup_window))
        << org;
  }
  node.Checkpoint();
  EXPECT_LE(Gauge(*options.registry, "sluice_store_open_stores"), 10);
  EXPECT_EQ(node->ListStores().value().size(), 200U);
}

}  // namespace
}  // namespace sluice::projectors
