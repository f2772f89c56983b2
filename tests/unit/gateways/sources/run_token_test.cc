#include "gateways/sources/run_token.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/support/fake_clock.h"

namespace sluice::gateways {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class RunTokenTest : public ::testing::Test {
 protected:
  seconds Silent() const {
    return std::chrono::duration_cast<seconds>(clock_.SteadyNow() - token_.touched());
  }

  sluice::testing::FakeClock clock_;
  RunToken token_{clock_};
};

TEST_F(RunTokenTest, OnlyWhatComesOfTheSourceCounts) {
  clock_.Advance(seconds(10));
  EXPECT_TRUE(token_.Pause(milliseconds(0)));
  EXPECT_EQ(Silent(), seconds(10));  // to pause is nothing
  token_.Touch();
  EXPECT_EQ(Silent(), seconds(0));
}

TEST_F(RunTokenTest, AWaitForTheLogDoesNotCount) {
  clock_.Advance(seconds(10));
  {
    const RunToken::Hold hold(token_);
    clock_.Advance(seconds(100));
    EXPECT_EQ(Silent(), seconds(10));
    {
      const RunToken::Hold inner(token_);
      clock_.Advance(seconds(100));
    }
    EXPECT_EQ(Silent(), seconds(10));
  }
  EXPECT_EQ(Silent(), seconds(10));
  clock_.Advance(seconds(5));
  EXPECT_EQ(Silent(), seconds(15));
  const RunToken::Hold hold(token_);
  clock_.Advance(seconds(7));
  token_.Touch();
  clock_.Advance(seconds(7));
  EXPECT_EQ(Silent(), seconds(0));
}

TEST_F(RunTokenTest, TheFirstReasonStaysAndEndsAPause) {
  std::thread other([&] { token_.Cancel(RunToken::Why::kTurn); });
  EXPECT_FALSE(token_.Pause(std::chrono::hours(1)));
  other.join();
  token_.Cancel(RunToken::Why::kStop);
  EXPECT_EQ(token_.why(), RunToken::Why::kTurn);
}

}  // namespace
}  // namespace sluice::gateways
