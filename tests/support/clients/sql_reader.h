#pragma once

#include <sqlite3.h>

#include <string>

namespace sluice::testing {

// An application's own connection to the file, beside the client's.
class SqlReader {
 public:
  explicit SqlReader(const std::string& path) {
    sqlite3_open_v2(path.c_str(), &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  }
  SqlReader(const SqlReader&) = delete;
  SqlReader& operator=(const SqlReader&) = delete;
  ~SqlReader() { sqlite3_close(db_); }

  // Rows as "a|b;c|d", NULL as "-"; "error: ..." where SQLite refuses.
  std::string Query(const std::string& sql) {
    std::string out;
    char* message = nullptr;
    const auto row = [](void* to, int columns, char** values, char**) {
      auto& text = *static_cast<std::string*>(to);
      text += text.empty() ? "" : ";";
      for (int i = 0; i < columns; ++i) {
        text += i == 0 ? "" : "|";
        text += values[i] == nullptr ? "-" : values[i];
      }
      return 0;
    };
    if (sqlite3_exec(db_, sql.c_str(), row, &out, &message) != SQLITE_OK) {
      out = std::string("error: ") + message;
      sqlite3_free(message);
    }
    return out;
  }

 private:
  sqlite3* db_ = nullptr;
};

}  // namespace sluice::testing
