#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "eventlog/embedded/embedded_log.h"
#include "eventlog/embedded/event_codec.h"
#include "schemas/base/uuid.h"
#include "tests/support/temp_dir.h"

// Appending through the Log interface beside raw synced RocksDB WriteBatches of the same keys and
// bytes, on the same disk in the same run: the ratio is what counts. Each iteration makes
// `range(0)` events durable; the raw side gets them in one batch, which is the best that it can do;
// the log gets them as `range(1)` appends that wait for nothing but the last.
namespace sluice::eventlog {
namespace {

constexpr PartitionId kP0{0};
constexpr size_t kValueBytes = 200;

std::vector<Event> MakeEvents(int64_t count) {
  const RealClock clock;
  std::vector<Event> events(static_cast<size_t>(count));
  uint32_t state = 7;
  for (Event& event : events) {
    event.id = NewUuid7(clock);
    event.source = "sluice/bench";
    event.type = "sluice.v1.ChangeSet";
    event.subject = "acme/account";
    event.time = clock.Now();
    event.key = "acme";
    event.value.resize(kValueBytes);
    for (char& c : event.value) {
      state = state * 1664525 + 1013904223;
      c = static_cast<char>('a' + (state >> 24) % 26);
    }
  }
  return events;
}

void Report(benchmark::State& state, const std::vector<Event>& events) {
  std::string encoded;
  for (const Event& event : events) {
    EncodeEvent(event, encoded);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(encoded.size()));
}

void RawSyncedWriteBatch(benchmark::State& state) {
  const testing::TempDir dir;
  rocksdb::Options options;
  options.create_if_missing = true;
  options.write_buffer_size = 64 << 20;
  options.compression = rocksdb::kLZ4Compression;
  rocksdb::DB* raw = nullptr;
  if (!rocksdb::DB::Open(options, dir / "raw", &raw).ok()) {
    state.SkipWithError("cannot open RocksDB");
    return;
  }
  const std::unique_ptr<rocksdb::DB> db(raw);
  const std::vector<Event> events = MakeEvents(state.range(0));
  std::vector<std::string> encoded(events.size());
  for (size_t i = 0; i < events.size(); ++i) {
    EncodeEvent(events[i], encoded[i]);
  }
  rocksdb::WriteOptions synced;
  synced.sync = true;
  int64_t offset = 0;
  for (auto iteration : state) {
    static_cast<void>(iteration);
    rocksdb::WriteBatch batch;
    for (const std::string& bytes : encoded) {
      batch.Put(EventKey(Topic::kChanges, kP0, Offset(offset++)), bytes);
    }
    if (!db->Write(synced, &batch).ok()) {
      state.SkipWithError("write failed");
      return;
    }
  }
  Report(state, events);
}

void LogAppend(benchmark::State& state) {
  const testing::TempDir dir;
  const auto log = EmbeddedLog::Open({.path = dir / "log"});
  if (!log.ok()) {
    state.SkipWithError("cannot open the log");
    return;
  }
  const std::vector<Event> events = MakeEvents(state.range(0));
  const auto appends = static_cast<size_t>(state.range(1));
  const size_t each = events.size() / appends;
  std::mutex mu;
  std::condition_variable answered;
  for (auto iteration : state) {
    static_cast<void>(iteration);
    size_t open = appends;
    bool failed = false;
    for (size_t a = 0; a < appends; ++a) {
      const auto first = events.begin() + static_cast<std::ptrdiff_t>(a * each);
      std::vector<Event> batch(first, first + static_cast<std::ptrdiff_t>(each));
      (*log)->AppendAsync(Topic::kChanges, kP0, std::move(batch), [&](auto result) {
        const std::lock_guard lock(mu);
        failed |= !result.ok();
        if (--open == 0) {
          answered.notify_one();
        }
      });
    }
    std::unique_lock lock(mu);
    answered.wait(lock, [&] { return open == 0; });
    if (failed) {
      state.SkipWithError("append failed");
      return;
    }
  }
  Report(state, events);
}

void LogRead(benchmark::State& state) {
  const testing::TempDir dir;
  const auto log = EmbeddedLog::Open({.path = dir / "log"});
  const std::vector<Event> events = MakeEvents(state.range(0));
  if (!log.ok() || !(*log)->Append(Topic::kChanges, kP0, events).ok()) {
    state.SkipWithError("cannot fill the log");
    return;
  }
  for (auto iteration : state) {
    static_cast<void>(iteration);
    const auto reader = (*log)->OpenReader(Topic::kChanges, kP0, Offset(0));
    for (size_t read = 0; read < events.size();) {
      const auto more = (*reader)->Read({});
      if (!more.ok() || more->empty()) {
        state.SkipWithError("read failed");
        return;
      }
      read += more->size();
    }
  }
  Report(state, events);
}

BENCHMARK(RawSyncedWriteBatch)->Arg(1)->Arg(64)->Arg(1000)->UseRealTime();
BENCHMARK(LogAppend)
    ->Args({1, 1})
    ->Args({64, 64})
    ->Args({64, 1})
    ->Args({1000, 1000})
    ->Args({1000, 1})
    ->UseRealTime();
BENCHMARK(LogRead)->Arg(50'000)->UseRealTime();

}  // namespace
}  // namespace sluice::eventlog

BENCHMARK_MAIN();
