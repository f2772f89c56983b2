#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "clients/cpp/pull.h"
#include "tests/support/clients/scripted_sync_server.h"
#include "tests/support/clients/sql_reader.h"
#include "tests/support/clients/sync_frames.h"
#include "tests/support/temp_dir.h"

namespace sluice::testing {

// A put of an account that is named after its key.
inline std::string Put(const std::string& key, const std::string& position) {
  return PutOp("account", key, position, fmt::format(R"({{"id":"{0}","name":"n{0}"}})", key));
}

// An account, as a bucket of a checkpoint counts it.
inline std::pair<const std::pair<std::string, std::string>, std::string> Row(
    const std::string& key, const std::string& position) {
  return {{"account", key}, position};
}

// Pulls into a temporary file from a server that follows the test's script.
class PullTest : public ::testing::Test {
 protected:
  static constexpr char kEntities[] =
      R"({"entities":[{"entity":"account","primary_key":"id","attributes":[
          {"name":"id","type":"string"},{"name":"name","type":"string"}]}]})";

  client::PullOptions Options() {
    client::PullOptions options;
    options.url = server.url();
    options.org = "acme";
    options.db_path = path;
    options.token = [this]() -> absl::StatusOr<std::string> {
      return fmt::format("token{}", ++tokens);
    };
    options.attempts_max = 4;
    options.backoff_first = std::chrono::milliseconds(1);
    options.backoff_max = std::chrono::milliseconds(5);
    options.silence_max = std::chrono::milliseconds(20'000);
    return options;
  }
  std::unique_ptr<client::Puller> Open() {
    auto puller = client::Puller::Open(Options());
    EXPECT_TRUE(puller.ok()) << puller.status();
    return puller.ok() ? std::move(*puller) : nullptr;
  }
  absl::StatusOr<client::PullResult> Pull() { return Open()->Pull(); }
  std::string Accounts() { return SqlReader(path).Query("SELECT id FROM account ORDER BY id"); }
  std::vector<std::string> Haves() {
    std::vector<std::string> bodies;
    for (const StreamRequest& request : server.requests()) {
      bodies.push_back(request.body);
    }
    return bodies;
  }

  TempDir dir;
  std::string path = dir / "local.sqlite";
  ScriptedSyncServer server{kEntities};
  std::atomic<int> tokens = 0;

  const Buckets three_rows = {{"b1", {Row("A1", "5.0"), Row("A2", "6.0")}},
                              {"b2", {Row("A3", "7.0")}}};
  const std::string checkpoint = CheckpointFrame(7, three_rows);
  const std::string first = OpsFrame("b1", 0, 5, {Put("A1", "5.0")});
  const std::string second = OpsFrame("b1", 5, 7, {Put("A2", "6.0")});
  const std::string third = OpsFrame("b2", 0, 7, {Put("A3", "7.0")});
  const std::string whole = checkpoint + first + second + third + CompleteFrame(7);
};

}  // namespace sluice::testing
