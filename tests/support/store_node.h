#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "projectors/store/store_manager.h"
#include "schemas/base/status.h"
#include "tests/support/store_fixture.h"
#include "tests/support/write_checkpoint.h"

namespace sluice::testing {

// A StoreManager that is started, stopped and crashed over one folder, and reads one partition of a
// log that the test holds, as the staging projector does.
class StoreNode {
 public:
  static constexpr PartitionId kPartition{3};

  explicit StoreNode(projectors::StoreOptions options) : options_(std::move(options)) { Start(); }

  void Start() {
    manager_.reset();
    auto opened = projectors::StoreManager::Open(options_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    manager_ = *std::move(opened);
  }
  // What was not flushed is gone.
  void Crash() { Start(); }
  void Restart() {
    ASSERT_TRUE(manager_->Close().ok());
    Start();
  }
  void Stop() { manager_.reset(); }
  absl::StatusOr<Offset> TryCheckpoint() { return WriteCheckpoint(*manager_, kPartition); }
  void Checkpoint() {
    const auto next = TryCheckpoint();
    ASSERT_TRUE(next.ok()) << next.status();
  }

  // Applies `log` from the checkpoint on, `batch` events at a time; goes back where a store did.
  // The first other error ends it. Rejections are added to `rejected`.
  absl::Status TryCatchUp(const std::vector<eventlog::StoredEvent>& log, size_t batch = 16) {
    auto next = From(log, manager_->CheckpointOf(kPartition));
    while (next != log.end()) {
      const size_t count = std::min(static_cast<size_t>(log.end() - next), batch);
      const auto applied = manager_->Apply(kPartition, {&*next, count});
      if (ErrorCode(applied.status()) == "store_rewound") {
        ++rewound;
        next = From(log, manager_->CheckpointOf(kPartition));
        continue;
      }
      RETURN_IF_ERROR(applied.status());
      rejected.insert(rejected.end(), applied->rejected.begin(), applied->rejected.end());
      next += static_cast<std::ptrdiff_t>(count);
    }
    return absl::OkStatus();
  }
  void CatchUp(const std::vector<eventlog::StoredEvent>& log, size_t batch = 16) {
    const absl::Status status = TryCatchUp(log, batch);
    ASSERT_TRUE(status.ok()) << status;
  }

  // `org` holds what its events of `log`, folded by the plain model, make.
  void ExpectFoldOf(const std::string& org, const std::vector<eventlog::StoredEvent>& log) {
    ExpectStoreIsFold(*manager_, options_.fold, org, log);
  }

  std::string FolderOf(const std::string& org, int incarnation = 1) const {
    return options_.path + "/orgs/" + org + "/" + std::to_string(incarnation);
  }
  projectors::StoreManager& operator*() { return *manager_; }
  projectors::StoreManager* operator->() { return manager_.get(); }

  std::vector<projectors::Rejected> rejected;
  int rewound = 0;

 private:
  using Log = std::vector<eventlog::StoredEvent>;
  static Log::const_iterator From(const Log& log, Offset offset) {
    return std::lower_bound(log.begin(), log.end(), offset,
                            [](const eventlog::StoredEvent& e, Offset o) { return e.offset < o; });
  }
  const projectors::StoreOptions options_;
  std::unique_ptr<projectors::StoreManager> manager_;
};

}  // namespace sluice::testing
