#include "clients/cpp/checkpoint_state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schemas/base/status.h"

// What the file and the network make of it is in pull_*_test.cc, and with a plain model in
// tests/property/clients/pull_property_test.cc.
namespace sluice::client {
namespace {

using ::testing::ElementsAre;

std::string Text(const BeginCheckpoint&) { return "begin"; }
std::string Text(const DropBuckets& drop) {
  return fmt::format("drop {}", fmt::join(drop.buckets, " "));
}
std::string Text(const AnnouncePosition& announced) {
  return fmt::format("announce {}", announced.position);
}
std::string Text(const KeepHistory& kept) { return "history " + kept.history; }
std::string Text(const MirrorColumns& columns) {
  std::string text = "mirror";
  for (const ClientEntity& entity : columns.entities) {
    text += " " + entity.name;
  }
  return text;
}
std::string Text(const AskForColumns&) { return "ask for columns"; }
std::string Text(const HoldBuckets& hold) {
  return fmt::format("hold {}", fmt::join(hold.buckets, " "));
}
std::string Text(const SelectBucket& select) { return "select " + select.bucket; }
std::string Text(const ResetBucket& reset) { return "reset " + reset.bucket; }
std::string Text(const EndOperations& end) { return fmt::format("up to {}", end.to); }
std::string Text(const CompareBuckets& compare) {
  return fmt::format("compare {}", compare.buckets.size());
}
std::string Text(const CompleteCheckpoint& complete) {
  return fmt::format("complete {} {}", complete.position, complete.history);
}
std::string Text(const ReloadBuckets& reload) {
  return fmt::format("reload {}", fmt::join(reload.buckets, " "));
}
std::string Text(const RollBack&) { return "roll back"; }
std::string Text(const Reconnect&) { return "reconnect"; }
std::string Text(const Fail& fail) { return "fail " + ErrorCode(fail.status); }

std::vector<std::string> Texts(const Actions& actions) {
  std::vector<std::string> texts;
  for (const Action& action : actions) {
    texts.push_back(std::visit([](const auto& what) { return Text(what); }, action));
  }
  return texts;
}

class CheckpointStateTest : public ::testing::Test {
 protected:
  using Held = std::map<std::string, int64_t, std::less<>>;

  static Checkpoint Frame(int64_t position, const std::vector<std::string>& buckets,
                          const std::string& history = "h1") {
    Checkpoint frame;
    frame.position = position;
    frame.history = history;
    frame.entities.emplace();
    for (const std::string& bucket : buckets) {
      frame.buckets.push_back({bucket, 3, 0});
    }
    return frame;
  }
  void Connect(int64_t position, Held buckets) {
    state.Connect({position, position, "h0", std::move(buckets)});
  }
  std::vector<std::string> Operations(std::string_view bucket, int64_t to) {
    EXPECT_THAT(Texts(state.OnOperations(bucket)), ElementsAre(fmt::format("select {}", bucket)));
    return Texts(state.OnOperationsEnd(to));
  }

  CheckpointState state;
};

TEST_F(CheckpointStateTest, AFirstLoad) {
  state.Connect({});
  EXPECT_EQ(state.Request(false), R"({"have":[],"live":false})");
  EXPECT_THAT(Texts(state.OnCheckpoint(Frame(7, {"b1", "b2"}))),
              ElementsAre("begin", "announce 7", "history h1", "mirror", "hold b1 b2"));
  EXPECT_EQ(state.rows_announced(), 6U);
  EXPECT_THAT(Operations("b1", 5), ElementsAre("up to 5"));
  EXPECT_THAT(Operations("b1", 7), ElementsAre("up to 7"));
  EXPECT_THAT(Texts(state.OnComplete(7)), ElementsAre("compare 2"));
  EXPECT_THAT(Texts(state.Compared({})), ElementsAre("complete 7 h1"));
  state.Completed();
  EXPECT_EQ(state.Request(true),
            R"({"have":[{"bucket":"b1","after":"7"},{"bucket":"b2","after":"7"}],)"
            R"("live":true,"history":"h1"})");
}

TEST_F(CheckpointStateTest, ALoadThatBrokeOffAsksForTheRest) {
  state.Connect({-1, 7, "h1", {{"b1", 5}, {"b2", -1}}});
  EXPECT_EQ(state.Request(false),
            R"({"have":[{"bucket":"b1","after":"5"}],"live":false,"history":"h1"})");
}

TEST_F(CheckpointStateTest, WhatACheckpointDoesNotListGoes) {
  Connect(7, {{"b1", 7}, {"b2", 7}, {"b3", 7}});
  Checkpoint frame = Frame(9, {"b1"});
  frame.removed = {"b2"};
  EXPECT_THAT(Texts(state.OnCheckpoint(std::move(frame))),
              ElementsAre("begin", "drop b2 b3", "announce 9", "mirror", "hold b1"));
}

// Of a server that does not send columns they are asked for where the buckets are others.
TEST_F(CheckpointStateTest, ColumnsAreAskedForWhenBucketsChange) {
  Connect(7, {{"b1", 7}});
  Checkpoint same = Frame(8, {"b1"});
  same.entities.reset();
  EXPECT_THAT(Texts(state.OnCheckpoint(std::move(same))),
              ElementsAre("begin", "announce 8", "hold b1"));
  Checkpoint more = Frame(9, {"b1", "b2"});
  more.entities.reset();
  EXPECT_THAT(Texts(state.OnCheckpoint(std::move(more))),
              ElementsAre("begin", "announce 9", "ask for columns", "hold b1 b2"));
}

TEST_F(CheckpointStateTest, AReplicaThatIsBehindSendsAnewWhatIsBeyondIt) {
  Connect(7, {{"b1", 7}, {"b2", -1}});
  EXPECT_THAT(Texts(state.OnCheckpoint(Frame(5, {"b1", "b2"}))),
              ElementsAre("begin", "drop b1", "announce 5", "history h1", "mirror", "hold b1 b2"));
}

TEST_F(CheckpointStateTest, ALoadThatAReplicaCanNotGoOnWithStartsOver) {
  state.Connect({-1, 9, "h0", {{"b1", 9}, {"b2", 4}}});
  EXPECT_THAT(Texts(state.OnCheckpoint(Frame(5, {"b1", "b2"}))),
              ElementsAre("begin", "drop b1 b2", "reconnect"));
  state.Connect({3, 9, "h0", {{"b1", 9}, {"b2", 4}}});
  EXPECT_THAT(Texts(state.OnCheckpoint(Frame(5, {"b1", "b2"}))),
              ElementsAre("roll back", "reconnect"));
}

TEST_F(CheckpointStateTest, TheHistoryIsTheNewOneOnceItIsCertainToGoOn) {
  Connect(7, {{"b1", 7}, {"b2", 7}});
  EXPECT_THAT(Texts(state.OnCheckpoint(Frame(9, {"b1", "b2"}))),
              ElementsAre("begin", "announce 9", "mirror", "hold b1 b2"));
  EXPECT_THAT(Operations("b1", 9), ElementsAre("history h1", "up to 9"));
}

TEST_F(CheckpointStateTest, TheHistoryStaysUntilEveryBucketIsReset) {
  Connect(7, {{"b1", 7}, {"b2", 7}});
  static_cast<void>(state.OnCheckpoint(Frame(9, {"b1", "b2"})));
  EXPECT_THAT(Texts(state.OnReset("b1")), ElementsAre("reset b1"));
  EXPECT_THAT(Operations("b1", 9), ElementsAre("up to 9"));
  EXPECT_THAT(Texts(state.OnReset("b2")), ElementsAre("reset b2", "history h1"));
  EXPECT_THAT(Operations("b2", 9), ElementsAre("up to 9"));
}

// Operations of a bucket that was here and was not reset say that the rest goes on too.
TEST_F(CheckpointStateTest, ABucketThatGoesOnIsCertain) {
  Connect(7, {{"b1", 7}, {"b2", 7}});
  static_cast<void>(state.OnCheckpoint(Frame(9, {"b1", "b2"})));
  static_cast<void>(state.OnReset("b1"));
  EXPECT_THAT(Operations("b2", 9), ElementsAre("history h1", "up to 9"));
}

// An entity was made anew under its name: its buckets were dropped with its table.
TEST_F(CheckpointStateTest, WhatTheColumnsDroppedIsNotFromBefore) {
  Connect(7, {{"b1", 7}, {"b2", 7}});
  static_cast<void>(state.OnCheckpoint(Frame(9, {"b1", "b2"})));
  state.Dropped({"b1"});
  EXPECT_EQ(state.Request(false),
            R"({"have":[{"bucket":"b2","after":"7"}],"live":false,"history":"h0"})");
  EXPECT_THAT(Texts(state.OnReset("b2")), ElementsAre("reset b2", "history h1"));
}

TEST_F(CheckpointStateTest, ABucketThatDiffersIsLoadedAnewOnce) {
  state.Connect({});
  static_cast<void>(state.OnCheckpoint(Frame(7, {"b1", "b2"})));
  EXPECT_THAT(Texts(state.Compared({"b1"})), ElementsAre("reload b1", "reconnect"));
  state.Connect({});
  static_cast<void>(state.OnCheckpoint(Frame(7, {"b1", "b2"})));
  EXPECT_THAT(Texts(state.Compared({"b2", "b1"})),
              ElementsAre("drop b2 b1", "fail checksum_mismatch"));
  // Once a checkpoint is complete, or another pull begins, it may be again.
  static_cast<void>(state.Compared({}));
  state.Completed();
  EXPECT_THAT(Texts(state.Compared({"b1"})), ElementsAre("reload b1", "reconnect"));
  state.Restart();
  EXPECT_THAT(Texts(state.Compared({"b1"})), ElementsAre("reload b1", "reconnect"));
}

TEST_F(CheckpointStateTest, FramesOutOfOrderFail) {
  Connect(7, {{"b1", 7}});
  const auto malformed = ElementsAre("fail malformed_frame");
  EXPECT_THAT(Texts(state.OnOperations("b1")), malformed);
  EXPECT_THAT(Texts(state.OnReset("b1")), malformed);
  EXPECT_THAT(Texts(state.OnComplete(7)), malformed);
  static_cast<void>(state.OnCheckpoint(Frame(9, {"b1"})));
  EXPECT_THAT(Texts(state.OnOperations("b9")), malformed);
  EXPECT_THAT(Texts(state.OnReset("b9")), malformed);
  EXPECT_THAT(Texts(state.OnComplete(8)), malformed);
  Connect(7, {{"b1", 7}});  // the next connection announces its own
  EXPECT_THAT(Texts(state.OnOperations("b1")), malformed);
}

}  // namespace
}  // namespace sluice::client
