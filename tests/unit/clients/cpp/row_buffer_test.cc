#include "clients/cpp/row_buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/clients/database_fixture.h"

namespace sluice::client {
namespace {

using ::sluice::testing::Integer;
using ::sluice::testing::Text;
using ::testing::ElementsAre;

class RowBufferTest : public ::testing::Test {
 protected:
  RowBufferTest() {
    accounts.second.SetColumns(
        {{"id", "id", "TEXT"}, {"name", "name", "TEXT"}, {"n", "n", "INTEGER"}});
    orders.second.SetColumns({{"no", "no", "INTEGER"}});
  }
  std::vector<std::string> Keys() {
    std::vector<std::string> keys;
    for (const uint32_t index : buffer.Sorted()) {
      const RowBuffer::Op& op = buffer.op(index);
      keys.push_back(std::string(buffer.key(op)) + (op.put ? "@" : "-") +
                     std::string(buffer.position(op)));
    }
    return keys;
  }

  RowBuffer::NamedTable accounts{"account", LocalTable(1, "id", "t")};
  RowBuffer::NamedTable orders{"order", LocalTable(2, "no", "t")};
  LocalBucket bucket;
  RowBuffer buffer;
};

TEST_F(RowBufferTest, TheOperationsOfOneRowAreNeighboursInTheOrderOfArrival) {
  ASSERT_TRUE(buffer.AddPut(&orders, &bucket, "1", "1.0", {}));
  ASSERT_TRUE(buffer.AddPut(&accounts, &bucket, "prefix-of-8-b", "2.0", {}));
  ASSERT_TRUE(buffer.AddPut(&accounts, &bucket, "prefix-of-8-a", "9.0", {}));
  buffer.AddRemove(&accounts, &bucket, "prefix-of-8-b");
  ASSERT_TRUE(buffer.AddPut(&accounts, &bucket, "\xff", "3.0", {}));
  ASSERT_TRUE(buffer.AddPut(&accounts, &bucket, "prefix-of-8-b", "1.0", {}));
  ASSERT_TRUE(buffer.AddPut(&accounts, &bucket, "p", "4.0", {}));
  EXPECT_THAT(Keys(), ElementsAre("p@4.0", "prefix-of-8-a@9.0", "prefix-of-8-b@2.0",
                                  "prefix-of-8-b-", "prefix-of-8-b@1.0", "\xff@3.0", "1@1.0"));
  EXPECT_EQ(buffer.puts(), 6U);
}

TEST_F(RowBufferTest, ValuesAreKept) {
  {
    std::string text = "Contoso";
    ASSERT_TRUE(buffer.AddPut(&accounts, &bucket, "A1", "1.0",
                              {Text("id", "A1"), Integer("n", -7), Text("name", text)}));
    text = "overwritten";
  }
  const RowBuffer::Op& op = buffer.op(0);
  ASSERT_EQ(buffer.cells(op).size(), 2U);
  EXPECT_EQ(buffer.cells(op)[0].column, 2U);
  EXPECT_EQ(buffer.cells(op)[0].value, -7);
  const Cell& name = buffer.cells(op)[1];
  EXPECT_EQ(buffer.bytes().substr(static_cast<size_t>(name.value), name.text_size), "Contoso");
}

TEST_F(RowBufferTest, ARowWithAnUnknownAttributeLeavesNothing) {
  const size_t before = buffer.size();
  EXPECT_FALSE(
      buffer.AddPut(&accounts, &bucket, "A1", "1.0", {Text("name", "x"), Text("secret", "y")}));
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.size(), before);
}

TEST(PositionOrderTest, PositionsCompareAsNumbers) {
  EXPECT_LT(PositionOrder("9.5"), PositionOrder("10.0"));
  EXPECT_LT(PositionOrder("10.2"), PositionOrder("10.10"));
  EXPECT_EQ(PositionOrder("10"), PositionOrder("10.0"));
  EXPECT_LT(PositionOrder("9223372036854775806.1"), PositionOrder("9223372036854775807.0"));
  for (const char* text : {"", "x", "5.", "5.x", "5x", ".5", "5.0.0"}) {
    EXPECT_LT(PositionOrder(text), PositionOrder("0.1")) << text;
  }
}

}  // namespace
}  // namespace sluice::client
