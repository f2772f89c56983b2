// What a batch of the fold holds of rows that are large: it is cut by their bytes, wherever they
// come from, and comes to the same store.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <limits>

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

constexpr uint32_t kProduct = 1;
constexpr uint32_t kOrder = 2;
constexpr uint32_t kKit = 3;
constexpr uint32_t kParts = 100;
constexpr uint32_t kFirstPart = 3;
constexpr int kRows = 600;
constexpr size_t kLargeRowBytes = 10'000;

class LargeRowsTest : public ::testing::Test {
 protected:
  LargeRowsTest() {
    options_.step_bytes = 20 * kLargeRowBytes;
    Apply({MakeEvent(offset_++, testing::OpenOrg(1))});
    std::vector<testing::TestAttribute> attributes = {
        {1, "id"}, {2, "owner"}, {3, "text"}, {4, "mark"}, {5, "of"}};
    Apply({MakeEvent(offset_++, testing::DefineEntity(kProduct, "product", attributes, 2))});
    attributes.back().references = "product";
    Apply({MakeEvent(offset_++, testing::DefineEntity(kOrder, "order", attributes, 2))});
  }

  // Users have their orders, and `related`, where it is not empty, is how others follow.
  void Define(std::string_view entity, std::string_view of, std::string_view through) {
    v1::ProfileDefined defined = OwnersHave(of);
    if (!through.empty()) {
      testing::AddRules(entity, {testing::RelatedRule(through)}, &defined);
    }
    Apply({MakeEvent(offset_++, defined)});
  }
  static v1::ProfileDefined OwnersHave(std::string_view entity) {
    v1::ProfileDefined defined = testing::DefineProfile("p", {}, {});
    testing::AddRules(entity, {testing::KindRule(v1::RULE_KIND_USER)}, &defined);
    return defined;
  }
  // Through the first parts of a kit.
  static std::vector<v1::Rule> ThroughParts(uint32_t parts) {
    std::vector<v1::Rule> rules;
    for (uint32_t i = 0; i < parts; ++i) {
      rules.push_back(testing::RelatedRule(fmt::format("kit.part{}", i)));
    }
    return rules;
  }

  static std::string Key(int i) { return fmt::format("k{}", i); }
  static v1::Operation Row(uint32_t entity, int i, size_t bytes, std::string_view of = "") {
    RowWriter row;
    row.Text(1, Key(i)).Text(2, "U1").Text(3, std::string(bytes, 't'));
    if (!of.empty()) {
      row.Text(5, of);
    }
    return testing::Upsert(entity, Key(i), row.bytes());
  }
  static v1::Operation Mark(int i, std::string_view mark) {
    return testing::Patch(kProduct, Key(i), RowWriter().Text(4, mark).bytes());
  }
  StoredEvent Set(const std::vector<v1::Operation>& ops) {
    const int64_t offset = offset_++;
    return MakeEvent(offset, MakeSet(ops, fmt::format("s{}", offset)));
  }
  // Kits of kParts products each: what they give those, or get from them.
  void DefineKit() {
    std::vector<testing::TestAttribute> attributes = {{1, "id"}, {2, "owner"}};
    for (uint32_t i = 0; i < kParts; ++i) {
      attributes.push_back(
          {.id = kFirstPart + i, .name = fmt::format("part{}", i), .references = "product"});
    }
    Apply({MakeEvent(offset_++, testing::DefineEntity(kKit, "kit", attributes, 2))});
  }
  // As Define(), through all of them.
  void DefineParts(std::string_view entity, std::string_view of) {
    v1::ProfileDefined defined = OwnersHave(of);
    testing::AddRules(entity, ThroughParts(kParts), &defined);
    Apply({MakeEvent(offset_++, defined)});
  }
  // Of the products from `first` on.
  static v1::Operation Kit(std::string_view key, std::string_view owner, int first) {
    RowWriter row;
    row.Text(1, key).Text(2, owner);
    for (uint32_t i = 0; i < kParts; ++i) {
      row.Text(kFirstPart + i, Key(first + static_cast<int>(i)));
    }
    return testing::Upsert(kKit, key, row.bytes());
  }

  // kRows rows of an entity, in sets that fit a batch each.
  void Load(uint32_t entity, size_t bytes, bool pointing = false) {
    for (int i = 0; i < kRows; i += 10) {
      std::vector<v1::Operation> ops;
      for (int row = i; row < i + 10; ++row) {
        ops.push_back(Row(entity, row, bytes, pointing ? Key(row) : ""));
      }
      Apply({Set(ops)});
    }
  }

  // In as many batches as it takes, each of which holds little; and in one.
  void Apply(const std::vector<StoredEvent>& events) {
    batches_ = 0;
    cut_among_operations_ = 0;
    for (std::span<const StoredEvent> rest(events); !rest.empty(); ++batches_) {
      const size_t before = store_.read_bytes();
      const auto result = store_.Apply(options_, rest);
      ASSERT_TRUE(result.ok()) << result.status();
      ASSERT_TRUE(result->rejected.empty()) << result->rejected.front().reason;
      rest = rest.subspan(result->consumed);
      const auto& partial = result->batch.applied.partial;
      cut_among_operations_ += partial.has_value() && partial->op > 0 ? 1 : 0;
      size_t written = 0;
      for (const auto& [place, op] : result->batch.delta_puts) {
        written += op.row.size();
      }
      const size_t most = options_.step_bytes * 3 / 2 + 3 * kLargeRowBytes + copies_;
      EXPECT_LE(store_.read_bytes() - before, most + looked_at_);
      EXPECT_LE(written, most);
      EXPECT_LE(result->held_bytes, most);
    }
    FoldOptions whole;
    whole.step_bytes = whole.step_work = std::numeric_limits<size_t>::max();
    const auto result = whole_.Apply(whole, events);
    ASSERT_TRUE(result.ok() && !result->partial && result->consumed == events.size())
        << result.status();
    ASSERT_EQ(Differences(store_.content(), whole_.content()), "");
  }

  FoldOptions options_;
  ModelStore store_;
  ModelStore whole_;  // without a limit
  int64_t offset_ = 0;
  int batches_ = 0;
  int cut_among_operations_ = 0;
  size_t copies_ = 0;     // of the last row of a batch, in its buckets
  size_t looked_at_ = 0;  // and not kept
};

TEST_F(LargeRowsTest, ASmallSetThatChangesManyIsCutBetweenItsOperations) {
  Define("", "product", "");
  Load(kProduct, kLargeRowBytes);
  std::vector<v1::Operation> ops;
  for (int i = kRows - 1; i >= 0; --i) {
    ops.push_back(Mark(i, "a"));
  }
  Apply({Set(ops)});
  EXPECT_GT(cut_among_operations_, kRows / 25);
  EXPECT_LT(batches_, kRows / 3) << "most of what is read gets on";
  ops.clear();
  for (int i = 0; i < kRows; ++i) {
    ops.push_back(testing::Delete(kProduct, Key(i)));
  }
  Apply({Set(ops)});
  EXPECT_GT(cut_among_operations_, kRows / 25);
  EXPECT_EQ(store_.content().applied.records, 0u);
}

// The parts know of one another what one batch would: the row, its version, and its last position.
TEST_F(LargeRowsTest, ARowThatASetChangesOftenIsPlacedAsItIsInTheEnd) {
  Define("", "product", "");
  Load(kProduct, kLargeRowBytes);
  std::vector<v1::Operation> ops;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 100; ++i) {
      switch ((i + round) % 4) {
        case 0:
          ops.push_back(testing::Delete(kProduct, Key(i)));
          break;
        case 1:
          ops.push_back(Row(kProduct, i, 100));
          break;
        case 2:
          ops.push_back(Mark(i, fmt::format("{}", round)));
          ops.back().set_version(10 - round);  // the first is the newest
          break;
        default:
          ops.push_back(Row(kProduct, kRows + i, 100));
          ops.push_back(testing::Delete(kProduct, Key(kRows + i)));
      }
    }
  }
  const StoredEvent set = Set(ops);
  Apply({set});
  EXPECT_GT(cut_among_operations_, 3);
  StoredEvent again = set;
  again.offset = Offset(offset_++);
  Apply({again});
  EXPECT_EQ(batches_, 1) << "a repetition is known as such";
}

TEST_F(LargeRowsTest, ABatchTakesAsManyEventsAsItsRowsAllow) {
  Define("", "product", "");
  Load(kProduct, kLargeRowBytes);
  std::vector<StoredEvent> events;
  for (int i = 0; i < kRows; i += 2) {
    events.push_back(Set({Mark(i, "a"), Mark(i + 1, "b")}));
  }
  Apply(events);
  EXPECT_GE(batches_, kRows / 20);
  EXPECT_EQ(cut_among_operations_, 0);
}

TEST_F(LargeRowsTest, ARuleMoreReadsAFewRowsAtOnce) {
  Define("", "order", "");
  Load(kProduct, kLargeRowBytes);
  Define("", "product", "");
  EXPECT_GT(batches_, kRows / 20);
  EXPECT_LT(batches_, kRows / 3);
}

TEST_F(LargeRowsTest, SoDoTheRowsThatFollowAnother) {
  Define("order", "product", "order.of");
  Apply({Set({Row(kProduct, 0, 10)})});
  for (int i = 0; i < kRows; ++i) {
    Apply({Set({Row(kOrder, i, kLargeRowBytes, Key(0))})});
  }
  Apply({Set({testing::Patch(kProduct, Key(0), RowWriter().Text(2, "U2").bytes())})});
  EXPECT_GT(batches_, kRows / 20);
  EXPECT_LT(batches_, kRows / 3);
}

TEST_F(LargeRowsTest, AndThoseThatSmallRowsPointAt) {
  Define("product", "order", "order.of");
  Load(kProduct, kLargeRowBytes);
  Load(kOrder, 10, /*pointing=*/true);
  std::vector<v1::Operation> ops;
  for (int i = 0; i < kRows; ++i) {
    ops.push_back(Row(kOrder, i, 10, Key(kRows - 1 - i)));
  }
  Apply({Set(ops)});
  EXPECT_GT(cut_among_operations_, kRows / 25);
  ops.clear();
  for (int i = 0; i < kRows; ++i) {
    ops.push_back(testing::Patch(kOrder, Key(i), RowWriter().Text(2, "U2").bytes()));
  }
  Apply({Set(ops)});
  EXPECT_GT(batches_, kRows / 20);
}

// One row may have to do with more than a batch holds: what it gives them is done in parts.
TEST_F(LargeRowsTest, AndThoseThatOneRowPointsAt) {
  DefineKit();
  DefineParts("product", "kit");
  Load(kProduct, kLargeRowBytes);
  copies_ = 3 * kLargeRowBytes;
  Apply({Set({Kit("a", "U1", 0)})});
  EXPECT_GT(batches_, static_cast<int>(kParts) / 20);
  EXPECT_EQ(store_.content().buckets.size(), 1 + kParts);
  Apply({Set({Kit("b", "U1", 50)})});
  Apply({Set({Kit("a", "U1", 200)})});
  EXPECT_GT(batches_, 2 * static_cast<int>(kParts) / 20);
  Apply({Set({Kit("a", "U2", 200), Kit("b", "U2", 100)})});
  // What is given and taken of the same comes to nothing, however it waited.
  Apply({Set({Kit("a", "U3", 300), Kit("a", "U3", 200), Kit("b", "U3", 200), Kit("a", "U3", 300),
              testing::Delete(kKit, "b")})});
  Apply({Set({testing::Delete(kKit, "a")})});
  for (const auto& [key, record] : store_.content().records) {
    EXPECT_TRUE(record.support.empty()) << key.key;
  }
}

TEST_F(LargeRowsTest, ARuleMoreByWhichTheyComeIsDoneInPartsToo) {
  DefineKit();
  Define("", "kit", "");
  Load(kProduct, kLargeRowBytes);
  Apply({Set({Kit("a", "U1", 0), Kit("b", "U2", 300)})});
  DefineParts("product", "kit");
  EXPECT_GT(batches_, 2 * static_cast<int>(kParts) / 20);
  Apply({Set({Kit("a", "U1", 200), testing::Delete(kKit, "b")})});
}

TEST_F(LargeRowsTest, RowsThatGiveOneItsBucketsAreNotKept) {
  DefineKit();
  DefineParts("kit", "product");
  Load(kProduct, kLargeRowBytes);
  options_.work_max = kParts * (64 + kLargeRowBytes / 16) / 2;
  const StoredEvent kit = Set({Kit("a", "U1", 0)});
  EXPECT_EQ(ErrorCode(store_.Apply(options_, {&kit, 1}).status()), "large_event");
  options_.work_max = std::numeric_limits<size_t>::max();
  looked_at_ = kParts * (kLargeRowBytes + 100);
  copies_ = options_.step_bytes / 2;
  Apply({kit});
  EXPECT_EQ(store_.content().buckets.size(), 1 + kParts);
  Apply({Set({Kit("a", "U1", 150)})});
}

// Sales are their owners', kits follow sales, and products, where a rule says so, kits.
class HotRowsTest : public LargeRowsTest {
 protected:
  static constexpr uint32_t kSale = 4;
  HotRowsTest() {
    DefineKit();
    DefineOfKit(kSale, "sale");
    looked_at_ = 100 * options_.step_bytes;  // the row, and what it points at, small as it is
    copies_ = 3 * options_.step_bytes / 2;   // what it gives has as much room beside what is held
  }

  // An entity whose rows are somebody's and point at a kit.
  void DefineOfKit(uint32_t entity, std::string_view name) {
    const auto defined = testing::DefineEntity(
        entity, name, {{1, "id"}, {2, "owner"}, {.id = 3, .name = "of", .references = "kit"}}, 2);
    Apply({MakeEvent(offset_++, defined)});
  }
  // Products follow the first `parts` parts of a kit.
  static v1::ProfileDefined Profile(uint32_t parts) {
    v1::ProfileDefined defined = OwnersHave("sale");
    testing::AddRules("kit", {testing::RelatedRule("sale.of")}, &defined);
    if (parts > 0) {
      testing::AddRules("product", ThroughParts(parts), &defined);
    }
    return defined;
  }
  static v1::Operation Sale(std::string_view key, std::string_view owner, std::string_view of) {
    return testing::Upsert(kSale, key, RowWriter().Text(1, key).Text(2, owner).Text(3, of).bytes());
  }
  // Of kit "a", each another user's.
  void Sell(int sales, std::string_view kit = "a") {
    for (int i = 0; i < sales; ++i) {
      Apply({Set({Sale(Key(i), fmt::format("U{}", i), kit)})});
    }
  }
};

// A row that many point at gives each of its buckets to all that it points at, which is their
// product: that is done in parts, where it points elsewhere and where a rule comes for it.
TEST_F(HotRowsTest, WhatARowInManyBucketsGivesIsDoneInParts) {
  Load(kProduct, 10);
  Apply({MakeEvent(offset_++, Profile(kParts))});
  Sell(300);
  Apply({Set({Kit("a", "U", 0)})});
  Apply({Set({Kit("a", "U", 50)})});
  EXPECT_GT(batches_, 20);
  Apply({Set({Kit("a", "U", 200), Kit("b", "U", 200), Kit("a", "U", 300)})});
  EXPECT_GT(batches_, 20);
  Apply({MakeEvent(offset_++, Profile(0))});
  Apply({MakeEvent(offset_++, Profile(kParts))});
  EXPECT_GT(batches_, 20);
  Apply({Set({testing::Delete(kKit, "a")})});
  EXPECT_GT(batches_, 20);
  for (const auto& [key, record] : store_.content().records) {
    EXPECT_TRUE(key.entity != EntityId(kProduct) || record.support.empty()) << key.key;
  }
}

// One row, too, may be in very many: whatever of them a batch changes, it looks at all, and holds
// of each no more than it has to. A name has more bytes than what gives the row the bucket.
TEST_F(HotRowsTest, OfTheBucketsOfARowThoseAreNamedThatItEnters) {
  constexpr int kSales = 300;
  constexpr size_t kBuckets = kSales * kParts;
  Apply({MakeEvent(offset_++, Profile(kParts))});
  Apply({Set({Row(kProduct, 0, 10)})});
  Sell(kSales);
  RowWriter kit;
  kit.Text(1, "a").Text(2, "U");
  for (uint32_t i = 0; i < kParts; ++i) {
    kit.Text(kFirstPart + i, Key(0));
  }
  const StoredEvent set = Set({testing::Upsert(kKit, "a", kit.bytes())});
  const auto allocated = [] {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  const RecordKey row{EntityId(kProduct), Key(0)};
  size_t looks = 0;
  for (bool partial = true; partial;) {
    const size_t entered = store_.content().records.at(row).memberships.size();
    const size_t before = allocated();
    size_t held = 0;
    store_.OnDecided([&] { held = allocated() - before; });
    const auto result = store_.Apply(options_, {&set, 1});
    ASSERT_TRUE(result.ok()) << result.status();
    partial = result->partial;
    if (entered > 0) {
      ++looks;
      const size_t changed = store_.content().records.at(row).memberships.size() - entered;
      const size_t of_batch = 1'000 * changed;  // what is written of each, with its name
      EXPECT_LT(held, 64 * kBuckets + 190 * entered + of_batch)
          << entered << " memberships, " << changed << " more";
    }
  }
  EXPECT_EQ(store_.content().records.at(row).memberships.size(), kBuckets);
  EXPECT_GT(looks, 10u);
  ASSERT_TRUE(whole_.Apply(FoldOptions(), {&set, 1}).ok());
  EXPECT_EQ(Differences(store_.content(), whole_.content()), "");
}

// However often an event changes what such a row points at, all that it gives moves once.
TEST_F(HotRowsTest, WhatARowGivesMovesOnceHoweverOftenASetChangesIt) {
  options_.step_rows = 40;
  options_.step_work = 100'000;
  Load(kProduct, 10);
  Apply({MakeEvent(offset_++, Profile(10))});
  Sell(500);
  Apply({Set({Kit("a", "U", 0)})});
  const auto change = [this](int times, int to) {
    std::vector<v1::Operation> ops;
    for (int i = times - 1; i >= 0; --i) {
      RowWriter row;
      for (uint32_t part = 0; part < 10; ++part) {
        row.Text(kFirstPart + part, Key(to + i + static_cast<int>(part)));
      }
      ops.push_back(testing::Patch(kKit, "a", row.bytes()));
    }
    const size_t reads = store_.whole_reads();
    Apply({Set(ops)});
    return std::pair(batches_, store_.whole_reads() - reads);
  };
  const auto [batches, reads] = change(2, 100);
  EXPECT_GT(batches, 5);
  const auto [batches_of_many, reads_of_many] = change(60, 200);
  EXPECT_EQ(batches_of_many, batches);
  EXPECT_EQ(reads_of_many, reads);
}

// Its operations are then more than are read at once, or fewer: they are all of them for each.
TEST_F(HotRowsTest, WhatABatchHasBegunOfThatOneWithOtherLimitsGoesOnWith) {
  options_.turned_max = 100;
  Load(kProduct, 10);
  Apply({MakeEvent(offset_++, Profile(kParts))});
  Sell(100);
  Apply({Set({Kit("a", "U", 0)})});
  std::vector<v1::Operation> ops;
  for (int i = 1; i <= 30; ++i) {
    ops.push_back(Kit("a", "U", i));
  }
  const StoredEvent set = Set(ops);
  int batches = 0;
  for (bool partial = true; partial; ++batches) {
    options_.step_rows = batches % 2 == 0 ? 7 : 2'000;
    const auto result = store_.Apply(options_, {&set, 1});
    ASSERT_TRUE(result.ok()) << result.status();
    partial = result->partial;
  }
  EXPECT_GT(batches, 5);
  options_.step_rows = 2'000;
  ASSERT_TRUE(whole_.Apply(FoldOptions(), {&set, 1}).ok());
  EXPECT_EQ(Differences(store_.content(), whole_.content()), "");
}

// It is found again by its own key: what the same batch gives may be in front of it.
TEST_F(HotRowsTest, ARowThatIsCutIsGoneOnWithThoughTheEventMakesRecordsBeforeIt) {
  constexpr uint32_t kNote = 5;
  DefineOfKit(kNote, "note");
  Load(kProduct, 10);
  Apply({MakeEvent(offset_++, Profile(0))});
  Apply({Set({Kit("a", "U", 0), Kit("b", "U", 100)})});
  Sell(300, "b");
  Apply({Set({testing::Upsert(kNote, "n",
                              RowWriter().Text(1, "n").Text(2, "U1").Text(3, "aa").bytes())})});
  v1::ProfileDefined defined = Profile(kParts);
  *defined.mutable_profile()->mutable_entities(1)->add_rules() = testing::RelatedRule("note.of");
  testing::AddRules("note", {testing::KindRule(v1::RULE_KIND_USER)}, &defined);
  Apply({MakeEvent(offset_++, defined)});
  EXPECT_GT(batches_, 20);
  Apply({Set({testing::Delete(kKit, "b")})});
  for (const auto& [key, record] : store_.content().records) {
    EXPECT_TRUE(key.entity != EntityId(kProduct) || record.support.empty()) << key.key;
  }
}

// What somebody points at has a record, though there is no such row, under any text.
TEST_F(HotRowsTest, ATextThatLooksLikeAPlaceAmidARowIsNone) {
  Apply({MakeEvent(offset_++, Profile(0))});
  for (const std::string& bytes : {std::string("\0", 1), std::string("\0\u00ff", 3)}) {
    const std::string text = "a" + bytes + std::string(32, 'z');
    Apply(
        {Set({Kit("a", "U", 0), Kit("b", "U", 0), Sale("s1", "U1", "b"), Sale("s2", "U2", text)})});
    Apply({MakeEvent(offset_++, Profile(1))});
    const auto& support = store_.content().records.at({EntityId(kProduct), Key(0)}).support;
    EXPECT_EQ(support.size(), 1u) << "a row of U1's kit";
    Apply({Set({testing::Delete(kKit, "b")})});
    Apply({MakeEvent(offset_++, Profile(0))});
  }
}

// A program without round 0 went on with the first one.
TEST_F(HotRowsTest, AStoreThatWasLeftAmidOperationsBeforeThereWasRoundZeroIsGoneOnFrom) {
  Load(kProduct, 10);
  Apply({MakeEvent(offset_++, Profile(kParts))});
  Sell(100);
  Apply({Set({Kit("a", "U", 0)})});
  std::vector<v1::Operation> ops;
  for (int i = 0; i < 30; ++i) {
    ops.push_back(Row(kProduct, i, kLargeRowBytes));
  }
  ops.push_back(Kit("a", "U", 200));
  const std::vector<StoredEvent> events = {Set(ops)};
  const auto begun = store_.Apply(options_, events);
  ASSERT_TRUE(begun.ok() && begun->partial);
  auto& partial = store_.content().applied.partial;
  ASSERT_GT(partial->op, 0u);
  partial->round = 1;
  Apply(events);
  EXPECT_TRUE(store_.content().work.empty());
}

}  // namespace
}  // namespace sluice::projectors
