#pragma once

#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>

#include "absl/functional/function_ref.h"
#include "tests/integration/gateways/sync_fixture.h"

namespace sluice::gateways {

// A client of the stream: rows of each bucket, and how far it has come.
struct StreamClient {
  std::map<std::string, std::map<std::string, nlohmann::json>> rows;
  std::map<std::string, std::string> after;
  std::string position;

  // Takes frames up to and with the first one called `last`, which it returns.
  nlohmann::json Take(sluice::testing::HttpSocket& socket, const std::string& last) {
    while (true) {
      const std::string line = socket.ReadLine();
      if (line.empty()) {
        return nullptr;
      }
      const nlohmann::json frame = nlohmann::json::parse(line);
      Apply(frame);
      if (frame.contains(last)) {
        return frame[last];
      }
    }
  }

  void Apply(const nlohmann::json& frame) {
    if (frame.contains("checkpoint")) {
      for (const nlohmann::json& bucket : frame["checkpoint"]["removed"]) {
        rows.erase(bucket.get<std::string>());
        after.erase(bucket.get<std::string>());
      }
    } else if (frame.contains("reset")) {
      rows.erase(frame["reset"]["bucket"].get<std::string>());
    } else if (frame.contains("ops")) {
      const nlohmann::json& ops = frame["ops"];
      const std::string bucket = ops["bucket"];
      if (after.contains(bucket) && ops["from"] != "0") {
        EXPECT_EQ(ops["from"], after[bucket]);
      }
      after[bucket] = ops["to"];
      for (const nlohmann::json& op : ops["ops"]) {
        if (op["op"] == "put") {
          rows[bucket][op["key"]] = op["row"];
        } else {
          rows[bucket].erase(op["key"].get<std::string>());
        }
      }
    } else if (frame.contains("checkpoint_complete")) {
      position = frame["checkpoint_complete"]["position"];
      for (auto& [bucket, to] : after) {
        to = position;
      }
    }
  }

  std::set<std::string> Keys() const {
    std::set<std::string> keys;
    for (const auto& [bucket, held] : rows) {
      for (const auto& [key, row] : held) {
        keys.insert(key);
      }
    }
    return keys;
  }

  nlohmann::json Have() const {
    nlohmann::json have = nlohmann::json::array();
    for (const auto& [bucket, to] : after) {
      have.push_back({{"bucket", bucket}, {"after", to}});
    }
    return have;
  }
};

class StreamTest : public SyncTest {
 protected:
  void Open(sluice::testing::HttpSocket& socket, const json& body, const json& claims = kAnn,
            const std::string& headers = "") {
    socket.Request("POST", "/v1/orgs/contoso/stream", Token(claims) + headers, body.dump());
  }
  void AwaitSessions(size_t count) const {
    while (server_->sessions() != count) {
      std::this_thread::yield();
    }
  }
  // Looks until it is so, for a while.
  static void Await(absl::FunctionRef<bool()> condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition() && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  // Of options_.registry, which a test sets that asks.
  prometheus::ClientMetric Metric(const std::string& name) const {
    for (const auto& family : options_.registry->Collect()) {
      if (family.name == name && !family.metric.empty()) {
        return family.metric[0];
      }
    }
    ADD_FAILURE() << "no metric " << name;
    return {};
  }
};

}  // namespace sluice::gateways
