#include "gateways/outbound/retry_after.h"

#include <gtest/gtest.h>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const SystemTime kNow(seconds(1'790'000'000));
constexpr char kDate[] = "Sun, 06 Nov 1994 08:49:37 GMT";
const SystemTime kDateTime(seconds(784'111'777));

TEST(RetryAfterTest, Seconds) {
  EXPECT_EQ(ParseRetryAfter("0", "", kNow), milliseconds(0));
  EXPECT_EQ(ParseRetryAfter("17", "", kNow), seconds(17));
  EXPECT_EQ(ParseRetryAfter("901", "", kNow), kRetryAfterMax);
  EXPECT_EQ(ParseRetryAfter("99999999999999999999999", "", kNow), kRetryAfterMax);
  for (const char* text : {"", "-1", "+5", "1.5", "5s", " ", "soon"}) {
    EXPECT_EQ(ParseRetryAfter(text, kDate, kNow), std::nullopt) << text;
  }
}

TEST(RetryAfterTest, DateBySourcesClock) {
  EXPECT_EQ(ParseRetryAfter("Sun, 06 Nov 1994 08:50:37 GMT", kDate, kNow), seconds(60))
      << "its clock is decades behind ours";
  EXPECT_EQ(ParseRetryAfter(kDate, "Sun, 06 Nov 1994 08:50:37 GMT", kNow), milliseconds(0));
  EXPECT_EQ(ParseRetryAfter("Mon, 07 Nov 1994 08:49:37 GMT", kDate, kNow), kRetryAfterMax);
  EXPECT_EQ(ParseRetryAfter("Sun, 06 Nov 1994 08:50:37 GMT", "no date", kDateTime), seconds(60));
}

TEST(RetryAfterTest, ThreeFormsOfADate) {
  EXPECT_EQ(ParseHttpDate(kDate), kDateTime);
  EXPECT_EQ(ParseHttpDate("Sunday, 06-Nov-94 08:49:37 GMT"), kDateTime);
  EXPECT_EQ(ParseHttpDate("Sun Nov  6 08:49:37 1994"), kDateTime);
  for (const char* text :
       {"", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37", "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT x", "infinite-past", "infinite-future",
        "Sun, 06 Nov 200000 08:49:37 GMT", "Sun, 06 Nov 1894 08:49:37 GMT"}) {
    EXPECT_EQ(ParseHttpDate(text), std::nullopt) << text;
  }
}

TEST(RetryAfterTest, AStatusCarriesIt) {
  const absl::Status status =
      WithRetryAfter(Error(absl::StatusCode::kUnavailable, "source_resting", "x"), seconds(7));
  EXPECT_EQ(RetryAfterOf(status), seconds(7));
  EXPECT_EQ(RetryAfterOf(Annotate(status, "context")), seconds(7));
  EXPECT_EQ(ErrorCode(status), "source_resting");
  EXPECT_EQ(RetryAfterOf(absl::UnavailableError("")), std::nullopt);
  EXPECT_TRUE(WithRetryAfter(absl::OkStatus(), seconds(7)).ok());
}

}  // namespace
}  // namespace sluice::gateways
