#include "gateways/sources/applied_gate.h"

#include <gtest/gtest.h>

namespace sluice::gateways {
namespace {

TEST(AppliedGate, KeepsALoadCloseToTheFold) {
  std::optional<AppliedGate::Applied> applied = AppliedGate::Applied{Offset(0), true};
  AppliedGate gate([&](const OrgId&) { return applied; }, OrgId::Parse("acme").value());
  EXPECT_TRUE(gate.IsOpen());
  gate.Note(Offset(1), AppliedGate::kHereBytesMax / 2);
  EXPECT_TRUE(gate.IsOpen());
  gate.Note(Offset(2), AppliedGate::kHereBytesMax / 2);
  EXPECT_FALSE(gate.IsOpen());
  applied->here = false;  // another node, which says so only now and then
  EXPECT_TRUE(gate.IsOpen());
  applied->here = true;
  applied->next = Offset(2);
  EXPECT_TRUE(gate.IsOpen());
  gate.Note(Offset(3), AppliedGate::kElsewhereBytesMax);
  applied->here = false;
  EXPECT_FALSE(gate.IsOpen());
  applied.reset();  // nobody folds it
  EXPECT_TRUE(gate.IsOpen());
}

}  // namespace
}  // namespace sluice::gateways
