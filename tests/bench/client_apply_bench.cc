// Applying a first load of put frames to SQLite (FrameReader and LocalDatabase) against raw inserts
// of the same rows into the same table: prepared, in one transaction. One run prints both and the
// ratio, by the clock and by the processor's time, which others on the machine disturb less;
// --rows=N --rounds=N.
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "clients/cpp/frame_reader.h"
#include "clients/cpp/local_database.h"
#include "tests/support/temp_dir.h"

namespace sluice {
namespace {

constexpr size_t kFrameRows = 1000;
constexpr const char* kColumns =
    "id TEXT PRIMARY KEY NOT NULL, name TEXT, ownerid TEXT, revenue TEXT, employees INTEGER, "
    "modifiedon TEXT, description TEXT";

struct Row {
  std::string key, name, owner, revenue, modified, description;
  int64_t employees = 0;
};

// About 200 bytes a row, keys in no order, as records that changed one after the other have them.
std::vector<Row> MakeRows(size_t count) {
  std::mt19937_64 random(7);
  std::vector<Row> rows(count);
  for (Row& row : rows) {
    row.key = fmt::format("{:016x}{:016x}", random(), random());
    row.name = fmt::format("Contoso {}", random() % 100'000);
    row.owner = fmt::format("{:016x}", random() % 500);
    row.revenue = fmt::format("{}.{:02}", random() % 10'000'000, random() % 100);
    row.modified = "2026-01-31T10:00:00.000000Z";
    row.description = std::string(60 + random() % 40, static_cast<char>('a' + random() % 26));
    row.employees = static_cast<int64_t>(random() % 10'000);
  }
  return rows;
}

std::vector<std::string> MakeFrames(const std::vector<Row>& rows) {
  std::vector<std::string> frames;
  for (size_t at = 0; at < rows.size(); at += kFrameRows) {
    const size_t end = std::min(at + kFrameRows, rows.size());
    std::string frame =
        fmt::format(R"({{"ops":{{"bucket":"b1","from":"{}","to":"{}","ops":[)", at, end);
    for (size_t i = at; i < end; ++i) {
      const Row& row = rows[i];
      frame += fmt::format(
          R"({}{{"op":"put","entity":"account","key":"{}","position":"{}.0","row":{{"id":"{}",)"
          R"("name":"{}","ownerid":"{}","revenue":"{}","employees":{},"modifiedon":"{}",)"
          R"("description":"{}"}}}})",
          i == at ? "" : ",", row.key, i, row.key, row.name, row.owner, row.revenue, row.employees,
          row.modified, row.description);
    }
    frames.push_back(frame + "]}}\n");
  }
  return frames;
}

[[noreturn]] void Fail(std::string_view what) {
  fmt::print(stderr, "client_apply_bench: {}\n", what);
  std::exit(1);
}

void Check(const absl::Status& status) {
  if (!status.ok()) {
    Fail(status.ToString());
  }
}

// How long something took.
struct Cost {
  double wall = 1e9;  // seconds
  double cpu = 1e9;

  void TakeBest(const Cost& other) {
    wall = std::min(wall, other.wall);
    cpu = std::min(cpu, other.cpu);
  }
};

class Stopwatch {
 public:
  Cost Read() const {
    return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(),
            CpuSeconds() - cpu_start_};
  }

 private:
  static double CpuSeconds() {
    struct rusage usage = {};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
  }

  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double cpu_start_ = CpuSeconds();
};

Cost RawInserts(const std::vector<Row>& rows) {
  testing::TempDir dir;
  sqlite3* db = nullptr;
  const auto run = [&db](const std::string& sql) {
    if (sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
      Fail(sqlite3_errmsg(db));
    }
  };
  const Stopwatch watch;
  sqlite3_open(std::string(dir / "raw.sqlite").c_str(), &db);
  run("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-65536");
  run(fmt::format("CREATE TABLE account({}); BEGIN", kColumns));
  sqlite3_stmt* insert = nullptr;
  sqlite3_prepare_v2(db, "INSERT INTO account VALUES(?,?,?,?,?,?,?)", -1, &insert, nullptr);
  const auto bind = [insert](int at, const std::string& text) {
    sqlite3_bind_text(insert, at, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
  };
  for (const Row& row : rows) {
    bind(1, row.key);
    bind(2, row.name);
    bind(3, row.owner);
    bind(4, row.revenue);
    sqlite3_bind_int64(insert, 5, row.employees);
    bind(6, row.modified);
    bind(7, row.description);
    if (sqlite3_step(insert) != SQLITE_DONE) {
      Fail(sqlite3_errmsg(db));
    }
    sqlite3_reset(insert);
  }
  sqlite3_finalize(insert);
  run("COMMIT");
  sqlite3_close(db);
  return watch.Read();
}

// What Puller does with a stream's frames, without the network.
class Applier final : public client::FrameHandler {
 public:
  explicit Applier(client::LocalDatabase& database) : database_(database) {}
  absl::Status OnCheckpoint(client::Checkpoint) override { return absl::OkStatus(); }
  absl::Status OnBucket(std::string_view bucket) override { return database_.SelectBucket(bucket); }
  absl::Status OnPut(std::string_view entity, std::string_view key, std::string_view position,
                     const std::vector<client::RowValue>& row) override {
    return database_.Put(entity, key, position, row);
  }
  absl::Status OnRemove(std::string_view entity, std::string_view key) override {
    return database_.Remove(entity, key);
  }
  absl::Status OnOpsDone(int64_t to) override { return database_.FrameDone(to); }
  absl::Status OnReset(std::string_view) override { return absl::OkStatus(); }
  absl::Status OnComplete(int64_t position) override { return database_.Complete(position); }

 private:
  client::LocalDatabase& database_;
};

Cost ApplyFrames(const std::vector<std::string>& frames, size_t rows) {
  testing::TempDir dir;
  const std::vector<client::ClientEntity> schema = {{"account",
                                                     "id",
                                                     {{"id", "string"},
                                                      {"name", "string"},
                                                      {"ownerid", "string"},
                                                      {"revenue", "decimal"},
                                                      {"employees", "int64"},
                                                      {"modifiedon", "datetime"},
                                                      {"description", "string"}}}};
  const Stopwatch watch;
  auto database = client::LocalDatabase::Open(dir / "applied.sqlite", "acme", [&schema] {
    return absl::StatusOr<std::vector<client::ClientEntity>>(schema);
  });
  Check(database.status());
  Applier applier(**database);
  client::FrameReader reader(applier);
  Check((*database)->Begin());
  for (const std::string& frame : frames) {
    Check(reader.Feed(frame));
  }
  Check((*database)->Complete(static_cast<int64_t>(rows)));
  if ((*database)->rows_held() != rows) {
    Fail("rows are missing");
  }
  database->reset();
  return watch.Read();
}

size_t NumberArgument(int argc, char** argv, std::string_view name, size_t otherwise) {
  for (int i = 1; i < argc; ++i) {
    std::string_view argument(argv[i]);
    if (argument.starts_with(name)) {
      argument.remove_prefix(name.size());
      std::from_chars(argument.data(), argument.data() + argument.size(), otherwise);
    }
  }
  return otherwise;
}

int Main(int argc, char** argv) {
  const std::vector<Row> rows = MakeRows(NumberArgument(argc, argv, "--rows=", 200'000));
  const std::vector<std::string> frames = MakeFrames(rows);
  const size_t rounds = NumberArgument(argc, argv, "--rounds=", 3);
  Cost raw;
  Cost applied;
  for (size_t round = 0; round < rounds; ++round) {  // the best of each: others use the machine too
    raw.TakeBest(RawInserts(rows));
    applied.TakeBest(ApplyFrames(frames, rows.size()));
  }
  const auto rate = [&](double seconds) { return static_cast<double>(rows.size()) / seconds; };
  const auto micros = [&](double seconds) {
    return seconds * 1e6 / static_cast<double>(rows.size());
  };
  fmt::print(
      "rows {}\nraw SQLite inserts   {:>9.0f} rows/s, {:.2f} us of CPU a row\n"
      "client apply         {:>9.0f} rows/s, {:.2f} us of CPU a row\n"
      "ratio                {:>8.0f}%, {:.0f}% by CPU\n",
      rows.size(), rate(raw.wall), micros(raw.cpu), rate(applied.wall), micros(applied.cpu),
      100 * raw.wall / applied.wall, 100 * raw.cpu / applied.cpu);
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { return sluice::Main(argc, argv); }
