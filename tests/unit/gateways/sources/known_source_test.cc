#include "gateways/sources/known_source.h"

#include <gtest/gtest.h>

namespace sluice::gateways {
namespace {

using std::chrono::seconds;

TEST(KnownSource, StreamsAreTheEntitiesThatAreToBeRead) {
  v1::SourceDefined defined;
  defined.set_epoch(7);
  v1::SourceSettings& settings = *defined.mutable_settings();
  settings.set_name("crm");
  settings.set_all_entities(true);
  settings.add_entities()->set_name("account");
  settings.mutable_entities(0)->set_interval_s(900);
  settings.add_entities()->set_name("gone");
  settings.mutable_entities(1)->set_disabled(true);
  KnownSource source{OrgId::Parse("acme").value(),
                     2,
                     Offset(5),
                     std::make_shared<const v1::SourceDefined>(defined),
                     {{"", Offset(40)}, {"account", Offset(50)}},
                     {"account", "contact", "gone"}};
  const auto streams = StreamsOf(source, /*by_entity=*/true, {});
  ASSERT_EQ(streams.size(), 3U);
  EXPECT_EQ(streams[0].key.stream, "");
  EXPECT_EQ(streams[0].interval, seconds(3'600));
  EXPECT_EQ(streams[0].request, 40);
  EXPECT_EQ(streams[1].key.stream, "account");
  EXPECT_EQ(streams[1].key.incarnation, 2U);
  EXPECT_EQ(streams[1].epoch, 7);
  EXPECT_EQ(streams[1].interval, seconds(900));
  EXPECT_EQ(streams[1].request, 50);
  EXPECT_EQ(streams[2].key.stream, "contact");
  EXPECT_EQ(streams[2].interval, seconds(300));

  const auto whole = StreamsOf(source, /*by_entity=*/false, {});
  ASSERT_EQ(whole.size(), 1U);
  EXPECT_EQ(whole[0].key.stream, "");
}

}  // namespace
}  // namespace sluice::gateways
