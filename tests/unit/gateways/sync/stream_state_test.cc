#include "gateways/sync/stream_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <nlohmann/json.hpp>

#include "schemas/base/status.h"
#include "tests/support/change_events.h"
#include "tests/support/gateways/plain_org.h"

namespace sluice::gateways {
namespace {

using nlohmann::json;
using sluice::testing::PlainOrg;
using sluice::testing::PlainSnapshot;
using ::testing::ElementsAre;

// One entity, whose rows all go to whoever reads it: each caller has one bucket.
class StreamStateTest : public ::testing::Test {
 protected:
  StreamStateTest() {
    org_.model = projectors::OrgModel::Empty();
    org_.checksum = [](const PlainOrg::RowKey&, Position position) {
      return static_cast<uint64_t>(position.offset.value());
    };
    Define(sluice::testing::OpenOrg(1));
    Define(sluice::testing::DefineEntity(1, "account", {{1, "id"}, {2, "name"}}));
    Define(sluice::testing::DefineProfile("p", {{"account", {v1::RULE_KIND_ALL}}}, {"field"}));
    Define(sluice::testing::DefineRole("field", true, {"account"}));
  }

  void Define(const google::protobuf::Message& payload) {
    const int64_t offset = org_.applied.position.value() + 1;
    org_.model = org_.model->Apply(sluice::testing::MakeEvent(offset, payload).event).value();
    org_.applied.position = Offset(offset);
  }
  BucketKey Bucket() const {
    return org_.model
        ->BucketsOf({.user = "ann", .roles = {"field"}, .teams = {}, .business_unit = {}}, 9)
        ->front()
        .bucket.key;
  }
  void Put(const std::string& key, int64_t offset, bool member = true) {
    sluice::testing::RowWriter row;
    row.Text(1, key).Text(2, "n" + key);
    const std::set<BucketKey> buckets =
        member ? std::set<BucketKey>{Bucket()} : std::set<BucketKey>{};
    org_.Put({schemas::EntityId(1), key}, {Offset(offset), 0}, row.bytes(), buckets);
    org_.applied.position = Offset(offset);
  }

  StreamState State(std::vector<StreamRequest::Have> have, size_t frame_ops = 100,
                    const std::string& role = "field", FrameFormat format = FrameFormat::kNdjson) {
    StreamRequest request;
    request.have = std::move(have);
    return StreamState({.log_id = "log", .frame_ops = frame_ops}, table_, pieces_,
                       {.user = "ann", .roles = {role}, .teams = {}, .business_unit = {}},
                       std::move(request), format);
  }
  // A checkpoint of what the organisation is now; false where there is nothing to send.
  bool Begin(StreamState* state, const Touched& touched = {}) {
    const bool began = state->Begin(std::make_shared<PlainSnapshot>(org_), touched).value();
    state->WriteCheckpoint(SIZE_MAX, &out_);
    EXPECT_FALSE(state->amid_checkpoint());
    return began;
  }
  // One frame more, or all.
  void Fill(StreamState* state, size_t bytes) {
    FrameBuffer frames;
    EXPECT_TRUE(state->Fill(bytes, &frames).ok());
    for (const std::string_view part : frames.Parts()) {
      out_ += part;
    }
  }
  // The frames since the last question, shortened: "put A", "remove A", "reset", "checkpoint 7"…
  std::vector<std::string> Frames() {
    std::vector<std::string> frames;
    std::istringstream lines(std::exchange(out_, ""));
    for (std::string line; std::getline(lines, line);) {
      const json frame = json::parse(line);
      if (frame.contains("ops")) {
        for (const json& op : frame["ops"]["ops"]) {
          frames.push_back(op["op"].get<std::string>() + " " + op["key"].get<std::string>());
        }
        last_ = frame["ops"];
      } else if (frame.contains("checkpoint")) {
        frames.push_back("checkpoint " + frame["checkpoint"]["position"].get<std::string>());
        checkpoint_ = frame["checkpoint"];
      } else {
        frames.push_back(frame.begin().key());
      }
    }
    return frames;
  }
  std::vector<std::string> Sent(StreamState* state) {
    Begin(state);
    Fill(state, 1'000'000);
    return Frames();
  }
  std::string Id() {
    StreamState state = State({});
    Begin(&state);
    Frames();
    return checkpoint_["buckets"][0]["bucket"];
  }

  PlainOrg org_;
  int lists_made_ = 0;
  CallerColumnsTable table_{[this] { ++lists_made_; }};
  int hits_ = 0;
  PieceCache pieces_{{.on_find = [this](bool hit) { hits_ += hit ? 1 : 0; }}};
  std::string out_;
  json checkpoint_;
  json last_;  // ops frame
};

TEST_F(StreamStateTest, RemovalsOfRowsThatTheClientNeverHadAreLeftOut) {
  Put("A", 10);
  Put("B", 11);
  const std::string id = Id();
  Put("C", 20);
  Put("B", 21, false);
  Put("C", 22, false);
  Put("D", 23);
  StreamState state = State({{id, Offset(11)}});
  EXPECT_THAT(Sent(&state),
              ElementsAre("checkpoint 23", "remove B", "put D", "checkpoint_complete"));
  // Live, the same.
  Put("E", 30);
  Put("E", 31, false);
  Put("D", 32, false);
  EXPECT_THAT(Sent(&state), ElementsAre("checkpoint 32", "remove D", "checkpoint_complete"));
  Put("F", 33);
  Put("F", 34, false);
  EXPECT_THAT(Sent(&state), ElementsAre("checkpoint 34", "checkpoint_complete"));
  EXPECT_FALSE(Begin(&state));
}

// However few operations are sent of it.
TEST_F(StreamStateTest, ABucketOfManyRemovalsIsReadInSteps) {
  Put("A", 10);
  int64_t offset = 10;
  for (size_t i = 0; i < 2 * StreamState::kPassedMax; ++i) {
    Put(std::to_string(i), ++offset);
    Put(std::to_string(i), ++offset, false);
  }
  Put("B", ++offset);
  for (const bool old : {false, true}) {
    SCOPED_TRACE(old);
    org_.applied.horizon = old ? Offset(offset - 1) : kNoOffset;
    StreamState state = State({});
    ASSERT_TRUE(Begin(&state));
    EXPECT_THAT(Frames(), ElementsAre("checkpoint " + std::to_string(offset)));
    Fill(&state, 1'000'000);
    EXPECT_THAT(Frames(), ElementsAre("put A"));
    EXPECT_TRUE(state.sending());
    Fill(&state, 1'000'000);
    EXPECT_THAT(Frames(), ElementsAre());
    EXPECT_TRUE(state.sending());
    Fill(&state, 1'000'000);
    EXPECT_THAT(Frames(), ElementsAre("put B", "checkpoint_complete"));
    EXPECT_FALSE(state.sending());
  }
}

// Values can be chosen so that a bucket has the count and the checksum that it had before.
TEST_F(StreamStateTest, ABucketIsUnchangedByThePositionOfItsLastChangeOnly) {
  org_.checksum = [](const PlainOrg::RowKey&, Position) { return 7; };
  Put("A", 10);
  StreamState state = State({});
  Sent(&state);
  Put("A", 11, false);
  Put("B", 12);
  EXPECT_THAT(Sent(&state),
              ElementsAre("checkpoint 12", "remove A", "put B", "checkpoint_complete"));
  // Nor is it read where it has not changed since the client's position.
  StreamState again = State({{Id(), Offset(12)}});
  EXPECT_THAT(Sent(&again), ElementsAre("checkpoint 12", "checkpoint_complete"));
}

// What was not named was not changed: the session does not look.
TEST_F(StreamStateTest, OnlyTouchedBucketsAreLookedAt) {
  Put("A", 10);
  StreamState state = State({});
  Sent(&state);
  const BucketKey bucket = Bucket();
  const auto begin = [&](std::vector<BucketKey> keys, int64_t quiet) {
    return Begin(&state, {.any = false, .keys = std::move(keys), .quiet = Offset(quiet)});
  };
  org_.applied.position = Offset(20);
  EXPECT_FALSE(begin({}, 20));
  EXPECT_FALSE(begin({BucketKey{1, 1}}, 20));
  EXPECT_EQ(state.position(), Offset(20));
  // The horizon passes the position of the bucket's last look, but it was quiet until 20.
  Put("B", 21);
  org_.Prune(Offset(15));
  EXPECT_TRUE(begin({bucket, BucketKey{~0ULL, 0}}, 21));
  Fill(&state, 1'000'000);
  EXPECT_THAT(Frames(), ElementsAre("checkpoint 21", "put B", "checkpoint_complete"));
  // News that came late name what was sent already.
  EXPECT_FALSE(begin({bucket}, 21));
  // Other definitions: all are looked at, whatever is named.
  Put("C", 22);
  Define(sluice::testing::DefineRole("more", true, {"account"}));
  EXPECT_TRUE(begin({}, 23));
  Fill(&state, 1'000'000);
  EXPECT_THAT(Frames(), ElementsAre("checkpoint 23", "put C", "checkpoint_complete"));
}

TEST_F(StreamStateTest, AStoreThatHasGoneBackOrIsAnotherIsNotSent) {
  Put("A", 10);
  org_.history = {{Offset(10), 1}};
  org_.applied.history = 1;
  StreamState state = State({});
  Sent(&state);
  EXPECT_EQ(checkpoint_["history"], "1.10.0000000000000001");
  const PlainOrg before = org_;
  const auto code = [&] {
    return ErrorCode(state.Begin(std::make_shared<PlainSnapshot>(org_)).status());
  };
  org_.applied.position = Offset(9);
  EXPECT_EQ(code(), "not_caught_up");
  org_ = before;
  Put("B", 11);
  org_.history[Offset(11)] = 2;
  EXPECT_THAT(Sent(&state), ElementsAre("checkpoint 11", "put B", "checkpoint_complete"));
  Put("C", 12);
  org_.history = {{Offset(10), 1}, {Offset(11), 3}, {Offset(12), 4}};
  EXPECT_EQ(code(), "log_diverged");
  org_.history = {{Offset(12), 4}};
  EXPECT_EQ(code(), "log_diverged");
  org_.applied.horizon = Offset(11);  // nothing tells: the positions that it sent are below it
  EXPECT_THAT(Sent(&state), ElementsAre("checkpoint 12", "put C", "checkpoint_complete"));
}

// A client of another history loads everything; so does what it began to load after the one it
// names.
TEST_F(StreamStateTest, RowsOfAnotherHistoryAreVoid) {
  Put("A", 10);
  const std::string id = Id();
  Put("B", 11);
  StreamState other = State({{id, Offset(10)}});
  other.ResetAll();
  EXPECT_THAT(Sent(&other),
              ElementsAre("checkpoint 11", "reset", "put A", "put B", "checkpoint_complete"));
  const auto with = [&](const std::string& history) {
    StreamRequest request;
    request.have = {{id, Offset(10)}};
    request.history = history;
    return StreamState({.log_id = "log"}, table_, pieces_,
                       {.user = "ann", .roles = {"field"}, .teams = {}, .business_unit = {}},
                       std::move(request), FrameFormat::kNdjson);
  };
  StreamState same = with("1.10.0000000000000000");
  EXPECT_THAT(Sent(&same), ElementsAre("checkpoint 11", "put B", "checkpoint_complete"));
  StreamState begun = with("1.9.0000000000000000");
  EXPECT_THAT(Sent(&begun),
              ElementsAre("checkpoint 11", "reset", "put A", "put B", "checkpoint_complete"));
  EXPECT_TRUE(with("9.from-a-later-version").resets_all());
}

// The columns come with the checkpoint that they belong to, and only where they are others.
TEST_F(StreamStateTest, ColumnsTravelWithTheCheckpoint) {
  Put("A", 10);
  StreamState state = State({}, 1);
  Begin(&state);
  Frames();
  EXPECT_EQ(checkpoint_["entities"],
            json::parse(R"([{"entity":"account","primary_key":"id","attributes":[
                {"name":"id","type":"string"},{"name":"name","type":"string"}]}])"));
  // Replaced before it was complete: the client has them.
  Put("B", 11);
  EXPECT_THAT(Sent(&state), ElementsAre("checkpoint 11", "put A", "put B", "checkpoint_complete"));
  EXPECT_FALSE(checkpoint_.contains("entities"));
  Put("C", 12);
  Sent(&state);
  EXPECT_FALSE(checkpoint_.contains("entities"));
  v1::RoleDefined masked = sluice::testing::DefineRole("field", true, {"account"});
  masked.mutable_role()->mutable_entities(0)->add_deny_columns("name");
  Define(masked);
  Sent(&state);
  EXPECT_EQ(checkpoint_["entities"][0]["attributes"].size(), 1u);
}

// However they have come to where they are, and whatever else has changed meanwhile: two make a
// piece, and everybody else is given it.
TEST_F(StreamStateTest, SessionsShareWhatTheySend) {
  Put("A", 10);
  Put("B", 12);
  const std::string id = Id();
  std::vector<StreamState> states;
  const auto all_send = [&](const std::vector<std::string>& frames, int hits) {
    hits_ = 0;
    for (StreamState& state : states) {
      org_.applied.position = Offset(org_.applied.position.value() + 1);  // others' rows
      Begin(&state);
      Fill(&state, 1'000'000);
      const std::vector<std::string> sent = Frames();
      EXPECT_EQ(std::vector<std::string>(sent.begin() + 1, sent.end()), frames);
    }
    EXPECT_EQ(hits_, hits);
  };
  for (int i = 0; i < 4; ++i) {
    states.push_back(State({}));
  }
  all_send({"put A", "put B", "checkpoint_complete"}, 2);
  for (int64_t after = 12; after < 16; ++after) {
    states.push_back(State({{id, Offset(after)}}));
    Begin(&states.back());
    Fill(&states.back(), 1'000'000);
    Frames();
  }
  Put("C", 40);
  all_send({"put C", "checkpoint_complete"}, 6);
  Put("B", 60, false);
  Put("D", 61);
  all_send({"remove B", "put D", "checkpoint_complete"}, 6);
}

// A kept piece is no right: who sees less of the same bucket, or takes another format, is sent its
// own, whoever was there before.
TEST_F(StreamStateTest, SessionsWithOtherColumnsShareNothing) {
  v1::RoleDefined masked = sluice::testing::DefineRole("masked", true, {"account"});
  masked.mutable_role()->mutable_entities(0)->add_deny_columns("name");
  Define(masked);
  Define(
      sluice::testing::DefineProfile("p", {{"account", {v1::RULE_KIND_ALL}}}, {"field", "masked"}));
  Put("A", 10);
  for (int round = 0; round < 4; ++round) {
    for (const std::string role : {"field", "masked"}) {
      StreamState state = State({}, 100, role);
      Sent(&state);
      EXPECT_EQ(last_["ops"][0]["row"].contains("name"), role == "field");
    }
  }
  EXPECT_EQ(hits_, 4);
  StreamState events = State({}, 100, "masked", FrameFormat::kSse);
  Begin(&events);
  Fill(&events, 1'000'000);
  EXPECT_EQ(hits_, 5);  // the operations are the same in both formats
  EXPECT_NE(out_.find("event: ops\ndata: {\"ops\""), std::string::npos);
  EXPECT_EQ(out_.find("\"nA\""), std::string::npos);
}

// What was kept of a bucket is not what it holds once the horizon has passed its last change: a
// batch of the fold may have taken a row from it without a trace.
TEST_F(StreamStateTest, WhatTheHorizonHasPassedIsReadAnew) {
  Put("A", 10);
  Put("B", 11);
  for (int round = 0; round < 3; ++round) {
    StreamState state = State({});
    EXPECT_EQ(Sent(&state),
              std::vector<std::string>({"checkpoint 11", "put A", "put B", "checkpoint_complete"}));
  }
  EXPECT_EQ(hits_, 1);
  std::erase_if(org_.deltas.at(Bucket()),
                [](const auto& entry) { return entry.second.key.key == "A"; });
  org_.applied.position = Offset(40);
  org_.applied.horizon = Offset(20);
  StreamState state = State({});
  EXPECT_EQ(Sent(&state),
            std::vector<std::string>({"checkpoint 40", "put B", "checkpoint_complete"}));
}

// A caller may have many sessions, each for days: what one keeps of a bucket does not grow with the
// bucket's name, nor with the columns.
TEST_F(StreamStateTest, OfABucketLittleIsKept) {
  std::vector<sluice::testing::TestAttribute> attributes = {{1, "id"}, {2, "team"}, {3, "owner"}};
  v1::RoleDefined role = sluice::testing::DefineRole("field", true, {"wide"});
  for (uint32_t i = 4; i < 1'000; ++i) {
    attributes.push_back({i, "c" + std::to_string(i)});
    role.mutable_role()->mutable_entities(0)->add_deny_columns(attributes.back().name);
  }
  Define(sluice::testing::DefineEntity(2, "wide", attributes));
  v1::ProfileDefined profile =
      sluice::testing::DefineProfile("p", {{"wide", {v1::RULE_KIND_FILTER}}}, {"field"});
  profile.mutable_profile()->mutable_entities(0)->mutable_rules(0)->set_where(
      "team in @teams and owner eq @user");
  Define(profile);
  Define(role);
  projectors::CallerClaims claims;
  claims.user = std::string(1'000, 'u');
  claims.roles = {"field"};
  for (int i = 0; i < 900; ++i) {
    claims.teams.push_back("t" + std::to_string(i));
  }
  const auto allocated = [] {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  constexpr size_t kStates = 10;
  std::vector<std::unique_ptr<StreamState>> states;
  size_t before = 0;
  for (size_t i = 0; i <= kStates; ++i) {
    states.push_back(std::make_unique<StreamState>(StreamOptions{.log_id = "log"}, table_, pieces_,
                                                   claims, StreamRequest(), FrameFormat::kNdjson));
    Begin(states.back().get());
    Fill(states.back().get(), 1'000'000);
    EXPECT_EQ(states.back()->buckets(), 900U);
    Frames();
    before = i == 0 ? allocated() : before;  // the first makes what all share
  }
  EXPECT_LT((allocated() - before) / kStates, 900U * 500U);
}

// However many buckets and columns there are, no more of a checkpoint is made than is asked for.
TEST_F(StreamStateTest, ALongCheckpointIsWrittenInPieces) {
  v1::RoleDefined role = sluice::testing::DefineRole("field", true, {"account"});
  for (uint32_t i = 2; i < 60; ++i) {
    const std::string name = "entity" + std::to_string(i);
    std::vector<sluice::testing::TestAttribute> attributes = {{1, "id"}};
    for (uint32_t attribute = 2; attribute < 40; ++attribute) {
      attributes.push_back({attribute, "attribute" + std::to_string(attribute)});
    }
    Define(sluice::testing::DefineEntity(i, name, attributes));
    Define(sluice::testing::DefineProfile("p" + name, {{name, {v1::RULE_KIND_ALL}}}, {"field"}));
    *role.mutable_role()->add_entities() =
        sluice::testing::DefineRole("field", true, {name}).role().entities(0);
  }
  role.mutable_role()->mutable_entities(7)->add_deny_columns("attribute2");
  role.mutable_role()->mutable_entities(8)->add_deny_columns("attribute39");
  Define(role);
  std::vector<StreamRequest::Have> have;
  for (int i = 0; i < 500; ++i) {
    have.push_back({"elsewhere" + std::to_string(i), Offset(7)});
  }
  StreamState whole = State(have);
  whole.ResetAll();
  Begin(&whole);
  const std::string text = std::exchange(out_, "");
  EXPECT_GT(text.size(), 100'000u);
  EXPECT_EQ(json::parse(text.substr(0, text.find('\n')))["checkpoint"]["entities"].size(), 59u);

  StreamState state = State(have);
  state.ResetAll();
  ASSERT_TRUE(state.Begin(std::make_shared<PlainSnapshot>(org_)).value());
  std::string pieces;
  while (state.amid_checkpoint()) {
    std::string piece;
    state.WriteCheckpoint(1'000, &piece);
    EXPECT_LT(piece.size(), 1'200u);
    pieces += piece;
  }
  EXPECT_EQ(pieces, text);
}

// Whose roles are the same, for definitions that are the same, shares the list with who has it.
TEST_F(StreamStateTest, CallersWhoSeeTheSameShareAList) {
  Define(sluice::testing::DefineRole("more", true, {"account"}));
  const auto with = [&](std::vector<std::string> roles) {
    return StreamState({.log_id = "log"}, table_, pieces_,
                       {.user = "ann", .roles = std::move(roles), .teams = {}, .business_unit = {}},
                       {}, FrameFormat::kNdjson);
  };
  std::vector<StreamState> states;
  states.reserve(6);
  for (int i = 0; i < 2; ++i) {
    states.push_back(with({"field"}));
    states.push_back(with({"elsewhere", "field", "field"}));
    states.push_back(with({i == 0 ? "field" : "more", i == 0 ? "more" : "field"}));
  }
  for (StreamState& state : states) {
    ASSERT_TRUE(Begin(&state));
  }
  EXPECT_EQ(lists_made_, 2);
  Define(sluice::testing::DefineRole("other", true, {"account"}));
  for (StreamState& state : states) {
    ASSERT_TRUE(Begin(&state));
  }
  EXPECT_EQ(lists_made_, 4);
  states.clear();  // and nobody has one any more
  StreamState last = with({"field"});
  Begin(&last);
  EXPECT_EQ(lists_made_, 5);
}

// A checkpoint is replaced by one with the columns of the last complete one: the client has others
// by now, and is told.
TEST_F(StreamStateTest, ColumnsThatComeBackBeforeACheckpointIsComplete) {
  Put("A", 10);
  StreamState state = State({}, 1);
  Sent(&state);
  const json columns = checkpoint_["entities"];
  const v1::RoleDefined open = sluice::testing::DefineRole("field", true, {"account"});
  v1::RoleDefined masked = open;
  masked.mutable_role()->mutable_entities(0)->add_deny_columns("name");
  Define(masked);
  Begin(&state);
  EXPECT_THAT(Frames(), ElementsAre("checkpoint 11"));
  EXPECT_EQ(checkpoint_["entities"][0]["attributes"].size(), 1u);
  Define(open);
  EXPECT_THAT(Sent(&state), ElementsAre("checkpoint 12", "put A", "checkpoint_complete"));
  EXPECT_EQ(checkpoint_["entities"], columns);
}

// A frame that ends inside an event gives the event before as `to`; its rows are with the client.
TEST_F(StreamStateTest, RowsOfAnEventThatWasCutMayBeKnown) {
  Put("A", 10);
  const std::string id = Id();
  Put("B", 11);
  Put("B", 12, false);
  Put("C", 13);
  StreamState state = State({{id, Offset(10)}});
  EXPECT_THAT(Sent(&state),
              ElementsAre("checkpoint 13", "remove B", "put C", "checkpoint_complete"));
}

// Several checkpoints before one is complete: what was sent is not sent again, and what went
// meanwhile is taken back where it was sent.
TEST_F(StreamStateTest, CheckpointsThatAreReplaced) {
  for (int i = 0; i < 4; ++i) {
    Put(std::string(1, static_cast<char>('A' + i)), 10 + i);
  }
  StreamState state = State({}, 1);
  Begin(&state);
  Fill(&state, 1);
  EXPECT_THAT(Frames(), ElementsAre("checkpoint 13", "put A"));
  Put("A", 20, false);
  Put("D", 21, false);
  Begin(&state);
  Fill(&state, 1);
  EXPECT_THAT(Frames(), ElementsAre("checkpoint 21", "put B"));
  EXPECT_EQ(checkpoint_["buckets"][0]["count"], "2");
  Put("E", 22);
  EXPECT_THAT(Sent(&state),
              ElementsAre("checkpoint 22", "put C", "remove A", "put E", "checkpoint_complete"));
  EXPECT_EQ(last_["to"], "22");
}

TEST_F(StreamStateTest, BelowTheHorizonABucketIsSentAnew) {
  Put("A", 10);
  const std::string id = Id();
  Put("B", 11);
  Put("A", 12, false);
  org_.Prune(Offset(12));
  Put("C", 13);
  StreamState state = State({{id, Offset(11)}});
  EXPECT_THAT(Sent(&state),
              ElementsAre("checkpoint 13", "reset", "put B", "put C", "checkpoint_complete"));
  StreamState at_the_horizon = State({{id, Offset(12)}});
  EXPECT_THAT(Sent(&at_the_horizon), ElementsAre("checkpoint 13", "put C", "checkpoint_complete"));
}

// Live, a session that fell behind: what it was not told in time is void, never kept.
TEST_F(StreamStateTest, ALiveStreamBehindTheHorizonIsReset) {
  Put("A", 10);
  Put("B", 11);
  StreamState state = State({});
  Sent(&state);
  Put("A", 12, false);
  Put("C", 13);
  org_.Prune(Offset(12));
  EXPECT_THAT(Sent(&state),
              ElementsAre("checkpoint 13", "reset", "put B", "put C", "checkpoint_complete"));
  EXPECT_EQ(last_["from"], "0");
  // Nothing of its own happened: then there is nothing that it was not told.
  org_.Prune(Offset(13));
  org_.applied.position = Offset(40);
  EXPECT_FALSE(Begin(&state));
  org_.Prune(Offset(40));
  Put("D", 41);
  EXPECT_THAT(Sent(&state), ElementsAre("checkpoint 41", "put D", "checkpoint_complete"));
}

// Amid a load, too.
TEST_F(StreamStateTest, ALoadBehindTheHorizonIsReset) {
  Put("A", 10);
  Put("B", 11);
  StreamState state = State({}, 1);
  Begin(&state);
  Fill(&state, 1);
  Frames();
  Put("A", 20, false);
  org_.Prune(Offset(20));
  EXPECT_THAT(Sent(&state), ElementsAre("checkpoint 20", "reset", "put B", "checkpoint_complete"));
}

TEST_F(StreamStateTest, OtherColumnsAreAnotherBucket) {
  Put("A", 10);
  StreamState state = State({{"elsewhere", Offset(7)}});
  Sent(&state);
  EXPECT_THAT(checkpoint_["removed"], ElementsAre("elsewhere"));
  EXPECT_EQ(last_["ops"][0]["row"]["name"], "nA");
  const std::string id = checkpoint_["buckets"][0]["bucket"];
  v1::RoleDefined masked = sluice::testing::DefineRole("field", true, {"account"});
  masked.mutable_role()->mutable_entities(0)->add_deny_columns("name");
  Define(masked);
  EXPECT_THAT(Sent(&state), ElementsAre("checkpoint 11", "put A", "checkpoint_complete"));
  EXPECT_THAT(checkpoint_["removed"], ElementsAre(id));
  EXPECT_NE(checkpoint_["buckets"][0]["bucket"], id);
  EXPECT_FALSE(last_["ops"][0]["row"].contains("name"));
  EXPECT_FALSE(Begin(&state));
  // A client that comes with the old id.
  StreamState again = State({{id, Offset(10)}});
  EXPECT_THAT(Sent(&again), ElementsAre("checkpoint 11", "put A", "checkpoint_complete"));
  EXPECT_THAT(checkpoint_["removed"], ElementsAre(id));
}

}  // namespace
}  // namespace sluice::gateways
