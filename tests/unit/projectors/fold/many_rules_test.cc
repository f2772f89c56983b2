// Rows that are held against many rules, and large ones: what a batch takes on of them.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <limits>

#include "projectors/fold/bucket_changes.h"
#include "projectors/fold/fold.h"
#include "schemas/base/status.h"
#include "tests/support/change_events.h"
#include "tests/support/model_store.h"

namespace sluice::projectors {
namespace {

using eventlog::StoredEvent;
using testing::MakeEvent;
using testing::MakeSet;
using testing::ModelStore;
using testing::RowWriter;

constexpr uint32_t kAccountEntity = 1;
constexpr int kRules = 100;
constexpr size_t kRowWork = 64 * kRules;  // of a small row

// So many, each with its number in the place of "{}".
std::vector<v1::Rule> NumberedFilters(size_t count, const std::string& where) {
  std::vector<v1::Rule> rules;
  for (size_t i = 0; i < count; ++i) {
    rules.push_back(testing::FilterRule(fmt::format(fmt::runtime(where), i)));
  }
  return rules;
}

class ManyRulesTest : public ::testing::Test {
 protected:
  ManyRulesTest() {
    Apply(MakeEvent(offset_++, testing::OpenOrg(1)));
    Apply(MakeEvent(offset_++,
                    testing::DefineEntity(kAccountEntity, "account", {{1, "id"}, {2, "name"}})));
    v1::ProfileDefined defined = testing::DefineProfile("p", {}, {});
    testing::AddRules("account", NumberedFilters(kRules, "contains(name, '{}') and id in @teams"),
                      &defined);
    Apply(MakeEvent(offset_++, defined));
  }

  static v1::Operation Account(int number, size_t bytes) {
    const std::string key = fmt::format("a{}", number);
    return testing::Upsert(kAccountEntity, key,
                           RowWriter().Text(1, key).Text(2, std::string(bytes, '7')).bytes());
  }
  // A set of so many accounts.
  StoredEvent Accounts(int from, int to, size_t bytes = 10) {
    std::vector<v1::Operation> ops;
    for (int i = from; i < to; ++i) {
      ops.push_back(Account(i, bytes));
    }
    return MakeEvent(offset_++, MakeSet(ops));
  }
  // In as many batches as it takes.
  void Apply(const StoredEvent& event) {
    parts_ = 0;
    for (bool partial = true; partial; ++parts_) {
      const auto result = store_.Apply(options_, {&event, 1});
      ASSERT_TRUE(result.ok()) << result.status();
      partial = result->partial;
    }
    FoldOptions whole;
    whole.step_work = std::numeric_limits<size_t>::max();
    const auto result = whole_.Apply(whole, {&event, 1});
    ASSERT_TRUE(result.ok() && !result->partial) << result.status();
    ASSERT_EQ(Differences(store_.content(), whole_.content()), "");
  }
  absl::Status TryTurn(const StoredEvent& event) {
    FoldOptions turn = options_;
    turn.work_max = options_.step_work;
    return store_.Apply(turn, {&event, 1}).status();
  }

  FoldOptions options_;
  ModelStore store_;
  ModelStore whole_;  // in one batch each
  int64_t offset_ = 0;
  int parts_ = 0;
};

TEST_F(ManyRulesTest, AnEventOfManyRowsGoesInParts) {
  options_.step_work = 10 * kRowWork;
  Apply(Accounts(0, 100));
  EXPECT_GE(parts_, 9);
  EXPECT_LE(parts_, 14);
  options_.step_work = 1;  // a row always gets on
  Apply(Accounts(0, 10));
  EXPECT_GE(parts_, 10);
}

TEST_F(ManyRulesTest, AnEventOfOneRowEndsABatchToo) {
  std::vector<StoredEvent> events;
  for (int i = 0; i < 100; ++i) {
    events.push_back(Accounts(i, i + 1));
  }
  options_.step_work = 10 * kRowWork;
  const auto result = store_.Apply(options_, events);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->partial);
  EXPECT_GE(result->consumed, 8U);
  EXPECT_LE(result->consumed, 11U);
}

// It can't be cut, so a thread that has no time for it leaves it to another one, whole.
TEST_F(ManyRulesTest, ALargeRowIsNotBegunWhereThereIsNoTimeForAllItsRules) {
  options_.step_work = 100 * kRowWork;
  const StoredEvent small = Accounts(0, 1, 1'000);
  ASSERT_TRUE(TryTurn(small).ok());
  Apply(small);
  const StoredEvent large = Accounts(1, 2, 200'000);
  EXPECT_EQ(ErrorCode(TryTurn(large)), "large_event");
  Apply(large);
}

// However small the operations are.
TEST_F(ManyRulesTest, ALargeRowIsNotPatchedOftenInOneTurn) {
  Apply(Accounts(0, 1, 100'000));
  std::vector<v1::Operation> patches;
  for (int i = 0; i < 200; ++i) {
    patches.push_back(testing::Patch(kAccountEntity, "a0", RowWriter().Text(1, "a0").bytes()));
  }
  options_.step_work = 100 * (100'000 / 16) + kRowWork;
  const StoredEvent event = MakeEvent(offset_++, MakeSet(patches));
  EXPECT_EQ(ErrorCode(TryTurn(event)), "large_event");
  Apply(event);
}

// Notes with a long text, which is in the names of their buckets.
class LongNamesTest : public ManyRulesTest {
 protected:
  static constexpr uint32_t kNote = 2;

  LongNamesTest() {
    Apply(MakeEvent(offset_++, testing::DefineEntity(kNote, "note", {{1, "id"}, {2, "text"}})));
    v1::ProfileDefined defined = testing::DefineProfile("q", {}, {});
    testing::AddRules("note", NumberedFilters(kRules, "text eq @user and id ne '{}'"), &defined);
    Apply(MakeEvent(offset_++, defined));
  }
  StoredEvent Note(const std::string& text) {
    return MakeEvent(
        offset_++,
        MakeSet({testing::Upsert(kNote, "n", RowWriter().Text(1, "n").Text(2, text).bytes())}));
  }
};

TEST_F(LongNamesTest, AreKeptInShort) {
  std::string text = "x";
  for (int i = 0; i < 10'000; ++i) {
    text += "\xc3\xa4";
  }
  Apply(Note(text));
  const auto model = OrgModel::Parse(store_.content().model).value();
  const auto& buckets = store_.content().buckets;
  EXPECT_EQ(buckets.size(), size_t{kRules});
  for (const SyncRule* rule : model->rules().Find(EntityId(kNote))->rules) {
    const std::string name = fmt::format("{}={}:{}", rule->id, text.size(), text);
    const BucketKey key = BucketKey::OfName(name);
    ASSERT_TRUE(buckets.contains(key)) << "the key is that of the whole name";
    EXPECT_EQ(buckets.at(key).name, KeptName(key, name));
    EXPECT_LE(buckets.at(key).name.size(), kKeptNameBytesMax);
  }
  Apply(Note("short"));
}

// To hash the names takes longer than to look at the row.
TEST_F(LongNamesTest, AreWork) {
  options_.step_work = 1'000'000;
  const StoredEvent small = Note(std::string(10'000, 'a'));
  ASSERT_TRUE(TryTurn(small).ok());
  Apply(small);
  const StoredEvent large = Note(std::string(100'000, 'b'));
  EXPECT_EQ(ErrorCode(TryTurn(large)), "large_event");
  Apply(large);
}

TEST(BucketChanges, HoldNoLongNames) {
  const auto allocated = [] {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  const size_t before = allocated();
  BucketChanges changes;
  for (int i = 0; i < 500; ++i) {
    std::string name = fmt::format("e1|filter:{}={}", i, std::string(100'000, 'a'));
    const BucketKey key = BucketKey::OfName(name);
    changes.Name(key, std::move(name));
  }
  EXPECT_LT(allocated() - before, size_t{1} << 20);
}

// Deals of which each has all of 20 filters, and what each gives by its two references.
class ManyFeedsTest : public ManyRulesTest {
 protected:
  static constexpr uint32_t kDeal = 2;
  static constexpr size_t kFilters = 20;
  static constexpr size_t kFeeds = 2 * kFilters;

  ManyFeedsTest() {
    Apply(MakeEvent(offset_++,
                    testing::DefineEntity(kDeal, "deal",
                                          {{1, "id"},
                                           {.id = 2, .name = "buyer", .references = "account"},
                                           {.id = 3, .name = "seller", .references = "account"}})));
    v1::ProfileDefined defined = testing::DefineProfile("p", {}, {});
    testing::AddRules("deal", NumberedFilters(kFilters, "id ne 'none{}'"), &defined);
    testing::AddRules("account",
                      {testing::RelatedRule("deal.buyer"), testing::RelatedRule("deal.seller")},
                      &defined);
    Apply(MakeEvent(offset_++, defined));
  }
  // Deals of which all name one account as buyer and one as seller.
  StoredEvent Deals(int deals, const std::string& account) {
    std::vector<v1::Operation> ops;
    for (int i = 0; i < deals; ++i) {
      const std::string key = fmt::format("d{}", i);
      ops.push_back(testing::Upsert(
          kDeal, key,
          RowWriter().Text(1, key).Text(2, account + "b").Text(3, account + "s").bytes()));
    }
    return MakeEvent(offset_++, MakeSet(ops));
  }
};

TEST_F(ManyFeedsTest, WhatRowsGiveOthersIsCounted) {
  options_.step_work = 10 * kFeeds * 64;
  Apply(Deals(100, "x"));  // 40 of the rules are looked at for what they give, 20 for the row
  EXPECT_GE(parts_, 14);
  EXPECT_LE(parts_, 20);
}

// It is a part of the operations, so it can't be cut.
TEST_F(ManyFeedsTest, ReferencesOfManyRowsAreNotChangedInOneTurn) {
  Apply(Deals(100, "x"));
  options_.step_work = 100 * kFeeds * 64;
  const StoredEvent some = Deals(40, "y");
  ASSERT_TRUE(TryTurn(some).ok());
  Apply(some);
  const StoredEvent all = Deals(100, "z");
  EXPECT_EQ(ErrorCode(TryTurn(all)), "large_event");
  Apply(all);
}

// Rules can be many, references are as many as the rows have.
TEST_F(ManyFeedsTest, ReferencesAreKnownOnceHoweverManyRulesGoBy) {
  const RuleSet::Entity& deals = *store_.model()->rules().Find(schemas::EntityId(kDeal));
  EXPECT_EQ(deals.feeds.size(), kFeeds);
  EXPECT_EQ(deals.ups.size(), 2U);
  EXPECT_EQ(deals.references.size(), 2U);
  for (const SyncRule* rule : deals.rules) {
    EXPECT_EQ(deals.FeedsOf(rule->number).size(), 2U);
  }
}

}  // namespace
}  // namespace sluice::projectors
