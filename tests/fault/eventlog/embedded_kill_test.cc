#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "eventlog/embedded/embedded_log.h"
#include "schemas/base/status.h"
#include "schemas/base/uuid.h"
#include "tests/support/log_reading.h"
#include "tests/support/temp_dir.h"

// A process that appends is killed with SIGKILL at a random moment, again and again over one log:
// whatever it was told to be durable must be there once, in order, and in whole batches.
namespace sluice::eventlog {
namespace {

constexpr int kCycles = 10;
constexpr int32_t kPartitions = 3;
constexpr int kThreads = 6;

std::string& ProgramPath() {
  static std::string path;
  return path;
}

EmbeddedLogOptions Options(const std::string& path) {
  return {.path = path, .partitions = kPartitions};
}

// What the killed process runs: appends for ever, and writes "partition offset id" to `out` for
// each event once it is acknowledged. A value is "<thread> <batch> <index> <size of the batch>".
[[noreturn]] void AppendForEver(const std::string& path, int out, int cycle) {
  auto log = EmbeddedLog::Open(Options(path));
  if (!log.ok()) {
    fmt::print(stderr, "child: {}\n", log.status().ToString());
    ::_exit(3);
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const RealClock clock;
      const PartitionId partition(t % kPartitions);
      for (int b = 0;; ++b) {
        const int size = 1 + (b * 7 + t) % 5;
        std::vector<Event> batch(static_cast<size_t>(size));
        for (int i = 0; i < size; ++i) {
          Event& event = batch[static_cast<size_t>(i)];
          event.id = NewUuid7(clock);
          event.key = fmt::format("{}/{}", cycle, t);
          event.value = fmt::format("{} {} {} {}", t, b, i, size);
        }
        const auto offsets = (*log)->Append(Topic::kChanges, partition, batch);
        if (!offsets.ok()) {
          ::_exit(4);
        }
        std::string lines;
        for (size_t i = 0; i < batch.size(); ++i) {
          lines += fmt::format("{} {} {}\n", partition.value(), (*offsets)[i].value(), batch[i].id);
        }
        // One write below PIPE_BUF, so that a kill never leaves half a line of another thread's.
        if (::write(out, lines.data(), lines.size()) != static_cast<ssize_t>(lines.size())) {
          ::_exit(5);
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  ::_exit(0);
}

// Starts the appending process, kills it after `bytes` of acknowledgements, returns all of them.
std::string RunAndKill(const std::string& path, int cycle, size_t bytes) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const std::string cycle_text = std::to_string(cycle);
  const pid_t child = ::fork();
  if (child == 0) {
    // The log has threads in the parent; only a fresh program is safe after the fork.
    ::dup2(ends[1], 3);
    ::execl(ProgramPath().c_str(), ProgramPath().c_str(), "--append", path.c_str(),
            cycle_text.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ::close(ends[1]);
  std::string acknowledged;
  char buffer[4096];
  bool killed = false;
  if (bytes == 0) {
    killed = ::kill(child, SIGKILL) == 0;
  }
  for (;;) {
    const ssize_t got = ::read(ends[0], buffer, sizeof buffer);
    if (got <= 0) {
      break;
    }
    acknowledged.append(buffer, static_cast<size_t>(got));
    if (!killed && acknowledged.size() >= bytes) {
      killed = ::kill(child, SIGKILL) == 0;
    }
  }
  ::close(ends[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "status " << status;
  return acknowledged;
}

using Acknowledged = std::map<std::pair<int32_t, int64_t>, std::string>;

void Collect(const std::string& lines, Acknowledged& acknowledged) {
  std::istringstream in(lines);
  std::string line;
  while (std::getline(in, line) && !in.eof()) {
    std::istringstream fields(line);
    int32_t partition = -1;
    int64_t offset = -1;
    std::string id;
    fields >> partition >> offset >> id;
    const auto [it, added] = acknowledged.try_emplace({partition, offset}, id);
    EXPECT_TRUE(added) << "offset " << offset << " of " << partition << " was given twice";
  }
}

// Batches follow each other whole; each thread's are in the order in which it appended them.
void CheckBatches(const std::vector<StoredEvent>& events) {
  std::map<std::string, int> next_batch;
  for (size_t at = 0; at < events.size();) {
    int thread = 0;
    int batch = 0;
    int index = 0;
    int size = 1;
    std::istringstream(events[at].event.value) >> thread >> batch >> index >> size;
    EXPECT_EQ(batch, next_batch[events[at].event.key]++) << events[at].event.key;
    for (int i = 0; i < size; ++i, ++at) {
      ASSERT_LT(at, events.size()) << "a batch is there in part";
      ASSERT_EQ(events[at].event.value, fmt::format("{} {} {} {}", thread, batch, i, size));
    }
  }
}

void CheckLog(const std::string& path, const Acknowledged& acknowledged, std::string& log_id) {
  auto log = EmbeddedLog::Open(Options(path));
  ASSERT_TRUE(log.ok()) << log.status();
  if (!log_id.empty()) {
    EXPECT_EQ((*log)->id(), log_id);
  }
  log_id = (*log)->id();
  std::set<std::string> ids;
  size_t found = 0;
  for (int32_t p = 0; p < kPartitions; ++p) {
    const auto events = testing::ReadWholePartition(**log, Topic::kChanges, PartitionId(p));
    for (size_t i = 0; i < events.size(); ++i) {
      ASSERT_EQ(events[i].offset, Offset(static_cast<int64_t>(i))) << "offsets have a gap";
      EXPECT_TRUE(ids.insert(events[i].event.id).second) << "an event is there twice";
      const auto it = acknowledged.find({p, events[i].offset.value()});
      if (it != acknowledged.end()) {
        EXPECT_EQ(it->second, events[i].event.id);
        ++found;
      }
    }
    CheckBatches(events);
  }
  EXPECT_EQ(found, acknowledged.size()) << "acknowledged events are lost";
}

TEST(EmbeddedKill, AcknowledgedEventsSurviveKill9) {
  const char* given = std::getenv("SLUICE_SEED");
  const auto seed = given != nullptr ? std::strtoul(given, nullptr, 10) : std::random_device{}();
  fmt::print("seed {} (SLUICE_SEED={} runs it again)\n", seed, seed);
  std::mt19937_64 random(seed);
  const testing::TempDir dir;
  const std::string path = dir / "log";
  Acknowledged acknowledged;
  std::string log_id;
  for (int cycle = 0; cycle < kCycles; ++cycle) {
    SCOPED_TRACE(fmt::format("cycle {} of seed {}", cycle, seed));
    // Every fourth kill comes while the log is being opened.
    const size_t bytes = cycle % 4 == 3 ? 0 : random() % 200'000;
    Collect(RunAndKill(path, cycle, bytes), acknowledged);
    CheckLog(path, acknowledged, log_id);
    if (HasFatalFailure()) {
      return;
    }
  }
  EXPECT_GT(acknowledged.size(), 1000U) << "too little was appended to prove anything";
  fmt::print("{} acknowledged events, {} kills\n", acknowledged.size(), kCycles);
}

// What is recorded of the ends survives the kill with the events: no kill is taken for a loss,
// which the test above holds with each opening, and no loss is hidden by a kill.
TEST(EmbeddedKill, ALossAfterAKillIsNoticed) {
  namespace fs = std::filesystem;
  for (int cycle = 0; cycle < 3; ++cycle) {
    const testing::TempDir dir;
    const std::string path = dir / "log";
    Acknowledged acknowledged;
    Collect(RunAndKill(path, cycle, 20'000), acknowledged);
    ASSERT_FALSE(acknowledged.empty());
    fs::path largest;
    for (const auto& entry : fs::directory_iterator(path)) {
      if (entry.path().extension() == ".log" &&
          (largest.empty() || entry.file_size() > fs::file_size(largest))) {
        largest = entry.path();
      }
    }
    ASSERT_FALSE(largest.empty());
    fs::resize_file(largest, fs::file_size(largest) / 2);
    const auto opened = EmbeddedLog::Open(Options(path));
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(ErrorCode(opened.status()), "log_truncated") << opened.status();
  }
}

}  // namespace
}  // namespace sluice::eventlog

int main(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "--append") {
    sluice::eventlog::AppendForEver(argv[2], 3, std::atoi(argv[3]));
  }
  sluice::eventlog::ProgramPath() = "/proc/self/exe";
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
