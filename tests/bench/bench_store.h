#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "projectors/store/store_manager.h"
#include "tests/support/change_events.h"
#include "tests/support/temp_dir.h"

namespace sluice::bench {

inline double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Of this process.
inline double MebibytesResident() {
  size_t pages = 0;
  size_t resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

// How much this process grows beside what it has resident when this is made.
class PeakMemory {
 public:
  PeakMemory() {
    std::ofstream("/proc/self/clear_refs") << 5;  // the peak begins anew
    before_ = MebibytesResident();
  }
  // In bytes.
  double Grown() const {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
      if (word == "VmHWM:") {
        double kibibytes = 0;
        status >> kibibytes;
        return (kibibytes / 1024 - before_) * (1 << 20);
      }
    }
    return 0;
  }

 private:
  double before_ = 0;
};

// Stores in a folder of their own, and the next offset of their log. What goes wrong ends the
// program.
class BenchStore {
 public:
  explicit BenchStore(projectors::FoldOptions fold = {}) {
    projectors::StoreOptions options;
    options.path = dir_ / "stores";
    options.log_id = "bench";
    options.fold = fold;
    stores_ = projectors::StoreManager::Open(std::move(options)).value();
  }
  ~BenchStore() { (void)stores_->Close(); }
  BenchStore(const BenchStore&) = delete;
  BenchStore& operator=(const BenchStore&) = delete;

  projectors::StoreManager& stores() { return *stores_; }
  eventlog::StoredEvent Event(const google::protobuf::Message& payload) {
    return testing::MakeEvent(offset_++, payload);
  }
  // In batches of up to `batch`; the seconds that it took.
  double Apply(const std::vector<eventlog::StoredEvent>& events, size_t batch) {
    const auto start = std::chrono::steady_clock::now();
    for (std::span<const eventlog::StoredEvent> rest(events); !rest.empty();) {
      const size_t count = std::min(rest.size(), batch);
      const auto applied = stores_->Apply(PartitionId(0), rest.first(count));
      if (!applied.ok() || !applied->rejected.empty()) {
        fmt::print(stderr, "the events were not applied: {}\n", applied.status().ToString());
        std::exit(1);
      }
      rest = rest.subspan(count);
    }
    return SecondsSince(start);
  }

 private:
  testing::TempDir dir_;
  int64_t offset_ = 0;
  std::unique_ptr<projectors::StoreManager> stores_;
};

}  // namespace sluice::bench
