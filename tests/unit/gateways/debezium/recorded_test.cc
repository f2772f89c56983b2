#include <gmock/gmock.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "gateways/debezium/envelope.h"
#include "gateways/debezium/transaction_assembler.h"
#include "gateways/debezium/value_codec.h"
#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "tests/support/schemas/test_schema.h"

// Messages that a real Debezium wrote (tests/golden/debezium), with and without schemas.
namespace sluice::gateways {
namespace {

using schemas::testing::MakeSchema;
using schemas::testing::ValueOrDie;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::SizeIs;

struct Record {
  std::string topic;
  int64_t offset = 0;
  std::map<std::string, std::string> headers;
  std::string key;
  std::optional<std::string> value;
};

class RecordedTest : public ::testing::TestWithParam<std::string> {
 protected:
  RecordedTest() {
    std::ifstream file(std::string(SLUICE_RECORDED) + "/" + GetParam() + ".ndjson");
    for (std::string line; std::getline(file, line);) {
      const auto message = nlohmann::json::parse(line);
      Record& record = records_.emplace_back();
      record.topic = message["topic"];
      record.offset = message["offset"];
      record.headers = message["headers"];
      record.key = message["key"].is_null() ? "" : message["key"];
      if (!message["value"].is_null()) {
        record.value = message["value"];
      }
    }
    EXPECT_THAT(records_, SizeIs(::testing::Gt(60)));
  }

  bool with_schemas() const { return GetParam() == "with_schemas"; }

  // The changes of a table, in order.
  std::vector<TableChange> ChangesOf(const std::string& table) {
    std::vector<TableChange> changes;
    for (const Record& record : records_) {
      if (record.topic == "shop.public." + table && record.value.has_value()) {
        changes.push_back(ReadChange(record));
      }
    }
    return changes;
  }

  TableChange ReadChange(const Record& record) {
    TableChange change;
    change.offset = Offset(record.offset);
    change.event = ValueOrDie(reader_.ReadChange(*record.value));
    change.key = record.key.empty() ? KeyEnvelope() : ValueOrDie(reader_.ReadKey(record.key));
    change.bytes = record.value->size();
    return change;
  }

  // The row as JSON; the code of the error where it is refused.
  std::string RowJson(const schemas::EntitySchema& entity, const TableChange& change) {
    const auto row = decoder_.Decode(entity, change.event.columns.get(), change.event.after);
    if (!row.ok()) {
      return ErrorCode(row.status());
    }
    std::string text;
    EXPECT_TRUE(schemas::ValidateRow(entity, row->bytes).ok());
    EXPECT_TRUE(schemas::AppendRowJson(entity, row->bytes, {}, &text).ok());
    return text;
  }

  std::vector<Record> records_;
  EnvelopeReader reader_;
  ValueDecoder decoder_;
};

std::shared_ptr<const schemas::EntitySchema> Everything() {
  return MakeSchema("everything", R"({"primary_key":"id","attributes":[
    {"name":"id","type":"int64"},{"name":"small","type":"int32"},{"name":"whole","type":"int32"},
    {"name":"real4","type":"double"},{"name":"real8","type":"double"},
    {"name":"price","type":"decimal"},{"name":"rate","type":"decimal"},
    {"name":"active","type":"bool"},{"name":"name","type":"string"},{"name":"code","type":"string"},
    {"name":"uid","type":"uuid"},{"name":"photo","type":"bytes"},{"name":"bits","type":"bytes"},
    {"name":"feeling","type":"string"},{"name":"data","type":"string"},{"name":"day","type":"string"},
    {"name":"wakes","type":"string"},{"name":"wakes_ms","type":"string"},
    {"name":"wakes_tz","type":"string"},{"name":"seen","type":"datetime"},
    {"name":"seen_ms","type":"datetime"},{"name":"seen_tz","type":"datetime"},
    {"name":"span","type":"string"},{"name":"tags","type":"string"},
    {"name":"scores","type":"string"},{"name":"ip","type":"string"}]})");
}

TEST_P(RecordedTest, EveryMessageIsRead) {
  std::set<ChangeOp> ops;
  std::set<SnapshotPart> parts;
  for (const Record& record : records_) {
    if (record.topic == "shop.transaction") {
      EXPECT_TRUE(reader_.ReadTransaction(*record.value).ok()) << *record.value;
    } else if (record.value.has_value()) {
      const TableChange change = ReadChange(record);
      EXPECT_EQ("shop." + change.event.collection, record.topic);
      EXPECT_EQ(change.event.columns != nullptr, with_schemas());
      EXPECT_TRUE(change.event.lsn.has_value());
      EXPECT_GT(change.event.source_time_us, 1'500'000'000'000'000);
      EXPECT_EQ(change.event.transaction.empty(), change.event.snapshot != SnapshotPart::kNone);
      ops.insert(change.event.op);
      parts.insert(change.event.snapshot);
    }
  }
  EXPECT_THAT(ops, ElementsAre(ChangeOp::kCreate, ChangeOp::kUpdate, ChangeOp::kRead,
                               ChangeOp::kDelete, ChangeOp::kTruncate));
  EXPECT_THAT(parts,
              IsSupersetOf({SnapshotPart::kNone, SnapshotPart::kFirst, SnapshotPart::kLast}));
}

TEST_P(RecordedTest, ARowOfEveryType) {
  const TableChange change = ChangesOf("everything").at(1);
  EXPECT_EQ(RowJson(*Everything(), change), "");
}

INSTANTIATE_TEST_SUITE_P(, RecordedTest, ::testing::Values("with_schemas", "without_schemas"),
                         [](const auto& given) { return given.param; });

}  // namespace
}  // namespace sluice::gateways
