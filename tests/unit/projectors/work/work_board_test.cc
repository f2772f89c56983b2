#include "projectors/work/work_board.h"

#include <gtest/gtest.h>

#include "tests/unit/projectors/work/work_events.h"

namespace sluice::projectors {
namespace {

TEST(WorkBoard, TellsOfTheStreamsOfASource) {
  WorkBoard board(2);
  board.Begin(PartitionId(1), /*whole=*/true);
  int64_t next = 0;
  for (const StreamKey& key : {Key("acme", "crm", "account"), Key("acme", "crm", "contact"),
                               Key("acme", "crm2", "account"), Key("bolt", "crm", "account")}) {
    board.Apply(PartitionId(1), {{Offset(next++), WorkEvent(key, Item(key, 100), kWorkStart)},
                                 {Offset(next++), {}}});
  }
  const OrgId acme = OrgId::Parse("acme").value();
  const auto streams = board.StreamsOf(PartitionId(1), acme, 1, "crm");
  ASSERT_EQ(streams.size(), 2U);
  EXPECT_TRUE(streams.at("contact").open.has_value());
  EXPECT_TRUE(board.StreamsOf(PartitionId(1), acme, 2, "crm").empty());
  EXPECT_TRUE(board.StreamsOf(PartitionId(0), acme, 1, "crm").empty());
  EXPECT_TRUE(board.Find(PartitionId(1), Key("bolt")).has_value());
  EXPECT_FALSE(board.Find(PartitionId(1), Key("cord")).has_value());

  board.Begin(PartitionId(1), /*whole=*/true);
  EXPECT_TRUE(board.StreamsOf(PartitionId(1), acme, 1, "crm").empty());
}

}  // namespace
}  // namespace sluice::projectors
