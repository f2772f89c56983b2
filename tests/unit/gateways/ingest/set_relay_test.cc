#include "gateways/ingest/set_relay.h"

#include <gtest/gtest.h>
#include <httplib.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

// A node that answers nobody until it is let go.
class SlowNode {
 public:
  SlowNode() {
    http_.new_task_queue = [] { return new httplib::ThreadPool(16); };
    http_.Post(".*", [this](const httplib::Request&, httplib::Response& response) {
      const absl::MutexLock lock(&mutex_);
      ++came_;
      const auto let_go = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return let_go_; };
      mutex_.Await(absl::Condition(&let_go));
      response.set_content(R"({"id":"1","position":"7"})"
                           "\n",
                           "application/x-ndjson");
    });
    port_ = http_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { http_.listen_after_bind(); });
  }
  ~SlowNode() {
    LetGo();
    http_.stop();
    thread_.join();
  }
  void LetGo() {
    const absl::MutexLock lock(&mutex_);
    let_go_ = true;
  }
  void AwaitRequests(int count) {
    const absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return came_ >= count; };
    mutex_.Await(absl::Condition(&enough));
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  httplib::Server http_;
  int port_ = 0;
  std::thread thread_;
  absl::Mutex mutex_;
  int came_ ABSL_GUARDED_BY(mutex_) = 0;
  bool let_go_ ABSL_GUARDED_BY(mutex_) = false;
};

class SetRelayTest : public ::testing::Test {
 protected:
  absl::Status Post(const std::string& org) {
    RelayCaller caller;
    caller.authorization = "Bearer x";
    return relay_.Post(node_.url(), OrgId::Parse(org).value(), caller, {{.id = "1", .line = "{}"}})
        .status();
  }

  SlowNode node_;
  SetRelay relay_{{.concurrent_max = 8}};
};

TEST_F(SetRelayTest, OneOrganisationLeavesPlacesToOthers) {
  std::vector<std::thread> waiting;
  std::vector<absl::Status> ended(8);
  for (size_t i = 0; i < ended.size(); ++i) {
    waiting.emplace_back([&, i] { ended[i] = Post("org" + std::to_string(i / 2)); });
  }
  node_.AwaitRequests(8);
  EXPECT_EQ(ErrorCode(Post("org9")), "too_busy");  // all are taken
  node_.LetGo();
  for (std::thread& thread : waiting) {
    thread.join();
  }
  for (const absl::Status& status : ended) {
    EXPECT_TRUE(status.ok()) << status;
  }
  EXPECT_TRUE(Post("org0").ok()) << "places are given back";
}

TEST_F(SetRelayTest, AnOrganisationHasAQuarterOfThePlaces) {
  std::vector<std::thread> waiting;
  for (int i = 0; i < 2; ++i) {
    waiting.emplace_back([&] { EXPECT_TRUE(Post("behind").ok()); });
  }
  node_.AwaitRequests(2);
  EXPECT_EQ(ErrorCode(Post("behind")), "too_busy");
  waiting.emplace_back([&] { EXPECT_TRUE(Post("beside").ok()); });
  node_.AwaitRequests(3);
  node_.LetGo();
  for (std::thread& thread : waiting) {
    thread.join();
  }
}

}  // namespace
}  // namespace sluice::gateways
