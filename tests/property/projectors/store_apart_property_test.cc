// Random histories of three organisations, folded by a main and a side thread in random steps, with
// crashes, checkpoints, and stores that are lost or damaged at any moment: in the end every store
// is the fold of its organisation's events.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "tests/support/apart_node.h"
#include "tests/support/temp_dir.h"

namespace sluice::projectors {
namespace {

namespace fs = std::filesystem;
using testing::ApartNode;

class StoreApartProperty : public ::testing::TestWithParam<uint32_t> {};

TEST_P(StoreApartProperty, EveryStoreIsTheFoldOfItsEvents) {
  const std::vector<std::string> orgs = {"acme", "beta", "ceta"};
  const testing::TempDir dir;
  std::mt19937 random(GetParam());
  StoreOptions options = testing::SmallStoreOptions(dir / "node");
  options.fold.step_rows = 3 + random() % 20;
  options.open_stores_max = 2 + random() % 3;
  ApartNode node(options);
  testing::MixedHistory history(GetParam(), orgs);
  ApartNode::Log log;
  for (int step = 0; step < 120; ++step) {
    switch (random() % 10) {
      case 0:
      case 1: {
        auto more = history.Next(1 + random() % 40);
        std::move(more.begin(), more.end(), std::back_inserter(log));
        break;
      }
      case 2:
      case 3:
      case 4:
        node.Main(log, 1 + random() % 30);
        break;
      case 5:
      case 6:
        node.Side(log, 1 + random() % 30);
        break;
      case 7:
        node.Checkpoint();
        break;
      case 8:
        node.Start();
        break;
      default: {
        const std::string folder = node.FolderOf(orgs[random() % orgs.size()]);
        node.Stop();
        random() % 2 == 0 ? fs::remove_all(folder) : fs::remove(folder + "/CURRENT");
        node.Start();
      }
    }
    if (::testing::Test::HasFatalFailure()) {
      return;
    }
  }
  node.CatchUp(log);
  const auto contents = testing::FoldPlainly(options.fold, log);
  for (const auto& [org, content] : contents) {
    if (OrgModel::Parse(content.model).value()->open()) {
      node.ExpectFoldOf(org, log);
    } else {
      EXPECT_EQ(ErrorCode(node->Digest(testing::Org(org)).status()), "org_not_found") << org;
    }
  }
  EXPECT_FALSE(::testing::Test::HasFailure()) << "seed " << GetParam();
}

INSTANTIATE_TEST_SUITE_P(Seeds, StoreApartProperty, ::testing::Range(1U, 13U));

}  // namespace
}  // namespace sluice::projectors
