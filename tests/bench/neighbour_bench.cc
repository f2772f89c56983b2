#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "eventlog/embedded/embedded_log.h"
#include "eventlog/static_partition_group.h"
#include "projectors/staging/staging_projector.h"
#include "projectors/store/store_manager.h"
#include "tests/support/change_events.h"
#include "tests/support/temp_dir.h"

// How long an organisation waits for its change while large events of a neighbour in its partition
// are folded: `neighbour_bench [rows] [events]` appends `events` definitions, each of which moves
// all of the neighbour's `rows`, and meanwhile single changes of the other, one at a time; prints
// the time from an append's answer to the change being applied. Without a second thread for the
// large events (sets_apart) they are folded in the way of the others: shown for comparison.
namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;
using eventlog::Topic;

constexpr PartitionId kPartition{0};

void Must(const absl::Status& status) {
  if (!status.ok()) {
    fmt::print(stderr, "{}\n", std::string(status.message()));
    std::exit(1);
  }
}

class Bench {
 public:
  explicit Bench(bool sets_apart) {
    auto log = eventlog::EmbeddedLog::Open({.path = dir_ / "log", .partitions = 1});
    Must(log.status());
    log_ = *std::move(log);
    projectors::StoreOptions options;
    options.path = dir_ / "stores";
    options.log_id = log_->id();
    options.sets_apart = sets_apart;
    auto stores = projectors::StoreManager::Open(std::move(options));
    Must(stores.status());
    stores_ = *std::move(stores);
    projector_ = std::make_unique<projectors::StagingProjector>(*log_, group_, *stores_, clock_,
                                                                projectors::StagingOptions{});
    Must(projector_->Start());
  }
  ~Bench() {
    projector_->Stop();
    Must(stores_->Close());
  }

  Offset Append(const std::string& org, const google::protobuf::Message& payload) {
    const auto event = testing::MakeEvent(id_++, payload, org).event;
    const auto offsets = log_->Append(Topic::kChanges, kPartition, {event});
    Must(offsets.status());
    return offsets->front();
  }
  void Define(const std::string& org, v1::RuleKind kind) {
    Append(org, testing::DefineProfile("p", {{"account", {kind}}}, {}));
  }
  Offset Open(const std::string& org) {
    Append(org, testing::OpenOrg(1));
    return Append(org, testing::DefineEntity(1, "account", {{1, "id"}, {2, "owner"}}, 2));
  }
  Offset AddRows(const std::string& org, int rows) {
    Offset last;
    for (int row = 0; row < rows;) {
      std::vector<v1::Operation> ops;
      for (; ops.size() < 500 && row < rows; ++row) {
        const std::string key = "A" + std::to_string(row);
        ops.push_back(testing::Upsert(
            1, key, testing::RowWriter().Text(1, key).Text(2, "U" + key.substr(0, 3)).bytes()));
      }
      last = Append(org, testing::MakeSet(ops));
    }
    return last;
  }
  void Await(const std::string& org, Offset offset) {
    const OrgId id = OrgId::Parse(org).value();
    while (stores_->AppliedOf(id) < offset) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }

 private:
  const testing::TempDir dir_;
  const RealClock clock_;
  std::unique_ptr<eventlog::EmbeddedLog> log_;
  eventlog::StaticPartitionGroup group_{1};
  std::unique_ptr<projectors::StoreManager> stores_;
  std::unique_ptr<projectors::StagingProjector> projector_;
  int64_t id_ = 0;
};

void Run(bool sets_apart, int rows, int events) {
  Bench bench(sets_apart);
  bench.Open("big");
  bench.Define("big", v1::RULE_KIND_ALL);
  const Offset loaded = bench.AddRows("big", rows);
  bench.Open("small");
  bench.Define("small", v1::RULE_KIND_ALL);
  bench.Await("small", bench.AddRows("small", 10));
  bench.Await("big", loaded);
  const auto start = Clock::now();
  Offset last;
  for (int i = 0; i < events; ++i) {
    last = bench.Append(
        "big", testing::DefineProfile(
                   "p", {{"account", {i % 2 == 0 ? v1::RULE_KIND_USER : v1::RULE_KIND_ALL}}}, {}));
  }
  std::atomic<bool> done = false;
  std::thread large([&] {
    bench.Await("big", last);
    done = true;
  });
  std::vector<double> waits_ms;
  while (!done) {
    const Offset offset = bench.AddRows("small", 1);
    const auto appended = Clock::now();
    bench.Await("small", offset);
    waits_ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - appended).count());
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  large.join();
  std::sort(waits_ms.begin(), waits_ms.end());
  const auto at = [&](double share) {
    return waits_ms[static_cast<size_t>(share * static_cast<double>(waits_ms.size() - 1))];
  };
  fmt::print(
      "{}: {} events of {} rows took {:.1f} s; {} changes of the neighbour waited "
      "p50 {:.1f} ms, p99 {:.1f} ms, at most {:.1f} ms\n",
      sets_apart ? "apart" : "in the way", events, rows,
      std::chrono::duration<double>(Clock::now() - start).count(), waits_ms.size(), at(0.5),
      at(0.99), waits_ms.back());
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  spdlog::set_level(spdlog::level::err);
  const int rows = argc > 1 ? std::atoi(argv[1]) : 100'000;
  const int events = argc > 2 ? std::atoi(argv[2]) : 20;
  sluice::Run(true, rows, events);
  sluice::Run(false, rows, events);
}
