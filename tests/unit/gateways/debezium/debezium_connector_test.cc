#include "gateways/debezium/debezium_connector.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "tests/support/fake_clock.h"
#include "tests/support/gateways/debezium_messages.h"
#include "tests/support/gateways/recording_sink.h"
#include "tests/support/memory_records.h"
#include "tests/support/schemas/test_schema.h"

namespace sluice::gateways {
namespace {

using schemas::testing::ValueOrDie;
using ::testing::AllOf;
using testing::DebeziumBegin;
using testing::DebeziumEnd;
using testing::DebeziumRecord;
using testing::DebeziumTombstone;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kMarks[] = "shop.transaction";
constexpr char kCustomer[] = "shop.public.customer";

class DebeziumConnectorTest : public ::testing::Test {
 protected:
  DebeziumConnectorTest() {
    context_.org = *OrgId::Parse("acme");
    context_.settings.set_name("shop");
    context_.settings.set_kind("debezium");
    context_.settings.set_transactions(kMarks);
    AddEntity("customer", kCustomer);
    topics_.Create(kMarks, 1);
    topics_.Create(kCustomer, 1);
    options_.log_brokers = "kafka:9092";
    options_.topic_prefix = "sluice.";
  }

  v1::SourceEntity& AddEntity(const std::string& name, const std::string& topic) {
    v1::SourceEntity& entity = *context_.settings.add_entities();
    entity.set_name(name);
    entity.set_topic(topic);
    return entity;
  }

  std::unique_ptr<Connector> Make() {
    return MakeDebeziumConnector(
        options_, testing::MemoryRecords::Factory(topics_, [this] { OnEmpty(); }), clock_, nullptr);
  }
  // Stops when nothing has come for a while.
  void OnEmpty() {
    clock_.Advance(std::chrono::seconds(1));
    if (empties_ == 5 && on_fifth_) {
      on_fifth_();
    }
    if (++empties_ > empties_max_) {
      sink_.stop_at = 0;
    }
  }
  // Reads all that there is, from the cursor.
  absl::Status Run() {
    empties_ = 0;
    sink_.stop_at.reset();
    context_.cursor = sink_.cursor();
    return Make()->Run(context_, sink_);
  }

  void Change(const testing::DebeziumChange& change, int partition = 0) {
    topics_.Append("shop.public." + change.table, partition, DebeziumRecord(change));
  }
  // A transaction of one change.
  void Commit(testing::DebeziumChange change) {
    change.transaction = std::to_string(++xid_);
    change.lsn = lsn_ += 10;
    topics_.Append(kMarks, 0, DebeziumBegin(change.transaction, change.lsn));
    Change(change);
    lsn_ += 10;
    topics_.Append(kMarks, 0, DebeziumEnd(change.transaction, lsn_, {{change.table, 1}}));
  }

  // "key JSON" of each row.
  std::vector<std::string> Rows(const std::string& entity, const std::string& org = "") {
    std::vector<std::string> rows;
    const auto schema = sink_.Find(org.empty() ? OrgId() : *OrgId::Parse(org), entity);
    for (const auto& [key, row] : sink_.RowsOf(entity, org)) {
      std::string json;
      EXPECT_TRUE(schemas::AppendRowJson(*schema, row.bytes, {}, &json).ok());
      rows.push_back(json);
    }
    return rows;
  }

  // Of all operations that the sink was given.
  std::vector<int64_t> Versions() const {
    std::vector<int64_t> versions;
    for (const SourceSet& set : sink_.sets) {
      for (const v1::Operation& op : set.ops) versions.push_back(op.version());
    }
    return versions;
  }
  // A row of an organisation.
  void CommitOf(const std::string& tenant, int id) {
    Commit({.key = fmt::format(R"({{"id":{}}})", id),
            .after = fmt::format(R"({{"id":{},"tenant":"{}"}})", id, tenant)});
  }

  testing::FakeClock clock_;
  testing::MemoryTopics topics_;
  DebeziumOptions options_;
  SourceContext context_;
  RecordingSink sink_{*OrgId::Parse("acme")};
  int empties_ = 0;
  int empties_max_ = 10;
  std::function<void()> on_fifth_;
  int xid_ = 100;
  int64_t lsn_ = 1'000;
};

TEST_F(DebeziumConnectorTest, ATransactionOverTablesIsOneSet) {
  AddEntity("order", "shop.public.order");
  topics_.Create("shop.public.order", 1);
  topics_.Append(kMarks, 0, DebeziumBegin("5", 10));
  Change(
      {.key = R"({"id":1})", .after = R"({"id":1,"name":"Ann"})", .lsn = 10, .transaction = "5"});
  Change({.key = R"({"id":7})",
          .after = R"({"id":7,"customer":1})",
          .table = "order",
          .lsn = 20,
          .transaction = "5",
          .order = 2});
  topics_.Append(kMarks, 0, DebeziumEnd("5", 30, {{"customer", 1}, {"order", 1}}));
  ASSERT_TRUE(Run().ok());
  ASSERT_FALSE(sink_.sets.empty());
  EXPECT_THAT(sink_.sets[0].ops, SizeIs(2));
  EXPECT_EQ(sink_.sets[0].ops[0].version(), 30);
  EXPECT_TRUE(sink_.sets[0].cursor.has_value());
  EXPECT_THAT(Rows("order"), ElementsAre(R"({"id":"7","customer":"1"})"));
  EXPECT_EQ(sink_.reported.position(), "0/1E");
  EXPECT_EQ(sink_.reported.state(), "following");
}

TEST_F(DebeziumConnectorTest, ASecondSnapshotRemovesWhatItDoesNotHave) {
  Change({.op = "r",
          .key = R"({"id":1})",
          .after = R"({"id":1,"n":"a"})",
          .snapshot = "first",
          .lsn = 500});
  Change({.op = "r",
          .key = R"({"id":2})",
          .after = R"({"id":2,"n":"b"})",
          .snapshot = "last",
          .lsn = 500});
  Commit({.op = "u", .key = R"({"id":1})", .after = R"({"id":1,"n":"aa"})"});
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer"), ElementsAre(R"({"id":"1","n":"aa"})", R"({"id":"2","n":"b"})"));
  // Its LSN is lower than that of a change before it.
  Change({.op = "r",
          .key = R"({"id":1})",
          .after = R"({"id":1,"n":"c"})",
          .snapshot = "first",
          .lsn = 900});
  Change({.op = "r",
          .key = R"({"id":3})",
          .after = R"({"id":3,"n":"d"})",
          .snapshot = "last",
          .lsn = 900});
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer"), ElementsAre(R"({"id":"1","n":"c"})", R"({"id":"3","n":"d"})"));
  Commit({.op = "d", .key = R"({"id":3})"});
  topics_.Append(kCustomer, 0, DebeziumTombstone(R"({"id":3})"));
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer"), ElementsAre(R"({"id":"1","n":"c"})"));
}

TEST_F(DebeziumConnectorTest, ASnapshotThatKeeps) {
  context_.settings.set_snapshot_keeps(true);
  Commit({.key = R"({"id":1})", .after = R"({"id":1})"});
  Change(
      {.op = "r", .key = R"({"id":2})", .after = R"({"id":2})", .snapshot = "first", .lsn = 2'000});
  Change(
      {.op = "r", .key = R"({"id":3})", .after = R"({"id":3})", .snapshot = "last", .lsn = 2'000});
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer"), SizeIs(3));
}

TEST_F(DebeziumConnectorTest, AChangeOfATransactionBeforeTheSnapshotBringsNothingBack) {
  // Its END is read long after the snapshot has been.
  Change({.key = R"({"id":9})", .after = R"({"id":9})", .lsn = 100, .transaction = "5"});
  Change(
      {.op = "r", .key = R"({"id":1})", .after = R"({"id":1})", .snapshot = "first", .lsn = 300});
  Change({.op = "r", .key = R"({"id":2})", .after = R"({"id":2})", .snapshot = "last", .lsn = 300});
  ASSERT_TRUE(Run().ok());
  topics_.Append(kMarks, 0, DebeziumBegin("5", 100));
  topics_.Append(kMarks, 0, DebeziumEnd("5", 110, {{"customer", 1}}));
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer"), ElementsAre(R"({"id":"1"})", R"({"id":"2"})"));
}

TEST_F(DebeziumConnectorTest, LongValuesMoveWithTheirKey) {
  const std::string kept = "__debezium_unavailable_value";
  const auto move_row = [&] {
    topics_.Append(kMarks, 0, DebeziumBegin("5", 2'000));
    Change({.op = "d",
            .key = R"({"id":1})",
            .before = R"({"id":1})",
            .lsn = 2'000,
            .transaction = "5"});
    Change({.key = R"({"id":2})",
            .after = R"({"id":2,"n":2,"t":")" + kept + R"("})",
            .lsn = 2'000,
            .transaction = "5",
            .order = 2,
            .old_key = R"({"id":1})"});
    topics_.Append(kMarks, 0, DebeziumEnd("5", 2'010, {{"customer", 2}}));
  };
  Commit({.key = R"({"id":1})", .after = R"({"id":1,"n":1,"t":"long"})"});
  ASSERT_TRUE(Run().ok());
  move_row();
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer"), ElementsAre(R"({"id":"2","n":"2","t":"long"})"));
  // Debezium sends it once more, and nothing of it is remembered but how far that was.
  sink_.sets.clear();
  move_row();
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer"), ElementsAre(R"({"id":"2","n":"2","t":"long"})"));
  EXPECT_THAT(Versions(), ElementsAre(2'009, 2'009)) << "below what it had written";
}

TEST_F(DebeziumConnectorTest, LongValuesWithinOneSet) {
  const std::string kept = R"(,"t":"__debezium_unavailable_value"})";
  Commit({.key = R"({"id":1})", .after = R"({"id":1,"n":1,"t":"long"})"});
  Commit({.op = "u", .key = R"({"id":1})", .after = R"({"id":1,"n":2)" + kept});
  topics_.Append(kMarks, 0, DebeziumBegin("5", 2'000));
  Change({.op = "d", .key = R"({"id":1})", .lsn = 2'000, .transaction = "5"});
  Change({.key = R"({"id":2})",
          .after = R"({"id":2,"n":3)" + kept,
          .lsn = 2'000,
          .transaction = "5",
          .order = 2,
          .old_key = R"({"id":1})"});
  Change({.op = "u",
          .key = R"({"id":2})",
          .after = R"({"id":2,"n":4)" + kept,
          .lsn = 2'010,
          .transaction = "5",
          .order = 3});
  topics_.Append(kMarks, 0, DebeziumEnd("5", 2'020, {{"customer", 3}}));
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(sink_.sets[0].ops, SizeIs(5));
  EXPECT_THAT(Rows("customer"), ElementsAre(R"({"id":"2","n":"4","t":"long"})"));
}

// A producer that sends again what it has no answer of.
TEST_F(DebeziumConnectorTest, DoubledRecordsAreTakenOnce) {
  for (int i = 0; i < 2; ++i) topics_.Append(kMarks, 0, DebeziumBegin("5", 2'000));
  for (int i = 0; i < 2; ++i) {
    Change({.key = R"({"id":1})", .after = R"({"id":1,"n":1})", .lsn = 2'000, .transaction = "5"});
  }
  for (int i = 0; i < 2; ++i) {
    Change({.op = "u",
            .key = R"({"id":1})",
            .after = R"({"id":1,"n":2})",
            .lsn = 2'010,
            .transaction = "5",
            .order = 2});
  }
  for (int i = 0; i < 2; ++i) {
    topics_.Append(kMarks, 0, DebeziumEnd("5", 2'020, {{"customer", 2}}));
  }
  for (int i = 0; i < 2; ++i) {  // once it has gone out
    Change({.op = "u",
            .key = R"({"id":1})",
            .after = R"({"id":1,"n":2})",
            .lsn = 2'010,
            .transaction = "5",
            .order = 2});
  }
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Versions(), ElementsAre(2'020, 2'020));
  EXPECT_THAT(Rows("customer"), ElementsAre(R"({"id":"1","n":"2"})"));
}

TEST_F(DebeziumConnectorTest, TruncateRemovesWhatWasBefore) {
  Commit({.key = R"({"id":1})", .after = R"({"id":1})"});
  topics_.Append(kMarks, 0, DebeziumBegin("5", 2'000));
  Change({.key = R"({"id":2})", .after = R"({"id":2})", .lsn = 2'000, .transaction = "5"});
  Change({.op = "t", .lsn = 2'010, .transaction = "5", .order = 2});
  Change(
      {.key = R"({"id":3})", .after = R"({"id":3})", .lsn = 2'020, .transaction = "5", .order = 3});
  topics_.Append(kMarks, 0, DebeziumEnd("5", 2'030, {{"customer", 3}}));
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer"), ElementsAre(R"({"id":"3"})"));
}

TEST_F(DebeziumConnectorTest, ARowThatCantBeTakenGoesAlone) {
  Commit({.key = R"({"id":1})", .after = R"({"id":1,"n":1})"});
  Commit({.key = R"({"id":2})", .after = R"({"id":2,"n":"not a number"})"});
  topics_.Append(kCustomer, 0, [] {
    eventlog::Record record;
    record.value = "no JSON";
    return record;
  }());
  Commit({.key = R"({"id":3})", .after = R"({"id":3,"n":3})"});
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer"), SizeIs(2));
  ASSERT_THAT(sink_.rejected, SizeIs(2));
  std::vector<std::string> codes = {sink_.rejected[0].code, sink_.rejected[1].code};
  std::ranges::sort(codes);
  EXPECT_THAT(codes, ElementsAre("invalid_envelope", "type_mismatch"));
  sink_.rejected_max = 2;
  Commit({.key = R"({"id":4})", .after = R"({"id":4,"n":"nor this"})"});
  EXPECT_EQ(ErrorCode(Run()), "too_many_rejected");
}

TEST_F(DebeziumConnectorTest, AddedAndDroppedColumns) {
  Commit({.key = R"({"id":1})", .after = R"({"id":1,"a":"x"})"});
  Commit({.key = R"({"id":2})", .after = R"({"id":2,"a":"x","b":true})"});
  Commit({.key = R"({"id":3})", .after = R"({"id":3,"b":false})"});
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer"),
              ElementsAre(R"({"id":"1","a":"x"})", R"({"id":"2","a":"x","b":true})",
                          R"({"id":"3","b":false})"));
}

TEST_F(DebeziumConnectorTest, WithoutATopicOfTransactionsEachChangeStandsByItself) {
  context_.settings.clear_transactions();
  Change({.key = R"({"id":1})", .after = R"({"id":1,"n":1})", .lsn = 50, .transaction = "5"});
  Change({.op = "u",
          .key = R"({"id":1})",
          .after = R"({"id":1,"n":2})",
          .lsn = 60,
          .transaction = "6"});
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer"), ElementsAre(R"({"id":"1","n":"2"})"));
  EXPECT_EQ(sink_.RowsOf("customer").at("1").version, 60);
}

TEST_F(DebeziumConnectorTest, QuietTopicsMoveOn) {
  Commit({.key = R"({"id":1})", .after = R"({"id":1})"});
  ASSERT_TRUE(Run().ok());
  for (int i = 0; i < 5; ++i) {
    topics_.Append(kCustomer, 0, DebeziumTombstone(R"({"id":1})"));
  }
  sink_.sets.clear();
  ASSERT_TRUE(Run().ok());
  ASSERT_THAT(sink_.sets, SizeIs(1));
  EXPECT_THAT(sink_.sets[0].ops, IsEmpty());
  v1::DebeziumCursor cursor;
  ASSERT_TRUE(cursor.ParseFromString(sink_.cursor()));
  EXPECT_EQ(cursor.partitions(0).next(), 6);
  topics_.TruncateBefore(kCustomer, 0, Offset(6));
  EXPECT_TRUE(Run().ok());
}

TEST_F(DebeziumConnectorTest, AHistoryThatIsLostIsSaid) {
  Commit({.key = R"({"id":1})", .after = R"({"id":1})"});
  ASSERT_TRUE(Run().ok());
  Commit({.key = R"({"id":2})", .after = R"({"id":2})"});
  Commit({.key = R"({"id":3})", .after = R"({"id":3})"});
  topics_.TruncateBefore(kCustomer, 0, Offset(2));
  EXPECT_EQ(ErrorCode(Run()), "source_history_lost");
  topics_.Create(kCustomer, 1);  // made anew
  EXPECT_EQ(ErrorCode(Run()), "source_history_lost");
}

TEST_F(DebeziumConnectorTest, ChangesWhoseEndIsLostGoOutByThemselves) {
  Commit({.key = R"({"id":1})", .after = R"({"id":1,"n":1})"});
  Commit({.op = "u", .key = R"({"id":1})", .after = R"({"id":1,"n":2})"});
  Commit({.key = R"({"id":2})", .after = R"({"id":2,"n":1})"});
  topics_.TruncateBefore(kMarks, 0, Offset(4));
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer"), ElementsAre(R"({"id":"1","n":"2"})", R"({"id":"2","n":"1"})"));
  v1::DebeziumCursor cursor;
  ASSERT_TRUE(cursor.ParseFromString(sink_.cursor()));
  EXPECT_TRUE(cursor.has_cut_lsn());
}

TEST_F(DebeziumConnectorTest, TopicsThatComeLater) {
  AddEntity("order", "shop.public.order");
  empties_max_ = 40;
  Commit({.key = R"({"id":1})", .after = R"({"id":1})"});
  on_fifth_ = [this] {
    topics_.Create("shop.public.order", 2);
    Commit({.key = R"({"id":1})", .after = R"({"id":1})", .table = "order"});
  };
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer"), SizeIs(1));
  EXPECT_THAT(Rows("order"), SizeIs(1));
}

TEST_F(DebeziumConnectorTest, ManyOrganisationsOnOneTopic) {
  context_.settings.mutable_tenants()->set_column("tenant");
  for (const char* const tenant : {"a", "b"}) {
    Commit({.key = R"({"id":1})",
            .after = std::string(R"({"id":1,"tenant":")") + tenant + R"("})",
            .before = ""});
  }
  Commit({.key = R"({"id":2})", .after = R"({"id":2,"tenant":null})"});
  Commit({.op = "u",
          .key = R"({"id":1})",
          .after = R"({"id":1,"tenant":"c"})",
          .before = R"({"id":1,"tenant":"a"})"});
  Commit({.op = "d", .key = R"({"id":1,"tenant":"b"})", .before = R"({"id":1,"tenant":"b"})"});
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer", "a"), IsEmpty());
  EXPECT_THAT(Rows("customer", "b"), IsEmpty());
  EXPECT_THAT(Rows("customer", "c"), ElementsAre(R"({"id":"1","tenant":"c"})"));
  EXPECT_THAT(Rows("customer"), IsEmpty());
  ASSERT_THAT(sink_.rejected, SizeIs(1));
  EXPECT_EQ(sink_.rejected[0].code, "tenant_unknown");
  std::set<std::string> ids;
  for (const SourceSet& set : sink_.sets) {
    EXPECT_EQ(set.org.value().empty(), set.id.empty());
    EXPECT_EQ(set.org.value().empty(), set.cursor.has_value());
    ids.insert(set.id);
  }
  // Read once more, they are the same sets.
  RecordingSink again(*OrgId::Parse("acme"));
  empties_ = 0;
  context_.cursor.clear();
  again.stop_at = 3;
  ASSERT_TRUE(Make()->Run(context_, again).ok());
  for (const SourceSet& set : again.sets) {
    EXPECT_TRUE(ids.contains(set.id)) << set.id;
  }
}

TEST_F(DebeziumConnectorTest, ASnapshotRemovesRowsOfOrganisationsThatHaveNoneInIt) {
  context_.settings.mutable_tenants()->set_column("tenant");
  CommitOf("a", 1);
  CommitOf("b", 2);
  CommitOf("acme", 3);
  for (const char* const part : {"first", "last"}) {
    const int id = std::string(part) == "first" ? 4 : 5;
    Change({.op = "r",
            .key = fmt::format(R"({{"id":{}}})", id),
            .after = fmt::format(R"({{"id":{},"tenant":"a"}})", id),
            .snapshot = part,
            .lsn = lsn_ + 100});
  }
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer", "a"), SizeIs(2));
  EXPECT_THAT(Rows("customer", "b"), IsEmpty());
  EXPECT_THAT(Rows("customer", "acme"), IsEmpty());
  v1::DebeziumCursor cursor;
  ASSERT_TRUE(cursor.ParseFromString(sink_.cursor()));
  EXPECT_TRUE(cursor.snapshots(0).swept());
}

TEST_F(DebeziumConnectorTest, ATruncateRemovesTheRowsOfAllOrganisations) {
  context_.settings.mutable_tenants()->set_column("tenant");
  CommitOf("a", 1);
  CommitOf("b", 2);
  topics_.Append(kMarks, 0, DebeziumBegin("5", 2'000));
  Change({.op = "t", .lsn = 2'000, .transaction = "5"});
  Change({.key = R"({"id":3})",
          .after = R"({"id":3,"tenant":"b"})",
          .lsn = 2'010,
          .transaction = "5",
          .order = 2});
  Change({.op = "t", .lsn = 2'020, .transaction = "5", .order = 3});
  Change({.key = R"({"id":4})",
          .after = R"({"id":4,"tenant":"a"})",
          .lsn = 2'030,
          .transaction = "5",
          .order = 4});
  topics_.Append(kMarks, 0, DebeziumEnd("5", 2'040, {{"customer", 4}}));
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer", "a"), ElementsAre(R"({"id":"4","tenant":"a"})"));
  EXPECT_THAT(Rows("customer", "b"), IsEmpty());
  EXPECT_THAT(sink_.rejected, IsEmpty());
  // One that has the id of another is passed over by the fold.
  std::set<std::pair<OrgId, std::string>> ids;
  for (const SourceSet& set : sink_.sets) {
    EXPECT_TRUE(set.id.empty() || ids.emplace(set.org, set.id).second) << set.id;
  }
}

TEST_F(DebeziumConnectorTest, AnOrganisationThatIsNotThere) {
  context_.settings.mutable_tenants()->set_column("tenant");
  sink_.absent = {{"a", false}, {"gone", true}};
  for (int id = 1; id <= 3; ++id) CommitOf("a", id);
  CommitOf("b", 4);
  ASSERT_TRUE(Run().ok());
  ASSERT_THAT(sink_.rejected, SizeIs(1));
  EXPECT_EQ(sink_.rejected[0].code, "org_not_found");
  EXPECT_EQ(sink_.opened, 0);
  EXPECT_THAT(Rows("customer", "b"), SizeIs(1));
  // The rule has it opened; one that was closed stays so, and is asked for once an hour.
  context_.settings.mutable_tenants()->set_create(true);
  for (int id = 5; id <= 7; ++id) {
    CommitOf("a", id);
    CommitOf("gone", 10 + id);
  }
  on_fifth_ = [this] {
    clock_.Advance(std::chrono::hours(1));
    CommitOf("gone", 20);
    CommitOf("gone", 21);
  };
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer", "a"), SizeIs(3));
  EXPECT_THAT(sink_.rejected, SizeIs(3));
  EXPECT_EQ(sink_.opened, 3);
}

TEST_F(DebeziumConnectorTest, AnOrganisationThatIsClosedHoldsUpNoOther) {
  context_.settings.mutable_tenants()->set_column("tenant");
  CommitOf("a", 1);
  ASSERT_TRUE(Run().ok());
  sink_.absent["a"] = true;
  CommitOf("a", 2);
  CommitOf("b", 3);
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(Rows("customer", "a"), SizeIs(1));
  EXPECT_THAT(Rows("customer", "b"), SizeIs(1));
}

TEST_F(DebeziumConnectorTest, WhatASourceMaySay) {
  const auto connector = Make();
  const auto code = [&](const v1::SourceSettings& settings, bool tenant = false) {
    return ErrorCode(connector->Validate(settings, context_.org, tenant));
  };
  EXPECT_TRUE(connector->Validate(context_.settings, context_.org, false).ok());
  EXPECT_EQ(code(context_.settings, true), "source_not_allowed");  // no topic is for tenants
  const auto with = [&](const std::function<void(v1::SourceSettings&)>& change) {
    v1::SourceSettings settings = context_.settings;
    change(settings);
    return code(settings);
  };
  EXPECT_EQ(with([](auto& s) { s.set_brokers("other:9092"); }), "source_not_allowed");
  EXPECT_EQ(with([](auto& s) { s.set_brokers("kafka:9092, other:9092"); }), "source_not_allowed");
  EXPECT_EQ(with([](auto& s) { s.mutable_entities(0)->set_topic("sluice.changes"); }),
            "source_not_allowed");
  EXPECT_EQ(with([](auto& s) { s.set_transactions("sluice.work"); }), "source_not_allowed");
  EXPECT_EQ(with([](auto& s) { (*s.mutable_kafka())["plugin.library.paths"] = "/x"; }),
            "source_not_allowed");
  EXPECT_EQ(with([](auto& s) { (*s.mutable_kafka())["ssl.ca.location"] = "/x"; }),
            "source_not_allowed");
  EXPECT_EQ(with([](auto& s) { (*s.mutable_kafka())["sasl.mechanism"] = "GSSAPI"; }),
            "source_not_allowed");
  EXPECT_EQ(with([](auto& s) { s.clear_entities(); }), "invalid_argument");
  EXPECT_EQ(with([](auto& s) { s.mutable_entities(0)->set_topic("a b"); }), "invalid_argument");
  EXPECT_EQ(with([](auto& s) { s.mutable_entities(0)->set_topic(kMarks); }), "invalid_argument");
  EXPECT_EQ(with([](auto& s) { *s.add_entities() = s.entities(0); }), "invalid_argument");
  EXPECT_EQ(with([](auto& s) { s.mutable_tenants(); }), "invalid_argument");
  options_.tenant_topics = {"{org}.*"};
  const auto shared = Make();
  v1::SourceSettings own = context_.settings;
  own.set_transactions("acme.transaction");
  own.mutable_entities(0)->set_topic("acme.public.customer");
  EXPECT_TRUE(shared->Validate(own, context_.org, true).ok());
  EXPECT_FALSE(shared->Validate(own, *OrgId::Parse("acm"), true).ok());
  own.mutable_tenants()->set_column("tenant");
  EXPECT_FALSE(shared->Validate(own, context_.org, true).ok());
}

TEST_F(DebeziumConnectorTest, WhatItWouldTake) {
  AddEntity("order", "shop.public.order");
  Commit({.key = R"({"id":1})", .after = R"({"id":1,"a b":1})"});
  const SourceOffer offer = ValueOrDie(Make()->Check(context_, [] { return false; }));
  ASSERT_THAT(offer.entities, SizeIs(1));
  EXPECT_EQ(offer.entities[0].definition.primary_key(), "id");
  EXPECT_THAT(offer.entities[0].refused,
              ElementsAre(Field("code", &SourceOffer::Refused::code, "invalid_name")));
  EXPECT_THAT(offer.refused,
              ElementsAre(AllOf(Field("name", &SourceOffer::Refused::name, "order"),
                                Field("code", &SourceOffer::Refused::code, "no_messages"))));
}

// Messages that a real Debezium wrote (tests/golden/debezium).
class RecordedRunTest : public DebeziumConnectorTest,
                        public ::testing::WithParamInterface<std::string> {};

TEST_P(RecordedRunTest, TheTablesAreAsTheyWereAtTheEnd) {
  context_.settings.clear_entities();
  for (const std::string table : {"everything", "orders", "long_values", "whole_before"}) {
    AddEntity(table, "shop.public." + table);
    topics_.Create("shop.public." + table, 1);
  }
  std::ifstream file(std::string(SLUICE_RECORDED) + "/" + GetParam() + ".ndjson");
  for (std::string line; std::getline(file, line);) {
    const auto message = nlohmann::json::parse(line);
    eventlog::Record record;
    if (!message["key"].is_null()) {
      record.key = message["key"];
    }
    if (!message["value"].is_null()) {
      record.value = message["value"];
    }
    for (const auto& [name, value] : message["headers"].items()) {
      record.headers.emplace_back(name, value);
    }
    topics_.Append(message["topic"], 0, record);
  }
  ASSERT_TRUE(Run().ok());
  const bool with_schemas = GetParam() == "with_schemas";
  EXPECT_THAT(Rows("orders"), ElementsAre(HasSubstr(R"("added":)")));
  EXPECT_THAT(Rows("whole_before"), IsEmpty());
  const std::vector<std::string> long_values = Rows("long_values");
  ASSERT_THAT(long_values, SizeIs(1));
  EXPECT_THAT(long_values[0], HasSubstr(R"("note":"note note )"));
  EXPECT_THAT(long_values[0], HasSubstr(R"("counter":)"));
  EXPECT_THAT(long_values[0], HasSubstr(R"("scores":"[1,2,3)"));
  // Of 4 to 7 no attribute takes the values; without schemas two of them are only numbers.
  EXPECT_THAT(sink_.rejected, SizeIs(with_schemas ? 4 : 1));
  EXPECT_THAT(Rows("everything"), SizeIs(with_schemas ? 2 : 5));
  const auto rows = sink_.RowsOf("everything");
  EXPECT_TRUE(rows.contains("20"));
  EXPECT_FALSE(rows.contains("2"));
}

INSTANTIATE_TEST_SUITE_P(, RecordedRunTest, ::testing::Values("with_schemas", "without_schemas"),
                         [](const auto& given) { return given.param; });

}  // namespace
}  // namespace sluice::gateways
