#include "clients/cpp/backoff.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace sluice::client {
namespace {

TEST(BackoffTest, WaitsGrowAreSpreadAndHaveAnEnd) {
  using std::chrono::milliseconds;
  std::mt19937_64 random(1);
  int64_t longest = 0;
  for (int failures = 1; failures <= 80; ++failures) {
    std::vector<int64_t> waits;
    for (int i = 0; i < 200; ++i) {
      waits.push_back(
          BackoffWait(failures, milliseconds(100), milliseconds(5000), milliseconds(0), random)
              .count());
    }
    const auto [least, most] = std::minmax_element(waits.begin(), waits.end());
    const int64_t ceiling = failures < 7 ? 100 << (failures - 1) : 5000;
    ASSERT_GE(*least, 0);
    ASSERT_LE(*most, ceiling) << failures;
    ASSERT_GT(*most - *least, ceiling / 2) << failures;
    longest = std::max(longest, *most);
  }
  EXPECT_GT(longest, 4500);
}

// All that were told the same time would come back in the same millisecond.
TEST(BackoffTest, TheServersWishIsSpreadToo) {
  using std::chrono::milliseconds;
  std::mt19937_64 random(1);
  std::set<milliseconds> waits;
  for (int i = 0; i < 100; ++i) {
    waits.insert(BackoffWait(3, milliseconds(100), milliseconds(5000), milliseconds(2000), random));
  }
  EXPECT_GT(waits.size(), 50U);
}

TEST(BackoffTest, TheServersWishIsTheLeast) {
  using std::chrono::milliseconds;
  std::mt19937_64 random(1);
  for (int i = 0; i < 100; ++i) {
    EXPECT_GE(BackoffWait(1, milliseconds(100), milliseconds(5000), milliseconds(900), random),
              milliseconds(900));
    EXPECT_GE(BackoffWait(1, milliseconds(100), milliseconds(5000), milliseconds(86'400), random),
              milliseconds(5000));
    EXPECT_LE(BackoffWait(1, milliseconds(100), milliseconds(5000), milliseconds(86'400), random),
              milliseconds(5100));
  }
}

}  // namespace
}  // namespace sluice::client
