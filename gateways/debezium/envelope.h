#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gateways/debezium/connect_schema.h"

// The messages of Debezium's topics, as Connect's JsonConverter writes them: with schemas
// ({"schema":…,"payload":…}) or without (the payload alone). gateways/docs/debezium.md has
// examples.
namespace sluice::gateways {

enum class ChangeOp : uint8_t { kCreate, kUpdate, kRead, kDelete, kTruncate, kMessage };

// Where an event stands in a snapshot: kNone is a change that was streamed.
enum class SnapshotPart : uint8_t {
  kNone,
  kRow,
  kFirst,  // of the snapshot
  kFirstOfTable,
  kLastOfTable,
  kLast,         // of the snapshot
  kIncremental,  // read in between changes, and with their positions
};

// A change event. Rows are JSON objects as they stand in the message, empty where there is none.
struct ChangeEnvelope {
  ChangeOp op = ChangeOp::kCreate;
  std::string before;
  std::string after;
  std::shared_ptr<const ConnectSchema> columns;  // of both; nullptr in a message without schemas
  SnapshotPart snapshot = SnapshotPart::kNone;
  std::string collection;      // as END messages name it: "public.customer"
  std::optional<int64_t> lsn;  // the event's own, of PostgreSQL
  int64_t source_time_us = 0;  // since 1970, by the source's clock; 0: not told
  // The transaction's id up to the colon; empty for a snapshot's rows and without transaction
  // metadata. What follows the colon differs for each event of one transaction.
  std::string transaction;
  uint64_t total_order = 0;  // of the event in it, from 1; begins anew when the connector restarts
};

struct KeyEnvelope {
  std::string key;  // a JSON object
  std::shared_ptr<const ConnectSchema> columns;
};

// A message of the topic of transactions.
struct TransactionMark {
  bool end = false;
  std::string id;  // up to the colon
  std::optional<int64_t>
      lsn;                   // behind it; of an END the commit's, so that it grows from END to END
  uint64_t event_count = 0;  // of an END
  std::vector<std::pair<std::string, uint64_t>> collections;  // of an END: events of each
};

// Reads them. Keeps the schemas that it has seen, as every message repeats its own; not
// thread-safe. Errors are kInvalidArgument: "invalid_json" for what is no JSON, code
// "invalid_envelope" for JSON that is no such message, "invalid_connect_schema".
class EnvelopeReader {
 public:
  EnvelopeReader();
  ~EnvelopeReader();

  [[nodiscard]] absl::StatusOr<ChangeEnvelope> ReadChange(std::string_view value);
  // A record's key, or its header "__debezium.oldkey" or "__debezium.newkey".
  [[nodiscard]] absl::StatusOr<KeyEnvelope> ReadKey(std::string_view key);
  [[nodiscard]] absl::StatusOr<TransactionMark> ReadTransaction(std::string_view value);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::gateways
