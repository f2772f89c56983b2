#include "gateways/ingest/duplicate_filter.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <prometheus/registry.h>

#include <string>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

class DuplicateFilterTest : public ::testing::Test {
 protected:
  DuplicateFilterTest()
      : registry_(std::make_shared<prometheus::Registry>()),
        filter_(
            kSetsMax, [this](const OrgId&) { return applied_; }, registry_) {}

  DuplicateFilter::Claim Enter(const std::string& id, uint32_t incarnation = 1) {
    return filter_.Enter(org_, incarnation, "crm", id);
  }
  std::shared_ptr<SetTicket> Find(const std::string& id) {
    return filter_.Find(org_, 1, "crm", id);
  }
  double Remembered() const {
    for (const auto& family : registry_->Collect()) {
      if (family.name == "sluice_ingest_remembered_sets") {
        return family.metric.front().gauge.value;
      }
    }
    return -1;
  }
  static size_t Allocated() {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
  }

  static constexpr size_t kSetsMax = 20'000;
  const OrgId org_ = *OrgId::Parse("contoso");
  std::shared_ptr<prometheus::Registry> registry_;
  Offset applied_ = kNoOffset;
  DuplicateFilter filter_;
};

TEST_F(DuplicateFilterTest, WhoSendsASetThatIsOnItsWayWaitsForTheSame) {
  const auto first = Enter("a");
  EXPECT_TRUE(first.first);
  EXPECT_FALSE(Enter("a").first);
  EXPECT_EQ(Enter("a").ticket, first.ticket);
  EXPECT_EQ(Find("a"), first.ticket);
  EXPECT_TRUE(Enter("a", 2).first) << "the next incarnation's is another";
  EXPECT_TRUE(filter_.Enter(org_, 1, "cr", "ma").first) << "and so is one cut elsewhere";
  first.ticket->Resolve(Offset(7));
  EXPECT_EQ(Enter("a").ticket, first.ticket);
}

TEST_F(DuplicateFilterTest, WhatIsAppliedOnlyTheStoreCanTell) {
  Enter("a").ticket->Resolve(Offset(7));
  Enter("b").ticket->Resolve(Offset(7));
  applied_ = Offset(6);
  EXPECT_NE(Find("a"), nullptr);
  applied_ = Offset(7);
  EXPECT_EQ(Find("a"), nullptr);
  const auto again = Enter("b");
  EXPECT_TRUE(again.first);
  EXPECT_FALSE(Enter("b").first) << "one at a time asks";
}

TEST_F(DuplicateFilterTest, WhatFailedIsClaimedAnew) {
  Enter("a").ticket->Resolve(absl::UnavailableError("the log did not take it"));
  EXPECT_EQ(Find("a"), nullptr);
  EXPECT_TRUE(Enter("a").first);
}

TEST_F(DuplicateFilterTest, ShrinksAsPositionsAreApplied) {
  for (int i = 0; i < 100; ++i) {
    Enter(std::to_string(i)).ticket->Resolve(Offset(i));
  }
  EXPECT_EQ(Remembered(), 100);
  applied_ = Offset(1'000);
  for (int i = 100; i < 202; ++i) {
    Enter(std::to_string(i)).ticket->Resolve(Offset(i));
  }
  EXPECT_LT(Remembered(), 5);
}

TEST_F(DuplicateFilterTest, ASetCostsTheSameWhateverItsIdAndTheOldestIsForgottenPastTheLimit) {
  const size_t before = Allocated();
  for (size_t i = 0; i < 2 * kSetsMax; ++i) {
    Enter(std::string(500, 'x') + std::to_string(i)).ticket->Resolve(Offset(1));
  }
  EXPECT_EQ(Remembered(), kSetsMax);
  EXPECT_LT((Allocated() - before) / kSetsMax, 250U);
}

// Sets that fail again and again leave nothing behind, also while an older one keeps its place.
TEST_F(DuplicateFilterTest, FailuresLeaveNothing) {
  Enter("stays");
  const auto fail = [&] {
    Enter("fails").ticket->Resolve(absl::UnavailableError("the log did not take it"));
  };
  fail();
  const size_t before = Allocated();
  for (int i = 0; i < 10'000; ++i) {
    fail();
  }
  EXPECT_LT(Allocated(), before + 10'000);
}

}  // namespace
}  // namespace sluice::gateways
