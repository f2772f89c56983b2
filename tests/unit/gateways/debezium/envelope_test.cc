#include "gateways/debezium/envelope.h"

#include <gmock/gmock.h>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

constexpr std::string_view kUpdate =
    R"({"before":null,"after":{"id":7,"name":"Ann"},"source":{"version":"3.6.1.Final","connector":)"
    R"("postgresql","name":"shop","ts_ms":1769846400123,"snapshot":"false","db":"postgres",)"
    R"("sequence":"[null,\"26518576\"]","ts_us":1769846400123456,"ts_ns":1769846400123456000,)"
    R"("schema":"public","table":"customer","txId":734,"lsn":26518576,"xmin":null},)"
    R"("transaction":{"id":"734:26518576","total_order":2,"data_collection_order":1},"op":"u",)"
    R"("ts_us":1769846400200000,"ts_ms":1769846400200})";

TEST(EnvelopeTest, AChangeWithoutSchemas) {
  EnvelopeReader reader;
  const auto event = reader.ReadChange(kUpdate);
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->op, ChangeOp::kUpdate);
  EXPECT_EQ(event->before, "");
  EXPECT_EQ(event->after, R"({"id":7,"name":"Ann"})");
  EXPECT_EQ(event->columns, nullptr);
  EXPECT_EQ(event->snapshot, SnapshotPart::kNone);
  EXPECT_EQ(event->collection, "public.customer");
  EXPECT_EQ(event->lsn, 26518576);
  EXPECT_EQ(event->source_time_us, 1769846400123456);
  EXPECT_EQ(event->transaction, "734");
  EXPECT_EQ(event->total_order, 2U);
}

TEST(EnvelopeTest, AChangeWithSchemas) {
  const std::string schema =
      R"({"type":"struct","fields":[{"type":"struct","fields":[{"type":"int64","field":"id"},)"
      R"({"type":"string","field":"name"}],"field":"after"},{"type":"string","field":"op"}]})";
  const std::string message =
      R"({"schema":)" + schema + R"(,"payload":)" + std::string(kUpdate) + "}";
  EnvelopeReader reader;
  const auto event = reader.ReadChange(message);
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->after, R"({"id":7,"name":"Ann"})");
  ASSERT_NE(event->columns, nullptr);
  EXPECT_EQ(event->columns->columns().size(), 2U);
  EXPECT_EQ(reader.ReadChange(message)->columns, event->columns);  // parsed once
  // The members may come in any order.
  const auto swapped =
      reader.ReadChange(R"({"payload":)" + std::string(kUpdate) + R"(,"schema":)" + schema + "}");
  ASSERT_TRUE(swapped.ok()) << swapped.status();
  EXPECT_EQ(swapped->columns, event->columns);
}

TEST(EnvelopeTest, EveryOpAndSnapshotPart) {
  EnvelopeReader reader;
  const auto read = [&](const std::string& op, const std::string& snapshot) {
    return reader.ReadChange(R"({"after":{},"source":{"snapshot":)" + snapshot + R"(},"op":")" +
                             op + R"("})");
  };
  EXPECT_EQ(read("c", "\"false\"")->op, ChangeOp::kCreate);
  EXPECT_EQ(read("d", "\"false\"")->op, ChangeOp::kDelete);
  EXPECT_EQ(read("t", "\"false\"")->op, ChangeOp::kTruncate);
  EXPECT_EQ(read("m", "\"false\"")->op, ChangeOp::kMessage);
  EXPECT_EQ(read("r", "\"true\"")->op, ChangeOp::kRead);
  for (const auto& [text, part] : std::initializer_list<std::pair<const char*, SnapshotPart>>{
           {"null", SnapshotPart::kNone},
           {"false", SnapshotPart::kNone},
           {"true", SnapshotPart::kRow},
           {"\"true\"", SnapshotPart::kRow},
           {"\"first\"", SnapshotPart::kFirst},
           {"\"first_in_data_collection\"", SnapshotPart::kFirstOfTable},
           {"\"last_in_data_collection\"", SnapshotPart::kLastOfTable},
           {"\"last\"", SnapshotPart::kLast},
           {"\"incremental\"", SnapshotPart::kIncremental}}) {
    const auto event = read("r", text);
    ASSERT_TRUE(event.ok()) << event.status() << text;
    EXPECT_EQ(event->snapshot, part) << text;
  }
  EXPECT_EQ(ErrorCode(read("x", "null").status()), "invalid_envelope");
  EXPECT_EQ(ErrorCode(read("r", "\"maybe\"").status()), "invalid_envelope");
}

TEST(EnvelopeTest, OtherDatabasesNameTheirTablesWithTheDatabase) {
  EnvelopeReader reader;
  EXPECT_EQ(reader
                .ReadChange(R"({"after":{},"op":"c","source":{"connector":"mysql","db":"shop",)"
                            R"("table":"customer"}})")
                ->collection,
            "shop.customer");
}

TEST(EnvelopeTest, Keys) {
  EnvelopeReader reader;
  EXPECT_EQ(reader.ReadKey(R"({"id":7})")->key, R"({"id":7})");
  EXPECT_EQ(reader.ReadKey(R"({"id":7})")->columns, nullptr);
  const auto key = reader.ReadKey(
      R"({"schema":{"type":"struct","fields":[{"type":"int64","field":"id"}]},"payload":{"id":7}})");
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(key->key, R"({"id":7})");
  ASSERT_NE(key->columns, nullptr);
  EXPECT_EQ(key->columns->columns().front().name, "id");
  // Columns that are called so.
  const std::string columns = R"({"schema":"s","payload":"p"})";
  EXPECT_EQ(reader.ReadKey(columns)->key, columns);
  EXPECT_EQ(ErrorCode(reader.ReadKey("7").status()), "invalid_envelope");
  EXPECT_EQ(ErrorCode(reader.ReadKey(R"({"id":7} {})").status()), "invalid_envelope");
}

TEST(EnvelopeTest, Transactions) {
  EnvelopeReader reader;
  const auto begin = reader.ReadTransaction(
      R"({"status":"BEGIN","id":"734:26518400","event_count":null,"data_collections":null,"ts_ms":1})");
  ASSERT_TRUE(begin.ok()) << begin.status();
  EXPECT_FALSE(begin->end);
  EXPECT_EQ(begin->id, "734");
  EXPECT_EQ(begin->lsn, 26518400);
  const auto end = reader.ReadTransaction(
      R"({"status":"END","id":"734:26518800","event_count":3,"data_collections":[)"
      R"({"data_collection":"public.customer","event_count":2},)"
      R"({"data_collection":"public.order","event_count":1}],"ts_ms":1})");
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->end);
  EXPECT_EQ(end->lsn, 26518800);
  EXPECT_EQ(end->event_count, 3U);
  EXPECT_THAT(end->collections, ElementsAre(Pair("public.customer", 2), Pair("public.order", 1)));
  EXPECT_EQ(reader.ReadTransaction(R"({"status":"END","id":"734"})")->lsn, std::nullopt);
  EXPECT_EQ(reader.ReadTransaction(R"({"status":"END","id":"7:x"})")->lsn, std::nullopt);
  for (const char* const text : {R"({"status":"MIDDLE","id":"7"})", R"({"status":"END"})", "{}",
                                 R"({"status":"END","id":"7","data_collections":{}})"}) {
    EXPECT_EQ(ErrorCode(reader.ReadTransaction(text).status()), "invalid_envelope") << text;
  }
}

TEST(EnvelopeTest, RefusesWhatIsNoChange) {
  EnvelopeReader reader;
  for (const char* const text :
       {"[]", "7", "{}", R"({"op":"c"})", R"({"op":"u","after":null})", R"({"op":7,"after":{}})",
        R"({"op":"c","after":[1]})", R"({"op":"c","after":{},"source":[]})",
        R"({"op":"c","after":{},"source":{"lsn":"x"}})", R"({"op":"c","after":{},"transaction":7})",
        R"({"schema":{"type":"struct","fields":[]},"payload":{"op":"c","after":{}}})",
        R"({"op":"c","after":{}} {})"}) {
    EXPECT_EQ(ErrorCode(reader.ReadChange(text).status()), "invalid_envelope") << text;
  }
  for (size_t size = 0; size < kUpdate.size(); ++size) {
    EXPECT_TRUE(absl::IsInvalidArgument(reader.ReadChange(kUpdate.substr(0, size)).status()))
        << size;
  }
}

}  // namespace
}  // namespace sluice::gateways
