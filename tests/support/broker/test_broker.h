#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice::testing {

// A real Kafka cluster of one or three brokers on 127.0.0.1, through the kafka_broker script beside
// this file (a start takes 3-7 seconds). Its data is in a temporary folder, removed with it; a
// watchdog stops the brokers when this process ends without running the destructor.
class TestBroker {
 public:
  // A cluster of its own, which may be killed and restarted. kInternal with the broker's log where
  // it does not start.
  static absl::StatusOr<std::unique_ptr<TestBroker>> Start(int nodes = 1);

  // The running broker that SLUICE_TEST_BROKERS names (host:port,...), otherwise as Start(1). Tests
  // that share it keep apart by RandomPrefix().
  static absl::StatusOr<std::unique_ptr<TestBroker>> Shared();

  ~TestBroker();
  TestBroker(const TestBroker&) = delete;
  TestBroker& operator=(const TestBroker&) = delete;

  // The bootstrap servers.
  const std::string& brokers() const { return brokers_; }

  // SIGKILL to node `node` (from 1); returns when it has ended.
  absl::Status Kill(int node = 1);
  // Starts a killed node with its data on its old port; returns when it serves.
  absl::Status Restart(int node = 1);
  // SIGSTOP to a node, which hangs until Resume(); its connections stay, and take requests in.
  absl::Status Pause(int node = 1);
  absl::Status Resume(int node = 1);

 private:
  // The script's command for one of our own nodes.
  absl::Status Order(const std::string& command, int node);
  TestBroker(std::string directory, std::string brokers);

  std::string directory_;  // empty: the broker is not ours
  std::string brokers_;
};

// A topic prefix that no other test has.
[[nodiscard]] std::string RandomPrefix();

// Runs one of Kafka's own Java tools: "<class> <arguments>", quoted for the shell; its standard
// input is what the command `input` prints. As RunCommand().
absl::StatusOr<std::string> RunKafkaTool(const std::string& arguments,
                                         const std::string& input = "true");

// Runs `command` with /bin/sh; its standard output, or kInternal with what it wrote.
absl::StatusOr<std::string> RunCommand(const std::string& command);

}  // namespace sluice::testing
