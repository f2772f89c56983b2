#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include "projectors/store/store_manager.h"
#include "schemas/base/status.h"
#include "tests/support/killed_program.h"
#include "tests/support/store_fixture.h"
#include "tests/support/temp_dir.h"
#include "tests/support/write_checkpoint.h"

// Invariants 1 and 2 of ARCHITECTURE.md on real stores: whatever the batches, evictions, restarts
// and crashes, a store equals the fold of its log.
namespace sluice::projectors {
namespace {

using eventlog::StoredEvent;
using testing::MixedHistory;
using testing::Org;
using testing::TempDir;

const std::vector<std::string> kOrgs = {"acme", "beta", "corp", "delta", "echo"};
constexpr PartitionId kPartition{3};

// What runs is a sequence of these over one folder; the events are those of one partition.
class Node {
 public:
  explicit Node(StoreOptions options) : options_(std::move(options)) { Start(); }

  void Start() {
    auto opened = StoreManager::Open(options_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    manager_ = *std::move(opened);
    applied_ = kNoOffset;
  }
  // Without a flush, as after a crash: what was not flushed is gone.
  void Crash() {
    manager_.reset();
    Start();
  }
  void Restart() {
    ASSERT_TRUE(manager_->Close().ok());
    manager_.reset();
    Start();
  }

  // Reads `log` from the checkpoint to the end in batches of random size.
  void CatchUp(const std::vector<StoredEvent>& log, std::mt19937_64& random) {
    const Offset from = manager_->CheckpointOf(kPartition);
    auto next = std::lower_bound(log.begin(), log.end(), from,
                                 [](const StoredEvent& e, Offset o) { return e.offset < o; });
    while (next != log.end()) {
      const size_t left = static_cast<size_t>(log.end() - next);
      const size_t count = std::min<size_t>(left, 1 + random() % 40);
      const auto applied =
          manager_->Apply(kPartition, {&*next, count}, [&] { return random() % 4 == 0; });
      if (absl::IsCancelled(applied.status())) {
        // Stopped amid a large event; what is there of it may reach the disk, or not.
        ++cancelled_;
        if (random() % 2 == 0) {
          const auto checkpoint = testing::WriteCheckpoint(*manager_, kPartition);
          ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
        }
        if (random() % 3 == 0) {
          Crash();
          return CatchUp(log, random);
        }
        continue;
      }
      ASSERT_TRUE(applied.ok()) << applied.status();
      ASSERT_LE(OpenStores(), options_.open_stores_max);
      next += static_cast<std::ptrdiff_t>(count);
      const Offset before = std::exchange(applied_, manager_->Applied(kPartition));
      ASSERT_GE(applied_, std::max(before, (next - 1)->offset)) << "the position never goes back";
    }
  }

  void ExpectEquals(const std::map<std::string, testing::StoreContent>& wanted) {
    for (const auto& [org, content] : wanted) {
      const auto digest = manager_->Digest(Org(org));
      if (content.records.empty() && !OrgModel::Parse(content.model).value()->open()) {
        ASSERT_EQ(ErrorCode(digest.status()), "org_not_found") << org << " was never opened";
        continue;
      }
      ASSERT_TRUE(digest.ok()) << org << ": " << digest.status();
      EXPECT_EQ(*digest, testing::DigestOf(content, options_.fold.dedup_window)) << org;
      const absl::Status verified = manager_->Verify(Org(org));
      EXPECT_TRUE(verified.ok()) << org << ": " << verified;
    }
  }

  StoreManager& manager() { return *manager_; }
  size_t cancelled() const { return cancelled_; }

 private:
  size_t OpenStores() const {
    for (const auto& family : options_.registry->Collect()) {
      if (family.name == "sluice_store_open_stores") {
        return static_cast<size_t>(family.metric.at(0).gauge.value);
      }
    }
    ADD_FAILURE() << "no metric";
    return 0;
  }

  const StoreOptions options_;
  std::unique_ptr<StoreManager> manager_;
  Offset applied_ = kNoOffset;  // as the manager last said, since its start
  size_t cancelled_ = 0;        // calls that ended amid an event
};

TEST(StoreProperty, EqualsThePlainFoldThroughCrashesAndRestarts) {
  const uint64_t seed = testing::TestSeed();
  std::mt19937_64 random(seed);
  const TempDir dir;
  StoreOptions options = testing::SmallStoreOptions(dir / "node");
  options.open_stores_max = 2;  // so that stores are closed and opened all the time
  options.registry = std::make_shared<prometheus::Registry>();
  Node node(options);
  MixedHistory history(random(), kOrgs);
  std::vector<StoredEvent> log;
  const size_t rounds = testing::TestSteps(12);
  for (size_t round = 0; round < rounds && !::testing::Test::HasFailure(); ++round) {
    for (StoredEvent& event : history.Next(1 + random() % 120)) {
      log.push_back(std::move(event));
    }
    node.CatchUp(log, random);
    switch (random() % 5) {
      case 0:
        node.Crash();
        node.CatchUp(log, random);
        break;
      case 1:
        node.Restart();
        break;
      case 2: {
        const auto checkpoint = testing::WriteCheckpoint(node.manager(), kPartition);
        ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
        ASSERT_GT(*checkpoint, log.back().offset);
        node.Crash();
        break;
      }
      default:
        break;
    }
    node.ExpectEquals(testing::FoldPlainly(options.fold, log));
  }
  EXPECT_GT(node.cancelled(), 0u);
  StoreOptions rebuilt_options = options;
  rebuilt_options.path = dir / "rebuilt";
  Node rebuilt(rebuilt_options);
  rebuilt.CatchUp(log, random);
  rebuilt.ExpectEquals(testing::FoldPlainly(options.fold, log));
}

StoreOptions KilledOptions(const std::string& path) {
  StoreOptions options = testing::SmallStoreOptions(path);
  options.open_stores_max = 3;
  options.registry = std::make_shared<prometheus::Registry>();
  return options;
}

std::vector<StoredEvent> KilledLog(const std::string& seed) {
  return MixedHistory(std::stoull(seed), kOrgs).Next(1500);
}

// The child applies and checkpoints, and writes a byte after each step; it is killed after a number
// of them, so amid a later one.
[[noreturn]] void RunUntilKilled(const StoreOptions& options, const std::vector<StoredEvent>& log,
                                 int steps_fd) {
  const auto report = [steps_fd] {
    if (write(steps_fd, "x", 1) != 1) {
      _exit(5);
    }
  };
  auto manager = StoreManager::Open(options);
  if (!manager.ok()) {
    _exit(2);
  }
  report();
  const Offset from = (*manager)->CheckpointOf(kPartition);
  size_t batches = 0;
  for (size_t i = 0; i < log.size();) {
    if (log[i].offset < from) {
      ++i;
      continue;
    }
    const size_t count = std::min<size_t>(log.size() - i, 7);
    if (!(*manager)->Apply(kPartition, {&log[i], count}).ok()) {
      _exit(3);
    }
    i += count;
    report();
    if (++batches % 5 == 0) {
      if (!testing::WriteCheckpoint(**manager, kPartition).ok()) {
        _exit(4);
      }
      report();
    }
  }
  for (;;) {
    report();  // blocks once nobody reads
  }
}

TEST(StoreProperty, EqualsThePlainFoldAfterEachKill) {
  const uint64_t seed = testing::TestSeed();
  std::mt19937_64 random(seed);
  const TempDir dir;
  const StoreOptions options = KilledOptions(dir / "node");
  const std::string log_seed = std::to_string(random());
  const std::vector<StoredEvent> log = KilledLog(log_seed);
  const auto wanted = testing::FoldPlainly(options.fold, log);
  const size_t kills = testing::TestSteps(8);
  for (size_t i = 0; i < kills; ++i) {
    // Far enough that most rounds come past what the last one had flushed.
    testing::RunUntilKilled({"--run-until-killed", options.path, log_seed}, 1 + random() % 60);
    ASSERT_FALSE(HasFatalFailure());
  }
  Node node(options);
  node.CatchUp(log, random);
  node.ExpectEquals(wanted);
}

}  // namespace
}  // namespace sluice::projectors

// `--run-until-killed <path> <seed> <fd>`: the child of EqualsThePlainFoldAfterEachKill.
int main(int argc, char** argv) {
  using namespace sluice::projectors;
  if (argc == 5 && std::string_view(argv[1]) == "--run-until-killed") {
    RunUntilKilled(KilledOptions(argv[2]), KilledLog(argv[3]), std::stoi(argv[4]));
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
