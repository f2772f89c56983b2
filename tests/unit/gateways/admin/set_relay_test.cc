#include "gateways/admin/set_relay.h"

#include <gtest/gtest.h>
#include <httplib.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "schemas/status.h"

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

RelayCaller Caller() {
  RelayCaller caller;
  caller.authorization = "Bearer x";
  return caller;
}

TEST(SetRelayTest, OneOrganisationLeavesPlacesToOthers) {
  SlowNode node;
  SetRelay relay({.concurrent_max = 8});
  const auto post = [&](const std::string& org) {
    return relay.Post(node.url(), OrgId::Parse(org).value(), Caller(), {{.id = "1", .line = "{}"}});
  };
  std::vector<std::thread> waiting;
  std::vector<absl::Status> ended(8);
  for (size_t i = 0; i < ended.size(); ++i) {
    waiting.emplace_back([&, i] { ended[i] = post("org" + std::to_string(i / 2)).status(); });
  }
  node.AwaitRequests(8);
  EXPECT_EQ(ErrorCode(post("org9").status()), "too_busy");  // all are taken
  node.LetGo();
  for (std::thread& thread : waiting) {
    thread.join();
  }
  for (const absl::Status& status : ended) {
    EXPECT_TRUE(status.ok()) << status;
  }
  EXPECT_TRUE(post("org0").ok()) << "places are given back";
}

TEST(SetRelayTest, AnOrganisationHasAQuarterOfThePlaces) {
  SlowNode node;
  SetRelay relay({.concurrent_max = 8});
  const auto post = [&](const std::string& org) {
    return relay.Post(node.url(), OrgId::Parse(org).value(), Caller(), {{.id = "1", .line = "{}"}});
  };
  std::vector<std::thread> waiting;
  for (int i = 0; i < 2; ++i) {
    waiting.emplace_back([&] { EXPECT_TRUE(post("behind").ok()); });
  }
  node.AwaitRequests(2);
  EXPECT_EQ(ErrorCode(post("behind").status()), "too_busy");
  waiting.emplace_back([&] { EXPECT_TRUE(post("beside").ok()); });
  node.AwaitRequests(3);
  node.LetGo();
  for (std::thread& thread : waiting) {
    thread.join();
  }
}

}  // namespace
}  // namespace sluice::gateways
