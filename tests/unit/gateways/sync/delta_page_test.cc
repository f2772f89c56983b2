#include "gateways/sync/delta_page.h"

#include <gtest/gtest.h>

#include "gateways/sync/delta_plan.h"
#include "schemas/row_codec.h"
#include "schemas/status.h"
#include "tests/support/gateways/plain_org.h"

namespace sluice::gateways {
namespace {

using projectors::CallerBucket;
using sluice::testing::PlainOrg;
using sluice::testing::PlainSnapshot;

class DeltaPageTest : public ::testing::Test {
 protected:
  DeltaPageTest() {
    v1::EntitySchema proto;
    proto.set_entity_id(1);
    proto.set_name("account");
    proto.set_primary_key(1);
    proto.set_next_attribute_id(2);
    auto* key = proto.add_attributes();
    key->set_id(1);
    key->set_name("id");
    key->set_type(v1::ATTRIBUTE_TYPE_STRING);
    schema_ = schemas::EntitySchema::FromProto(proto).value();
  }

  CallerBucket Bucket(uint64_t key) const {
    return {{BucketKey(key), std::to_string(key)}, schema_, {}};
  }
  void Put(const std::string& key, int64_t offset, const std::set<BucketKey>& buckets,
           bool rewrite = true) {
    const auto row = schemas::RowEncoder().Encode(*schema_, "{\"id\":\"" + key + "\"}").value();
    org_.Put({schema_->id(), key}, {Offset(offset), 0}, row.bytes, buckets, rewrite);
    org_.applied.position = Offset(offset);
  }
  // The page's operations, and its cursor to cursor_.
  std::string Page(const std::vector<CallerBucket>& buckets, size_t limit = 100) {
    std::string ops;
    DeltaLimits limits;
    limits.ops_max = limit;
    page_ = BuildDeltaPage(PlainSnapshot(org_), 1, buckets, cursor_, limits, &ops).value();
    cursor_ = page_.cursor;
    return ops;
  }
  static std::string PutOf(const std::string& key, const std::string& position) {
    return R"({"op":"put","entity":"account","key":")" + key + R"(","position":")" + position +
           R"(","row":{"id":")" + key + "\"}}";
  }
  static std::string RemoveOf(const std::string& key, const std::string& position) {
    return R"({"op":"remove","entity":"account","key":")" + key + R"(","position":")" + position +
           "\"}";
  }

  std::shared_ptr<const schemas::EntitySchema> schema_;
  PlainOrg org_;
  Cursor cursor_;
  DeltaPage page_;
};

TEST_F(DeltaPageTest, ARowInTwoBucketsIsSentOnce) {
  Put("A", 5, {BucketKey(1), BucketKey(2)});
  EXPECT_EQ(Page({Bucket(1), Bucket(2)}), PutOf("A", "5.0"));
  EXPECT_FALSE(page_.more);
  EXPECT_EQ(page_.position, Offset(5));
}

TEST_F(DeltaPageTest, AFreshStartHasNoOldRemovals) {
  Put("A", 5, {BucketKey(1)});
  Put("A", 6, {});
  EXPECT_EQ(Page({Bucket(1)}), "");
}

// But one that came while the first load was under way is needed.
TEST_F(DeltaPageTest, RemovalsDuringALoadAreSent) {
  Put("A", 5, {BucketKey(1)});
  Put("B", 6, {BucketKey(1)});
  EXPECT_EQ(Page({Bucket(1)}, 1), PutOf("A", "5.0"));
  EXPECT_TRUE(page_.more);
  Put("A", 7, {});
  EXPECT_EQ(Page({Bucket(1)}), PutOf("B", "6.0") + "," + RemoveOf("A", "7.0"));
}

TEST_F(DeltaPageTest, AHeldRowIsNotSentAgainForAnotherRule) {
  Put("A", 5, {BucketKey(1)});
  Page({Bucket(1)});
  // A new rule holds it too, and then only that one.
  Put("A", 9, {BucketKey(1), BucketKey(2)}, false);
  EXPECT_EQ(Page({Bucket(1), Bucket(2)}), "");
  Put("A", 12, {BucketKey(2)}, false);
  EXPECT_EQ(Page({Bucket(1), Bucket(2)}), "");
  Put("A", 13, {}, false);
  EXPECT_EQ(Page({Bucket(1), Bucket(2)}), RemoveOf("A", "13.0"));
}

TEST_F(DeltaPageTest, ALostBucketTakesOnlyItsOwnRows) {
  Put("A", 5, {BucketKey(1)});
  Put("B", 6, {BucketKey(1), BucketKey(2)});
  Page({Bucket(1), Bucket(2)});
  EXPECT_EQ(Page({Bucket(2)}), RemoveOf("A", "5.0"));
  EXPECT_EQ(Page({Bucket(2)}), "");
}

TEST_F(DeltaPageTest, OtherColumnsAreSentAnew) {
  Put("A", 5, {BucketKey(1)});
  Page({Bucket(1)});
  CallerBucket masked = Bucket(1);
  masked.denied = {schemas::AttributeId(9)};
  EXPECT_EQ(Page({masked}), PutOf("A", "5.0"));
}

TEST_F(DeltaPageTest, CursorsThatCannotBeUsed) {
  Put("A", 5, {BucketKey(1)});
  Page({Bucket(1)});
  projectors::AppliedState applied = org_.applied;
  EXPECT_TRUE(CheckCursor(cursor_, 1, applied).ok());
  EXPECT_EQ(ErrorCode(CheckCursor(cursor_, 2, applied)), "org_reprovisioned");
  applied.position = Offset(4);
  EXPECT_EQ(ErrorCode(CheckCursor(cursor_, 1, applied)), "not_caught_up");
  applied = {.position = Offset(20), .event_hash = 0, .records = 0, .horizon = Offset(5)};
  EXPECT_TRUE(CheckCursor(cursor_, 1, applied).ok());
  applied.horizon = Offset(6);
  EXPECT_EQ(ErrorCode(CheckCursor(cursor_, 1, applied)), "cursor_expired");
}

}  // namespace
}  // namespace sluice::gateways
