#include <benchmark/benchmark.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <cstdlib>
#include <memory>
#include <span>

#include "projectors/store/store_manager.h"
#include "tests/support/change_events.h"
#include "tests/support/temp_dir.h"

// Change sets of one upsert (200-byte rows, two buckets a row) folded into a staging store, against
// blind RocksDB writes of the same records and deltas. Both report wall and process CPU time.
namespace sluice {
namespace {

using eventlog::StoredEvent;

constexpr size_t kBatch = 10'000;

std::string KeyOf(size_t i) { return "package-" + std::to_string(i * 2654435761u % 10'000'000); }

std::string RowOf(size_t i) {
  testing::RowWriter row;
  row.Text(1, KeyOf(i)).Text(2, "maintainer-" + std::to_string(i % 500) + "@example.org");
  row.Text(3, "section" + std::to_string(i % 20)).Varint(4, i).Text(5, std::string(120, 'd'));
  return row.bytes();
}

std::vector<StoredEvent> Upserts(int64_t first_offset, size_t count) {
  std::vector<StoredEvent> events;
  events.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const int64_t offset = first_offset + static_cast<int64_t>(i);
    const v1::Operation op = testing::Upsert(1, KeyOf(i), RowOf(i));
    events.push_back(
        testing::MakeEvent(offset, testing::MakeSet({op}, "set" + std::to_string(offset), "load")));
  }
  return events;
}

void ApplyAll(benchmark::State& state, projectors::StoreManager& stores,
              const std::vector<StoredEvent>& events) {
  for (std::span<const StoredEvent> rest(events); !rest.empty();) {
    const size_t count = std::min(rest.size(), kBatch);
    const auto applied = stores.Apply(PartitionId(0), rest.first(count));
    if (!applied.ok() || !applied->rejected.empty()) {
      state.SkipWithError("the events were not applied");
      return;
    }
    rest = rest.subspan(count);
  }
}

// updates:1 folds every row a second time: a read, and the old deltas erased.
void FoldIntoStore(benchmark::State& state) {
  const auto count = static_cast<size_t>(state.range(0));
  const bool updates = state.range(1) != 0;
  const std::vector<StoredEvent> definitions = {
      testing::MakeEvent(0, testing::OpenOrg(1)),
      testing::MakeEvent(1, testing::DefineEntity(1, "package",
                                                  {{1, "name"},
                                                   {2, "maintainer"},
                                                   {3, "section"},
                                                   {4, "size", v1::ATTRIBUTE_TYPE_INT64},
                                                   {5, "text"}},
                                                  2, 3)),
      testing::MakeEvent(2, testing::DefineProfile(
                                "p", {{"package", {v1::RULE_KIND_USER, v1::RULE_KIND_TEAM}}}, {}))};
  const std::vector<StoredEvent> load = Upserts(3, count);
  const std::vector<StoredEvent> again =
      updates ? Upserts(3 + static_cast<int64_t>(count), count) : std::vector<StoredEvent>();
  for (auto _ : state) {
    state.PauseTiming();
    const testing::TempDir dir;
    projectors::StoreOptions options;
    options.path = dir / "stores";
    options.log_id = "bench";
    auto stores = projectors::StoreManager::Open(std::move(options));
    if (!stores.ok()) {
      state.SkipWithError("no store");
      return;
    }
    ApplyAll(state, **stores, definitions);
    if (updates) {
      ApplyAll(state, **stores, load);
    }
    state.ResumeTiming();
    ApplyAll(state, **stores, updates ? again : load);
    state.PauseTiming();
    benchmark::DoNotOptimize((*stores)->Close());
    stores->reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(count));
}

// A record, two deltas and a change set for each event: what the fold writes at a first load.
void BlindWrites(benchmark::State& state) {
  const auto count = static_cast<size_t>(state.range(0));
  const std::vector<StoredEvent> load = Upserts(3, count);
  std::vector<std::string> rows;
  for (size_t i = 0; i < count; ++i) {
    rows.push_back(RowOf(i));
  }
  for (auto _ : state) {
    state.PauseTiming();
    const testing::TempDir dir;
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::DB* opened = nullptr;
    if (!rocksdb::DB::Open(options, dir / "db", &opened).ok()) {
      state.SkipWithError("no database");
      return;
    }
    const std::unique_ptr<rocksdb::DB> db(opened);
    rocksdb::WriteOptions write;
    write.disableWAL = true;
    state.ResumeTiming();
    for (size_t first = 0; first < count; first += kBatch) {
      rocksdb::WriteBatch batch;
      for (size_t i = first; i < std::min(count, first + kBatch); ++i) {
        const std::string offset = std::to_string(i);
        batch.Put("r" + KeyOf(i), std::string(52, 'm') + rows[i]);
        batch.Put("d" + std::to_string(10'000 + i % 500) + offset, KeyOf(i) + rows[i]);
        batch.Put("d" + std::to_string(20'000 + i % 20) + offset, KeyOf(i) + rows[i]);
        batch.Put("s" + load[i].event.id, offset);
      }
      if (!db->Write(write, &batch).ok()) {
        state.SkipWithError("a write failed");
      }
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(count));
}

// SLUICE_BENCH_EVENTS: how many events; few in the smoke test.
int64_t Events() {
  const char* given = std::getenv("SLUICE_BENCH_EVENTS");
  return given == nullptr ? 200'000 : std::atoll(given);
}

BENCHMARK(BlindWrites)
    ->ArgName("events")
    ->Arg(Events())
    ->Iterations(1)
    ->MeasureProcessCPUTime()
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(FoldIntoStore)
    ->ArgNames({"events", "updates"})
    ->Args({Events(), 0})
    ->Args({Events(), 1})
    ->Iterations(1)
    ->MeasureProcessCPUTime()
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice

BENCHMARK_MAIN();
