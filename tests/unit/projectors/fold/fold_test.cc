#include "projectors/fold/fold.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schemas/base/status.h"
#include "tests/support/change_events.h"
#include "tests/support/model_store.h"
#include "tests/unit/projectors/staging/model_testing.h"
#include "xxhash.h"

namespace sluice::projectors {
namespace {

using eventlog::StoredEvent;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kAccount = 1;

std::string Row(std::string_view key, std::string_view owner, std::string_view name = "") {
  testing::RowWriter row;
  row.Text(1, key);
  if (!owner.empty()) {
    row.Text(2, owner);
  }
  if (!name.empty()) {
    row.Text(3, name);
  }
  return row.bytes();
}

std::string Named(std::string_view name) { return testing::RowWriter().Text(3, name).bytes(); }

// An organisation with the entity `account` and a profile with the rules of each test. Its
// definitions end at offset 3, so the first event of a test is at 4.
class FoldTest : public ::testing::Test {
 protected:
  void Define(const std::vector<v1::RuleKind>& rules) {
    Run({testing::MakeEvent(1, testing::OpenOrg(1)),
         testing::MakeEvent(2, testing::DefineEntity(kAccount, "account",
                                                     {{1, "id"}, {2, "owner"}, {3, "name"}}, 2)),
         testing::MakeEvent(3, testing::DefineProfile("field", {{"account", rules}}, {"sales"}))});
  }

  void Run(const std::vector<StoredEvent>& events) {
    for (std::span<const StoredEvent> rest(events); !rest.empty();) {
      auto result = store_.Apply(options_, rest);
      ASSERT_TRUE(result.ok()) << result.status();
      last_ = *std::move(result);
      rest = rest.subspan(last_.closed ? rest.size() : last_.consumed);
    }
  }
  void RunSet(int64_t offset, const std::vector<v1::Operation>& ops, std::string_view id = "") {
    Run({testing::MakeEvent(offset, testing::MakeSet(ops, id))});
  }
  std::vector<std::string> RejectedCodes() const {
    std::vector<std::string> codes;
    for (const Rejected& rejected : last_.rejected) {
      codes.push_back(rejected.code);
    }
    return codes;
  }

  const Record* Find(std::string_view key) const {
    const auto& records = store_.content().records;
    const auto found = records.find(RecordKey{EntityId(kAccount), std::string(key)});
    return found == records.end() ? nullptr : &found->second;
  }
  // The operations of a bucket as "put A1@4.0", in order.
  std::vector<std::string> Deltas(std::string_view bucket) const {
    const BucketKey key = BucketKey::OfName(bucket);
    std::vector<std::string> ops;
    for (const auto& [place, op] : store_.content().deltas) {
      if (place.first == key) {
        ops.push_back((op.put ? "put " : "remove ") + op.key + "@" + place.second.ToString());
      }
    }
    return ops;
  }
  BucketState Bucket(std::string_view name) const {
    const auto& buckets = store_.content().buckets;
    const auto found = buckets.find(BucketKey::OfName(name));
    return found == buckets.end() ? BucketState() : found->second;
  }

  FoldOptions options_;
  testing::ModelStore store_;
  FoldResult last_;
};

TEST_F(FoldTest, AnUpsertReplacesTheWholeRow) {
  Define({kAll});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1", "Contoso"))});
  RunSet(5, {testing::Upsert(kAccount, "A1", Row("A1", "U2"))});
  EXPECT_EQ(Find("A1")->row, Row("A1", "U2"));
  EXPECT_EQ(Find("A1")->last, (Position{Offset(5), 0}));
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("put A1@5.0"));
  EXPECT_EQ(store_.content().applied.records, 1u);
}

TEST_F(FoldTest, APatchChangesOnlyWhatItNamesAndNullClears) {
  Define({kAll});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1", "Contoso"))});
  RunSet(5, {testing::Patch(kAccount, "A1", Named("Contoso Ltd"))});
  EXPECT_EQ(Find("A1")->row, Row("A1", "U1", "Contoso Ltd"));
  RunSet(6, {testing::Patch(kAccount, "A1", "", {3, 2})});
  EXPECT_EQ(Find("A1")->row, Row("A1", ""));
}

TEST_F(FoldTest, APatchOfNoRowIsCountedAndSkipped) {
  Define({kAll});
  RunSet(4, {testing::Patch(kAccount, "A1", Named("x"))});
  EXPECT_EQ(last_.counters.patches_of_nothing, 1u);
  EXPECT_EQ(Find("A1"), nullptr);
  RunSet(5, {testing::Delete(kAccount, "A1", 3)});
  RunSet(6, {testing::Patch(kAccount, "A1", Named("x"), {}, 9)});
  EXPECT_EQ(last_.counters.patches_of_nothing, 1u);
  EXPECT_EQ(Find("A1")->version, 3);  // a patch that is skipped leaves nothing
}

TEST_F(FoldTest, APatchMayHoldAttributesThatWereRemovedSince) {
  Define({kAll});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1"))});
  v1::EntityDefined smaller =
      testing::DefineEntity(kAccount, "account", {{1, "id"}, {2, "owner"}}, 2);
  smaller.mutable_schema()->set_next_attribute_id(4);
  Run({testing::MakeEvent(5, smaller),
       testing::MakeEvent(6, testing::MakeSet({testing::Patch(kAccount, "A1", Named("late"))}))});
  EXPECT_THAT(last_.rejected, IsEmpty());
  EXPECT_EQ(Find("A1")->row, Row("A1", "U1", "late"));
}

TEST_F(FoldTest, AnOperationNotNewerThanTheStoredVersionIsSkipped) {
  Define({kAll});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1", "v5"), 5)});
  RunSet(5, {testing::Upsert(kAccount, "A1", Row("A1", "U1", "same"), 5),
             testing::Patch(kAccount, "A1", Named("older"), {}, 4),
             testing::Delete(kAccount, "A1", 5)});
  EXPECT_EQ(last_.counters.stale_versions, 3u);
  EXPECT_EQ(Find("A1")->row, Row("A1", "U1", "v5"));
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("put A1@4.0"));
  RunSet(6, {testing::Upsert(kAccount, "A1", Row("A1", "U1", "v6"), 6)});
  EXPECT_EQ(Find("A1")->version, 6);
}

TEST_F(FoldTest, WithoutVersionLogOrderDecidesAndTheStoredVersionStays) {
  Define({kAll});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1", "v5"), 5)});
  RunSet(5, {testing::Upsert(kAccount, "A1", Row("A1", "U1", "later"))});
  EXPECT_EQ(Find("A1")->row, Row("A1", "U1", "later"));
  EXPECT_EQ(Find("A1")->version, 5);
  RunSet(6, {testing::Delete(kAccount, "A1")});
  EXPECT_TRUE(Find("A1")->deleted);
  EXPECT_EQ(Find("A1")->version, 5);
}

TEST_F(FoldTest, ADeleteWithAVersionIsRememberedEvenWhereThereWasNoRow) {
  Define({kAll});
  RunSet(4, {testing::Delete(kAccount, "A1", 7)});
  ASSERT_NE(Find("A1"), nullptr);
  EXPECT_THAT(Deltas("e1|all"), IsEmpty());
  RunSet(5, {testing::Upsert(kAccount, "A1", Row("A1", "U1"), 7)});
  EXPECT_TRUE(Find("A1")->deleted);
  EXPECT_EQ(store_.content().applied.records, 0u);
  RunSet(6, {testing::Upsert(kAccount, "A1", Row("A1", "U1"), 8)});
  EXPECT_FALSE(Find("A1")->deleted);
  EXPECT_EQ(store_.content().applied.records, 1u);
}

TEST_F(FoldTest, ADeleteOfNoRowIsNothing) {
  Define({kAll});
  RunSet(4, {testing::Delete(kAccount, "A1")});
  EXPECT_EQ(Find("A1"), nullptr);
  EXPECT_THAT(last_.batch.records, IsEmpty());
  EXPECT_THAT(last_.rejected, IsEmpty());
}

TEST_F(FoldTest, ADeletedRowLeavesARemovalAndComesBack) {
  Define({kAll, kUser});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1"))});
  RunSet(5, {testing::Delete(kAccount, "A1")});
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("remove A1@5.0"));
  EXPECT_THAT(Deltas("e1|user:a2=U1"), ElementsAre("remove A1@5.0"));
  EXPECT_EQ(Bucket("e1|all").count, 0u);
  EXPECT_EQ(Bucket("e1|all").checksum, 0u);
  RunSet(6, {testing::Upsert(kAccount, "A1", Row("A1", "U2"))});
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("put A1@6.0"));
  EXPECT_THAT(Deltas("e1|user:a2=U1"), ElementsAre("remove A1@5.0"));
  EXPECT_THAT(Deltas("e1|user:a2=U2"), ElementsAre("put A1@6.0"));
}

TEST_F(FoldTest, ARowThatChangesItsOwnerMovesFromBucketToBucket) {
  Define({kUser});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1")),
             testing::Upsert(kAccount, "A2", Row("A2", "U1"))});
  RunSet(5, {testing::Patch(kAccount, "A1", testing::RowWriter().Text(2, "U2").bytes())});
  EXPECT_THAT(Deltas("e1|user:a2=U1"), ElementsAre("put A2@4.1", "remove A1@5.0"));
  EXPECT_THAT(Deltas("e1|user:a2=U2"), ElementsAre("put A1@5.0"));
  RunSet(6, {testing::Patch(kAccount, "A1", testing::RowWriter().Text(2, "U1").bytes())});
  EXPECT_THAT(Deltas("e1|user:a2=U1"), ElementsAre("put A2@4.1", "put A1@6.0"));
  EXPECT_THAT(Deltas("e1|user:a2=U2"), ElementsAre("remove A1@6.0"));
  RunSet(7, {testing::Patch(kAccount, "A1", "", {2})});  // no owner: in no bucket
  EXPECT_THAT(Deltas("e1|user:a2=U1"), ElementsAre("put A2@4.1", "remove A1@7.0"));
}

// A membership remembers when the row was in the bucket.
TEST_F(FoldTest, AMembershipRemembersEarlierStays) {
  Define({kAll});
  const auto membership = [this] { return Find("A1")->memberships.front(); };
  const auto put = testing::Upsert(kAccount, "A1", Row("A1", "U1"));
  RunSet(4, {put});
  RunSet(5, {put});
  EXPECT_EQ(membership().entered, Offset(4));
  EXPECT_THAT(membership().earlier, IsEmpty());
  RunSet(6, {testing::Delete(kAccount, "A1")});
  EXPECT_EQ(membership().entered, Offset(4));
  EXPECT_THAT(membership().earlier, IsEmpty());
  RunSet(7, {put});
  EXPECT_EQ(membership().entered, Offset(7));
  EXPECT_THAT(membership().earlier, ElementsAre(Stay{Offset(4), Offset(6)}));
  RunSet(8, {put});
  RunSet(9, {testing::Delete(kAccount, "A1", 1)});
  RunSet(10, {testing::Upsert(kAccount, "A1", Row("A1", "U1"), 2)});
  EXPECT_EQ(membership().entered, Offset(10));
  EXPECT_THAT(membership().earlier,
              ElementsAre(Stay{Offset(4), Offset(6)}, Stay{Offset(7), Offset(9)}));
  EXPECT_FALSE(membership().vague);
  RunSet(11, {testing::Delete(kAccount, "A1", 3)});
  // The removal is forgotten, and with it all that was before.
  options_.tombstone_horizon = 1;
  RunSet(20, {testing::Upsert(kAccount, "A2", Row("A2", "U1"))});
  RunSet(21, {testing::Upsert(kAccount, "A1", Row("A1", "U1"), 4)});
  EXPECT_EQ(membership().entered, Offset(21));
  EXPECT_THAT(membership().earlier, IsEmpty());
}

// They are forgotten one by one, and the oldest become one where there are too many.
TEST_F(FoldTest, StaysAreForgottenAndBounded) {
  options_.tombstone_horizon = 31;
  Define({kAll});
  const auto membership = [this] { return Find("A1")->memberships.front(); };
  const auto stay = [this](int64_t offset) {
    RunSet(offset, {testing::Upsert(kAccount, "A1", Row("A1", "U1"))});
    RunSet(offset + 1, {testing::Delete(kAccount, "A1")});
  };
  for (int64_t i = 0; i < 10; ++i) {
    stay(10 + 2 * i);
  }
  RunSet(30, {testing::Upsert(kAccount, "A1", Row("A1", "U1"))});
  ASSERT_EQ(membership().earlier.size(), kStaysMax);
  EXPECT_TRUE(membership().vague);
  EXPECT_EQ(membership().earlier[0], (Stay{Offset(10), Offset(15)}));
  EXPECT_EQ(membership().earlier[1], (Stay{Offset(16), Offset(17)}));
  options_.tombstone_horizon = 13;
  RunSet(31, {testing::Upsert(kAccount, "A1", Row("A1", "U1"))});
  EXPECT_FALSE(membership().vague);
  EXPECT_EQ(membership().earlier[0], (Stay{Offset(18), Offset(19)}));
  EXPECT_EQ(membership().entered, Offset(30));
}

// It stands only for who loads meanwhile: the others are within the age, and not too many.
TEST_F(FoldTest, AStayThatEndedByTheHorizonIsNotCountedWithTheOthers) {
  options_.tombstone_horizon = 17;  // events: at the last one it is at 11
  Define({kAll});
  for (const int64_t offset : {10, 14, 16, 18, 20, 22, 24, 26, 28}) {
    RunSet(offset, {testing::Upsert(kAccount, "A1", Row("A1", "U1"))});
    RunSet(offset + 1, {testing::Delete(kAccount, "A1")});
  }
  RunSet(43, {testing::Upsert(kAccount, "A1", Row("A1", "U1"))});
  const Membership membership = Find("A1")->memberships.front();
  EXPECT_FALSE(membership.vague);
  ASSERT_EQ(membership.earlier.size(), kStaysMax + 1);
  EXPECT_EQ(membership.earlier[0], (Stay{Offset(10), Offset(11)}));
}

// A client that has what was there at 11, has loaded from a store of 19 up to 17, and is then told
// of one in which the row has gone again, has the row of the first stay still.
TEST_F(FoldTest, AStayIsRememberedUntilTheHorizonHasPassedTheBeginOfTheNext) {
  options_.tombstone_horizon = 100;
  Define({kAll});
  const auto membership = [this] { return Find("A1")->memberships.front(); };
  const auto put = testing::Upsert(kAccount, "A1", Row("A1", "U1"));
  RunSet(10, {put});
  RunSet(11, {testing::Delete(kAccount, "A1")});
  for (int64_t offset = 12; offset < 18; ++offset) {
    RunSet(offset, {testing::Upsert(kAccount, "A2", Row("A2", "U1"))});
  }
  RunSet(18, {put});
  options_.tombstone_horizon = 5;
  RunSet(19, {put});
  EXPECT_THAT(membership().earlier, ElementsAre(Stay{Offset(10), Offset(11)}));
  EXPECT_EQ(membership().first_entered(), Offset(10));
  options_.tombstone_horizon = 1;
  RunSet(20, {put});
  EXPECT_THAT(membership().earlier, IsEmpty());
  EXPECT_EQ(membership().first_entered(), Offset(18));
}

TEST_F(FoldTest, AMembershipRemembersThatADefinitionEndedIt) {
  Define({kAll});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1"))});
  Run({testing::MakeEvent(5, testing::DefineProfile("field", {{"account", {kUser}}}, {"r"}))});
  ASSERT_EQ(Find("A1")->memberships.size(), 2u);
  for (const Membership& m : Find("A1")->memberships) {
    EXPECT_EQ(m.by_definition, !m.member);
  }
  Run({testing::MakeEvent(6, testing::DefineProfile("field", {{"account", {kAll}}}, {"r"}))});
  for (const Membership& m : Find("A1")->memberships) {
    EXPECT_EQ(m.by_definition, !m.member);
    const std::vector<Stay> earlier = {{Offset(4), Offset(5), true}};
    EXPECT_EQ(m.earlier, m.member ? earlier : std::vector<Stay>());
  }
}

TEST_F(FoldTest, CountsAndChecksumsAreThoseOfTheLiveRows) {
  Define({kAll});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1")),
             testing::Upsert(kAccount, "A2", Row("A2", "U1"))});
  RunSet(5, {testing::Patch(kAccount, "A1", Named("x"))});
  const std::string first(
      "account\0A1\0"
      "5.0",
      14);
  const std::string second(
      "account\0A2\0"
      "4.1",
      14);
  EXPECT_EQ(Bucket("e1|all").name, "e1|all");
  EXPECT_EQ(Bucket("e1|all").count, 2u);
  EXPECT_EQ(Bucket("e1|all").checksum,
            XXH64(first.data(), first.size(), 0) + XXH64(second.data(), second.size(), 0));
  const std::string large(4000, 'k');
  const std::string term =
      "account" + std::string(1, '\0') + large + std::string(1, '\0') + "7.4294967295";
  EXPECT_EQ(RowChecksum("account", large, {Offset(7), 4294967295u}),
            XXH64(term.data(), term.size(), 0));
}

TEST_F(FoldTest, OnlyTheLastOperationOfABatchIsWritten) {
  Define({kAll});
  Run({testing::MakeEvent(4,
                          testing::MakeSet({testing::Upsert(kAccount, "A1", Row("A1", "U1", "a")),
                                            testing::Patch(kAccount, "A1", Named("b"))})),
       testing::MakeEvent(5, testing::MakeSet({testing::Delete(kAccount, "A1")})),
       testing::MakeEvent(6,
                          testing::MakeSet({testing::Upsert(kAccount, "A1", Row("A1", "U1", "c")),
                                            testing::Upsert(kAccount, "A2", Row("A2", "U1"))}))});
  EXPECT_EQ(last_.batch.delta_puts.size(), 2u);
  EXPECT_THAT(last_.batch.delta_erases, IsEmpty());
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("put A1@6.0", "put A2@6.1"));
  EXPECT_EQ(Bucket("e1|all").count, 2u);
}

TEST_F(FoldTest, ASpanIsReadInAFewCalls) {
  Define({kAll, kUser});
  std::vector<StoredEvent> events;
  for (int i = 0; i < 200; ++i) {
    const std::string key = "A" + std::to_string(i % 70);
    events.push_back(
        testing::MakeEvent(4 + i, testing::MakeSet({testing::Upsert(kAccount, key, Row(key, "U1"))},
                                                   "s" + std::to_string(i))));
  }
  const size_t before = store_.reads();
  Run(events);
  EXPECT_EQ(store_.reads() - before, 3u);  // records, change sets, buckets
}

// The window counts the organisation's events, whatever lies between them in the partition.
TEST_F(FoldTest, ASetWithAKnownIdIsAppliedOnceWithinTheWindow) {
  options_.dedup_window = 2;
  Define({kAll});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1", "first"))}, "s1");
  RunSet(500, {});
  RunSet(1000, {testing::Upsert(kAccount, "A1", Row("A1", "U1", "again"))}, "s1");
  EXPECT_EQ(last_.counters.duplicates, 1u);
  EXPECT_EQ(Find("A1")->row, Row("A1", "U1", "first"));
  RunSet(1001, {testing::Upsert(kAccount, "A1", Row("A1", "U1", "late"))}, "s1");
  EXPECT_EQ(Find("A1")->row, Row("A1", "U1", "late"));
  EXPECT_EQ(store_.content().change_sets.at(ChangeSetKey("test", "s1")),
            (AppliedSet{Offset(1001), 7}));
  // Another source's id is another id; no id is never known.
  const auto put = testing::MakeSet({testing::Upsert(kAccount, "A1", Row("A1", ""))});
  Run({testing::MakeEvent(1002, testing::MakeSet({testing::Delete(kAccount, "A1")}, "s1", "erp")),
       testing::MakeEvent(1003, put), testing::MakeEvent(1004, put)});
  EXPECT_EQ(last_.counters.duplicates, 0u);
  EXPECT_EQ(Find("A1")->last.offset, Offset(1004));
}

TEST_F(FoldTest, ARejectedSetChangesNothingAndMayBeSentAgain) {
  Define({kAll});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1")), testing::Delete(9, "B1")}, "s1");
  ASSERT_EQ(last_.rejected.size(), 1u);
  EXPECT_EQ(last_.rejected[0].offset, Offset(4));
  EXPECT_EQ(last_.rejected[0].op_index, 1u);
  EXPECT_EQ(last_.rejected[0].code, "unknown_entity");
  EXPECT_EQ(Find("A1"), nullptr);
  EXPECT_EQ(store_.content().applied.position, Offset(4));
  RunSet(5, {testing::Upsert(kAccount, "A1", Row("A1", "U1"))}, "s1");
  EXPECT_NE(Find("A1"), nullptr);
}

TEST_F(FoldTest, OperationsAreCheckedAgainstTheModelAtTheirPosition) {
  Define({kAll});
  const std::string row = Row("A1", "U1");
  v1::Operation no_kind = testing::Delete(kAccount, "A1");
  no_kind.clear_kind();
  const std::vector<std::pair<v1::Operation, std::string>> cases = {
      {testing::Upsert(kAccount, "", row), "invalid_key"},
      {testing::Upsert(kAccount, "A2", row), "invalid_key"},
      {testing::Upsert(kAccount, "A1", Named("keyless")), "missing_key"},
      {testing::Upsert(kAccount, "A1", row + Row("A1", "")), "malformed_row"},
      {testing::Upsert(kAccount, "A1", testing::RowWriter().Text(1, "A1").Text(9, "?").bytes()),
       "unknown_attribute"},
      {testing::Patch(kAccount, "A1", Row("A2", "")), "invalid_key"},
      {testing::Patch(kAccount, "A1", "", {1}), "invalid_key"},
      {testing::Patch(kAccount, "A1", "", {9}), "unknown_attribute"},
      {testing::Delete(kAccount, std::string(513, 'k')), "invalid_key"},
      {no_kind, "malformed_event"}};
  int64_t offset = 4;
  for (const auto& [op, code] : cases) {
    RunSet(offset++, {op});
    EXPECT_THAT(RejectedCodes(), ElementsAre(code)) << op.ShortDebugString();
  }
  EXPECT_THAT(store_.content().records, IsEmpty());
}

TEST_F(FoldTest, KeysThatAreNotTextAreComparedInTheirCanonicalForm) {
  Define({kAll});
  Run({testing::MakeEvent(
      4, testing::DefineEntity(2, "order", {{1, "id", v1::ATTRIBUTE_TYPE_INT64}}))});
  RunSet(5, {testing::Upsert(2, "17", testing::RowWriter().Varint(1, 17).bytes())});
  EXPECT_THAT(last_.rejected, IsEmpty());
  RunSet(6, {testing::Delete(2, "017", 5)});
  EXPECT_THAT(RejectedCodes(), ElementsAre("invalid_key"));
}

TEST_F(FoldTest, StrangeEventsAreRejectedAndTheRestGoesOn) {
  Define({kAll});
  StoredEvent unknown = testing::MakeEvent(4, testing::MakeSet({}));
  unknown.event.type = "sluice.v1.Tomorrow";
  StoredEvent garbage = testing::MakeEvent(5, testing::MakeSet({}));
  garbage.event.value = "\x0f";
  StoredEvent definition = testing::MakeEvent(6, v1::EntityDefined());
  Run({unknown, garbage, definition,
       testing::MakeEvent(7, testing::MakeSet({testing::Upsert(kAccount, "A1", Row("A1", ""))}))});
  EXPECT_THAT(RejectedCodes(),
              ElementsAre("unknown_event_type", "malformed_event", "malformed_event"));
  EXPECT_NE(Find("A1"), nullptr);
}

TEST_F(FoldTest, NothingIsAppliedWhileTheOrganisationIsNotOpen) {
  Run({testing::MakeEvent(1, testing::MakeSet({testing::Upsert(kAccount, "A1", Row("A1", ""))})),
       testing::MakeEvent(2, testing::DefineRole("sales", true, {}))});
  EXPECT_THAT(RejectedCodes(), ElementsAre("org_not_open", "org_not_open"));
  EXPECT_EQ(last_.batch.applied.position, Offset(2));
  EXPECT_FALSE(last_.batch.model.has_value());
}

TEST_F(FoldTest, ClosingEndsTheSpan) {
  Define({kAll});
  v1::OrgClosed closed;
  closed.set_incarnation(1);
  const std::vector<StoredEvent> events = {
      testing::MakeEvent(4, testing::MakeSet({testing::Upsert(kAccount, "A1", Row("A1", ""))})),
      testing::MakeEvent(5, closed), testing::MakeEvent(6, testing::OpenOrg(2))};
  Run(events);
  EXPECT_TRUE(last_.closed);
  EXPECT_EQ(last_.consumed, 2u);
  EXPECT_EQ(last_.batch.applied.position, Offset(5));
  EXPECT_FALSE(last_.model->open());
  Run({testing::MakeEvent(6, closed)});  // what a sequencer repeats
  EXPECT_FALSE(last_.closed);
  EXPECT_THAT(last_.rejected, IsEmpty());
}

// As a sequencer writes that was paused: the organisation is not closed by what is long decided.
TEST_F(FoldTest, AControlEventOfARequestThatHasBeenAnsweredIsCountedAndSkipped) {
  Define({kAll});
  StoredEvent role = testing::MakeEvent(4, testing::DefineRole("sales", true, {"account"}));
  role.event.answers = Offset(20);
  v1::OrgClosed closed;
  closed.set_incarnation(1);
  StoredEvent late = testing::MakeEvent(5, closed);
  late.event.answers = Offset(18);
  Run({role, late});
  EXPECT_FALSE(last_.closed);
  EXPECT_EQ(last_.counters.answered_controls, 1u);
  EXPECT_THAT(last_.rejected, IsEmpty());
  EXPECT_EQ(last_.batch.applied.position, Offset(5));
  EXPECT_TRUE(last_.model->open());
}

TEST_F(FoldTest, EventsAtOrBelowTheAppliedPositionAreSkipped) {
  Define({kAll});
  const StoredEvent event =
      testing::MakeEvent(4, testing::MakeSet({testing::Upsert(kAccount, "A1", Row("A1", "U1"))}));
  Run({event});
  const testing::StoreContent once = store_.content();
  Run({event});
  EXPECT_EQ(last_.consumed, 1u);
  EXPECT_EQ(last_.counters.events, 0u);
  EXPECT_EQ(testing::Differences(store_.content(), once), "");
  EXPECT_EQ(once.applied.event_hash, eventlog::EventHash(event.event));
}

TEST_F(FoldTest, ANewRuleBringsItsRowsAtThePositionOfTheEvent) {
  Define({kUser});
  RunSet(4, {testing::Upsert(kAccount, "A2", Row("A2", "U1")),
             testing::Upsert(kAccount, "A1", Row("A1", "U2")),
             testing::Upsert(kAccount, "A3", Row("A3", "U2"))});
  RunSet(5, {testing::Delete(kAccount, "A3")});
  Run({testing::MakeEvent(6, testing::DefineProfile("field", {{"account", {kAll, kUser}}}, {}))});
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("put A1@6.0", "put A2@6.1"));
  EXPECT_THAT(Deltas("e1|user:a2=U1"), ElementsAre("put A2@4.0"));
  EXPECT_EQ(Bucket("e1|all").count, 2u);
  EXPECT_EQ(Find("A1")->last, (Position{Offset(4), 1}));
}

TEST_F(FoldTest, ARuleThatGoesRemovesItsRowsAndMayComeBack) {
  Define({kAll, kUser});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1")),
             testing::Upsert(kAccount, "A2", Row("A2", "U1"))});
  Run({testing::MakeEvent(5, testing::DefineProfile("field", {{"account", {kUser}}}, {}))});
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("remove A1@5.0", "remove A2@5.1"));
  EXPECT_EQ(Bucket("e1|all").count, 0u);
  EXPECT_EQ(Bucket("e1|all").checksum, 0u);
  EXPECT_EQ(Bucket("e1|user:a2=U1").count, 2u);
  Run({testing::MakeEvent(6, testing::MakeSet({testing::Delete(kAccount, "A1")})),
       testing::MakeEvent(7, testing::DefineProfile("field", {{"account", {kAll}}}, {}))});
  // A row's buckets take their indexes in the order of their keys.
  EXPECT_THAT(Deltas("e1|user:a2=U1"), ElementsAre("remove A1@6.0", "remove A2@7.0"));
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("remove A1@5.0", "put A2@7.0"));
}

TEST_F(FoldTest, ADefinitionThatChangesNoRuleWritesOnlyTheModel) {
  Define({kAll});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1"))});
  Run({testing::MakeEvent(5, testing::DefineProfile("office", {{"account", {kAll}}}, {"sales"})),
       testing::MakeEvent(
           6, testing::DefineEntity(kAccount, "account",
                                    {{1, "id"}, {2, "owner"}, {3, "name"}, {4, "x"}}, 2))});
  EXPECT_TRUE(last_.batch.model.has_value());
  EXPECT_THAT(last_.batch.records, IsEmpty());
  EXPECT_THAT(last_.batch.buckets, IsEmpty());
  EXPECT_EQ(store_.content().model, last_.model->Serialize());
}

TEST_F(FoldTest, ADeletedEntityTakesItsRowsAlong) {
  Define({kAll});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1")),
             testing::Upsert(kAccount, "A2", Row("A2", "U1")), testing::Delete(kAccount, "A9", 4)});
  v1::EntityDeleted deleted;
  deleted.set_entity_id(kAccount);
  deleted.set_name("account");
  Run({testing::MakeEvent(5, deleted)});
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("remove A1@5.0", "remove A2@5.1"));
  EXPECT_EQ(Bucket("e1|all").count, 0u);
  EXPECT_EQ(store_.content().applied.records, 0u);
  EXPECT_TRUE(Find("A1")->deleted);
  EXPECT_EQ(Find("A9"), nullptr);  // nothing refers to it any more
  Run({testing::MakeEvent(6, testing::DefineEntity(7, "account", {{1, "id"}})),
       testing::MakeEvent(7,
                          testing::MakeSet({testing::Upsert(7, "A1", Row("A1", "").substr(0, 4))})),
       testing::MakeEvent(8, testing::MakeSet({testing::Upsert(kAccount, "A1", Row("A1", ""))}))});
  EXPECT_THAT(RejectedCodes(), ElementsAre("unknown_entity"));
  EXPECT_THAT(Deltas("e7|all"), ElementsAre("put A1@7.0"));
  EXPECT_EQ(store_.content().applied.records, 1u);
}

TEST_F(FoldTest, TheHorizonFollowsTheAppliedPosition) {
  options_.tombstone_horizon = 3;
  Define({kAll});
  EXPECT_EQ(store_.content().applied.horizon, kNoOffset);
  RunSet(1000, {});
  EXPECT_EQ(store_.content().applied.horizon, Offset(1));  // three events ago, not three positions
  options_.tombstone_horizon = 1000;
  RunSet(1001, {});
  EXPECT_EQ(store_.content().applied.horizon, Offset(1));  // never back
}

// The horizon is one of a few marks, and late by a sixteenth at most.
TEST_F(FoldTest, AFarHorizonIsLateByLittle) {
  options_.tombstone_horizon = 320;
  Define({kAll});
  for (int64_t i = 0; i < 1'000; ++i) {
    RunSet(4 + 7 * i, {});
    const AppliedState& applied = store_.content().applied;
    EXPECT_LE(applied.marks.size(), 18u);
    const int64_t exact = 4 + 7 * (i - 320);
    if (i >= 340) {
      EXPECT_LE(applied.horizon, Offset(exact));
      EXPECT_GT(applied.horizon, Offset(exact - 7 * 20));
    }
  }
}

TEST_F(FoldTest, EventsWithATimeFarAheadExpireNothing) {
  const auto at = [](int64_t minutes) {
    return SystemTime(std::chrono::hours(500'000) + std::chrono::minutes(minutes));
  };
  const auto run = [&](int64_t offset, int64_t minute, const v1::ChangeSet& set) {
    StoredEvent event = testing::MakeEvent(offset, set);
    event.event.time = at(minute);
    Run({event});
  };
  options_.tombstone_age = std::chrono::minutes(64);
  std::vector<StoredEvent> definitions = {
      testing::MakeEvent(1, testing::OpenOrg(1)),
      testing::MakeEvent(2, testing::DefineEntity(kAccount, "account", {{1, "id"}})),
      testing::MakeEvent(3, testing::DefineProfile("field", {{"account", {kAll}}}, {"sales"}))};
  for (StoredEvent& event : definitions) {
    event.event.time = at(0);
  }
  Run(definitions);
  run(4, 0, testing::MakeSet({testing::Upsert(kAccount, "A1", Row("A1", ""))}));
  run(5, 1, testing::MakeSet({testing::Delete(kAccount, "A1")}));
  for (int64_t i = 0; i < 20; ++i) {
    run(6 + i, 10'000'000, testing::MakeSet({}));
    EXPECT_EQ(store_.content().applied.horizon, kNoOffset);
  }
  EXPECT_EQ(store_.content().applied.clock_us,
            std::chrono::microseconds(at(2).time_since_epoch()).count());
  run(26, 2, testing::MakeSet({}));  // never back
  EXPECT_EQ(store_.content().applied.clock_us,
            std::chrono::microseconds(at(2).time_since_epoch()).count());
  // The clock goes on with the times that are true; 68 minutes later the removal is forgotten.
  for (int64_t minute = 22; minute < 90; ++minute) {
    run(10 + 5 * minute, minute, testing::MakeSet({}));
  }
  EXPECT_GE(store_.content().applied.horizon, Offset(5));
}

// The events after a quiet time do not make up for it: a removal among them would be forgotten at
// once.
TEST_F(FoldTest, AQuietTimeIsNotMadeUpFor) {
  options_.tombstone_age = std::chrono::minutes(64);
  const auto run = [&](int64_t offset, int64_t second, const v1::ChangeSet& set) {
    StoredEvent event = testing::MakeEvent(offset, set);
    event.event.time = SystemTime(std::chrono::hours(24 * 365)) + std::chrono::seconds(second);
    Run({event});
  };
  Define({kAll});
  run(10, 0, testing::MakeSet({testing::Upsert(kAccount, "A1", Row("A1", ""))}));
  constexpr int64_t kMonth = 30 * 24 * 3'600;
  run(11, kMonth, testing::MakeSet({testing::Delete(kAccount, "A1")}));
  for (int64_t i = 1; i <= 300; ++i) {
    run(11 + i, kMonth + i, testing::MakeSet({}));
  }
  EXPECT_LT(store_.content().applied.horizon, Offset(11));
}

TEST_F(FoldTest, ASetOfAnotherIncarnationIsRejectedWhole) {
  Define({kAll});
  v1::ChangeSet set = testing::MakeSet({testing::Upsert(kAccount, "A1", Row("A1", ""))}, "s1");
  set.set_incarnation(2);
  Run({testing::MakeEvent(4, set)});
  EXPECT_THAT(RejectedCodes(), ElementsAre("other_incarnation"));
  EXPECT_EQ(Find("A1"), nullptr);
  set.set_incarnation(1);
  Run({testing::MakeEvent(5, set)});
  EXPECT_THAT(RejectedCodes(), IsEmpty());
  EXPECT_NE(Find("A1"), nullptr);
  EXPECT_EQ(last_.counters.duplicates, 0u);
}

TEST_F(FoldTest, ABucketSaysWhenItChangedAlsoWithoutRows) {
  options_.tombstone_horizon = 3;
  Define({kUser});
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", "U1"))});
  RunSet(5, {testing::Upsert(kAccount, "A2", Row("A2", "U2"))});
  EXPECT_EQ(Bucket("e1|user:a2=U1").changed, Offset(4));
  RunSet(6, {testing::Upsert(kAccount, "A1", Row("A1", "U2"))});
  EXPECT_EQ(Bucket("e1|user:a2=U1"), (BucketState{"e1|user:a2=U1", 0, 0, Offset(6)}));
  EXPECT_EQ(Bucket("e1|user:a2=U2").changed, Offset(6));
  RunSet(7, {});
  RunSet(8, {});
  EXPECT_EQ(Bucket("e1|user:a2=U1").changed, Offset(6));
  RunSet(9, {});
  EXPECT_EQ(Bucket("e1|user:a2=U1"), BucketState());
}

TEST_F(FoldTest, TheHistoryIsAChainOverTheOrganisationsEvents) {
  // Before it is open there is no organisation.
  Run({testing::MakeEvent(0, testing::MakeSet({}))});
  EXPECT_EQ(store_.content().applied.events, 0u);
  EXPECT_EQ(store_.content().applied.history, 0u);
  Define({kAll});
  uint64_t history = 0;
  const StoredEvent opened = testing::MakeEvent(1, testing::OpenOrg(1));
  history = ChainHistory(history, eventlog::EventHash(opened.event), Offset(1));
  EXPECT_EQ(store_.content().history.at(Offset(1)), history);
  EXPECT_EQ(store_.content().history.size(), 3u);
  EXPECT_EQ(store_.content().applied.history, store_.content().history.at(Offset(3)));
  // What is rejected is history, too.
  const StoredEvent bad = testing::MakeEvent(9, testing::MakeSet({testing::Delete(77, "A1")}));
  history = store_.content().applied.history;
  Run({bad});
  EXPECT_EQ(store_.content().applied.history,
            ChainHistory(history, eventlog::EventHash(bad.event), Offset(9)));
  EXPECT_EQ(store_.content().applied.events, 4u);
}

// The second was computed in half a second to have the bucket name's XXH64 in common with the
// first: whoever chooses a value must not find one that opens another's bucket.
TEST_F(FoldTest, ValuesThatAFastHashConfusesHaveBucketsOfTheirOwn) {
  Define({kUser});
  const std::string one = "boss";
  const std::string other = "8aspm4G7VmSUfOoD6V1vrORcmn0iSHkpEby6vK111fY0yuOirJ1DViyd38Kk2";
  RunSet(4, {testing::Upsert(kAccount, "A1", Row("A1", one)),
             testing::Upsert(kAccount, "A2", Row("A2", other))});
  EXPECT_THAT(Deltas("e1|user:a2=" + one), ElementsAre("put A1@4.0"));
  EXPECT_THAT(Deltas("e1|user:a2=" + other), ElementsAre("put A2@4.1"));
}

}  // namespace
}  // namespace sluice::projectors
