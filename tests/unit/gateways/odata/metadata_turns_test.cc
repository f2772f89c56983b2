#include "gateways/odata/metadata_turns.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

OrgId Org(const char* name) { return *OrgId::Parse(name); }

TEST(MetadataTurnsTest, OneOfAnOrganisationAndAFewOfAll) {
  MetadataTurns turns(2);
  const auto stopping = [] { return true; };
  auto first = turns.Take(Org("acme"), stopping);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(ErrorCode(turns.Take(Org("acme"), stopping).status()), "cancelled");
  const auto second = turns.Take(Org("bolt"), stopping);
  ASSERT_TRUE(second.ok()) << "nobody waits for another organisation";
  EXPECT_EQ(turns.Take(Org("cove"), stopping).status().code(), absl::StatusCode::kCancelled);
  first = absl::CancelledError("");  // its turn ends
  EXPECT_TRUE(turns.Take(Org("acme"), {}).ok());
}

TEST(MetadataTurnsTest, WhoWaitsGetsTheTurn) {
  MetadataTurns turns;
  auto turn = turns.Take(Org("acme"), {});
  ASSERT_TRUE(turn.ok());
  std::atomic<bool> asked = false;
  bool taken = false;
  std::thread other([&] {
    taken = turns
                .Take(Org("acme"),
                      [&] {
                        asked = true;
                        return false;
                      })
                .ok();
  });
  while (!asked) {
    std::this_thread::yield();
  }
  turn = absl::CancelledError("");
  other.join();
  EXPECT_TRUE(taken);
}

}  // namespace
}  // namespace sluice::gateways
