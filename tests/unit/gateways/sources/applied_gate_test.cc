#include "gateways/sources/applied_gate.h"

#include <gtest/gtest.h>

namespace sluice::gateways {
namespace {

const OrgId kAcme = OrgId::Parse("acme").value();
const OrgId kOther = OrgId::Parse("other").value();

TEST(AppliedGate, KeepsALoadCloseToTheFold) {
  std::optional<AppliedGate::Applied> applied = AppliedGate::Applied{Offset(0), true};
  AppliedGate gate([&](const OrgId&) { return applied; });
  EXPECT_TRUE(gate.IsOpen(kAcme));
  gate.Note(kAcme, Offset(1), AppliedGate::kHereBytesMax / 2);
  EXPECT_TRUE(gate.IsOpen(kAcme));
  gate.Note(kAcme, Offset(2), AppliedGate::kHereBytesMax / 2);
  EXPECT_FALSE(gate.IsOpen(kAcme));
  applied->here = false;  // another node, which says so only now and then
  EXPECT_TRUE(gate.IsOpen(kAcme));
  applied->here = true;
  applied->next = Offset(2);
  EXPECT_TRUE(gate.IsOpen(kAcme));
  gate.Note(kAcme, Offset(3), AppliedGate::kElsewhereBytesMax);
  applied->here = false;
  EXPECT_FALSE(gate.IsOpen(kAcme));
  applied.reset();  // nobody folds it
  EXPECT_TRUE(gate.IsOpen(kAcme));
}

TEST(AppliedGate, AnOrganisationWaitsForItsOwnFold) {
  std::map<OrgId, AppliedGate::Applied> applied = {{kAcme, {Offset(0), true}},
                                                   {kOther, {Offset(0), true}}};
  AppliedGate gate([&](const OrgId& org) { return applied.at(org); });
  gate.Note(kOther, Offset(7'000), AppliedGate::kHereBytesMax);
  EXPECT_FALSE(gate.IsOpen(kOther));
  EXPECT_TRUE(gate.IsOpen(kAcme));
  gate.Note(kAcme, Offset(3), AppliedGate::kHereBytesMax);
  applied.at(kOther).next = Offset(7'001);  // of its own partition
  EXPECT_TRUE(gate.IsOpen(kOther));
  EXPECT_FALSE(gate.IsOpen(kAcme));
}

TEST(AppliedGate, SmallSetsAreCountedTogetherAndNoneIsForgotten) {
  std::optional<AppliedGate::Applied> applied = AppliedGate::Applied{Offset(0), true};
  AppliedGate gate([&](const OrgId&) { return applied; });
  constexpr size_t kSets = 4'096;
  for (size_t i = 0; i < kSets; ++i) {
    gate.Note(kAcme, Offset(static_cast<int64_t>(i)), AppliedGate::kHereBytesMax / kSets);
  }
  EXPECT_FALSE(gate.IsOpen(kAcme));
  applied->next = Offset(1);  // what was counted with the first is not folded yet
  EXPECT_FALSE(gate.IsOpen(kAcme));
  applied->next = Offset(kSets);
  EXPECT_TRUE(gate.IsOpen(kAcme));
}

}  // namespace
}  // namespace sluice::gateways
