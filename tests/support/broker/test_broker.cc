#include "tests/support/broker/test_broker.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string_view>
#include <utility>

#include "schemas/base/status.h"

namespace sluice::testing {
namespace {

// Set by tests/support/CMakeLists.txt.
constexpr std::string_view kScript = SLUICE_BROKER_SCRIPT;

absl::StatusOr<std::string> Script(const std::string& arguments) {
  // Standard error comes with the output only where the script fails.
  return RunCommand(fmt::format("'{}' {}", kScript, arguments));
}

}  // namespace

absl::StatusOr<std::string> RunKafkaTool(const std::string& arguments, const std::string& input) {
  return RunCommand(fmt::format("{} | '{}' tool {}", input, kScript, arguments));
}

absl::StatusOr<std::string> RunCommand(const std::string& command) {
  FILE* pipe = popen(fmt::format("({}) 2>&1", command).c_str(), "r");
  if (pipe == nullptr) {
    return absl::InternalError("popen failed");
  }
  std::string output;
  std::array<char, 4096> piece;
  while (const size_t size = fread(piece.data(), 1, piece.size(), pipe)) {
    output.append(piece.data(), size);
  }
  const int status = pclose(pipe);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return absl::InternalError(fmt::format("'{}' ended with {}: {}", command, status, output));
  }
  return output;
}

TestBroker::TestBroker(std::string directory, std::string brokers)
    : directory_(std::move(directory)), brokers_(std::move(brokers)) {}

absl::StatusOr<std::unique_ptr<TestBroker>> TestBroker::Start(int nodes) {
  std::string directory =
      (std::filesystem::temp_directory_path() / "sluice-broker-XXXXXX").string();
  if (mkdtemp(directory.data()) == nullptr) {
    return absl::InternalError("mkdtemp failed");
  }
  auto output = Script(
      fmt::format("start --dir '{}/cluster' --nodes {} --owner {}", directory, nodes, getpid()));
  if (!output.ok()) {
    std::filesystem::remove_all(directory);
    return output.status();
  }
  output->erase(output->find_last_not_of('\n') + 1);
  return std::unique_ptr<TestBroker>(new TestBroker(directory, *output));
}

absl::StatusOr<std::unique_ptr<TestBroker>> TestBroker::Shared() {
  const char* running = std::getenv("SLUICE_TEST_BROKERS");
  if (running != nullptr && *running != '\0') {
    return std::unique_ptr<TestBroker>(new TestBroker("", running));
  }
  return Start(1);
}

TestBroker::~TestBroker() {
  if (directory_.empty()) {
    return;
  }
  if (auto output = Script(fmt::format("stop --now --dir '{}/cluster'", directory_));
      !output.ok()) {
    fmt::print(stderr, "{}\n", Message(output.status()));
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

absl::Status TestBroker::Order(const std::string& command, int node) {
  if (directory_.empty()) {
    return absl::FailedPreconditionError("a shared broker takes no orders");
  }
  return Script(fmt::format("{} --dir '{}/cluster' --node {}", command, directory_, node)).status();
}

absl::Status TestBroker::Kill(int node) { return Order("kill", node); }

absl::Status TestBroker::Restart(int node) { return Order("restart", node); }

absl::Status TestBroker::Pause(int node) { return Order("pause", node); }

absl::Status TestBroker::Resume(int node) { return Order("resume", node); }

std::string RandomPrefix() {
  std::random_device random;
  return fmt::format("t{:08x}{:08x}.", random(), random());
}

}  // namespace sluice::testing
