// Checkpoints that are longer than a piece of a stream, as they name many columns.
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <vector>

#include "tests/integration/gateways/stream_fixture.h"

namespace sluice::gateways {
namespace {

using nlohmann::json;
using sluice::testing::HttpSocket;

// An organisation whose columns are many pieces of a stream as text.
class ManyColumnsTest : public StreamTest {
 protected:
  static constexpr size_t kEntities = 40;

  ManyColumnsTest() {
    std::vector<std::string> reads = {"account"};
    for (uint32_t i = 2; i <= kEntities; ++i) {
      reads.push_back("entity" + std::to_string(i));
      DefineColumns(i, 300);
    }
    stores_.Add("contoso", sluice::testing::DefineRole("field", true, reads));
    options_.registry = std::make_shared<prometheus::Registry>();
  }
  void DefineColumns(uint32_t entity, uint32_t columns) {
    std::vector<sluice::testing::TestAttribute> attributes = {{1, "id"}};
    for (uint32_t id = 2; id <= columns; ++id) {
      attributes.push_back({id, std::string(60, 'a') + std::to_string(id)});
    }
    stores_.Add("contoso", sluice::testing::DefineEntity(entity, "entity" + std::to_string(entity),
                                                         attributes));
  }
  // By the role, amid a load.
  void TakeRowsAway() {
    stores_.Add("contoso", sluice::testing::DefineRole("field", true, {"entity2"}));
    AgeSnapshot();
  }
  void AgeSnapshot() const { std::this_thread::sleep_for(5 * options_.snapshot_age_max); }
  // A whole load of some rows: what its frames are called, and how many of them name the columns.
  void LoadRows() {
    for (int i = 0; i < 100; ++i) {
      Put("A" + std::to_string(i), "x", "ann");
    }
    options_.snapshot_age_max = std::chrono::milliseconds(1);
    Start();
    HttpSocket socket(port_);
    Open(socket, json::object());
    ASSERT_EQ(socket.Read(false).status, 200);
    while (frames_.empty() || frames_.back() != "checkpoint_complete") {
      const json frame = json::parse(socket.ReadLine());
      frames_.push_back(frame.begin().key());
      named_ += frame.begin()->contains("entities") ? 1 : 0;
      ASSERT_LT(frames_.size(), 1'000u);
    }
  }
  double ListsMade() const { return Metric("sluice_sync_columns_made_total").counter.value; }

  std::vector<std::string> frames_;
  size_t named_ = 0;
};

// No frame comes between, however many are due, and the load gets on.
TEST_F(ManyColumnsTest, AFrameThatIsLongerThanAPieceComesWhole) {
  for (int i = 0; i < 2'000; ++i) {
    Put("A" + std::to_string(i), std::string(400, 'x'), "ann");
  }
  options_.heartbeat = std::chrono::milliseconds(1);
  options_.snapshot_age_max = std::chrono::milliseconds(1);
  options_.token_warning = std::chrono::hours(2);
  Start();
  HttpSocket socket(port_);
  Open(socket, {{"live", true}});
  ASSERT_EQ(socket.Read(false).status, 200);
  StreamClient client;
  std::set<std::string> frames;
  size_t checkpoints = 0;
  while (!frames.contains("checkpoint_complete")) {
    const std::string line = socket.ReadLine();
    const json frame = json::parse(line, nullptr, false);
    ASSERT_TRUE(frame.is_object()) << line.substr(0, 200);
    client.Apply(frame);
    frames.insert(frame.begin().key());
    if (frame.contains("checkpoint") && checkpoints++ == 0) {
      EXPECT_GT(line.size(), size_t{1} << 20);
      EXPECT_EQ(frame["checkpoint"]["entities"].size(), kEntities);
    } else if (frame.contains("checkpoint")) {
      EXPECT_FALSE(frame["checkpoint"].contains("entities")) << "the client has them";
      ASSERT_LT(checkpoints, 20u) << "the load does not get on";
    }
  }
  EXPECT_TRUE(frames.contains("token_expires"));
  EXPECT_EQ(client.Keys().size(), 2'000u);
}

// However long a client takes for its columns: what it may not see any more by then is not sent.
TEST_F(ManyColumnsTest, RowsBehindALongCheckpointAreOfANewSnapshot) {
  std::atomic<int> asked = 0;
  options_.may_serve = [this, &asked](const OrgId&) {
    if (++asked == 10) {  // amid the checkpoint
      TakeRowsAway();
    }
    return absl::OkStatus();
  };
  LoadRows();
  EXPECT_GT(asked, 10);
  EXPECT_EQ(std::ranges::count(frames_, "checkpoint"), 2);
  EXPECT_EQ(std::ranges::count(frames_, "ops"), 0) << "rows by a role that was taken away";
}

// So it is where the one that takes its place is as long, as columns have come meanwhile.
TEST_F(ManyColumnsTest, RowsBehindALongCheckpointThatReplacesOneAreToo) {
  std::atomic<int> asked = 0;
  options_.may_serve = [this, &asked](const OrgId&) {
    ++asked;
    if (asked == 10) {  // amid the first checkpoint
      DefineColumns(2, 301);
      AgeSnapshot();
    } else if (asked == 60) {  // amid the second
      TakeRowsAway();
    }
    return absl::OkStatus();
  };
  LoadRows();
  EXPECT_GT(asked, 60);
  EXPECT_EQ(std::ranges::count(frames_, "checkpoint"), 3);
  EXPECT_EQ(named_, 3u);
  EXPECT_EQ(std::ranges::count(frames_, "ops"), 0) << "rows by a role that was taken away";
}

// One change of definitions concerns all sessions, and what they are sent is made for them once.
TEST_F(ManyColumnsTest, SessionsThatSeeTheSameShareAList) {
  options_.heartbeat = std::chrono::seconds(20);
  Start();
  std::vector<std::unique_ptr<HttpSocket>> sockets;
  for (int i = 0; i < 12; ++i) {
    sockets.push_back(std::make_unique<HttpSocket>(port_));
    Open(*sockets.back(), {{"live", true}}, {{"sub", "user" + std::to_string(i)}});
    ASSERT_EQ(sockets.back()->Read(false).status, 200);
    StreamClient().Take(*sockets.back(), "checkpoint_complete");
  }
  EXPECT_EQ(ListsMade(), 1);
  DefineColumns(2, 301);
  for (const auto& socket : sockets) {
    EXPECT_EQ(StreamClient().Take(*socket, "checkpoint")["entities"].size(), kEntities);
  }
  EXPECT_LE(ListsMade(), 3) << "of two threads that read stores each may make one at once";
}

// Who may not be answered any more amid a frame finds the connection closed, not a body's end.
TEST_F(ManyColumnsTest, AStreamThatEndsAmidAFrameIsCutOff) {
  std::atomic<int> asked = 0;
  options_.may_serve = [&asked](const OrgId&) {
    return ++asked < 20 ? absl::OkStatus()
                        : Error(absl::StatusCode::kUnavailable, "not_served_here", "any more");
  };
  Start();
  HttpSocket socket(port_);
  Open(socket, json::object());
  std::string read;
  char bytes[65536];
  for (ssize_t got = 1; got > 0;) {
    got = ::recv(socket.fd(), bytes, sizeof(bytes), 0);
    read.append(bytes, static_cast<size_t>(std::max<ssize_t>(got, 0)));
  }
  EXPECT_NE(read.find(R"({"checkpoint":)"), std::string::npos);
  EXPECT_EQ(read.find("}}\n"), std::string::npos) << "the frame is whole";
  EXPECT_FALSE(read.ends_with("0\r\n\r\n"));
}

}  // namespace
}  // namespace sluice::gateways
