#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "clients/cpp/pull.h"
#include "tests/support/clients/pull_fixture.h"

// The frames and rows that a client of any language is tested with: tests/golden/frames.
namespace sluice::client {
namespace {

using nlohmann::json;
using ::sluice::testing::PullTest;
using ::sluice::testing::ScriptedAnswer;
using ::sluice::testing::SqlReader;

std::vector<std::string> Cases() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(SLUICE_GOLDEN)) {
    if (entry.is_directory()) {
      names.push_back(entry.path().filename());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

json ValueOf(sqlite3_stmt* row, int column, const std::string& declared) {
  const auto text = [&] {
    return std::string(reinterpret_cast<const char*>(sqlite3_column_text(row, column)));
  };
  switch (sqlite3_column_type(row, column)) {
    case SQLITE_NULL:
      return nullptr;
    case SQLITE_FLOAT:
      EXPECT_EQ(declared, "REAL");
      return sqlite3_column_double(row, column);
    case SQLITE_BLOB: {
      EXPECT_EQ(declared, "BLOB");
      const auto* bytes = static_cast<const unsigned char*>(sqlite3_column_blob(row, column));
      std::string hex;
      for (int i = 0; i < sqlite3_column_bytes(row, column); ++i) {
        hex += fmt::format("{:02X}", bytes[i]);
      }
      return hex;
    }
    case SQLITE_INTEGER:
      EXPECT_EQ(declared, "INTEGER");
      return text();
    default:
      EXPECT_EQ(declared, "TEXT");
      return text();
  }
}

// As in expected.json, rows in the order of their texts.
json TableOf(sqlite3* db, const std::string& name) {
  sqlite3_stmt* rows = nullptr;
  const std::string sql = fmt::format("SELECT * FROM \"{}\"", name);
  EXPECT_EQ(sqlite3_prepare_v2(db, sql.c_str(), -1, &rows, nullptr), SQLITE_OK);
  json table = {{"columns", json::object()}, {"rows", json::array()}};
  for (int i = 0; i < sqlite3_column_count(rows); ++i) {
    table["columns"][sqlite3_column_name(rows, i)] = sqlite3_column_decltype(rows, i);
  }
  while (sqlite3_step(rows) == SQLITE_ROW) {
    json row;
    for (int i = 0; i < sqlite3_column_count(rows); ++i) {
      const std::string column = sqlite3_column_name(rows, i);
      row[column] = ValueOf(rows, i, table["columns"][column]);
    }
    table["rows"].push_back(std::move(row));
  }
  sqlite3_finalize(rows);
  return table;
}

void SortRows(json* tables) {
  for (json& table : *tables) {
    std::sort(table["rows"].begin(), table["rows"].end());
  }
}

class GoldenFramesTest : public PullTest, public ::testing::WithParamInterface<std::string> {
 protected:
  void ReadFrames() {
    std::ifstream file(folder / "frames.ndjson");
    for (std::string line; std::getline(file, line);) {
      const json frame = json::parse(line);
      if (frame.contains("request")) {
        asked.push_back(frame["request"]);
        answers.emplace_back();
      } else {
        answers.back().body += line + "\n";
      }
      complete = frame.contains("checkpoint_complete");
      answers.back().end = complete ? ScriptedAnswer::End::kClean : ScriptedAnswer::End::kCut;
    }
  }
  json Tables() {
    sqlite3* db = nullptr;
    EXPECT_EQ(sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READONLY, nullptr), SQLITE_OK);
    sqlite3_stmt* names = nullptr;
    EXPECT_EQ(sqlite3_prepare_v2(db,
                                 "SELECT name FROM sqlite_schema WHERE type='table' AND name NOT "
                                 "LIKE '\\_sluice\\_%' ESCAPE '\\'",
                                 -1, &names, nullptr),
              SQLITE_OK);
    json tables = json::object();
    while (sqlite3_step(names) == SQLITE_ROW) {
      const std::string name = reinterpret_cast<const char*>(sqlite3_column_text(names, 0));
      tables[name] = TableOf(db, name);
    }
    sqlite3_finalize(names);
    sqlite3_close(db);
    return tables;
  }

  const std::filesystem::path folder = std::filesystem::path(SLUICE_GOLDEN) / GetParam();
  std::vector<json> asked;
  std::vector<ScriptedAnswer> answers;
  bool complete = false;
};

TEST_P(GoldenFramesTest, TheFileIsAsExpected) {
  ReadFrames();
  std::ifstream file(folder / "expected.json");
  json expected = json::parse(file);
  const size_t connections = answers.size();
  ASSERT_GT(connections, 0U);
  answers.push_back({.status = 401});  // ends what the last connection leaves unfinished
  server.Script(answers);
  server.SetEntities("{}", 404);  // the checkpoints say them
  absl::Status status;
  while (status.ok() && server.requests().size() < connections) {
    status = Pull().status();
  }
  EXPECT_EQ(status.ok(), complete) << status;
  const std::vector<std::string> requests = Haves();
  ASSERT_EQ(requests.size(), connections + (complete ? 0 : 1));
  for (size_t i = 0; i < connections; ++i) {
    EXPECT_EQ(json::parse(requests[i]), asked[i]) << "connection " << i;
  }
  EXPECT_EQ(SqlReader(path).Query("SELECT value FROM _sluice_meta WHERE name='position'"),
            expected["position"].get<std::string>());
  json tables = Tables();
  SortRows(&tables);
  SortRows(&expected["tables"]);
  EXPECT_EQ(tables, expected["tables"]) << json::diff(expected["tables"], tables).dump(1);
}

INSTANTIATE_TEST_SUITE_P(, GoldenFramesTest, ::testing::ValuesIn(Cases()),
                         [](const auto& folder) { return folder.param; });

TEST(GoldenFramesFolderTest, HasTheCases) {
  EXPECT_THAT(Cases(),
              ::testing::IsSupersetOf({"all_types", "bucket_reset", "columns_changed", "delta",
                                       "entity_names", "first_load", "interrupted_first_load",
                                       "removal", "two_buckets_one_row"}));
}

}  // namespace
}  // namespace sluice::client
