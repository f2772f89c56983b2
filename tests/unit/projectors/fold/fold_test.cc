#include "projectors/fold/fold.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schemas/base/status.h"
#include "tests/unit/projectors/fold/fold_testing.h"
#include "xxhash.h"

namespace sluice::projectors {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(FoldTest, AnUpsertReplacesTheWholeRow) {
  Define({kAll});
  RunSet(4, {Put("A1", "U1", "Contoso")});
  RunSet(5, {Put("A1", "U2")});
  EXPECT_EQ(Find("A1")->row, Row("A1", "U2"));
  EXPECT_EQ(Find("A1")->last, (Position{Offset(5), 0}));
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("put A1@5.0"));
  EXPECT_EQ(store_.content().applied.records, 1u);
}

TEST_F(FoldTest, APatchChangesOnlyWhatItNamesAndNullClears) {
  Define({kAll});
  RunSet(4, {Put("A1", "U1", "Contoso")});
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
  RunSet(4, {Put("A1", "U1")});
  v1::EntityDefined smaller =
      testing::DefineEntity(kAccount, "account", {{1, "id"}, {2, "owner"}}, 2);
  smaller.mutable_schema()->set_next_attribute_id(4);
  Run({testing::MakeEvent(5, smaller), SetAt(6, {testing::Patch(kAccount, "A1", Named("late"))})});
  EXPECT_THAT(last_.rejected, IsEmpty());
  EXPECT_EQ(Find("A1")->row, Row("A1", "U1", "late"));
}

TEST_F(FoldTest, AnOperationNotNewerThanTheStoredVersionIsSkipped) {
  Define({kAll});
  RunSet(4, {Put("A1", "U1", "v5", 5)});
  RunSet(5, {Put("A1", "U1", "same", 5), testing::Patch(kAccount, "A1", Named("older"), {}, 4),
             testing::Delete(kAccount, "A1", 5)});
  EXPECT_EQ(last_.counters.stale_versions, 3u);
  EXPECT_EQ(Find("A1")->row, Row("A1", "U1", "v5"));
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("put A1@4.0"));
  RunSet(6, {Put("A1", "U1", "v6", 6)});
  EXPECT_EQ(Find("A1")->version, 6);
}

TEST_F(FoldTest, WithoutVersionLogOrderDecidesAndTheStoredVersionStays) {
  Define({kAll});
  RunSet(4, {Put("A1", "U1", "v5", 5)});
  RunSet(5, {Put("A1", "U1", "later")});
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
  RunSet(5, {Put("A1", "U1", "", 7)});
  EXPECT_TRUE(Find("A1")->deleted);
  EXPECT_EQ(store_.content().applied.records, 0u);
  RunSet(6, {Put("A1", "U1", "", 8)});
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
  RunSet(4, {Put("A1", "U1")});
  RunSet(5, {testing::Delete(kAccount, "A1")});
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("remove A1@5.0"));
  EXPECT_THAT(Deltas("e1|user:a2=U1"), ElementsAre("remove A1@5.0"));
  EXPECT_EQ(Bucket("e1|all").count, 0u);
  EXPECT_EQ(Bucket("e1|all").checksum, 0u);
  RunSet(6, {Put("A1", "U2")});
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("put A1@6.0"));
  EXPECT_THAT(Deltas("e1|user:a2=U1"), ElementsAre("remove A1@5.0"));
  EXPECT_THAT(Deltas("e1|user:a2=U2"), ElementsAre("put A1@6.0"));
}

TEST_F(FoldTest, ARowThatChangesItsOwnerMovesFromBucketToBucket) {
  Define({kUser});
  RunSet(4, {Put("A1", "U1"), Put("A2", "U1")});
  RunSet(5, {testing::Patch(kAccount, "A1", testing::RowWriter().Text(2, "U2").bytes())});
  EXPECT_THAT(Deltas("e1|user:a2=U1"), ElementsAre("put A2@4.1", "remove A1@5.0"));
  EXPECT_THAT(Deltas("e1|user:a2=U2"), ElementsAre("put A1@5.0"));
  RunSet(6, {testing::Patch(kAccount, "A1", testing::RowWriter().Text(2, "U1").bytes())});
  EXPECT_THAT(Deltas("e1|user:a2=U1"), ElementsAre("put A2@4.1", "put A1@6.0"));
  EXPECT_THAT(Deltas("e1|user:a2=U2"), ElementsAre("remove A1@6.0"));
  RunSet(7, {testing::Patch(kAccount, "A1", "", {2})});  // no owner: in no bucket
  EXPECT_THAT(Deltas("e1|user:a2=U1"), ElementsAre("put A2@4.1", "remove A1@7.0"));
}

TEST_F(FoldTest, CountsAndChecksumsAreThoseOfTheLiveRows) {
  Define({kAll});
  RunSet(4, {Put("A1", "U1"), Put("A2", "U1")});
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
  Run({SetAt(4, {Put("A1", "U1", "a"), testing::Patch(kAccount, "A1", Named("b"))}),
       SetAt(5, {testing::Delete(kAccount, "A1")}),
       SetAt(6, {Put("A1", "U1", "c"), Put("A2", "U1")})});
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
    events.push_back(SetAt(4 + i, {Put(key, "U1")}, "s" + std::to_string(i)));
  }
  const size_t before = store_.reads();
  Run(events);
  EXPECT_EQ(store_.reads() - before, 3u);  // records, change sets, buckets
}

// The window counts the organisation's events, whatever lies between them in the partition.
TEST_F(FoldTest, ASetWithAKnownIdIsAppliedOnceWithinTheWindow) {
  options_.dedup_window = 2;
  Define({kAll});
  RunSet(4, {Put("A1", "U1", "first")}, "s1");
  RunSet(500, {});
  RunSet(1000, {Put("A1", "U1", "again")}, "s1");
  EXPECT_EQ(last_.counters.duplicates, 1u);
  EXPECT_EQ(Find("A1")->row, Row("A1", "U1", "first"));
  RunSet(1001, {Put("A1", "U1", "late")}, "s1");
  EXPECT_EQ(Find("A1")->row, Row("A1", "U1", "late"));
  EXPECT_EQ(store_.content().change_sets.at(ChangeSetKey("test", "s1")),
            (AppliedSet{Offset(1001), 7}));
  // Another source's id is another id; no id is never known.
  const auto put = testing::MakeSet({Put("A1", "")});
  Run({SetAt(1002, {testing::Delete(kAccount, "A1")}, "s1", "erp"), testing::MakeEvent(1003, put),
       testing::MakeEvent(1004, put)});
  EXPECT_EQ(last_.counters.duplicates, 0u);
  EXPECT_EQ(Find("A1")->last.offset, Offset(1004));
}

TEST_F(FoldTest, ARejectedSetChangesNothingAndMayBeSentAgain) {
  Define({kAll});
  RunSet(4, {Put("A1", "U1"), testing::Delete(9, "B1")}, "s1");
  ASSERT_EQ(last_.rejected.size(), 1u);
  EXPECT_EQ(last_.rejected[0].offset, Offset(4));
  EXPECT_EQ(last_.rejected[0].op_index, 1u);
  EXPECT_EQ(last_.rejected[0].code, "unknown_entity");
  EXPECT_EQ(Find("A1"), nullptr);
  EXPECT_EQ(store_.content().applied.position, Offset(4));
  RunSet(5, {Put("A1", "U1")}, "s1");
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
  StoredEvent unknown = SetAt(4, {});
  unknown.event.type = "sluice.v1.Tomorrow";
  StoredEvent garbage = SetAt(5, {});
  garbage.event.value = "\x0f";
  StoredEvent definition = testing::MakeEvent(6, v1::EntityDefined());
  Run({unknown, garbage, definition, SetAt(7, {Put("A1", "")})});
  EXPECT_THAT(RejectedCodes(),
              ElementsAre("unknown_event_type", "malformed_event", "malformed_event"));
  EXPECT_NE(Find("A1"), nullptr);
}

TEST_F(FoldTest, NothingIsAppliedWhileTheOrganisationIsNotOpen) {
  Run({SetAt(1, {Put("A1", "")}), testing::MakeEvent(2, testing::DefineRole("sales", true, {}))});
  EXPECT_THAT(RejectedCodes(), ElementsAre("org_not_open", "org_not_open"));
  EXPECT_EQ(last_.batch.applied.position, Offset(2));
  EXPECT_FALSE(last_.batch.model.has_value());
}

TEST_F(FoldTest, ClosingEndsTheSpan) {
  Define({kAll});
  v1::OrgClosed closed;
  closed.set_incarnation(1);
  const std::vector<StoredEvent> events = {SetAt(4, {Put("A1", "")}), testing::MakeEvent(5, closed),
                                           testing::MakeEvent(6, testing::OpenOrg(2))};
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
  const StoredEvent event = SetAt(4, {Put("A1", "U1")});
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
  RunSet(4, {Put("A2", "U1"), Put("A1", "U2"), Put("A3", "U2")});
  RunSet(5, {testing::Delete(kAccount, "A3")});
  Run({testing::MakeEvent(6, testing::DefineProfile("field", {{"account", {kAll, kUser}}}, {}))});
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("put A1@6.0", "put A2@6.1"));
  EXPECT_THAT(Deltas("e1|user:a2=U1"), ElementsAre("put A2@4.0"));
  EXPECT_EQ(Bucket("e1|all").count, 2u);
  EXPECT_EQ(Find("A1")->last, (Position{Offset(4), 1}));
}

TEST_F(FoldTest, ARuleThatGoesRemovesItsRowsAndMayComeBack) {
  Define({kAll, kUser});
  RunSet(4, {Put("A1", "U1"), Put("A2", "U1")});
  Run({testing::MakeEvent(5, testing::DefineProfile("field", {{"account", {kUser}}}, {}))});
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("remove A1@5.0", "remove A2@5.1"));
  EXPECT_EQ(Bucket("e1|all").count, 0u);
  EXPECT_EQ(Bucket("e1|all").checksum, 0u);
  EXPECT_EQ(Bucket("e1|user:a2=U1").count, 2u);
  Run({SetAt(6, {testing::Delete(kAccount, "A1")}),
       testing::MakeEvent(7, testing::DefineProfile("field", {{"account", {kAll}}}, {}))});
  // A row's buckets take their indexes in the order of their keys.
  EXPECT_THAT(Deltas("e1|user:a2=U1"), ElementsAre("remove A1@6.0", "remove A2@7.0"));
  EXPECT_THAT(Deltas("e1|all"), ElementsAre("remove A1@5.0", "put A2@7.0"));
}

TEST_F(FoldTest, ADefinitionThatChangesNoRuleWritesOnlyTheModel) {
  Define({kAll});
  RunSet(4, {Put("A1", "U1")});
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
  RunSet(4, {Put("A1", "U1"), Put("A2", "U1"), testing::Delete(kAccount, "A9", 4)});
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
       SetAt(7, {testing::Upsert(7, "A1", Row("A1", "").substr(0, 4))}),
       SetAt(8, {Put("A1", "")})});
  EXPECT_THAT(RejectedCodes(), ElementsAre("unknown_entity"));
  EXPECT_THAT(Deltas("e7|all"), ElementsAre("put A1@7.0"));
  EXPECT_EQ(store_.content().applied.records, 1u);
}

TEST_F(FoldTest, ASetOfAnotherIncarnationIsRejectedWhole) {
  Define({kAll});
  v1::ChangeSet set = testing::MakeSet({Put("A1", "")}, "s1");
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

TEST_F(FoldTest, TheHistoryIsAChainOverTheOrganisationsEvents) {
  // Before it is open there is no organisation.
  Run({SetAt(0, {})});
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
  const StoredEvent bad = SetAt(9, {testing::Delete(77, "A1")});
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
  RunSet(4, {Put("A1", one), Put("A2", other)});
  EXPECT_THAT(Deltas("e1|user:a2=" + one), ElementsAre("put A1@4.0"));
  EXPECT_THAT(Deltas("e1|user:a2=" + other), ElementsAre("put A2@4.1"));
}

}  // namespace
}  // namespace sluice::projectors
