#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "schemas/row_codec.h"
#include "tests/support/schemas/test_schema.h"

// The row codec against memcpy of the same bytes.
namespace sluice::schemas {
namespace {

constexpr size_t kRows = 1'000;

// A package of a distribution's index: the demonstration's row, some 380 bytes of JSON.
const EntitySchema& PackageSchema() {
  static const auto schema = testing::MakeSchema("package", R"({"primary_key":"name","attributes":[
      {"name":"name","type":"string"},{"name":"version","type":"string"},
      {"name":"section","type":"string"},{"name":"architecture","type":"string"},
      {"name":"installed_size","type":"int64"},{"name":"maintainer","type":"string"},
      {"name":"homepage","type":"string"},{"name":"description","type":"string"}]})");
  return *schema;
}

std::string PackageJson(size_t i) {
  const std::string n = std::to_string(i);
  return R"({"name":"libexample)" + n + R"(-dev","version":"1:2.3.)" + n +
         R"(-1+deb12u1","section":"libdevel","architecture":"amd64","installed_size":"1)" + n +
         R"(7","maintainer":"Debian Example Maintainers <pkg-example@lists.example.org>",)"
         R"("homepage":"https://www.example.org/projects/libexample","description":)"
         R"("Development files for the \"example\" library, which does this and that for )"
         R"(programs that need it, and is documented in its own package"})";
}

// A row of numbers, dates and short codes.
const EntitySchema& OrderSchema() {
  static const auto schema = testing::MakeSchema("order", R"({"primary_key":"id","attributes":[
      {"name":"id","type":"uuid"},{"name":"customer","type":"uuid"},{"name":"status","type":"string"},
      {"name":"total","type":"decimal"},{"name":"items","type":"int32"},{"name":"weight","type":"double"},
      {"name":"created","type":"datetime"},{"name":"changed","type":"datetime"},
      {"name":"paid","type":"bool"}]})");
  return *schema;
}

std::string OrderJson(size_t i) {
  const std::string n = std::to_string(1000 + i % 9000);
  return R"({"id":"1b4e28ba-2fa1-11d2-883f-0016d3cc)" + n +
         R"(","customer":"7c4e28ba-2fa1-11d2-883f-0016d3cca427","status":"open","total":")" + n +
         R"(.95","items":)" + n + R"(,"weight":)" + n + R"(.125,"created":"2026-01-31T10:00:00.)" +
         n + R"(Z","changed":"2026-02-01T11:30:15Z","paid":true})";
}

struct Rows {
  const EntitySchema* schema;
  std::vector<std::string> json;
  std::vector<std::string> bytes;
  size_t json_size = 0;
  size_t row_size = 0;
};

Rows MakeRows(const EntitySchema& schema, std::string (*make)(size_t)) {
  Rows rows{&schema, {}, {}, 0, 0};
  RowEncoder encoder;
  for (size_t i = 0; i < kRows; ++i) {
    const EncodedRow row = testing::ValueOrDie(encoder.Encode(schema, make(i)));
    rows.bytes.push_back(row.bytes);
    rows.json.emplace_back();
    const absl::Status status = AppendRowJson(schema, row.bytes, {}, &rows.json.back());
    if (!status.ok()) {
      std::abort();
    }
    rows.json_size += rows.json.back().size();
    rows.row_size += row.bytes.size();
  }
  return rows;
}

const Rows& RowsOf(int64_t kind) {
  static const Rows packages = MakeRows(PackageSchema(), PackageJson);
  static const Rows orders = MakeRows(OrderSchema(), OrderJson);
  return kind == 0 ? packages : orders;
}

void Count(benchmark::State& state, size_t bytes) {
  state.SetBytesProcessed(static_cast<int64_t>(bytes) * state.iterations());
  state.SetItemsProcessed(static_cast<int64_t>(kRows) * state.iterations());
  state.SetLabel(state.range(0) == 0 ? "packages" : "orders");
}

void BM_MemcpyJson(benchmark::State& state) {
  const Rows& rows = RowsOf(state.range(0));
  std::string out;
  for (auto _ : state) {
    out.clear();
    for (const std::string& json : rows.json) {
      out.append(json);
    }
    benchmark::DoNotOptimize(out.data());
  }
  Count(state, rows.json_size);
}
BENCHMARK(BM_MemcpyJson)->Arg(0)->Arg(1);

void BM_AppendRowJson(benchmark::State& state) {
  const Rows& rows = RowsOf(state.range(0));
  std::string out;
  for (auto _ : state) {
    out.clear();
    for (const std::string& row : rows.bytes) {
      if (!AppendRowJson(*rows.schema, row, {}, &out).ok()) {
        state.SkipWithError("AppendRowJson failed");
      }
    }
    benchmark::DoNotOptimize(out.data());
  }
  Count(state, rows.json_size);
}
BENCHMARK(BM_AppendRowJson)->Arg(0)->Arg(1);

void BM_Encode(benchmark::State& state) {
  const Rows& rows = RowsOf(state.range(0));
  RowEncoder encoder;
  for (auto _ : state) {
    for (const std::string& json : rows.json) {
      benchmark::DoNotOptimize(encoder.Encode(*rows.schema, json));
    }
  }
  Count(state, rows.json_size);
}
BENCHMARK(BM_Encode)->Arg(0)->Arg(1);

void BM_ValidateRow(benchmark::State& state) {
  const Rows& rows = RowsOf(state.range(0));
  for (auto _ : state) {
    for (const std::string& row : rows.bytes) {
      benchmark::DoNotOptimize(ValidateRow(*rows.schema, row));
    }
  }
  Count(state, rows.row_size);
}
BENCHMARK(BM_ValidateRow)->Arg(0)->Arg(1);

}  // namespace
}  // namespace sluice::schemas

BENCHMARK_MAIN();
