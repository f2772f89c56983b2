#include "gateways/sync/delta_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateways/sync/delta_plan.h"
#include "gateways/sync/json_encoder.h"
#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "tests/support/gateways/plain_org.h"

namespace sluice::gateways {
namespace {

using projectors::CallerBucket;
using projectors::CallerEntity;
using sluice::testing::PlainOrg;
using sluice::testing::PlainSnapshot;

constexpr BucketKey kOne{1, 0};
constexpr BucketKey kTwo{2, 0};

class DeltaPageTest : public ::testing::Test {
 protected:
  DeltaPageTest() {
    v1::EntitySchema proto;
    proto.set_entity_id(1);
    proto.set_name("account");
    proto.set_primary_key(1);
    proto.set_next_attribute_id(3);
    for (const uint32_t id : {1U, 2U}) {
      auto* attribute = proto.add_attributes();
      attribute->set_id(id);
      attribute->set_name(id == 1 ? "id" : "name");
      attribute->set_type(v1::ATTRIBUTE_TYPE_STRING);
    }
    schema_ = schemas::EntitySchema::FromProto(proto).value();
  }

  std::shared_ptr<const CallerEntity> Entity(std::vector<schemas::AttributeId> denied) const {
    return std::make_shared<CallerEntity>(CallerEntity{schema_, std::move(denied)});
  }

  CallerBucket Bucket(uint64_t key) const {
    return {{BucketKey{key, 0}, std::to_string(key)}, Entity({}), 0, kNoOffset};
  }
  // The same without the column `name`.
  CallerBucket Masked(uint64_t key) const {
    CallerBucket bucket = Bucket(key);
    bucket.entity = Entity({schemas::AttributeId(2)});
    bucket.columns = 2;
    return bucket;
  }
  void Put(const std::string& key, int64_t offset, const std::set<BucketKey>& buckets,
           const std::string& name = "") {
    const std::string json =
        "{\"id\":\"" + key + "\"" + (name.empty() ? "" : ",\"name\":\"" + name + "\"") + "}";
    const auto row = schemas::RowEncoder().Encode(*schema_, json).value();
    org_.Put({schema_->id(), key}, {Offset(offset), 0}, row.bytes, buckets);
    org_.applied.position = Offset(offset);
  }
  // The row is as it was, but in other buckets.
  void Move(const std::string& key, int64_t offset, const std::set<BucketKey>& buckets,
            bool by_definition = false) {
    const std::string row = org_.records.at({schema_->id(), key}).row;
    org_.Put({schema_->id(), key}, {Offset(offset), 0}, row, buckets, false, by_definition);
    org_.applied.position = Offset(offset);
  }
  // The page's operations, and its cursor to cursor_.
  std::string Page(const std::vector<CallerBucket>& buckets, size_t limit = 100,
                   size_t scanned = 100) {
    std::string ops;
    DeltaLimits limits;
    limits.ops_max = limit;
    limits.scanned_max = scanned;
    page_ = BuildDeltaPage(PlainSnapshot(org_), 1, buckets, cursor_, limits, JsonOperations(),
                           pieces_, &ops)
                .value();
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
  int hits_ = 0;
  PieceCache pieces_{{.on_find = [this](bool hit) { hits_ += hit ? 1 : 0; }}};
  Cursor cursor_;
  DeltaPage page_;
};

TEST_F(DeltaPageTest, ARowInTwoBucketsIsSentOnce) {
  Put("A", 5, {kOne, kTwo});
  EXPECT_EQ(Page({Bucket(1), Bucket(2)}), PutOf("A", "5.0"));
  EXPECT_FALSE(page_.more);
  EXPECT_EQ(page_.position, Offset(5));
}

// Holders of different cursors, who have come to the same operation; not those who see other
// columns of it.
TEST_F(DeltaPageTest, HoldersOfTheSameBucketShareWhatTheyAreSent) {
  Put("A", 5, {kOne}, "x");
  std::vector<Cursor> cursors;
  for (int i = 0; i < 4; ++i) {
    cursor_ = {};
    EXPECT_NE(Page({Bucket(1)}).find("\"x\""), std::string::npos);
    cursors.push_back(cursor_);
    org_.applied.position = Offset(org_.applied.position.value() + 1);  // others' rows
  }
  EXPECT_EQ(hits_, 2);
  hits_ = 0;
  Put("B", 20, {kOne}, "y");
  Put("A", 21, {});
  for (const Cursor& cursor : cursors) {
    cursor_ = cursor;
    const std::string page = Page({Bucket(1)});
    EXPECT_NE(page.find("\"y\""), std::string::npos);
    EXPECT_TRUE(page.ends_with("," + RemoveOf("A", "21.0"))) << page;
    EXPECT_FALSE(page_.more);
  }
  EXPECT_EQ(hits_, 2);
  cursor_ = {};
  EXPECT_EQ(Page({Masked(1)}), PutOf("B", "20.0"));
}

// The holder may have the row that has returned: that is looked up, whoever has made the piece.
TEST_F(DeltaPageTest, RowsThatHaveReturnedAreLookedUp) {
  Put("A", 5, {kOne});
  (void)Page({Bucket(1)});
  Move("A", 6, {}, true);
  Move("A", 7, {kOne});
  Put("B", 8, {kOne});
  const Cursor before = cursor_;
  for (int i = 0; i < 4; ++i) {
    cursor_ = before;
    EXPECT_EQ(Page({Bucket(1)}), PutOf("B", "8.0"));
  }
}

TEST_F(DeltaPageTest, AFreshStartHasNoOldRemovals) {
  Put("A", 5, {kOne});
  Put("A", 6, {});
  EXPECT_EQ(Page({Bucket(1)}), "");
}

// But one that came while the first load was under way is needed.
TEST_F(DeltaPageTest, RemovalsDuringALoadAreSent) {
  Put("A", 5, {kOne});
  Put("B", 6, {kOne});
  EXPECT_EQ(Page({Bucket(1)}, 1), PutOf("A", "5.0"));
  EXPECT_TRUE(page_.more);
  Put("A", 7, {});
  EXPECT_EQ(Page({Bucket(1)}), PutOf("B", "6.0") + "," + RemoveOf("A", "7.0"));
}

TEST_F(DeltaPageTest, AHeldRowIsNotSentAgainForAnotherRule) {
  Put("A", 5, {kOne});
  Page({Bucket(1)});
  // A new rule holds it too, and then only that one.
  Move("A", 9, {kOne, kTwo});
  EXPECT_EQ(Page({Bucket(1), Bucket(2)}), "");
  Move("A", 12, {kTwo});
  EXPECT_EQ(Page({Bucket(1), Bucket(2)}), "");
  Move("A", 13, {});
  EXPECT_EQ(Page({Bucket(1), Bucket(2)}), RemoveOf("A", "13.0"));
}

TEST_F(DeltaPageTest, ALostBucketTakesOnlyItsOwnRows) {
  Put("A", 5, {kOne});
  Put("B", 6, {kOne, kTwo});
  Page({Bucket(1), Bucket(2)});
  EXPECT_EQ(Page({Bucket(2)}), RemoveOf("A", "5.0"));
  EXPECT_EQ(Page({Bucket(2)}), "");
}

// Keys that came into a bucket when it was not the caller's any more are not for its eyes.
TEST_F(DeltaPageTest, OfALostBucketOnlyKnownKeysAreNamed) {
  Put("A", 5, {kOne});
  Put("B", 6, {kOne});
  Page({Bucket(1)});
  Put("C", 7, {kOne});
  Put("D", 8, {kOne});
  Put("D", 9, {});
  Put("B", 10, {});
  EXPECT_EQ(Page({}), RemoveOf("A", "5.0") + "," + RemoveOf("B", "10.0"));
}

// Nor are those that had been there before it was the caller's, and came back after; but what the
// caller knew is named, also if it was away since.
TEST_F(DeltaPageTest, OfALostBucketRowsThatCameBackAreNamedIfTheyWereKnown) {
  Put("A", 1, {kOne});
  Put("A", 2, {});
  Put("B", 3, {kOne});
  Page({Bucket(1)});
  Put("C", 4, {kOne});
  EXPECT_EQ(Page({Bucket(1)}), PutOf("C", "4.0"));
  Put("B", 5, {});
  Put("A", 6, {kOne});
  Put("B", 7, {kOne});
  EXPECT_EQ(Page({}), RemoveOf("C", "4.0") + "," + RemoveOf("B", "7.0"));
}

// And when a caller is told that a row went, it is not told again when it comes back to the bucket
// that is lost by then.
TEST_F(DeltaPageTest, OfALostBucketRowsThatWereRemovedAreNotNamedAgain) {
  Put("A", 1, {kOne});
  Page({Bucket(1)});
  Put("A", 2, {});
  EXPECT_EQ(Page({Bucket(1)}), RemoveOf("A", "2.0"));
  Put("A", 3, {kOne});
  EXPECT_EQ(Page({}), "");
}

// A caller whose rules were taken away and given back between two pages does not hear of rows that
// came and went meanwhile; one whose rules were not may have had them, after an earlier cursor.
TEST_F(DeltaPageTest, RowsOfATimeWithoutRulesAreNotNamed) {
  Put("A", 1, {kOne});
  Page({Bucket(1)});
  const Cursor cursor = cursor_;
  Put("B", 2, {kOne});
  Put("B", 3, {});
  Put("A", 5, {});
  CallerBucket bucket = Bucket(1);
  bucket.defined = Offset(1);
  EXPECT_EQ(Page({bucket}), RemoveOf("B", "3.0") + "," + RemoveOf("A", "5.0"));
  cursor_ = cursor;
  bucket.defined = Offset(4);
  EXPECT_EQ(Page({bucket}), RemoveOf("A", "5.0"));
  EXPECT_EQ(Page({bucket}), "");
  cursor_ = cursor;  // nor of one that was given back with other columns
  CallerBucket masked = Masked(1);
  masked.defined = Offset(4);
  EXPECT_EQ(Page({masked}), RemoveOf("A", "5.0"));
  EXPECT_EQ(Page({masked}), "");
}

// The same amid pages, and only until they have passed that time.
TEST_F(DeltaPageTest, RowsOfATimeWithoutRulesAmidPagesAreNotNamed) {
  CallerBucket bucket = Bucket(1);
  Put("C", 6, {kOne});
  Put("D", 7, {kOne});
  cursor_ = {};
  EXPECT_EQ(Page({bucket}, 1), PutOf("C", "6.0"));
  Put("E", 8, {kOne});
  Put("E", 9, {});
  Put("C", 10, {});
  bucket.defined = Offset(11);
  Put("F", 12, {});
  EXPECT_EQ(Page({bucket}, 1), PutOf("D", "7.0"));
  EXPECT_EQ(Page({bucket}, 1), RemoveOf("C", "10.0"));
  Put("G", 13, {kOne});
  EXPECT_EQ(Page({bucket}), PutOf("G", "13.0"));
  Put("G", 14, {});
  EXPECT_EQ(Page({bucket}), RemoveOf("G", "14.0"));
}

// Nor are those of a second such time, before pages have passed the first: what the holder may know
// from before each of them is removed, and the load goes on where it was.
TEST_F(DeltaPageTest, RowsOfASecondTimeWithoutRulesAreNotNamed) {
  for (const bool other_columns : {false, true}) {
    org_ = {};
    cursor_ = {};
    CallerBucket bucket = Bucket(1);
    Put("C", 6, {kOne});
    Put("D", 7, {kOne});
    Put("I", 8, {kOne});
    EXPECT_EQ(Page({bucket}, 1), PutOf("C", "6.0"));
    Put("E", 9, {kOne});
    Put("E", 10, {});
    Put("C", 11, {});
    bucket.defined = Offset(12);
    Put("F", 13, {kOne});
    EXPECT_EQ(Page({bucket}, 1), PutOf("D", "7.0"));
    Put("F", 14, {});
    Put("H", 15, {kOne});
    Put("H", 16, {});
    if (other_columns) {
      bucket = Masked(1);
    }
    bucket.defined = Offset(17);
    Put("D", 18, {});
    const std::string removals =
        RemoveOf("C", "11.0") + "," + RemoveOf("F", "14.0") + "," + RemoveOf("D", "18.0");
    EXPECT_EQ(Page({bucket}), PutOf("I", "8.0") + "," + removals);
    EXPECT_FALSE(page_.more);
    Put("I", 19, {});
    EXPECT_EQ(Page({bucket}), RemoveOf("I", "19.0"));
  }
}

TEST_F(DeltaPageTest, ARowOfTwoLostBucketsIsRemovedOnce) {
  Put("A", 5, {kOne});
  Move("A", 6, {kOne, kTwo});
  Page({Bucket(1), Bucket(2)});
  EXPECT_EQ(Page({}), RemoveOf("A", "5.0"));
}

TEST_F(DeltaPageTest, ABucketThatIsBackNamesNobodyOfTheTimeBetween) {
  Put("A", 5, {kOne});
  Put("B", 6, {kOne});
  Page({Bucket(1)});
  EXPECT_EQ(Page({}, 1), RemoveOf("A", "5.0"));
  Put("C", 7, {kOne});
  Put("C", 8, {});
  Put("B", 9, {});
  Put("D", 10, {kOne});
  EXPECT_EQ(Page({Bucket(1)}),
            PutOf("A", "5.0") + "," + RemoveOf("B", "9.0") + "," + PutOf("D", "10.0"));
}

// Nor when it is lost again before its load has come so far, nor for ever.
TEST_F(DeltaPageTest, ABucketThatComesAndGoesNamesNobodyOfTheTimesBetween) {
  Put("A", 5, {kOne});
  Put("B", 6, {kOne});
  Page({Bucket(1)});
  Page({}, 1);
  Put("C", 7, {kOne});
  Put("C", 8, {});
  Put("B", 9, {});
  EXPECT_EQ(Page({Bucket(1)}, 1), PutOf("A", "5.0"));
  EXPECT_TRUE(page_.more);
  EXPECT_EQ(Page({}), RemoveOf("A", "5.0") + "," + RemoveOf("B", "9.0"));
}

// Away for the second time amid pages, and back for the second time: what its holder knows from
// before each time is removed where it is gone, nothing of the times between is named, and
// everything that is there is sent.
TEST_F(DeltaPageTest, ABucketThatIsBackForTheSecondTimeBeginsAnewBesideWhatWasKnown) {
  Put("A", 5, {kOne});
  Put("B", 6, {kOne});
  Put("C", 7, {kOne});
  Page({Bucket(1)});
  Page({}, 1);  // A is removed
  Put("D", 8, {kOne});
  Put("D", 9, {});  // came and went while it was away
  EXPECT_EQ(Page({Bucket(1)}, 1), PutOf("A", "5.0"));
  Page({}, 1);  // A once more
  Put("B", 10, {});
  Put("E", 11, {kOne});
  Put("E", 12, {});
  EXPECT_EQ(Page({Bucket(1)}, 1), PutOf("A", "5.0"));
  EXPECT_TRUE(page_.more);
  Put("C", 13, {});
  Put("F", 14, {kOne});
  EXPECT_EQ(Page({Bucket(1)}),
            RemoveOf("B", "10.0") + "," + RemoveOf("C", "13.0") + "," + PutOf("F", "14.0"));
  EXPECT_FALSE(page_.more);
  EXPECT_EQ(Page({Bucket(1)}), "");
}

// Each time away that its holder may know rows from has a group of its own in the cursor.
TEST_F(DeltaPageTest, ABucketMayComeAndGoTenTimesAmidPages) {
  Put("A", 5, {kOne});
  Put("B", 6, {kOne});
  Page({Bucket(1)});
  for (int64_t round = 0; round < 10; ++round) {
    Page({}, 1);
    const std::string between = "N" + std::to_string(round);  // never shown
    Put(between, 10 + 4 * round, {kOne});
    Put(between, 11 + 4 * round, {});
    EXPECT_EQ(Page({Bucket(1)}, 1), PutOf("A", "5.0"));
  }
  Put("B", 500, {});
  EXPECT_EQ(Page({}), RemoveOf("A", "5.0"));  // a page looks at so many operations
  EXPECT_EQ(Page({}), RemoveOf("B", "500.0"));
  EXPECT_FALSE(page_.more);
  EXPECT_EQ(Page({Bucket(1)}), PutOf("A", "5.0"));
}

// The rows that a caller keeps when one of its buckets takes the place of another are not sent.
TEST_F(DeltaPageTest, ClaimsThatSwapBucketsSendTheDifference) {
  Put("A", 5, {kOne, kTwo});
  Put("B", 6, {kOne});
  Put("C", 7, {kTwo});
  Page({Bucket(1)});
  EXPECT_EQ(Page({Bucket(2)}), RemoveOf("B", "6.0") + "," + PutOf("C", "7.0"));
  EXPECT_EQ(Page({Bucket(2)}), "");
}

// The same by a change of rules, which takes all rows out of the one bucket; with pages that are
// cut, a snapshot that moves on, and a row that was written meanwhile.
TEST_F(DeltaPageTest, RulesThatSwapBucketsSendTheDifference) {
  for (const std::string key : {"A", "B", "C", "D", "E"}) {
    Put(key, key[0] - 'A' + 1, {kOne});
  }
  Page({Bucket(1)});
  Put("E", 8, {kOne});
  Move("E", 9, {kTwo});
  Move("A", 10, {kTwo});
  Move("B", 11, {});
  Move("C", 12, {});
  Move("D", 13, {kTwo});
  EXPECT_EQ(Page({Bucket(2)}, 1), PutOf("E", "9.0"));
  EXPECT_EQ(Page({Bucket(2)}, 1), RemoveOf("B", "11.0"));
  EXPECT_TRUE(page_.more);
  Put("D", 14, {kTwo});
  EXPECT_EQ(Page({Bucket(2)}, 1), RemoveOf("C", "12.0"));
  EXPECT_EQ(Page({Bucket(2)}), PutOf("D", "14.0"));
  EXPECT_FALSE(page_.more);
}

// Between the pages at which the one bucket was lost and the other came, the row was removed;
// nothing has to happen in the log for that.
TEST_F(DeltaPageTest, ARowThatWasRemovedMeanwhileIsSentAgain) {
  Put("A", 5, {kOne, kTwo});
  Put("B", 6, {kOne});
  Page({Bucket(1)});
  EXPECT_EQ(Page({}, 1), RemoveOf("A", "5.0"));
  EXPECT_EQ(Page({Bucket(2)}), PutOf("A", "5.0") + "," + RemoveOf("B", "6.0"));
}

// At the cursor's position it was out of the bucket, though it had entered before.
TEST_F(DeltaPageTest, ARowThatWasOutAndCameBackIsSentAgain) {
  Put("A", 5, {kOne});
  Put("B", 6, {kOne});
  Page({Bucket(1)});
  Move("A", 7, {});
  EXPECT_EQ(Page({Bucket(1)}), RemoveOf("A", "7.0"));
  Move("A", 8, {kOne});
  Move("A", 9, {kTwo});
  Move("B", 10, {kTwo});
  EXPECT_EQ(Page({Bucket(2)}), PutOf("A", "9.0"));
}

TEST_F(DeltaPageTest, ARowThatMovesBetweenTheCallersBucketsIsNotSent) {
  Put("A", 5, {kOne});
  Put("B", 6, {kTwo});
  Page({Bucket(1), Bucket(2)});
  Move("A", 7, {kTwo});
  EXPECT_EQ(Page({Bucket(1), Bucket(2)}), "");
  // Over several, the last of which is new to the caller.
  Move("B", 8, {kOne});
  Move("B", 9, {BucketKey{3, 0}});
  EXPECT_EQ(Page({Bucket(3)}), RemoveOf("A", "7.0"));
  EXPECT_EQ(Page({Bucket(3)}), "");
}

// A rule that is taken back, and given again before the caller asks, is no difference.
TEST_F(DeltaPageTest, RulesThatComeAndGoBetweenPagesSendNothing) {
  Put("A", 5, {kOne});
  Put("B", 6, {kOne, kTwo});
  Put("D", 7, {kOne});
  Page({Bucket(1), Bucket(2)});
  Move("A", 8, {}, true);
  Move("B", 9, {kTwo}, true);
  Move("D", 10, {}, true);
  Put("C", 11, {});
  Put("D", 12, {});
  Move("A", 13, {kOne}, true);
  Move("B", 14, {kOne, kTwo}, true);
  Move("C", 15, {kOne}, true);
  EXPECT_EQ(Page({Bucket(1), Bucket(2)}), RemoveOf("D", "10.0") + "," + PutOf("C", "15.0"));
}

// The same over another bucket, and not for what was written meanwhile, or left by itself.
TEST_F(DeltaPageTest, RulesThatMakePlaceForOthersSendTheDifference) {
  Put("A", 5, {kOne});
  Put("B", 6, {kOne});
  Put("C", 7, {kOne});
  Page({Bucket(1)});
  Move("C", 8, {});
  Move("A", 9, {}, true);
  Move("B", 10, {}, true);
  Put("B", 11, {});
  for (const std::string key : {"A", "B", "C"}) {
    Move(key, 12 + key[0] - 'A', {kTwo}, true);
  }
  EXPECT_EQ(Page({Bucket(2)}), PutOf("B", "13.0") + "," + PutOf("C", "14.0"));
}

TEST_F(DeltaPageTest, ARowThatWasInNoBucketOfTheCallersIsSentAgain) {
  Put("B", 6, {kTwo});
  Page({Bucket(1), Bucket(2)});
  Move("B", 8, {});
  Move("B", 9, {kOne});
  EXPECT_EQ(Page({Bucket(1), Bucket(2)}), PutOf("B", "9.0"));
}

// An earlier cursor may come again with newer rows, so that its position does not tell what the
// holder has.
TEST_F(DeltaPageTest, RemovalsOfRowsThatCameAfterTheCursorAreSent) {
  Page({Bucket(1)});
  const Cursor earlier = cursor_;
  Put("A", 5, {kOne});
  EXPECT_EQ(Page({Bucket(1)}), PutOf("A", "5.0"));
  Put("A", 6, {});
  cursor_ = earlier;
  EXPECT_EQ(Page({Bucket(1)}), RemoveOf("A", "6.0"));
}

// A row whose removal from one bucket was left out, because another had it, is taken back with
// that other one, though no page had come as far as its entry there.
TEST_F(DeltaPageTest, ARowThatOnlyALostBucketKeptIsRemoved) {
  Put("A", 5, {kOne});
  Page({Bucket(1), Bucket(2)});
  Put("B", 6, {kOne});
  Move("A", 7, {});
  Move("A", 8, {kTwo});
  Put("C", 9, {kOne});
  EXPECT_EQ(Page({Bucket(1), Bucket(2)}, 100, 2), PutOf("B", "6.0"));
  EXPECT_EQ(cursor_.groups[0].state.position, (Position{Offset(7), 0}));
  EXPECT_EQ(Page({Bucket(1)}), RemoveOf("A", "8.0") + "," + PutOf("C", "9.0"));
}

TEST_F(DeltaPageTest, OtherColumnsAreSentAnewOnce) {
  Put("A", 5, {kOne}, "Ann");
  Move("A", 6, {kOne, kTwo});
  Put("B", 7, {kTwo}, "Ann");
  Put("C", 8, {kOne}, "Ann");
  Page({Bucket(1), Bucket(2)});
  Put("C", 9, {}, "Ann");
  EXPECT_EQ(Page({Masked(1), Masked(2)}),
            PutOf("A", "5.0") + "," + PutOf("B", "7.0") + "," + RemoveOf("C", "9.0"));
  EXPECT_EQ(Page({Masked(1), Masked(2)}), "");
  EXPECT_THAT(Page({Bucket(1), Bucket(2)}, 1), ::testing::HasSubstr(R"("id":"A","name":"Ann")"));
  EXPECT_THAT(Page({Bucket(1), Bucket(2)}), ::testing::HasSubstr(R"("id":"B","name":"Ann")"));
  EXPECT_EQ(page_.ops, 1u);
}

TEST_F(DeltaPageTest, CursorsThatCannotBeUsed) {
  org_.history = {{Offset(5), 11}};
  org_.applied.history = 11;
  Put("A", 5, {kOne});
  Page({Bucket(1)});
  PlainOrg later = org_;
  const auto check = [&](uint32_t incarnation = 1) {
    return ErrorCode(CheckCursor(cursor_, incarnation, PlainSnapshot(later)));
  };
  EXPECT_EQ(cursor_.history, 11u);
  EXPECT_TRUE(CheckCursor(cursor_, 1, PlainSnapshot(later)).ok());
  EXPECT_EQ(check(2), "org_reprovisioned");
  EXPECT_EQ(check(0), "cursor_other_log");  // of an incarnation that is lost
  later.applied.position = Offset(4);
  EXPECT_EQ(check(), "not_caught_up");
  EXPECT_EQ(check(0), "not_caught_up");
  later.applied.position = Offset(20);
  later.history = {{Offset(5), 12}, {Offset(20), 13}};
  EXPECT_EQ(check(), "cursor_other_log");  // the position was given a second time
  later.history = {{Offset(20), 13}};
  EXPECT_EQ(check(), "cursor_other_log");  // ... to another organisation
  later.applied.horizon = Offset(5);
  EXPECT_EQ(check(), "cursor_expired");  // nothing tells any more
  later.applied.horizon = Offset(4);
  later.history = {{Offset(5), 11}};
  EXPECT_TRUE(CheckCursor(cursor_, 1, PlainSnapshot(later)).ok());
  later.applied.horizon = Offset(6);
  EXPECT_EQ(check(), "cursor_expired");
}

}  // namespace
}  // namespace sluice::gateways
