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

using schemas::Attribute;
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
    {"name":"span","type":"int64"},{"name":"tags","type":"string"},
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
  const std::vector<TableChange> changes = ChangesOf("everything");
  const std::string row =
      R"({"id":"2","small":-32768,"whole":2147483647,"real4":1.1,"real8":2.5e-300,)"
      R"("price":"-1234567890.12","rate":"12.345","active":true,"name":"Ann \"A\" Müller",)"
      R"("code":"x","uid":"1b4e28ba-2fa1-11d2-883f-0016d3cca427","photo":"AP8Q","bits":"VQE=",)"
      R"("feeling":"so-so","data":"{\"a\": [1, null]}","day":"2026-01-31",)"
      R"("wakes":"10:00:00.123456","wakes_ms":"10:00:00.123000","wakes_tz":"08:00:00Z",)"
      R"("seen":"2026-01-31T10:00:00.123456Z","seen_ms":"2026-01-31T10:00:00.123000Z",)"
      R"("seen_tz":"2026-01-31T08:00:00.123456Z","span":"31730403500000",)"
      R"("tags":"[\"a\",null,\"ü\"]","scores":"[1,-2]","ip":"192.0.2.1"})";
  EXPECT_EQ(RowJson(*Everything(), changes.at(0)), R"({"id":"1","name":"of the snapshot"})");
  if (with_schemas()) {
    EXPECT_EQ(RowJson(*Everything(), changes.at(1)), row);
    const auto entity = Everything();
    for (const Attribute& attribute : entity->attributes()) {
      EXPECT_EQ(AttributeTypeOf(changes.at(1).event.columns->Find(attribute.name)->form),
                attribute.type)
          << attribute.name;
    }
  } else {
    // Milliseconds of a time(3) and a timestamp(3) are not told from microseconds.
    auto expected = nlohmann::ordered_json::parse(row);
    expected["day"] = "20484";
    expected["wakes"] = "36000123456";
    expected["wakes_ms"] = "36000123";
    expected["seen_ms"] = "1970-01-21T11:37:33.600123Z";
    EXPECT_EQ(RowJson(*Everything(), changes.at(1)), expected.dump());
  }
}

TEST_P(RecordedTest, TheEndsOfWhatTypesHold) {
  const std::vector<TableChange> changes = ChangesOf("everything");
  EXPECT_EQ(
      RowJson(*Everything(), changes.at(2)),
      R"({"id":"3","price":"0","rate":"99999999999999999999999999999999999999","name":"",)"
      R"("day":"0001-01-01","wakes":"00:00:00.000000","seen":"0001-01-01T00:00:00.000000Z"})");
  EXPECT_EQ(RowJson(*Everything(), changes.at(3)),
            R"({"id":"3","price":"0.01","rate":"-0.0001","name":"","day":"9999-12-31",)"
            R"("wakes":"00:00:00.000000","seen":"9999-12-31T23:59:59.999999Z"})");
  for (size_t i = 4; i < 8; ++i) {  // NaN, infinity, 24:00 and 10^38
    EXPECT_EQ(RowJson(*Everything(), changes.at(i)), "type_mismatch") << changes.at(i).event.after;
  }
}

TEST_P(RecordedTest, LongValuesThatDidNotChangeAreKept) {
  const auto entity = MakeSchema("long_values", R"({"primary_key":"id","attributes":[
    {"name":"id","type":"int32"},{"name":"counter","type":"int32"},{"name":"note","type":"string"},
    {"name":"photo","type":"bytes"},{"name":"tags","type":"string"},
    {"name":"scores","type":"string"},{"name":"bigs","type":"string"},
    {"name":"uids","type":"string"},{"name":"data","type":"string"}]})");
  const std::vector<TableChange> changes = ChangesOf("long_values");
  ASSERT_THAT(changes, SizeIs(4));
  const auto decode = [&](const TableChange& change) {
    return ValueOrDie(decoder_.Decode(*entity, change.event.columns.get(), change.event.after));
  };
  EXPECT_THAT(decode(changes[0]).kept, IsEmpty());
  EXPECT_THAT(decode(changes[1]).kept, SizeIs(7));
  EXPECT_EQ(decode(changes[1]).key, "1");
  EXPECT_EQ(changes[2].event.op, ChangeOp::kDelete);
  EXPECT_EQ(changes[3].event.op, ChangeOp::kCreate);  // of the new key
  EXPECT_THAT(decode(changes[3]).kept, SizeIs(7));
  EXPECT_EQ(decode(changes[3]).key, "2");
}

TEST_P(RecordedTest, AChangedKeySaysWhatItWas) {
  std::vector<std::string> keys;
  for (const Record& record : records_) {
    for (const char* const name : {"__debezium.oldkey", "__debezium.newkey"}) {
      const auto header = record.headers.find(name);
      if (header != record.headers.end() && record.topic == "shop.public.everything" &&
          record.value.has_value()) {
        const auto key = decoder_.Decode(*Everything(), nullptr,
                                         ValueOrDie(reader_.ReadKey(header->second)).key);
        keys.push_back(std::string(name) + " " + ValueOrDie(key).key);
      }
    }
  }
  EXPECT_THAT(keys, ElementsAre("__debezium.newkey 20", "__debezium.oldkey 2"));
}

TEST_P(RecordedTest, TransactionsComeOutWholeAndInTheOrderOfTheirCommits) {
  const std::vector<std::string> tables = {"everything", "orders", "long_values", "whole_before"};
  std::vector<TransactionAssembler::Partition> partitions;
  for (const std::string& table : tables) {
    partitions.push_back({"public." + table, Offset(0)});
  }
  TransactionAssembler assembler({}, partitions, Offset(0));
  // Tables first: nothing can go out before the ENDs are there but the snapshot's rows.
  for (size_t i = 0; i < tables.size(); ++i) {
    for (TableChange& change : ChangesOf(tables[i])) {
      assembler.AddChange(i, std::move(change));
    }
  }
  const auto snapshot = assembler.Take();
  ASSERT_TRUE(snapshot.has_value());
  EXPECT_THAT(snapshot->changes, SizeIs(3));
  EXPECT_FALSE(assembler.Take().has_value());
  for (const Record& record : records_) {
    if (record.topic == "shop.transaction") {
      assembler.AddMark(Offset(record.offset), ValueOrDie(reader_.ReadTransaction(*record.value)),
                        {});
    }
  }
  std::vector<size_t> sizes;
  std::vector<std::string> customers;  // of orders, in the order of the sets
  int64_t lsn = 0;
  while (const auto set = assembler.Take()) {
    EXPECT_GT(*set->lsn, lsn);
    lsn = *set->lsn;
    sizes.push_back(set->changes.size());
    for (const TableChange& change : set->changes) {
      EXPECT_LE(*change.event.lsn, lsn);
      if (change.event.after.find("committed") != std::string::npos ||
          change.event.after.find("opened") != std::string::npos) {
        customers.push_back(change.key.key);
      }
    }
  }
  EXPECT_THAT(sizes, ElementsAre(1, 1, 1, 1, 1, 1, 1, 2, 1, 6, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1));
  EXPECT_THAT(customers, ElementsAre(R"({"id":7})", R"({"id":6})", R"({"id":8})"));
  EXPECT_EQ(assembler.held_bytes(), 0U);
  const auto& counters = assembler.counters();
  EXPECT_EQ(counters.repeated + counters.late + counters.left_over + counters.incomplete, 0U);
}

INSTANTIATE_TEST_SUITE_P(, RecordedTest, ::testing::Values("with_schemas", "without_schemas"),
                         [](const auto& given) { return given.param; });

}  // namespace
}  // namespace sluice::gateways
