#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "schemas/base/status.h"
#include "tests/support/apart_node.h"
#include "tests/support/temp_dir.h"

namespace sluice::projectors {

using testing::ApartNode;
using testing::Org;

inline constexpr PartitionId kApartPartition = ApartNode::kPartition;

// Two organisations of one node, of which acme is set apart.
class StoreApartTest : public testing::TwoOrgsTest {
 protected:
  // An event that looks at every account of acme's.
  void AddLarge() {
    log_.push_back(
        testing::MakeEvent(Next(),
                           testing::DefineProfile("field", {{"account", {v1::RULE_KIND_USER}}},
                                                  {"n" + std::to_string(offset_)}),
                           "acme"));
    log_.push_back(testing::MakeEvent(
        Next(), testing::DefineProfile("field", {{"account", {v1::RULE_KIND_ALL}}}, {"sales"}),
        "acme"));
  }
  StoreOptions Options() {
    StoreOptions options = testing::SmallStoreOptions(dir_ / "node");
    options.fold.step_rows = 5;
    return options;
  }
  void ExpectBoth() {
    node_.ExpectFoldOf("acme", log_);
    node_.ExpectFoldOf("beta", log_);
    EXPECT_THAT(node_->ApartOf(kApartPartition), ::testing::IsEmpty());
  }
  // Once all is on disk.
  void DamageAcme() {
    node_.CatchUp(log_);
    node_.Checkpoint();
    node_.Stop();
    std::filesystem::remove(node_.FolderOf("acme") + "/CURRENT");
    node_.Start();
  }
  // acme is built anew beside beta, which goes on.
  void ExpectRebuildOfAcme() {
    Add(20);
    node_.MainToEnd(log_, 7);
    node_.ExpectFoldOf("beta", log_);
    const auto apart = node_->ApartOf(kApartPartition);
    ASSERT_THAT(apart, ::testing::SizeIs(1));
    EXPECT_TRUE(apart[0].hidden);
    EXPECT_EQ(ErrorCode(node_->Snapshot(Org("acme")).status()), "not_caught_up");
    node_.Checkpoint();
    for (int i = 0; i < 3; ++i) {
      node_.Side(log_, 4);
      EXPECT_EQ(ErrorCode(node_->Snapshot(Org("acme")).status()), "not_caught_up");
    }
    node_.Start();  // a crash amid it
    EXPECT_EQ(ErrorCode(node_->Snapshot(Org("acme")).status()), "not_caught_up");
    node_.CatchUp(log_);
    ExpectBoth();
    node_.Checkpoint();
    node_.Start();
    Add(10);
    node_.CatchUp(log_);
    ExpectBoth();
  }

  const testing::TempDir dir_;
  ApartNode node_{Options()};
};

}  // namespace sluice::projectors
