#include "gateways/sources/chain_follower.h"

#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "schemas/base/status.h"
#include "tests/support/memory_log.h"

namespace sluice::gateways {
namespace {

using eventlog::Topic;
using projectors::StreamKey;
using std::chrono::milliseconds;

constexpr milliseconds kLong{60'000};

class ChainFollowerTest : public ::testing::Test {
 protected:
  void Append(eventlog::Event event) {
    ASSERT_TRUE(log_.Append(Topic::kChanges, PartitionId(0), {std::move(event)}).ok());
  }
  void Define(int64_t epoch, int64_t answers) {
    v1::SourceDefined defined;
    defined.mutable_settings()->set_name("crm");
    defined.set_epoch(epoch);
    Control(defined, answers);
  }
  template <typename Message>
  void Control(const Message& message, int64_t answers) {
    eventlog::Event event;
    event.type = Message::descriptor()->full_name();
    event.key = "acme";
    event.answers = Offset(answers);
    event.value = message.SerializeAsString();
    Append(event);
  }
  void Set(const std::string& id, const std::string& after, uint64_t number, int64_t epoch = 7,
           const std::string& source = "sluice/source") {
    v1::ChangeSet set;
    set.set_id(id);
    set.set_incarnation(1);
    set.mutable_step()->set_source("crm");
    set.mutable_step()->set_stream("account");
    set.mutable_step()->set_epoch(epoch);
    set.mutable_step()->set_after(after);
    set.mutable_step()->set_number(number);
    eventlog::Event event;
    event.source = source;
    event.type = v1::ChangeSet::descriptor()->full_name();
    event.key = "acme";
    event.value = set.SerializeAsString();
    Append(event);
  }
  void AwaitEnd(const ChainFollower& follower) {
    const auto end = log_.Range(Topic::kChanges, PartitionId(0))->end;
    for (int i = 0; i < 6'000 && follower.next() < end; ++i) {
      absl::SleepFor(absl::Milliseconds(10));
    }
    ASSERT_EQ(follower.next(), end);
  }

  const StreamKey key_{OrgId::Parse("acme").value(), 1, "crm", "account"};
  sluice::testing::MemoryLog log_;
  const RealClock clock_;
};

TEST_F(ChainFollowerTest, OfTwoRunsOneGoesOn) {
  Define(7, 7);
  Set("a/1", "", 1);
  Set("b/1", "", 1);
  Set("a/2", "a/1", 2);
  Set("b/2", "b/1", 2);
  ChainFollower follower(log_, clock_, PartitionId(0), Offset(0));
  follower.Start();
  AwaitEnd(follower);
  EXPECT_EQ(follower.Find(key_).state.last_id(), "a/2");
  EXPECT_EQ(follower.Find(key_).bound, 7);
  const auto taken = follower.AwaitTaken({key_, 7, "a", 0}, 1, kLong);
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ(taken->number, 2U);
  EXPECT_EQ(taken->offset, Offset(3));
  EXPECT_EQ(ErrorCode(follower.AwaitTaken({key_, 7, "b", 0}, 0, kLong).status()), "superseded");
  // One that has yet to write waits.
  EXPECT_EQ(follower.AwaitTaken({key_, 7, "c", 2}, 2, milliseconds(1))->number, 2U);
  Set("c/1", "a/2", 3);
  EXPECT_EQ(follower.AwaitTaken({key_, 7, "c", 2}, 2, kLong)->number, 3U);
}

// Of the definitions that a new epoch of the log puts there again the last one alone answers a
// request; the fold takes all of them.
TEST_F(ChainFollowerTest, RestoredDefinitionsCountWithoutARequest) {
  Define(7, 7);
  Set("a/1", "", 1);
  Define(9, -1);
  v1::EntityDeleted last;
  Control(last, 12);
  ChainFollower follower(log_, clock_, PartitionId(0), Offset(0));
  follower.Start();
  AwaitEnd(follower);
  EXPECT_EQ(follower.Find(key_).bound, 9);
  Set("b/1", "", 2, 9);
  AwaitEnd(follower);
  EXPECT_EQ(follower.Find(key_).state.last_id(), "b/1");
  v1::SourceDeleted deleted;
  deleted.set_name("crm");
  Control(deleted, -1);
  AwaitEnd(follower);
  EXPECT_EQ(follower.Find(key_).bound, -1);
}

TEST_F(ChainFollowerTest, AnotherEpochEndsARun) {
  Define(7, 7);
  Set("a/1", "", 1);
  ChainFollower follower(log_, clock_, PartitionId(0), Offset(0));
  follower.Start();
  Define(7, 8);  // other settings
  AwaitEnd(follower);
  EXPECT_TRUE(follower.AwaitTaken({key_, 7, "a", 0}, 0, kLong).ok());
  Define(9, 9);
  AwaitEnd(follower);
  EXPECT_EQ(ErrorCode(follower.AwaitTaken({key_, 7, "a", 0}, 0, kLong).status()), "source_changed");
  Set("a/2", "a/1", 2);
  Set("b/1", "", 2, 9);
  Define(7, 8);  // a sequencer that was paused: the request has been answered
  AwaitEnd(follower);
  EXPECT_EQ(follower.Find(key_).state.last_id(), "b/1");
  EXPECT_EQ(follower.Find(key_).bound, 9);
  v1::SourceDeleted deleted;
  deleted.set_name("crm");
  Control(deleted, 10);
  Set("b/2", "b/1", 3, 9);
  AwaitEnd(follower);
  EXPECT_EQ(follower.Find(key_).state.last_id(), "b/1");
  EXPECT_EQ(follower.Find(key_).bound, -1);
}

TEST_F(ChainFollowerTest, WhatWasToldIsNotReadAgain) {
  Define(7, 7);
  Set("a/1", "", 1);
  Set("a/2", "a/1", 2);
  Set("a/3", "a/2", 3);
  v1::SourceState state;
  state.set_epoch(7);
  state.set_last_id("a/2");
  state.set_number(2);
  ChainFollower follower(log_, clock_, PartitionId(0), Offset(1));
  follower.Put(key_, {state, 7}, Offset(3));
  follower.Start();
  AwaitEnd(follower);
  EXPECT_EQ(follower.Find(key_).state.number(), 3U);
  const auto [next, untold] = follower.Untold();
  ASSERT_EQ(untold.size(), 1U);
  EXPECT_EQ(untold[0].chain.state.number(), 3U);
  EXPECT_EQ(next, Offset(4));
  follower.NoteTold(untold);
  EXPECT_TRUE(follower.Untold().second.empty());
}

TEST_F(ChainFollowerTest, AStreamThatNobodyToldOfBeginsWithItsFirstSet) {
  Define(7, 7);
  Set("x", "", 1, 7, "somebody");  // no source's
  Set("a/1", "", 1);
  ChainFollower follower(log_, clock_, PartitionId(0), Offset(1));
  follower.Start();
  AwaitEnd(follower);
  EXPECT_EQ(follower.Find(key_).state.last_id(), "a/1");
  StreamKey other = key_;
  other.stream = "contact";
  EXPECT_EQ(follower.Find(other).bound, -1);
  follower.Bind(other, 7);
  EXPECT_EQ(follower.Find(other).bound, 7);
  follower.Bind(key_, 6);
  EXPECT_EQ(follower.Find(key_).bound, 7);
}

}  // namespace
}  // namespace sluice::gateways
