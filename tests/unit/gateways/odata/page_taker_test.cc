#include "gateways/odata/page_taker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/gateways/odata_stream.h"
#include "tests/support/scripted_server.h"

namespace sluice::gateways {
namespace {

using testing::ODataStream;
using testing::ScriptedServer;
using ::testing::SizeIs;

// The rows of one page as a delta, into a sink that has the row 1 with all it can have.
class PageTakerTest : public ::testing::Test {
 protected:
  PageTakerTest() {
    stream.service.Put(1, {.name = "one", .balance = "1"});
    EXPECT_EQ(stream.Run(), "ok");
    stream.sink.sets.clear();
  }
  void TakeDelta(const std::string& rows) {
    ScriptedServer server([&](ScriptedServer::Peer& peer) {
      peer.ReadRequest();
      const std::string body = "{\"value\":[" + rows + "]}";
      peer.Send(
          fmt::format("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                      "Content-Length: {}\r\n\r\n{}",
                      body.size(), body));
    });
    const SourceContext context = stream.Context();
    auto client = *ODataClient::Create(stream.outbound, stream.clock, context.settings, {}, {}, {});
    const auto schema = stream.sink.Find(ODataStream::Org(), "item");
    const WantedEntity wanted{"item", "Items", {}};
    const MappedEntity mapped = MapEntities(*client->GetMetadata(), {&wanted, 1}).entities.at(0);
    auto rows_reader = *ODataRowReader::Create(mapped, schema);
    ODataMetrics metrics(*stream.registry);
    PageTaker taker(*client, stream.sink, *rows_reader, metrics, {"item", schema, std::nullopt});
    const auto page =
        taker.Take(*Url::Parse(fmt::format("http://127.0.0.1:{}/", server.port())), RowUse::kDelta);
    ASSERT_TRUE(page.ok()) << page.status();
    ASSERT_TRUE(taker.Append(nullptr).ok());
  }

  ODataStream stream;
};

TEST_F(PageTakerTest, ARowTwiceInAPageKeepsWhatTheFirstBrought) {
  TakeDelta(R"({"ID":1,"Name":"new"},{"ID":1,"Balance":"7"})");
  EXPECT_EQ(stream.Stored()["1"], "new 7");
  EXPECT_THAT(stream.sink.sets, SizeIs(2)) << "the second looks at the row before its set";
}

TEST_F(PageTakerTest, ARowThatWentAndCameKeepsNothing) {
  TakeDelta(R"({"@removed":{},"ID":1},{"ID":1,"Balance":"7"})");
  EXPECT_EQ(stream.Stored()["1"], "- 7");
}

TEST_F(PageTakerTest, WhatAppliesWholeGoesIntoOneSet) {
  TakeDelta(R"({"ID":1,"Name":"a","Balance":1,"Changed":null},{"ID":2,"Name":"b"},{"ID":3})");
  ASSERT_THAT(stream.sink.sets, SizeIs(1));
  EXPECT_THAT(stream.sink.sets[0].ops, SizeIs(3));
  EXPECT_THAT(stream.sink.sets[0].ops[0].kept(), SizeIs(0));
  EXPECT_THAT(stream.sink.sets[0].ops[2].kept(), SizeIs(3));
}

}  // namespace
}  // namespace sluice::gateways
