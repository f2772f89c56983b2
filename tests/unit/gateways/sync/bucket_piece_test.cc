#include "gateways/sync/bucket_piece.h"

#include <gtest/gtest.h>

#include "gateways/sync/position_bounds.h"

namespace sluice::gateways {
namespace {

// Whoever has come past the place that it began at asks for the same as one that began earlier, and
// is sent what it would have been.
TEST(KnownRowsTest, WrittenAlikeTheyChooseTheSame) {
  int alike = 0;
  for (int64_t removed_after = -1; removed_after < 6; ++removed_after) {
    for (const Position from : {EndOf(kNoOffset), EndOf(Offset(3)), Position{Offset(3), 1}}) {
      const KnownRows rows{.removed_after = Offset(removed_after), .entered_until = Offset(4)};
      const KnownRows behind = rows.Behind(from);
      alike += behind.removed_after == kNoOffset ? 1 : 0;
      for (int64_t offset = 0; offset < 7; ++offset) {
        for (const uint32_t index : {0U, 2U}) {
          for (int64_t entered = 0; entered < 6; ++entered) {
            projectors::DeltaView op;
            op.put = false;
            op.position = {Offset(offset), index};
            op.entered = Offset(entered);
            if (op.position > from) {
              EXPECT_EQ(behind.Sends(op), rows.Sends(op));
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(alike, 1 + 5 + 4);
}

}  // namespace
}  // namespace sluice::gateways
