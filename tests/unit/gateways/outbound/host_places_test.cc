#include "gateways/outbound/host_places.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>

#include "gateways/outbound/retry_after.h"
#include "schemas/base/status.h"
#include "tests/support/fake_clock.h"

namespace sluice::gateways {
namespace {

using std::chrono::seconds;

class HostPlacesTest : public ::testing::Test {
 protected:
  SteadyTime In(seconds wait) const { return clock_.SteadyNow() + wait; }

  testing::FakeClock clock_;
  HostPlaces places_{2, clock_};
};

TEST_F(HostPlacesTest, AHostHasSoManyAndOthersTheirOwn) {
  auto first = places_.Take("a", In(seconds(1)), {});
  auto second = places_.Take("a", In(seconds(1)), {});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE(places_.Take("b", In(seconds(1)), {}).ok());
  // Who waits is asked whether to stop, and the clock is moved there.
  const auto third = places_.Take("a", In(seconds(5)), [this] {
    clock_.Advance(seconds(1));
    return false;
  });
  EXPECT_EQ(ErrorCode(third.status()), "source_timeout");
  int asked = 0;
  EXPECT_TRUE(absl::IsCancelled(
      places_.Take("a", In(seconds(5)), [&asked] { return ++asked > 2; }).status()));
}

TEST_F(HostPlacesTest, APlaceThatIsGivenBackGoesToWhoWaits) {
  auto first = std::make_optional(*places_.Take("a", In(seconds(1)), {}));
  const auto second = places_.Take("a", In(seconds(1)), {});
  std::atomic<bool> waiting{false};
  std::thread waiter([&] {
    EXPECT_TRUE(places_
                    .Take("a", In(seconds(1)),
                          [&] {
                            waiting = true;
                            return false;
                          })
                    .ok());
  });
  while (!waiting) {
    std::this_thread::yield();
  }
  first.reset();
  waiter.join();
}

TEST_F(HostPlacesTest, AHostThatRestsIsNotAsked) {
  places_.Rest("a", seconds(30));
  places_.Rest("a", seconds(10));
  clock_.Advance(seconds(12));
  const auto refused = places_.Take("a", In(seconds(60)), {});
  EXPECT_EQ(ErrorCode(refused.status()), "source_resting");
  EXPECT_TRUE(absl::IsUnavailable(refused.status()));
  EXPECT_EQ(RetryAfterOf(refused.status()), seconds(18)) << "the longer rest stays";
  EXPECT_TRUE(places_.Take("b", In(seconds(1)), {}).ok());
  clock_.Advance(seconds(18));
  EXPECT_TRUE(places_.Take("a", In(seconds(1)), {}).ok());
}

TEST_F(HostPlacesTest, ARestOutlivesThePlacesThatWereTakenBefore) {
  {
    const auto place = places_.Take("a", In(seconds(1)), {});
    places_.Rest("a", seconds(30));
  }
  EXPECT_EQ(ErrorCode(places_.Take("a", In(seconds(1)), {}).status()), "source_resting");
}

}  // namespace
}  // namespace sluice::gateways
