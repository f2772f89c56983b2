#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventlog/record_source.h"
#include "gateways/debezium/debezium_connector.h"
#include "tests/bench/source_bench.h"

// How fast changes of Debezium's are taken, and by what: `debezium_bench [changes]`. Records are
// made as they are read, by their offsets, so that any number of them needs no room: making them
// alone, then the whole way into a sink that makes an event of each set and drops it, as a snapshot
// and as transactions of ten updates, with schemas in each message and without.
namespace sluice::gateways {
namespace {

constexpr uint64_t kTransaction = 10;  // changes
constexpr int64_t kRound = 1'000;      // changes that are read at once
constexpr char kTable[] = "shop.public.account";
constexpr char kMarks[] = "shop.transaction";
constexpr int64_t kFirstLsn = 1 << 20;

// {"type":"struct", ...} of a row, as Connect's JsonConverter writes it.
std::string RowSchema(std::string_view name) {
  std::string fields;
  const auto add = [&](std::string_view field, std::string_view type, std::string_view more = "") {
    fields += fmt::format(R"({}{{"type":"{}","optional":{}{},"field":"{}"}})",
                          fields.empty() ? "" : ",", type, field != "id", more, field);
  };
  add("id", "int64");
  add("name", "string");
  add("owner", "string", R"(,"name":"io.debezium.data.Uuid","version":1)");
  for (const char* const field : {"email", "street", "city"}) add(field, "string");
  add("revenue", "bytes",
      R"(,"name":"org.apache.kafka.connect.data.Decimal","version":1,)"
      R"("parameters":{"scale":"2","connect.decimal.precision":"18"})");
  add("employees", "int32");
  add("active", "boolean");
  add("founded", "int32", R"(,"name":"io.debezium.time.Date","version":1)");
  add("changed", "int64", R"(,"name":"io.debezium.time.MicroTimestamp","version":1)");
  add("note", "string");
  return fmt::format(
      R"({{"type":"struct","fields":[{}],"optional":true,"name":"shop.public.account.Value",)"
      R"("field":"{}"}})",
      fields, name);
}

std::string EnvelopeSchema() {
  std::string source;
  for (const char* const field : {"version", "connector", "name", "ts_ms", "snapshot", "db",
                                  "sequence", "ts_us", "ts_ns", "schema", "table", "txId", "lsn"}) {
    source += fmt::format(R"({}{{"type":"string","optional":true,"field":"{}"}})",
                          source.empty() ? "" : ",", field);
  }
  return fmt::format(
      R"({{"type":"struct","fields":[{},{},{{"type":"struct","fields":[{}],"optional":false,)"
      R"("name":"io.debezium.connector.postgresql.Source","field":"source"}},)"
      R"({{"type":"string","optional":false,"field":"op"}}],"optional":false,)"
      R"("name":"shop.public.account.Envelope","version":2}})",
      RowSchema("before"), RowSchema("after"), source);
}

// The topics of one table, whose records are made by their offsets.
class MadeRecords final : public eventlog::RecordSource {
 public:
  struct Options {
    uint64_t changes = 0;
    bool is_snapshot = false;  // else updates, in transactions
    bool schemas = false;
  };
  explicit MadeRecords(Options options) : options_(options) {}

  absl::StatusOr<std::vector<PartitionId>> Partitions(const std::string&) override {
    return std::vector<PartitionId>{PartitionId(0)};
  }
  absl::Status Assign(std::vector<eventlog::RecordPlace> places) override {
    changes_next_ = marks_next_ = -1;
    for (const eventlog::RecordPlace& place : places) {
      (place.topic == kMarks ? marks_next_ : changes_next_) =
          std::max<int64_t>(place.next.value(), 0);
    }
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<eventlog::Record>> Read(const eventlog::ReadLimits&) override {
    std::vector<eventlog::Record> records;
    const int64_t end = std::min(changes_next_ + kRound, EndOf(kTable));
    for (; changes_next_ >= 0 && changes_next_ < end; ++changes_next_) {
      records.push_back(Change(static_cast<uint64_t>(changes_next_)));
    }
    // No further than the changes, and those that they end.
    const int64_t marks_end =
        std::min(EndOf(kMarks), std::max<int64_t>(end, 1) / int64_t{kTransaction} * 2);
    for (; marks_next_ >= 0 && marks_next_ < marks_end; ++marks_next_) {
      records.push_back(Mark(static_cast<uint64_t>(marks_next_)));
    }
    return records;
  }
  [[nodiscard]] Offset next(const std::string& topic, PartitionId) const override {
    return Offset(topic == kMarks ? marks_next_ : changes_next_);
  }
  absl::Status Pause(const std::string&, PartitionId, bool) override { return absl::OkStatus(); }
  absl::StatusOr<Offset> Begin(const std::string&, PartitionId) override { return Offset(0); }
  absl::StatusOr<Offset> End(const std::string& topic, PartitionId) override {
    return Offset(EndOf(topic));
  }
  void Cancel() override {}

 private:
  int64_t EndOf(std::string_view topic) const {
    const auto changes = static_cast<int64_t>(options_.changes);
    const int64_t marks = options_.is_snapshot ? 0 : changes / int64_t{kTransaction} * 2;
    return topic == kMarks ? marks : changes;
  }
  static int64_t LsnOf(uint64_t change) {
    return kFirstLsn + static_cast<int64_t>(change + change / kTransaction) * 8;
  }
  std::string Whole(std::string_view schema, std::string payload) const {
    return options_.schemas ? fmt::format(R"({{"schema":{},"payload":{}}})", schema, payload)
                            : std::move(payload);
  }

  eventlog::Record Change(uint64_t i) const {
    eventlog::Record record;
    record.topic = kTable;
    record.partition = PartitionId(0);
    record.offset = Offset(static_cast<int64_t>(i));
    record.key = Whole(kKeySchema, fmt::format(R"({{"id":{}}})", i));
    const int64_t lsn = options_.is_snapshot ? kFirstLsn : LsnOf(i);
    const std::string row = fmt::format(
        R"({{"id":{0},"name":"Contoso Trading {0}","owner":"6ad0be0c-44e2-4f8a-9c39-{0:012}",)"
        R"("email":"info{0}@contoso.example","street":"{0} Long Street","city":"Köln",)"
        R"("revenue":{1},"employees":{2},"active":true,"founded":10956,)"
        R"("changed":1769853600{3:06},"note":"Said \"yes\" in the first call."}})",
        i, options_.schemas ? R"("EtaH")" : R"("12345.67")", i % 1'000, i % 1'000'000);
    std::string_view part = "false";
    if (options_.is_snapshot) {
      part = i == 0 ? "first" : i + 1 == options_.changes ? "last" : "true";
    }
    const std::string transaction =
        options_.is_snapshot
            ? "null"
            : fmt::format(R"({{"id":"{}:{}","total_order":{},"data_collection_order":{}}})",
                          i / kTransaction, lsn, i % kTransaction + 1, i % kTransaction + 1);
    record.value = Whole(
        envelope_schema_,
        fmt::format(
            R"({{"before":null,"after":{},"source":{{"version":"3.6.1.Final",)"
            R"("connector":"postgresql","name":"shop","ts_ms":1769853600123,"snapshot":"{}",)"
            R"("db":"shop","sequence":"[\"26518576\",\"26518576\"]","ts_us":1769853600123456,)"
            R"("ts_ns":1769853600123456000,"schema":"public","table":"account","txId":{},)"
            R"("lsn":{},"xmin":null}},"transaction":{},"op":"{}","ts_ms":1769853600200,)"
            R"("ts_us":1769853600200123,"ts_ns":1769853600200123456}})",
            row, part, i / kTransaction, lsn, transaction, options_.is_snapshot ? "r" : "u"));
    return record;
  }
  static eventlog::Record Mark(uint64_t i) {
    const uint64_t transaction = i / 2;
    const uint64_t first = transaction * kTransaction;
    eventlog::Record record;
    record.topic = kMarks;
    record.partition = PartitionId(0);
    record.offset = Offset(static_cast<int64_t>(i));
    record.value =
        i % 2 == 0
            ? fmt::format(R"({{"status":"BEGIN","id":"{}:{}"}})", transaction, LsnOf(first))
            : fmt::format(R"({{"status":"END","id":"{}:{}","event_count":{},"data_collections":)"
                          R"([{{"data_collection":"public.account","event_count":{}}}]}})",
                          transaction, LsnOf(first + kTransaction - 1) + 8, kTransaction,
                          kTransaction);
    return record;
  }

  static constexpr char kKeySchema[] =
      R"({"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"}],)"
      R"("optional":false,"name":"shop.public.account.Key"})";
  const Options options_;
  const std::string envelope_schema_ = EnvelopeSchema();
  int64_t changes_next_ = -1;  // -1: is not assigned
  int64_t marks_next_ = -1;
};

void Run(std::string_view what, const MadeRecords::Options& options) {
  double mib = 0;
  uint64_t made = 0;
  MadeRecords alone(options);
  Must(alone.Assign({{kTable, PartitionId(0), kNoOffset}, {kMarks, PartitionId(0), kNoOffset}}));
  const Stopwatch making;
  while (made < options.changes) {
    const auto records = alone.Read({});
    Must(records.status());
    for (const eventlog::Record& record : *records) {
      mib += static_cast<double>(record.value->size()) / (1 << 20);
      made += record.topic == kTable ? 1 : 0;
    }
  }
  making.Print(fmt::format("{}: records alone", what), "change", made, mib);

  const RealClock clock;
  SourceContext context;
  context.org = *OrgId::Parse("acme");
  context.settings.set_name("bench");
  context.settings.set_kind("debezium");
  context.settings.set_transactions(kMarks);
  context.settings.add_entities()->set_name("account");
  context.settings.mutable_entities(0)->set_topic(kTable);
  DebeziumOptions allowed;
  allowed.log_brokers = "none:9092";
  const auto connector = MakeDebeziumConnector(
      allowed,
      [&](const eventlog::RecordSourceOptions&)
          -> absl::StatusOr<std::unique_ptr<eventlog::RecordSource>> {
        return std::make_unique<MadeRecords>(options);
      },
      clock, nullptr);
  EventSink sink;
  sink.stop_at = options.changes;
  const Stopwatch taking;
  Must(connector->Run(context, sink));
  taking.Print(fmt::format("{}: into events", what), "change", sink.ops, mib);
  fmt::print("  {:.0f} bytes of JSON and {} of an event each\n",
             mib * (1 << 20) / static_cast<double>(made), sink.bytes / sink.ops);
}

}  // namespace
}  // namespace sluice::gateways

int main(int argc, char** argv) {
  using sluice::gateways::Run;
  const uint64_t asked = argc > 1 ? std::stoull(argv[1]) : 200'000;
  const uint64_t changes = std::max<uint64_t>(asked / sluice::gateways::kTransaction, 1) *
                           sluice::gateways::kTransaction;
  for (const bool schemas : {false, true}) {
    const std::string_view how = schemas ? "with schemas" : "without";
    Run(fmt::format("snapshot, {}", how),
        {.changes = changes, .is_snapshot = true, .schemas = schemas});
    Run(fmt::format("updates, {}", how),
        {.changes = changes, .is_snapshot = false, .schemas = schemas});
  }
  return 0;
}
