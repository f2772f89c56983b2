#include "gateways/sync/accept.h"

#include <gtest/gtest.h>

#include <string_view>

namespace sluice::gateways {
namespace {

constexpr auto kNdjson = FrameFormat::kNdjson;
constexpr auto kSse = FrameFormat::kSse;

TEST(AcceptTest, TheTypeThatIsLikedBestIsTaken) {
  EXPECT_EQ(FormatFor(""), kNdjson);
  EXPECT_EQ(FormatFor("*/*"), kNdjson);
  EXPECT_EQ(FormatFor("application/*"), kNdjson);
  EXPECT_EQ(FormatFor("text/*"), kSse);
  EXPECT_EQ(FormatFor("text/event-stream"), kSse);
  EXPECT_EQ(FormatFor("APPLICATION/X-NDJSON"), kNdjson);
  EXPECT_EQ(FormatFor("Text/Event-Stream;charset=utf-8"), kSse);
  EXPECT_EQ(FormatFor("application/x-ndjson, text/event-stream"), kNdjson);
  EXPECT_EQ(FormatFor("application/x-ndjson;q=0.5, text/event-stream"), kSse);
  EXPECT_EQ(FormatFor("application/x-ndjson, text/event-stream; q=0.5"), kNdjson);
  EXPECT_EQ(FormatFor("text/event-stream, */*;q=0.1"), kSse);
  EXPECT_EQ(FormatFor("text/event-stream;q=0.001,image/png"), kSse);
}

TEST(AcceptTest, AWeightOfZeroRefuses) {
  EXPECT_EQ(FormatFor("text/event-stream;q=0, */*"), kNdjson);
  EXPECT_EQ(FormatFor("application/x-ndjson;q=0.0, */*"), kSse);
  EXPECT_EQ(FormatFor("application/x-ndjson;q=0"), std::nullopt);
  EXPECT_EQ(FormatFor("*/*;q=0"), std::nullopt);
}

TEST(AcceptTest, OtherTypesAndNonsense) {
  for (const std::string_view accept :
       {"image/png", "application/json", "application/x-ndjson2", "x-ndjson", ",", ";q=1", "text/",
        "text/event-stream;q=2", "text/event-stream;q=x", "application/vnd.sluice.sync+protobuf"}) {
    EXPECT_EQ(FormatFor(accept), std::nullopt) << accept;
  }
  EXPECT_EQ(FormatFor("nonsense;;;, text/event-stream"), kSse);
}

}  // namespace
}  // namespace sluice::gateways
