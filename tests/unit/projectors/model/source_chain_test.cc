#include "projectors/model/source_chain.h"

#include <gtest/gtest.h>

namespace sluice::projectors {
namespace {

v1::SourceBinding Binding(int64_t epoch = 12) {
  v1::SourceBinding binding;
  binding.set_name("crm");
  binding.set_kind("odata");
  binding.set_epoch(epoch);
  return binding;
}

v1::ChangeSet Step(const std::string& id, const std::string& after, uint64_t number,
                   int64_t epoch = 12) {
  v1::ChangeSet set;
  set.set_id(id);
  set.add_ops();
  set.add_ops();
  v1::SourceStep& step = *set.mutable_step();
  step.set_source("crm");
  step.set_stream("account");
  step.set_epoch(epoch);
  step.set_after(after);
  step.set_number(number);
  step.set_cursor("c" + id);
  return set;
}

class SourceChainTest : public ::testing::Test {
 protected:
  bool Takes(const v1::ChangeSet& set, int64_t epoch = 12) {
    const v1::SourceBinding binding = Binding(epoch);
    const std::string before = state_.SerializeAsString();
    const bool taken = TakeStep(&binding, set, Offset(next_++), &state_) == StepVerdict::kTaken;
    EXPECT_TRUE(taken || state_.SerializeAsString() == before) << "what is stale changes nothing";
    return taken;
  }

  v1::SourceState state_;
  int64_t next_ = 100;
};

TEST_F(SourceChainTest, GoesOnFromTheLastSet) {
  EXPECT_TRUE(Takes(Step("a", "", 1)));
  EXPECT_TRUE(Takes(Step("b", "a", 2)));
  EXPECT_EQ(state_.epoch(), 12);
  EXPECT_EQ(state_.last_id(), "b");
  EXPECT_EQ(state_.number(), 2U);
  EXPECT_EQ(state_.cursor(), "cb");
  EXPECT_EQ(state_.offset(), 101);
  EXPECT_EQ(state_.rows(), 4U);
  EXPECT_EQ(state_.former_cursor(), "");
}

TEST_F(SourceChainTest, ASetComesOnce) {
  EXPECT_TRUE(Takes(Step("a", "", 1)));
  EXPECT_FALSE(Takes(Step("a", "", 1))) << "appended again, as nobody knew of the first";
  EXPECT_TRUE(Takes(Step("b", "a", 2)));
  EXPECT_FALSE(Takes(Step("b", "a", 2)));
}

// Of two workers the first in the log is taken, and everything of the other that comes behind it.
TEST_F(SourceChainTest, ZombieWithFittingNumberIsStale) {
  EXPECT_TRUE(Takes(Step("1/1", "", 1)));
  EXPECT_TRUE(Takes(Step("2/1", "1/1", 2)));
  EXPECT_FALSE(Takes(Step("1/2", "1/1", 2)));
  EXPECT_FALSE(Takes(Step("1/3", "1/2", 3))) << "its number fits, what it goes on from does not";
  EXPECT_TRUE(Takes(Step("2/2", "2/1", 3)));
}

TEST_F(SourceChainTest, ASetWithoutPlaceIsStale) {
  v1::SourceState state;
  EXPECT_EQ(TakeStep(nullptr, Step("a", "", 1), Offset(1), &state), StepVerdict::kStale);
  EXPECT_FALSE(Takes(Step("", "", 1))) << "without an id";
  EXPECT_FALSE(Takes(Step("a", "", 2)));
  EXPECT_FALSE(Takes(Step("a", "x", 1)));
  EXPECT_FALSE(Takes(Step("a", "", 1, 11)));
  EXPECT_FALSE(Takes(Step("a", "", 1, 13)));
}

TEST_F(SourceChainTest, NumbersGoOnOverEpochs) {
  EXPECT_TRUE(Takes(Step("a", "", 1)));
  EXPECT_FALSE(Takes(Step("b", "a", 2), 20)) << "of the epoch before";
  EXPECT_FALSE(Takes(Step("b", "a", 2, 20), 20)) << "nothing was taken in this one";
  EXPECT_FALSE(Takes(Step("b", "", 1, 20), 20)) << "its number was given before";
  EXPECT_TRUE(Takes(Step("b", "", 2, 20), 20));
  EXPECT_EQ(state_.rows(), 2U);
  EXPECT_EQ(state_.cursor(), "cb");
  EXPECT_EQ(state_.former_cursor(), "ca");
  EXPECT_TRUE(Takes(Step("c", "b", 3, 20), 20));
  EXPECT_EQ(state_.former_cursor(), "ca");
}

TEST_F(SourceChainTest, AnEpochWithoutACursorKeepsTheFormerOne) {
  EXPECT_TRUE(Takes(Step("a", "", 1)));
  v1::ChangeSet begin = Step("b", "", 2, 20);
  begin.mutable_step()->clear_cursor();
  EXPECT_TRUE(Takes(begin, 20));
  EXPECT_TRUE(Takes(Step("c", "", 3, 30), 30));
  EXPECT_EQ(state_.former_cursor(), "ca");
}

}  // namespace
}  // namespace sluice::projectors
