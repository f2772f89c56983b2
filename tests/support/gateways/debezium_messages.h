#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventlog/record_source.h"

// Messages as Debezium writes them without schemas, of a PostgreSQL database.
namespace sluice::testing {

// The braces let tests name the members that they need.
struct DebeziumChange {
  std::string op = "c";
  std::string key{};     // JSON; empty: no key
  std::string after{};   // JSON; empty: null
  std::string before{};  // JSON; empty: null
  std::string table = "customer";
  std::string snapshot = "false";
  int64_t lsn = 0;
  std::string transaction{};  // up to the colon; empty: none
  int64_t order = 1;
  std::string old_key{};  // header
};

inline eventlog::Record DebeziumRecord(const DebeziumChange& change) {
  const auto or_null = [](std::string_view json) { return json.empty() ? "null" : json; };
  eventlog::Record record;
  if (!change.key.empty()) {
    record.key = change.key;
  }
  if (!change.old_key.empty()) {
    record.headers.emplace_back("__debezium.oldkey", change.old_key);
  }
  const std::string transaction =
      change.transaction.empty()
          ? "null"
          : fmt::format(R"({{"id":"{}:{}","total_order":{},"data_collection_order":1}})",
                        change.transaction, change.lsn, change.order);
  record.value = fmt::format(
      R"({{"before":{},"after":{},"source":{{"connector":"postgresql","snapshot":"{}","db":"d",)"
      R"("schema":"public","table":"{}","lsn":{},"ts_us":{}}},"transaction":{},"op":"{}"}})",
      or_null(change.before), or_null(change.after), change.snapshot, change.table, change.lsn,
      1'790'000'000'000'000 + change.lsn, transaction, change.op);
  return record;
}

inline eventlog::Record DebeziumTombstone(std::string key) {
  eventlog::Record record;
  record.key = std::move(key);
  return record;
}

inline eventlog::Record DebeziumBegin(std::string_view id, int64_t lsn) {
  eventlog::Record record;
  record.value = fmt::format(R"({{"status":"BEGIN","id":"{}:{}"}})", id, lsn);
  return record;
}

inline eventlog::Record DebeziumEnd(std::string_view id, int64_t lsn,
                                    const std::vector<std::pair<std::string, int>>& counts) {
  std::string collections;
  int events = 0;
  for (const auto& [table, count] : counts) {
    events += count;
    collections += fmt::format(R"({}{{"data_collection":"public.{}","event_count":{}}})",
                               collections.empty() ? "" : ",", table, count);
  }
  eventlog::Record record;
  record.value =
      fmt::format(R"({{"status":"END","id":"{}:{}","event_count":{},"data_collections":[{}]}})", id,
                  lsn, events, collections);
  return record;
}

}  // namespace sluice::testing
