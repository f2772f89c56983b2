#include "projectors/fold/source_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/change_events.h"
#include "tests/support/model_store.h"

// What the sets of a source do to a store.
namespace sluice::projectors {
namespace {

using eventlog::StoredEvent;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kCrmAccount = 1;
constexpr uint32_t kCrmContact = 2;

std::string RowOf(std::string_view key, std::string_view owner, std::string_view name = "") {
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

v1::Operation Touch(std::string_view key, int64_t version) {
  v1::Operation op = testing::Delete(kCrmAccount, key, version);
  op.set_kind(v1::Operation::KIND_TOUCH);
  return op;
}

v1::Operation SweepOf(uint32_t entity, int64_t version) {
  v1::Operation op = testing::Delete(entity, "", version);
  op.set_kind(v1::Operation::KIND_SWEEP);
  return op;
}

v1::Operation Keeping(v1::Operation op, const std::vector<uint32_t>& kept,
                      const std::string& from = "") {
  op.mutable_kept()->Add(kept.begin(), kept.end());
  op.set_kept_from(from);
  return op;
}

class SourceRowsTest : public ::testing::Test {
 protected:
  SourceRowsTest() {
    v1::SourceDefined source;
    source.mutable_settings()->set_name("crm");
    source.mutable_settings()->set_kind("odata");
    source.set_epoch(7);
    v1::EntityDefined contact =
        testing::DefineEntity(kCrmContact, "contact", {{1, "id"}, {2, "accountid"}});
    contact.mutable_schema()->mutable_attributes(1)->set_references("account");
    v1::ProfileDefined profile =
        testing::DefineProfile("field", {{"account", {v1::RULE_KIND_ALL}}}, {"sales"});
    v1::EntityRules& related = *profile.mutable_profile()->add_entities();
    related.set_entity("contact");
    related.add_rules()->set_kind(v1::RULE_KIND_RELATED);
    related.mutable_rules(0)->set_through("contact.accountid");
    Run({testing::MakeEvent(1, testing::OpenOrg(1)),
         testing::MakeEvent(2, testing::DefineEntity(kCrmAccount, "account",
                                                     {{1, "id"}, {2, "owner"}, {3, "name"}}, 2)),
         testing::MakeEvent(3, contact), testing::MakeEvent(4, profile),
         testing::MakeEvent(5, source)});
  }

  void Run(const std::vector<StoredEvent>& events) {
    counters_ = {};
    rejected_.clear();
    parts_ = 0;
    for (std::span<const StoredEvent> rest(events); !rest.empty();) {
      auto result = store_.Apply(options_, rest);
      ASSERT_TRUE(result.ok()) << result.status();
      counters_.unchanged += result->counters.unchanged;
      counters_.stale_steps += result->counters.stale_steps;
      counters_.stale_versions += result->counters.stale_versions;
      counters_.kept_of_nothing += result->counters.kept_of_nothing;
      counters_.touches_of_nothing += result->counters.touches_of_nothing;
      counters_.swept += result->counters.swept;
      EXPECT_LE(result->rejected.size(), options_.step_rejected);
      for (const Rejected& rejected : result->rejected) {
        whole_rejected_.push_back(rejected);
        rejected_.push_back(std::to_string(rejected.op_index) + " " + rejected.code);
      }
      parts_ += result->partial ? 1 : 0;
      rest = rest.subspan(result->consumed);
    }
  }
  static v1::ChangeSet SetOf(const std::vector<v1::Operation>& ops) {
    v1::ChangeSet set = testing::MakeSet(ops);
    set.set_only_changes(true);
    return set;
  }
  void RunSet(const std::vector<v1::Operation>& ops) {
    Run({testing::MakeEvent(next_++, SetOf(ops))});
  }
  // The next set of the stream "account", which upserts `key`.
  v1::ChangeSet Step(const std::string& id, const std::string& after, uint64_t number,
                     const std::string& key) {
    v1::ChangeSet set = SetOf({testing::Upsert(kCrmAccount, key, RowOf(key, "U1"))});
    set.set_id(id);
    set.mutable_step()->set_source("crm");
    set.mutable_step()->set_stream("account");
    set.mutable_step()->set_epoch(7);
    set.mutable_step()->set_after(after);
    set.mutable_step()->set_number(number);
    set.mutable_step()->set_cursor("behind " + id);
    return set;
  }
  v1::SourceState State() {
    v1::SourceState state;
    state.ParseFromString(store_.content().sources[{"crm", "account"}]);
    return state;
  }
  const Record* Find(std::string_view key, uint32_t entity = kCrmAccount) const {
    const auto& records = store_.content().records;
    const auto found = records.find(RecordKey{EntityId(entity), std::string(key)});
    return found == records.end() ? nullptr : &found->second;
  }
  std::vector<std::string> Deltas() const {
    std::vector<std::string> ops;
    for (const auto& [place, op] : store_.content().deltas) {
      if (op.entity == EntityId(kCrmAccount)) {
        ops.push_back((op.put ? "put " : "remove ") + op.key + "@" + place.second.ToString());
      }
    }
    return ops;
  }

  FoldOptions options_;
  testing::ModelStore store_;
  FoldCounters counters_;
  std::vector<std::string> rejected_;
  std::vector<Rejected> whole_rejected_;  // of all runs
  size_t parts_ = 0;
  int64_t next_ = 10;
};

TEST_F(SourceRowsTest, UnchangedUpsertRaisesVersionOnly) {
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1"), 3)});
  const Record before = *Find("A1");
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1"), 9)});
  EXPECT_EQ(counters_.unchanged, 1U);
  EXPECT_EQ(Find("A1")->version, 9);
  EXPECT_EQ(Find("A1")->last, before.last);
  EXPECT_EQ(Find("A1")->memberships, before.memberships);
  EXPECT_THAT(Deltas(), ElementsAre("put A1@10.0"));
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1"))});
  EXPECT_EQ(Find("A1")->version, 9) << "one without a version says nothing of it";
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U2"), 8)});
  EXPECT_EQ(counters_.stale_versions, 1U);
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U2"), 9)});
  EXPECT_THAT(Deltas(), ElementsAre("put A1@14.0")) << "an equal version is taken";
}

TEST_F(SourceRowsTest, ADeleteIsRememberedAndToldOnce) {
  RunSet({testing::Delete(kCrmAccount, "A1", 4)});
  EXPECT_EQ(Find("A1")->version, 4);
  const Position last = Find("A1")->last;
  RunSet({testing::Delete(kCrmAccount, "A1", 4)});
  EXPECT_EQ(Find("A1")->last, last);
  EXPECT_EQ(counters_.unchanged, 1U);
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1"), 3)});
  EXPECT_TRUE(Find("A1")->deleted) << "a late row";
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1"), 4)});
  EXPECT_FALSE(Find("A1")->deleted) << "deleted and made anew by one transaction";
  RunSet({testing::Delete(kCrmAccount, "A1", 4)});
  EXPECT_TRUE(Find("A1")->deleted);
}

TEST_F(SourceRowsTest, KeptAttributesComeFromTheRow) {
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1", "large"), 1)});
  RunSet({Keeping(testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U2"), 2), {3})});
  EXPECT_EQ(Find("A1")->row, RowOf("A1", "U2", "large"));
  RunSet({Keeping(testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U2"), 3), {3})});
  EXPECT_EQ(counters_.unchanged, 1U) << "with what it keeps it is the same";
  RunSet({Keeping(testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U2", "small"), 4), {2, 3})});
  EXPECT_EQ(Find("A1")->row, RowOf("A1", "U2", "small")) << "what the row says counts";
  RunSet({Keeping(testing::Upsert(kCrmAccount, "A9", RowOf("A9", "U2"), 4), {3})});
  EXPECT_EQ(Find("A9")->row, RowOf("A9", "U2"));
  EXPECT_EQ(counters_.kept_of_nothing, 1U);
}

// A key change: the row with the new key comes first, and keeps what the old one has.
TEST_F(SourceRowsTest, KeptFromOldKeyWithinOneSet) {
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1", "old"), 1)});
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1", "large"), 2),
          Keeping(testing::Upsert(kCrmAccount, "A2", RowOf("A2", "U1"), 2), {3}, "A1"),
          testing::Delete(kCrmAccount, "A1", 2)});
  EXPECT_EQ(Find("A2")->row, RowOf("A2", "U1", "large"));
  EXPECT_TRUE(Find("A1")->deleted);
}

// A connector that was killed before its cursor was there does sets again; the key that a row had
// may be another row's by then.
TEST_F(SourceRowsTest, ARowThatMovedStaysWholeWhereItsSetIsDoneAgain) {
  const std::vector<v1::Operation> moves = {
      Keeping(testing::Upsert(kCrmAccount, "A2", RowOf("A2", "U1"), 2), {3}, "A1"),
      testing::Delete(kCrmAccount, "A1", 2)};
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1", "large"), 1)});
  RunSet(moves);
  RunSet(moves);
  EXPECT_EQ(Find("A2")->row, RowOf("A2", "U1", "large"));
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1", "another"), 3)});
  RunSet(moves);
  EXPECT_EQ(Find("A2")->row, RowOf("A2", "U1", "large"));
  EXPECT_EQ(Find("A1")->row, RowOf("A1", "U1", "another"));
  EXPECT_EQ(counters_.kept_of_nothing, 0U);
}

TEST_F(SourceRowsTest, ATouchOnlyRaisesTheVersion) {
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1"), 3)});
  RunSet({Touch("A1", 7), Touch("A2", 7), Touch("A1", 5)});
  EXPECT_EQ(Find("A1")->version, 7);
  EXPECT_EQ(Find("A2"), nullptr);
  EXPECT_EQ(counters_.touches_of_nothing, 1U);
  EXPECT_EQ(counters_.stale_versions, 1U);
  EXPECT_THAT(Deltas(), ElementsAre("put A1@10.0"));
}

TEST_F(SourceRowsTest, WhatDoesNotFitIsRejectedByItself) {
  v1::Operation untyped = testing::Upsert(kCrmAccount, "A2", "\x08\x01", 1);
  v1::Operation not_alone = SweepOf(kCrmAccount, 9);
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1"), 1), untyped,
          testing::Upsert(77, "A3", RowOf("A3", "U1")), not_alone,
          testing::Patch(kCrmAccount, "A1", RowOf("A1", "U5")),
          Keeping(testing::Upsert(kCrmAccount, "A4", RowOf("A4", "U1")), {3, 3}),
          Keeping(testing::Upsert(kCrmAccount, "A4", RowOf("A4", "U1")), {9}),
          testing::Upsert(kCrmAccount, "A5", RowOf("A5", "U1"), 1)});
  EXPECT_THAT(rejected_,
              ElementsAre("1 type_mismatch", "2 unknown_entity", "3 malformed_event",
                          "4 malformed_event", "5 malformed_event", "6 unknown_attribute"));
  EXPECT_THAT(Deltas(), ElementsAre("put A1@10.0", "put A5@10.7"));
  RunSet({SweepOf(77, 9)});
  EXPECT_THAT(rejected_, ElementsAre("0 unknown_entity"));
  v1::Operation versionless = SweepOf(kCrmAccount, 9);
  versionless.clear_version();
  RunSet({versionless});
  EXPECT_THAT(rejected_, ElementsAre("0 malformed_event"));
  v1::Operation touch = Touch("A1", 1);
  touch.clear_version();
  RunSet({touch});
  EXPECT_THAT(rejected_, ElementsAre("0 malformed_event"));
  // In any other set they are nothing that there is.
  Run({testing::MakeEvent(next_++, testing::MakeSet({SweepOf(kCrmAccount, 9)}))});
  EXPECT_EQ(rejected_.size(), 1U);
  Run({testing::MakeEvent(next_++, testing::MakeSet({Touch("A1", 9)}))});
  EXPECT_THAT(rejected_, ElementsAre("0 malformed_event"));
}

TEST_F(SourceRowsTest, OfTwoThatGoOnFromOneSetTheFirstIsTaken) {
  Run({testing::MakeEvent(20, Step("a", "", 1, "A1")),
       testing::MakeEvent(21, Step("b", "a", 2, "A2")),
       testing::MakeEvent(22, Step("c", "a", 2, "A3")),
       testing::MakeEvent(23, Step("d", "c", 3, "A4")),
       testing::MakeEvent(24, Step("b", "a", 2, "A5"))});
  EXPECT_EQ(counters_.stale_steps, 3U);
  EXPECT_THAT(rejected_, IsEmpty());
  EXPECT_THAT(Deltas(), ElementsAre("put A1@20.0", "put A2@21.0"));
  EXPECT_EQ(State().last_id(), "b");
  EXPECT_EQ(State().offset(), 21);
  EXPECT_EQ(State().cursor(), "behind b");
}

TEST_F(SourceRowsTest, TheChainMovesOnWhateverBecomesOfTheOperations) {
  v1::ChangeSet misfit = Step("a", "", 1, "A1");
  misfit.mutable_ops(0)->set_entity_id(77);
  v1::ChangeSet empty = Step("b", "a", 2, "A1");
  empty.clear_ops();
  Run({testing::MakeEvent(20, misfit), testing::MakeEvent(21, empty),
       testing::MakeEvent(22, Step("c", "b", 3, "A1"))});
  EXPECT_THAT(rejected_, ElementsAre("0 unknown_entity"));
  EXPECT_EQ(State().last_id(), "c");
  EXPECT_EQ(State().rows(), 2U);
}

// Nobody's error: the worker had not heard of it yet.
TEST_F(SourceRowsTest, StepsOfWhatIsGoneAreNoDeadLetters) {
  v1::ChangeSet other = Step("a", "", 1, "A1");
  other.set_incarnation(9);
  v1::SourceDeleted deleted;
  deleted.set_name("crm");
  v1::OrgClosed closed;
  closed.set_incarnation(1);
  Run({testing::MakeEvent(20, other), testing::MakeEvent(21, deleted),
       testing::MakeEvent(22, Step("a", "", 1, "A1"))});
  EXPECT_EQ(counters_.stale_steps, 2U);
  EXPECT_THAT(rejected_, IsEmpty());
  EXPECT_THAT(Deltas(), IsEmpty());
}

// The versions say that the rows are new, so that a set passed over for its id would be lost; and
// what its id is says nothing to the sets of others.
TEST_F(SourceRowsTest, WhereAStepIsTakenTheIdIsNotLookedAt) {
  v1::ChangeSet other = SetOf({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1"))});
  other.set_id("a");
  Run({testing::MakeEvent(20, other), testing::MakeEvent(21, Step("a", "", 1, "A2")),
       testing::MakeEvent(22, Step("b", "a", 2, "A3"))});
  v1::ChangeSet later = SetOf({testing::Upsert(kCrmAccount, "A4", RowOf("A4", "U1"))});
  later.set_id("b");
  Run({testing::MakeEvent(23, later)});
  EXPECT_THAT(Deltas(), ElementsAre("put A1@20.0", "put A2@21.0", "put A3@22.0", "put A4@23.0"));
}

// Of a column that an administrator has removed the source tells nothing any more.
TEST_F(SourceRowsTest, RemovedAttributesAreNeitherComparedNorKept) {
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1", "gone"), 1),
          testing::Upsert(kCrmAccount, "A2", RowOf("A2", "U1", "gone"), 1)});
  v1::EntityDefined without =
      testing::DefineEntity(kCrmAccount, "account", {{1, "id"}, {2, "owner"}}, 2);
  without.mutable_schema()->set_next_attribute_id(4);
  Run({testing::MakeEvent(next_++, without)});
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1"), 2)});
  EXPECT_EQ(counters_.unchanged, 1U);
  EXPECT_EQ(Find("A1")->version, 2);
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U2"), 3),
          Keeping(testing::Upsert(kCrmAccount, "A2", RowOf("A2", "U2"), 3), {3})});
  EXPECT_EQ(counters_.unchanged, 0U);
  EXPECT_EQ(Find("A2")->row, RowOf("A2", "U2"));
}

TEST_F(SourceRowsTest, WhatChangesNothingIsWorkToo) {
  std::vector<v1::Operation> same;
  std::vector<v1::Operation> touches;
  for (int i = 0; i < 100; ++i) {
    const std::string key = "A" + std::to_string(100 + i);
    same.push_back(testing::Upsert(kCrmAccount, key, RowOf(key, "U1", std::string(1'000, 'x')), 1));
    touches.push_back(Touch(key, 2));
  }
  RunSet(same);
  EXPECT_EQ(parts_, 0U);
  options_.step_work = 1'000;
  RunSet(same);
  EXPECT_EQ(counters_.unchanged, 100U);
  EXPECT_GT(parts_, 10U);
  RunSet(touches);
  EXPECT_GT(parts_, 10U);
  EXPECT_EQ(Find("A150")->version, 2);
}

TEST_F(SourceRowsTest, ASetIsCutWhereABatchHasManyRejections) {
  std::vector<v1::Operation> ops;
  for (int i = 0; i < 100; ++i) {
    const std::string key = "A" + std::to_string(100 + i);
    ops.push_back(testing::Upsert(i % 2 == 0 ? 77 : kCrmAccount, key,
                                  i % 2 == 0 ? "" : RowOf("A1", "U1"), 1));
  }
  options_.step_rejected = 10;
  whole_rejected_.clear();
  RunSet(ops);
  EXPECT_EQ(rejected_.size(), 100U);
  EXPECT_GE(parts_, 9U);
  EXPECT_EQ(whole_rejected_[0].entity, "") << "there is none of that id";
  EXPECT_EQ(whole_rejected_[0].key, "A100");
  EXPECT_EQ(whole_rejected_[1].entity, "account");
  EXPECT_EQ(whole_rejected_[1].key, "A101");
}

TEST_F(SourceRowsTest, ASweepDeletesWhatIsNotNewer) {
  RunSet(
      {testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1"), 5),
       testing::Upsert(kCrmAccount, "A2", RowOf("A2", "U1"), 6),
       testing::Upsert(kCrmAccount, "A3", RowOf("A3", "U1")), testing::Delete(kCrmAccount, "A4", 1),
       testing::Upsert(kCrmContact, "C1", testing::RowWriter().Text(1, "C1").Text(2, "A1").bytes()),
       testing::Upsert(kCrmContact, "C2",
                       testing::RowWriter().Text(1, "C2").Text(2, "A2").bytes())});
  RunSet({SweepOf(kCrmAccount, 5)});
  EXPECT_EQ(counters_.swept, 2U);
  EXPECT_THAT(Deltas(), ElementsAre("put A2@10.1", "remove A1@11.1", "remove A3@11.2"));
  EXPECT_EQ(Find("A1")->version, 5);
  EXPECT_EQ(Find("A3")->version, 5);
  EXPECT_EQ(Find("A4")->version, 1);
  ASSERT_EQ(Find("C1", kCrmContact)->memberships.size(), 1U);
  EXPECT_FALSE(Find("C1", kCrmContact)->memberships[0].member) << "it was there by A1";
  EXPECT_TRUE(Find("C2", kCrmContact)->memberships[0].member);
  EXPECT_EQ(store_.content().applied.records, 3U);
  RunSet({testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1"), 4)});
  EXPECT_TRUE(Find("A1")->deleted) << "a late row of before";
}

// What an event before it has left in memory is not in the store that it reads.
TEST_F(SourceRowsTest, ASweepSeesTheEventsBeforeItOfTheSameBatch) {
  std::vector<StoredEvent> events;
  for (const auto& op :
       {testing::Upsert(kCrmAccount, "A1", RowOf("A1", "U1"), 3), SweepOf(kCrmAccount, 5),
        testing::Upsert(kCrmAccount, "A2", RowOf("A2", "U1"), 6), Touch("A2", 9),
        SweepOf(kCrmAccount, 7)}) {
    events.push_back(testing::MakeEvent(next_++, SetOf({op})));
  }
  Run(events);
  EXPECT_THAT(Deltas(), ElementsAre("remove A1@11.1", "put A2@12.0"));
}

TEST_F(SourceRowsTest, SweepOverManyBatchesEqualsOne) {
  std::vector<v1::Operation> ops;
  for (int i = 0; i < 100; ++i) {
    const std::string key = "A" + std::to_string(100 + i);
    ops.push_back(testing::Upsert(kCrmAccount, key, RowOf(key, "U1"), i));
    ops.push_back(testing::Upsert(kCrmContact, key,
                                  testing::RowWriter().Text(1, key).Text(2, key).bytes(), i));
  }
  const std::vector<StoredEvent> events = {
      testing::MakeEvent(next_++, SetOf(ops)),
      testing::MakeEvent(next_++, SetOf({SweepOf(kCrmAccount, 69)})),
      testing::MakeEvent(next_++, SetOf({SweepOf(kCrmContact, 9)}))};
  const testing::ModelStore before = store_;
  Run(events);
  EXPECT_EQ(parts_, 0U);
  const testing::StoreContent whole = store_.content();
  for (const size_t rows : {1U, 7U, 64U}) {
    store_ = before;
    options_.step_rows = rows;
    Run(events);
    EXPECT_GT(parts_, 5U);
    EXPECT_EQ(Differences(store_.content(), whole), "") << rows;
  }
  // Rows that stay are work, too: there may be very many of them.
  store_ = before;
  options_.step_rows = 20'000;
  Run({events[0]});
  options_.step_work = 1'000;
  Run({testing::MakeEvent(next_++, SetOf({SweepOf(kCrmAccount, -1)}))});
  EXPECT_EQ(counters_.swept, 0U);
  EXPECT_GT(parts_, 3U);
}

}  // namespace
}  // namespace sluice::projectors
