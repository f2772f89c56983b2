#include "gateways/debezium/operation_batch.h"

#include <gmock/gmock.h>

#include "schemas/row_codec.h"
#include "tests/support/schemas/test_schema.h"

namespace sluice::gateways {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class OperationBatchTest : public ::testing::Test {
 protected:
  // `json` is without the columns `kept`.
  void Upsert(const std::string& json, std::vector<uint32_t> kept = {}, std::string from = "") {
    const auto encoded = schemas::testing::ValueOrDie(encoder_.Encode(*schema_, json));
    DecodedRow row;
    row.key = encoded.key;
    row.bytes = encoded.bytes;
    for (const uint32_t id : kept) {
      row.kept.emplace_back(id);
    }
    batch_.Upsert(1, std::move(row), std::move(from), 7);
  }
  std::string Json(const v1::Operation& op) {
    std::string json;
    EXPECT_TRUE(schemas::AppendRowJson(*schema_, op.row(), {}, &json).ok());
    return json;
  }

  const std::shared_ptr<const schemas::EntitySchema> schema_ =
      schemas::testing::MakeSchema("e", R"({"primary_key":"k","attributes":[
        {"name":"k","type":"string"},{"name":"a","type":"string"},{"name":"b","type":"string"}]})");
  schemas::RowEncoder encoder_;
  OperationBatch batch_;
};

TEST_F(OperationBatchTest, WhatARowOfTheSetHasIsCompletedFromIt) {
  Upsert(R"({"k":"1","a":"long","b":"x"})");
  Upsert(R"({"k":"1","b":"y"})", {2});
  const auto ops = batch_.Take();
  EXPECT_EQ(Json(ops[1]), R"({"k":"1","a":"long","b":"y"})");
  EXPECT_THAT(ops[1].kept(), IsEmpty());
  EXPECT_EQ(ops[1].version(), 7);
  EXPECT_TRUE(batch_.empty());
}

TEST_F(OperationBatchTest, WhatIsNotInTheSetIsKept) {
  Upsert(R"({"k":"1"})", {2, 3});
  Upsert(R"({"k":"1","b":"y"})", {2});
  Upsert(R"({"k":"1"})", {2, 3});
  const auto ops = batch_.Take();
  EXPECT_THAT(ops[0].kept(), ElementsAre(2, 3));
  EXPECT_THAT(ops[2].kept(), ElementsAre(2));
  EXPECT_EQ(Json(ops[2]), R"({"k":"1","b":"y"})");
  EXPECT_EQ(ops[2].kept_from(), "");
}

TEST_F(OperationBatchTest, ARowThatMovesTwiceTakesItsValuesFromTheFirstKey) {
  batch_.Delete(1, "1", 7);
  Upsert(R"({"k":"2"})", {2}, "1");
  EXPECT_TRUE(batch_.moves());
  batch_.Delete(1, "2", 7);
  Upsert(R"({"k":"3","b":"z"})", {2}, "2");
  Upsert(R"({"k":"3","b":"zz"})", {2});
  const auto ops = batch_.Take();
  EXPECT_EQ(ops[1].kept_from(), "1");
  EXPECT_EQ(ops[3].kept_from(), "1");
  EXPECT_EQ(ops[4].kept_from(), "1");
  EXPECT_THAT(ops[4].kept(), ElementsAre(2));
  EXPECT_FALSE(batch_.moves());
}

TEST_F(OperationBatchTest, ARowThatMovedAndIsBackKeepsItsOwn) {
  Upsert(R"({"k":"2"})", {2}, "1");
  Upsert(R"({"k":"1"})", {2}, "2");
  const auto ops = batch_.Take();
  EXPECT_EQ(ops[1].kept_from(), "");
  EXPECT_THAT(ops[1].kept(), ElementsAre(2));
}

TEST_F(OperationBatchTest, ARowOfTheSetThatMovesIsWhole) {
  Upsert(R"({"k":"1","a":"long"})");
  batch_.Delete(1, "1", 7);
  Upsert(R"({"k":"2"})", {2}, "1");
  const auto ops = batch_.Take();
  EXPECT_EQ(Json(ops[2]), R"({"k":"2","a":"long"})");
  EXPECT_EQ(ops[2].kept_from(), "");
}

TEST_F(OperationBatchTest, NothingIsKeptOfARowThatWasDeleted) {
  Upsert(R"({"k":"1","a":"long"})");
  batch_.Delete(1, "1", 7);
  Upsert(R"({"k":"1"})", {2});
  const auto ops = batch_.Take();
  EXPECT_EQ(Json(ops[2]), R"({"k":"1"})");
  EXPECT_THAT(ops[2].kept(), IsEmpty());
}

TEST_F(OperationBatchTest, EntitiesAreApart) {
  Upsert(R"({"k":"1","a":"long"})");
  DecodedRow other;
  other.key = "1";
  other.kept.emplace_back(2);
  batch_.Upsert(2, std::move(other), "", 7);
  EXPECT_THAT(batch_.Take()[1].kept(), ElementsAre(2));
}

}  // namespace
}  // namespace sluice::gateways
