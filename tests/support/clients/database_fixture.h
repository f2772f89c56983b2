#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "clients/cpp/local_database.h"
#include "tests/support/clients/sql_reader.h"
#include "tests/support/temp_dir.h"

namespace sluice::testing {

inline client::RowValue Text(std::string_view name, std::string_view text) {
  client::RowValue value;
  value.name = name;
  value.text = text;
  return value;
}

inline client::RowValue Integer(std::string_view name, int64_t integer) {
  client::RowValue value;
  value.kind = client::RowValue::Kind::kInteger;
  value.name = name;
  value.integer = integer;
  return value;
}

// A LocalDatabase in a temporary folder, with a schema that the test may change.
class DatabaseTest : public ::testing::Test {
 protected:
  using Status = absl::Status;

  Status Open(const std::string& org = "acme") {
    database.reset();
    auto opened = client::LocalDatabase::Open(path, org, [this] {
      ++schema_calls;
      return schema;
    });
    if (opened.ok()) {
      database = std::move(*opened);
    }
    return opened.status();
  }
  void MustOpen() {
    const Status status = Open();
    ASSERT_TRUE(status.ok()) << status;
  }
  // A put of an account with a name.
  Status Account(std::string_view key, std::string_view position, std::string_view name) {
    return database->Put("account", key, position, {Text("id", key), Text("name", name)});
  }
  // One frame of puts of accounts, named as their keys.
  Status Frame(std::string_view bucket, const std::vector<std::string>& keys, int64_t to) {
    if (Status status = database->SelectBucket(bucket); !status.ok()) {
      return status;
    }
    for (const std::string& key : keys) {
      if (Status status = Account(key, std::to_string(to) + ".0", key); !status.ok()) {
        return status;
      }
    }
    return database->FrameDone(to);
  }
  // A whole checkpoint of one bucket.
  void Load(std::string_view bucket, const std::vector<std::string>& keys, int64_t to) {
    ASSERT_TRUE(database->Begin().ok());
    const Status frame = Frame(bucket, keys, to);
    ASSERT_TRUE(frame.ok()) << frame;
    const Status complete = database->Complete(to);
    ASSERT_TRUE(complete.ok()) << complete;
  }
  // What an application sees.
  std::string Query(const std::string& sql) { return SqlReader(path).Query(sql); }
  std::string Accounts() { return Query("SELECT id FROM account ORDER BY id"); }

  TempDir dir;
  std::string path = dir / "local.sqlite";
  absl::StatusOr<std::vector<client::ClientEntity>> schema =
      std::vector<client::ClientEntity>{{"account", "id", {{"id", "string"}, {"name", "string"}}}};
  int schema_calls = 0;
  std::unique_ptr<client::LocalDatabase> database;
};

}  // namespace sluice::testing
