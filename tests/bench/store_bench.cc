#include <benchmark/benchmark.h>
#include <rocksdb/db.h>

#include <cstdlib>
#include <memory>
#include <span>

#include "projectors/store/org_db.h"
#include "projectors/store/record_codec.h"
#include "projectors/store/store_manager.h"
#include "tests/support/change_events.h"
#include "tests/support/temp_dir.h"

// Scanning one bucket of a staging store (rows of about 200 bytes), against a raw RocksDB iterator
// over the same column family of the same folder with the same options. Rows and value bytes a
// second; the ratio is Scan's share of what RocksDB can do.
namespace sluice {
namespace {

using eventlog::StoredEvent;
using projectors::StoreManager;

// SLUICE_BENCH_ROWS: how many rows; few in the smoke test.
size_t Rows() {
  const char* given = std::getenv("SLUICE_BENCH_ROWS");
  return given == nullptr ? 300'000 : static_cast<size_t>(std::atoll(given));
}

projectors::StoreOptions Options(const std::string& path) {
  projectors::StoreOptions options;
  options.path = path;
  options.log_id = "bench";
  return options;
}

std::string RowOf(size_t i) {
  testing::RowWriter row;
  row.Text(1, "package-" + std::to_string(i));
  row.Text(2, "maintainer-" + std::to_string(i % 500) + "@example.org");
  row.Text(3, "section" + std::to_string(i % 20)).Varint(4, i);
  std::string text(120, ' ');
  for (size_t j = 0; j < text.size(); ++j) {
    text[j] = static_cast<char>('a' + (i * 2654435761u >> (j % 24)) % 26);
  }
  return row.Text(5, text).bytes();
}

absl::Status Load(StoreManager& stores) {
  std::vector<StoredEvent> events = {
      testing::MakeEvent(0, testing::OpenOrg(1)),
      testing::MakeEvent(1, testing::DefineEntity(1, "package",
                                                  {{1, "name"},
                                                   {2, "maintainer"},
                                                   {3, "section"},
                                                   {4, "size", v1::ATTRIBUTE_TYPE_INT64},
                                                   {5, "text"}})),
      testing::MakeEvent(2, testing::DefineProfile("p", {{"package", {v1::RULE_KIND_ALL}}}, {}))};
  int64_t offset = 3;
  for (size_t i = 0; i < Rows(); ++i) {
    const v1::Operation op = testing::Upsert(1, "package-" + std::to_string(i), RowOf(i));
    events.push_back(testing::MakeEvent(offset++, testing::MakeSet({op})));
    if (events.size() == 10'000 || i + 1 == Rows()) {
      if (const auto applied = stores.Apply(PartitionId(0), events); !applied.ok()) {
        return applied.status();
      }
      events.clear();
    }
  }
  return stores.Close();
}

// The folder that all benchmarks read, loaded once.
const std::string& Loaded() {
  static const testing::TempDir dir;
  static const std::string path = [] {
    auto stores = StoreManager::Open(Options(dir / "stores"));
    return stores.ok() && Load(**stores).ok() ? dir / "stores" : std::string();
  }();
  return path;
}

void Report(benchmark::State& state, size_t rows, size_t bytes) {
  if (rows != Rows()) {
    state.SkipWithError("not every row was read");
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(rows));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}

// The one bucket, that of all rows.
BucketKey Bucket(const projectors::OrgModel& model) {
  return projectors::MakeBucketName(model.rules().Find(projectors::EntityId(1))->rules[0]->id).key;
}

void Scan(benchmark::State& state) {
  auto stores = StoreManager::Open(Options(Loaded()));
  const auto snapshot =
      stores.ok() ? (*stores)->Snapshot(OrgId::Parse("acme").value())
                  : absl::StatusOr<std::shared_ptr<const projectors::OrgSnapshot>>(stores.status());
  if (!snapshot.ok()) {
    state.SkipWithError("no store");
    return;
  }
  const BucketKey bucket = Bucket(*(*snapshot)->model());
  size_t rows = 0;
  size_t bytes = 0;
  for (auto _ : state) {
    rows = 0;
    bytes = 0;
    for (auto it = (*snapshot)->Scan(bucket, {kNoOffset, 0}); it->Valid(); it->Next()) {
      rows += 1;
      bytes += it->op().key.size() + it->op().row.size();
    }
  }
  Report(state, rows, bytes);
}

void RawIterator(benchmark::State& state) {
  const auto env = std::make_shared<projectors::RocksEnv>(projectors::RocksEnv::Limits{});
  const auto db = projectors::OrgDb::Open(env, Loaded() + "/orgs/acme/1");
  if (!db.ok()) {
    state.SkipWithError("no store");
    return;
  }
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  options.total_order_seek = true;
  options.adaptive_readahead = true;
  size_t rows = 0;
  size_t bytes = 0;
  for (auto _ : state) {
    rows = 0;
    bytes = 0;
    const std::unique_ptr<rocksdb::Iterator> it((*db)->db().NewIterator(options, (*db)->deltas()));
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      rows += 1;
      bytes += it->value().size();
      benchmark::DoNotOptimize(it->key().data());
    }
  }
  Report(state, rows, bytes);
}

BENCHMARK(RawIterator)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(Scan)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice

BENCHMARK_MAIN();
