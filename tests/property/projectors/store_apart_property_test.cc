// Random histories of three organisations, folded by a main and a side thread in random steps, with
// crashes, checkpoints, and stores that are lost or damaged at any moment: in the end every store
// is the fold of its organisation's events.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <string_view>
#include <thread>

#include "tests/support/apart_node.h"
#include "tests/support/killed_program.h"
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
  for (int step = 0; step < 200; ++step) {
    switch (random() % 14) {
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
        node.StepOfCheckpoint();
        break;
      case 8:
        node.FinishCheckpoint();
        break;
      case 9:
        node.Start();
        break;
      case 10:
        if (GetParam() % 4 == 1) {  // RocksDB takes 2 s for each
          node.LoseFolder(orgs[random() % orgs.size()]);
        }
        break;
      case 11:
      case 12:
        node.RestoreFolders();
        break;
      default: {
        const std::string folder = node.FolderOf(orgs[random() % orgs.size()]);
        node.RestoreFolders();
        node.Stop();
        random() % 2 == 0 ? fs::remove_all(folder) : fs::remove(folder + "/CURRENT");
        node.Start();
      }
    }
    if (::testing::Test::HasFatalFailure()) {
      return;
    }
  }
  node.RestoreFolders();
  node.FinishCheckpoint();
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

const std::vector<std::string> kOrgs = {"acme", "beta", "ceta"};

StoreOptions KilledOptions(const std::string& path) {
  StoreOptions options = testing::SmallStoreOptions(path);
  options.fold.step_rows = 6;
  return options;
}

ApartNode::Log KilledLog(const std::string& seed) {
  return testing::MixedHistory(std::stoull(seed), kOrgs).Next(1200);
}

// The child's main thread applies and makes checkpoints while its side thread folds who is apart;
// it writes a byte after each step of the main thread.
[[noreturn]] void RunUntilKilled(const std::string& path, const std::string& seed, int steps_fd) {
  const ApartNode::Log log = KilledLog(seed);
  ApartNode node(KilledOptions(path));
  std::thread side([&] {
    while (true) {
      if (!node.Side(log, 20)) {
        std::this_thread::yield();
      }
    }
  });
  std::thread flush;
  for (size_t step = 1;; ++step) {
    node.Main(log, 7);
    if (step % 6 == 0) {
      node.StepOfCheckpoint();
    } else if (step % 6 == 1 && step > 6) {
      flush = std::thread([&] { node.StepOfCheckpoint(); });  // while events are applied
    } else if (step % 6 == 5 && step > 6) {
      flush.join();
      node.StepOfCheckpoint();
    }
    if (::testing::Test::HasFailure() || write(steps_fd, "x", 1) != 1) {
      _exit(5);
    }
  }
}

TEST(StoreApart, EqualsThePlainFoldAfterKillsAndDamage) {
  const uint64_t seed = testing::TestSeed();
  std::mt19937_64 random(seed);
  const testing::TempDir dir;
  const StoreOptions options = KilledOptions(dir / "node");
  const std::string log_seed = std::to_string(random());
  for (int i = 0; i < 10; ++i) {
    testing::RunUntilKilled({"--run-until-killed", options.path, log_seed}, 1 + random() % 60);
    ASSERT_FALSE(HasFatalFailure()) << "seed " << seed;
    const fs::path folder = options.path + "/orgs/" + kOrgs[random() % kOrgs.size()] + "/1";
    if (random() % 3 == 0) {
      std::error_code ignored;
      random() % 2 == 0 ? fs::remove_all(folder, ignored) : fs::remove(folder / "CURRENT", ignored);
    }
  }
  const ApartNode::Log log = KilledLog(log_seed);
  ApartNode node(options);
  node.CatchUp(log);
  for (const std::string& org : kOrgs) {
    (void)node->Snapshot(testing::Org(org));  // what no event meets, a reader does
  }
  EXPECT_TRUE(node->LookForTrouble(ApartNode::kPartition).ok());
  node.CatchUp(log);
  for (const auto& [org, content] : testing::FoldPlainly(options.fold, log)) {
    if (OrgModel::Parse(content.model).value()->open()) {
      node.ExpectFoldOf(org, log);
    }
  }
  EXPECT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
}

INSTANTIATE_TEST_SUITE_P(Seeds, StoreApartProperty, ::testing::Range(1U, 13U));

}  // namespace
}  // namespace sluice::projectors

// `--run-until-killed <path> <seed> <fd>`: the child of EqualsThePlainFoldAfterKillsAndDamage.
int main(int argc, char** argv) {
  if (argc == 5 && std::string_view(argv[1]) == "--run-until-killed") {
    sluice::projectors::RunUntilKilled(argv[2], argv[3], std::stoi(argv[4]));
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
