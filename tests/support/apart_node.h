#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "projectors/store/store_manager.h"
#include "schemas/base/status.h"
#include "tests/support/store_fixture.h"
#include "tests/support/write_checkpoint.h"

namespace sluice::testing {

// A StoreManager that sets organisations apart, over one folder and one partition of a log that the
// test holds. What the staging projector does with two threads is done in steps of the test's; one
// thread may call Side() while another one does the rest.
class ApartNode {
 public:
  using Log = std::vector<eventlog::StoredEvent>;
  static constexpr PartitionId kPartition{3};

  explicit ApartNode(projectors::StoreOptions options) : options_(std::move(options)) {
    options_.sets_apart = true;
    Start();
  }

  void Start() {
    pending_.reset();
    manager_.reset();
    auto opened = projectors::StoreManager::Open(options_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    manager_ = *std::move(opened);
    next_ = manager_->CheckpointOf(kPartition).value();
  }
  void Stop() {
    pending_.reset();
    manager_.reset();
  }
  // The partition is taken from the process, and comes back.
  void Reassign() {
    pending_.reset();
    next_ = manager_->CheckpointOf(kPartition).value();
  }

  // The main thread takes the next `count` events. False at the end.
  bool Main(const Log& log, size_t count) {
    const auto first = From(log, next());
    count = std::min(count, static_cast<size_t>(log.end() - first));
    if (count == 0) {
      return false;
    }
    const auto applied = manager_->Apply(kPartition, {&*first, count});
    EXPECT_TRUE(applied.ok()) << applied.status();
    if (applied.ok()) {
      next_ = (first + static_cast<std::ptrdiff_t>(count) - 1)->offset.value() + 1;
      Tell(applied->rejected);
    }
    return true;
  }

  void MainToEnd(const Log& log, size_t count) {
    while (Main(log, count)) {
    }
  }

  // One step of everybody who is apart, on at most `count` events. False where nobody is.
  bool Side(const Log& log, size_t count) {
    const auto apart = manager_->ApartOf(kPartition);
    for (const projectors::ApartOrg& one : apart) {
      Log events;
      const Offset end = next();
      Offset through = end;
      const Offset from = manager_->ApartFrom(kPartition, one, kNoOffset);
      for (auto event = From(log, from); event != log.end() && event->offset < end; ++event) {
        if (events.size() == count) {
          through = event->offset;
          break;
        }
        if (event->event.key == one.org.value()) {
          events.push_back(*event);
        }
      }
      projectors::ApplyResult result;
      if (!events.empty()) {
        const auto taken = manager_->ApplyApart(kPartition, one, events, &result);
        Tell(result.rejected);
        last_error = taken.status();
        if (!taken.ok() || *taken < events.size()) {
          through = taken.value_or(0) == 0 ? from : Offset(events[*taken].offset);
        }
      }
      if (through > from || events.empty()) {
        const auto advanced = manager_->AdvanceApart(kPartition, one, through);
        last_error = advanced.ok() ? last_error : advanced.status();
      }
    }
    return !apart.empty();
  }

  // To the end of the log, with everybody given back.
  void CatchUp(const Log& log) {
    MainToEnd(log, 16);
    int rounds = 0;
    while (Side(log, 16)) {
      ASSERT_LT(++rounds, 100'000) << last_error;
    }
  }
  void Checkpoint() {
    const auto next = WriteCheckpoint(*manager_, kPartition);
    ASSERT_TRUE(next.ok()) << next.status();
  }

  // The next of a checkpoint's three steps.
  void StepOfCheckpoint() {
    if (pending_ == nullptr) {
      pending_ = manager_->BeginCheckpoint(kPartition, untold);
      flushed_ = false;
    } else if (!flushed_) {
      pending_->Flush();
      flushed_ = true;
    } else {
      const auto next = manager_->EndCheckpoint(std::move(pending_));
      EXPECT_TRUE(next.ok()) << next.status();
    }
  }
  // All three, or what is left of them.
  void FinishCheckpoint() {
    do {
      StepOfCheckpoint();
    } while (pending_ != nullptr);
  }

  void ExpectFoldOf(const std::string& org, const Log& log) {
    ExpectStoreIsFold(*manager_, options_.fold, org, log);
  }
  // Files of the organisation's store can be neither made nor opened, until RestoreFolders(): where
  // its folder was there is a file. What is open stays so.
  void LoseFolder(const std::string& org) {
    namespace fs = std::filesystem;
    const std::string folder = FolderOf(org);
    if (!fs::is_directory(folder)) {
      return;
    }
    fs::create_directories(options_.path + "/lost");
    const std::string kept = options_.path + "/lost/" + org;
    fs::remove_all(kept);
    std::ofstream(kept) << "x";
    Exchange(kept, folder);
  }
  // Where nothing else has taken its place meanwhile.
  void RestoreFolders() {
    namespace fs = std::filesystem;
    std::error_code none;
    for (const auto& kept : fs::directory_iterator(options_.path + "/lost", none)) {
      const std::string folder = FolderOf(kept.path().filename());
      if (fs::is_regular_file(folder)) {
        Exchange(kept.path(), folder);
      }
      fs::remove_all(kept.path());
    }
  }
  std::string FolderOf(const std::string& org, int incarnation = 1) const {
    return options_.path + "/orgs/" + org + "/" + std::to_string(incarnation);
  }
  projectors::StoreManager* operator->() { return manager_.get(); }
  Offset next() const { return Offset(next_); }

  absl::Status last_error;
  // Offsets of events whose rejection was told; and the first that has no dead letter yet.
  std::set<int64_t> told;
  Offset untold = kNoOffset;

 private:
  void Tell(const std::vector<projectors::Rejected>& rejected) {
    for (const projectors::Rejected& one : rejected) {
      told.insert(one.offset.value());
    }
  }
  // In one step: a compaction that looks in between would take the files for gone.
  static void Exchange(const std::string& a, const std::string& b) {
    ASSERT_EQ(renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE), 0);
  }
  static Log::const_iterator From(const Log& log, Offset offset) {
    return std::lower_bound(log.begin(), log.end(), offset,
                            [](const eventlog::StoredEvent& e, Offset o) { return e.offset < o; });
  }
  projectors::StoreOptions options_;
  std::unique_ptr<projectors::StoreManager> manager_;
  std::unique_ptr<projectors::PendingCheckpoint> pending_;
  bool flushed_ = false;
  std::atomic<int64_t> next_{0};  // of the main thread
};

// The log of acme and beta, each with accounts, in the partition of an ApartNode.
class TwoOrgsTest : public ::testing::Test {
 protected:
  TwoOrgsTest() {
    for (const std::string org : {"acme", "beta"}) {
      for (auto& event : OrgWithAccounts(org, Next())) {
        offset_ = event.offset.value();
        log_.push_back(std::move(event));
      }
    }
    Add(60);
  }
  int64_t Next() { return ++offset_; }
  // Of one of them; without `org` of both in turns.
  void Add(int count, const std::string& org = "") {
    for (int i = 0; i < count; ++i) {
      const int64_t offset = Next();
      const std::string of = !org.empty() ? org : i % 2 == 0 ? "acme" : "beta";
      log_.push_back(
          AccountEvent(of, offset, "A" + std::to_string(offset % 90), "U" + std::to_string(i % 3)));
    }
  }

  int64_t offset_ = -1;
  ApartNode::Log log_;
};

}  // namespace sluice::testing
