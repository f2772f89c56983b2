#include "gateways/odata/odata_connector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include "tests/support/gateways/odata_stream.h"

namespace sluice::gateways {
namespace {

using testing::FakeOData;
using ::testing::HasSubstr;
using testing::ODataStream;
using ::testing::SizeIs;
using Fault = FakeOData::Fault;

TEST(ODataConnectorTest, IsReadByEntity) {
  const ODataStream stream;
  EXPECT_EQ(stream.connector->kind(), "odata");
  EXPECT_TRUE(stream.connector->by_entity());
}

TEST(ODataConnectorTest, Validate) {
  const ODataStream stream;
  const auto code = [&](const std::function<void(v1::SourceSettings&)>& change) {
    v1::SourceSettings settings = stream.settings;
    change(settings);
    const absl::Status status = stream.connector->Validate(settings, OrgId(), true);
    EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kInvalidArgument) << status;
    return status.ok() ? "ok" : ErrorCode(status);
  };
  EXPECT_EQ(code([](auto&) {}), "ok");
  EXPECT_EQ(code([](auto& s) { s.set_url("http://example.org/"); }), "source_not_allowed");
  EXPECT_EQ(code([](auto& s) { s.set_url(""); }), "source_not_allowed");
  EXPECT_EQ(code([](auto& s) { s.mutable_auth()->set_kind("digest"); }), "invalid_argument");
  EXPECT_EQ(code([](auto& s) { s.mutable_auth()->set_token_url("https://10.0.0.1/"); }),
            "source_not_allowed");
  EXPECT_EQ(code([](auto& s) { s.set_brokers("127.0.0.1:9092"); }), "invalid_argument");
  EXPECT_EQ(code([](auto& s) { s.set_transactions("t"); }), "invalid_argument");
  EXPECT_EQ(code([](auto& s) { s.mutable_tenants(); }), "invalid_argument");
  EXPECT_EQ(code([](auto& s) { s.set_odata_version("3.0"); }), "invalid_argument");
  EXPECT_EQ(code([](auto& s) { s.set_odata_version("4.01"); }), "ok");
  EXPECT_EQ(code([](auto& s) { s.add_link_hosts("127.0.0.1"); }), "ok");
  EXPECT_EQ(code([](auto& s) { s.add_link_hosts("a.org/x"); }), "invalid_argument");
  EXPECT_EQ(code([](auto& s) { s.add_link_hosts("example.org"); }), "source_not_allowed");
  EXPECT_EQ(code([](auto& s) {
              for (int i = 0; i < 17; ++i) {
                s.add_link_hosts("127.0.0.1");
              }
            }),
            "invalid_argument");
  EXPECT_EQ(code([](auto& s) { s.clear_entities(); }), "invalid_argument");
  EXPECT_EQ(code([](auto& s) {
              s.clear_entities();
              s.set_all_entities(true);
            }),
            "ok");
  EXPECT_EQ(code([](auto& s) { s.add_entities()->set_name("item"); }), "invalid_argument");
  EXPECT_EQ(code([](auto& s) { s.add_entities()->set_name("no-name"); }), "invalid_argument");
  EXPECT_EQ(code([](auto& s) { s.mutable_entities(0)->set_topic("t"); }), "invalid_argument");
}

TEST(ODataConnectorTest, CheckSaysWhatWouldComeAndChangesNothing) {
  ODataStream stream;
  stream.Fill(12);
  v1::SourceEntity* const other = stream.settings.add_entities();
  other->set_name("order");
  other->set_set("Orders");
  const auto offer = stream.connector->Check(stream.Context(), {});
  ASSERT_TRUE(offer.ok()) << offer.status();
  ASSERT_THAT(offer->entities, SizeIs(1));
  const SourceOffer::Entity& entity = offer->entities[0];
  EXPECT_EQ(entity.definition.name(), "item");
  EXPECT_EQ(entity.definition.primary_key(), "ID");
  EXPECT_THAT(entity.definition.attributes(), SizeIs(4));
  EXPECT_EQ(entity.rows, 12U);
  EXPECT_TRUE(entity.tracks_changes);
  ASSERT_THAT(entity.refused, SizeIs(1));
  EXPECT_EQ(entity.refused[0].name, "Shape");
  EXPECT_EQ(entity.refused[0].code, "type_unsupported");
  ASSERT_THAT(offer->refused, SizeIs(1));
  EXPECT_EQ(offer->refused[0].name, "order");
  EXPECT_EQ(offer->refused[0].code, "not_in_source");
  EXPECT_EQ(stream.sink.Find(ODataStream::Org(), "item"), nullptr);
  EXPECT_THAT(stream.service.requests(), SizeIs(1));
}

TEST(ODataConnectorTest, CheckOfWhatDoesNotTrackOrIsRefused) {
  ODataStream stream({.tracks = false});
  stream.entity().set_modified("Changed");
  auto offer = stream.connector->Check(stream.Context(), {});
  ASSERT_TRUE(offer.ok()) << offer.status();
  ASSERT_THAT(offer->entities, SizeIs(1));
  EXPECT_FALSE(offer->entities[0].tracks_changes);
  stream.entity().set_modified("Name");
  offer = stream.connector->Check(stream.Context(), {});
  ASSERT_TRUE(offer.ok());
  ASSERT_THAT(offer->refused, SizeIs(1)) << "no time";
  stream.entity().clear_modified();
  stream.service.Fail(Fault::kGone);
  stream.service.Fail(Fault::kGone);  // without a count, too
  offer = stream.connector->Check(stream.Context(), {});
  ASSERT_TRUE(offer.ok());
  ASSERT_THAT(offer->refused, SizeIs(1));
  EXPECT_EQ(offer->refused[0].code, "source_refused");
  stream.service.Fail(Fault::kHtml);
  EXPECT_EQ(stream.connector->Check(stream.Context(), {}).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(ODataConnectorTest, CheckOffersWhatCanNotBeCounted) {
  for (const int status : {400, 501}) {
    ODataStream stream({.counts = false, .no_count_status = status});
    stream.Fill(3);
    const auto offer = stream.connector->Check(stream.Context(), {});
    ASSERT_TRUE(offer.ok()) << offer.status();
    ASSERT_THAT(offer->entities, SizeIs(1)) << status;
    EXPECT_EQ(offer->entities[0].rows, std::nullopt);
    EXPECT_TRUE(offer->entities[0].tracks_changes);
  }
  for (const Fault fault : {Fault::kFailed, Fault::kTooManyRequests}) {
    ODataStream stream;
    v1::SourceEntity* const other = stream.settings.add_entities();
    other->set_name("other");
    other->set_set("Items");
    stream.service.Fail(fault);
    const auto offer = stream.connector->Check(stream.Context(), {});
    ASSERT_TRUE(offer.ok()) << offer.status();
    EXPECT_THAT(offer->entities, SizeIs(2)) << "one of them is not counted";
    EXPECT_EQ(offer->entities[0].rows, std::nullopt);
  }
}

TEST(ODataConnectorTest, AnEntityThatWasDefinedAnewIsLoadedAnew) {
  ODataStream stream;
  stream.Fill(3);
  ASSERT_EQ(stream.Run(), "ok");
  stream.sink.Forget("item");
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST(ODataConnectorTest, AKeyThatIsComposedOtherwiseIsLoadedAnew) {
  ODataStream stream({.composed_key = true});
  stream.Fill(3);
  ASSERT_EQ(stream.Run(), "ok");
  const std::string before = stream.Cursor().selected();
  stream.service.Change([](FakeOData::Options& options) { options.swapped_key = true; });
  stream.clock.Advance(std::chrono::minutes(15));
  ASSERT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_NE(stream.Cursor().selected(), before);
  EXPECT_THAT(stream.Stored(), SizeIs(3));
  EXPECT_TRUE(stream.Stored().contains("3,0")) << "No, Group";
}

TEST(ODataConnectorTest, AllEntitiesAndTheListedOnes) {
  ODataStream stream;
  stream.settings.set_all_entities(true);
  const auto names = [&] {
    std::string text;
    const auto offer = stream.connector->Check(stream.Context(), {});
    for (const auto& entity : offer->entities) {
      text += entity.definition.name() + " ";
    }
    return text;
  };
  EXPECT_EQ(names(), "item ") << "its set is listed by another name";
  stream.entity().set_disabled(true);
  EXPECT_EQ(names(), "");
  stream.settings.clear_entities();
  EXPECT_EQ(names(), "Items ");
  stream.Fill(3);
  SourceContext context = stream.Context();
  context.stream = "Items";
  EXPECT_TRUE(stream.connector->Run(context, stream.sink).ok());
  EXPECT_THAT(stream.sink.RowsOf("Items"), SizeIs(3));
  context.stream = "Others";
  EXPECT_EQ(ErrorCode(stream.connector->Run(context, stream.sink)), "not_in_source");
}

TEST(ODataConnectorTest, AnotherTypeOrKeyIsNoSchemaOfTheEntity) {
  ODataStream stream;
  v1::ProvisioningRequest::PutEntity own;
  own.set_name("item");
  own.set_primary_key("ID");
  own.add_attributes()->set_name("ID");
  own.mutable_attributes(0)->set_type(v1::ATTRIBUTE_TYPE_STRING);
  ASSERT_TRUE(stream.sink.Define(ODataStream::Org(), own).ok());
  EXPECT_EQ(stream.Run(), "incompatible_schema");
}

TEST(ODataConnectorTest, MetadataIsReadOnceForAWhileAndAgainWhenTheServiceRefuses) {
  ODataStream stream;
  stream.Fill(3);
  ASSERT_EQ(stream.Run(), "ok");
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_EQ(stream.service.metadata_requests(), 1);
  stream.clock.Advance(std::chrono::minutes(15));
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_EQ(stream.service.metadata_requests(), 2);
  stream.service.Fail(Fault::kGone);
  stream.service.Fail(Fault::kGone);
  stream.service.Fail(Fault::kGone);
  EXPECT_EQ(stream.Run(), "source_refused");
  ASSERT_EQ(stream.Run(), "ok");
  EXPECT_EQ(stream.service.metadata_requests(), 3);
}

TEST(ODataConnectorTest, ABrokenLogEndsTheRunWithItsError) {
  ODataStream stream({.page_rows = 2});
  stream.Fill(9);
  for (const int at : {0, 1, 1, 1}) {
    stream.sink.fail_at = at;
    stream.sink.failure = Error(absl::StatusCode::kAborted, "superseded", "another one");
    EXPECT_EQ(stream.Run(), "superseded");
    EXPECT_EQ(stream.last.code(), absl::StatusCode::kAborted);
  }
  stream.sink.fail_at.reset();
  EXPECT_EQ(stream.Run(), "ok") << stream.last;
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST(ODataConnectorTest, ACursorThatIsNoneIsABegin) {
  ODataStream stream;
  stream.Fill(3);
  SourceContext context = stream.Context();
  context.cursor = "\xff\xff";
  EXPECT_TRUE(stream.connector->Run(context, stream.sink).ok());
  EXPECT_EQ(stream.Stored(), stream.Expected());
}

TEST(ODataConnectorTest, AnotherUrlIsLoadedAnew) {
  ODataStream stream;
  stream.Fill(3);
  ASSERT_EQ(stream.Run(), "ok");
  FakeOData moved({});
  moved.Put(7, {.name = "there"});
  stream.settings.set_url(moved.url());
  ASSERT_EQ(stream.Run(), "ok") << "the cursor's link leads to the old one: " << stream.last;
  EXPECT_THAT(stream.Stored(), SizeIs(1));
}

TEST(ODataConnectorTest, MetricsTellPagesRowsAndLoads) {
  ODataStream stream({.page_rows = 2});
  stream.Fill(5);
  stream.service.Put(6, {.balance = "much"});
  ASSERT_EQ(stream.Run(), "ok");
  stream.service.Remove(1);
  ASSERT_EQ(stream.Run(), "ok");
  stream.service.Expire();
  ASSERT_EQ(stream.Run(), "ok");
  const std::string text = prometheus::TextSerializer().Serialize(stream.registry->Collect());
  EXPECT_THAT(text, HasSubstr("sluice_odata_pages_total 7\n"));
  EXPECT_THAT(text, HasSubstr("sluice_odata_rows_total{result=\"upsert\"} 9\n"));
  EXPECT_THAT(text, HasSubstr("sluice_odata_rows_total{result=\"delete\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sluice_odata_rows_total{result=\"rejected\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("sluice_odata_loads_total{reason=\"begin\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sluice_odata_loads_total{reason=\"expired\"} 1\n"));
}

}  // namespace
}  // namespace sluice::gateways
