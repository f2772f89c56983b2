#include "schemas/base/uuid.h"

#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/fake_clock.h"

namespace sluice {
namespace {

std::string NewUuidAt(std::chrono::milliseconds since_1970) {
  testing::FakeClock clock(std::chrono::seconds(0));
  clock.Advance(since_1970);
  return NewUuid7(clock);
}

TEST(NewUuid7, HoldsTimeVersionAndVariant) {
  // The time of the example in RFC 9562, appendix A.6.
  const std::string uuid = NewUuidAt(std::chrono::milliseconds(0x017F22E279B0));
  EXPECT_TRUE(std::regex_match(
      uuid, std::regex("017f22e2-79b0-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")))
      << uuid;
}

TEST(NewUuid7, SortsByTime) {
  EXPECT_LT(NewUuidAt(std::chrono::milliseconds(1'000)),
            NewUuidAt(std::chrono::milliseconds(1'001)));
  EXPECT_LT(NewUuidAt(std::chrono::milliseconds(0xffffffff)),
            NewUuidAt(std::chrono::milliseconds(0x100000000)));
}

TEST(NewUuid7, IsUniqueWithinOneMillisecondAndOverThreads) {
  const testing::FakeClock clock;
  std::vector<std::vector<std::string>> made(4);
  std::vector<std::thread> threads;
  for (auto& mine : made) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) {
        mine.push_back(NewUuid7(clock));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  std::set<std::string> all;
  for (const auto& mine : made) {
    all.insert(mine.begin(), mine.end());
  }
  EXPECT_EQ(all.size(), 20'000U);
}

}  // namespace
}  // namespace sluice
