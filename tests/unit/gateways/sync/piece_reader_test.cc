#include "gateways/sync/piece_reader.h"

#include <gtest/gtest.h>

#include "gateways/sync/json_encoder.h"
#include "gateways/sync/position_bounds.h"
#include "schemas/base/status.h"
#include "tests/support/change_events.h"
#include "tests/support/gateways/plain_org.h"

namespace sluice::gateways {
namespace {

using sluice::testing::PlainOrg;
using sluice::testing::PlainSnapshot;

// Whoever has come past the place that it began at asks for the same as one that began earlier, and
// is sent what it would have been.
TEST(KnownRowsTest, WrittenAlikeTheyChooseTheSame) {
  int alike = 0;
  for (int64_t removed_after = -1; removed_after < 7; ++removed_after) {
    for (const Position from : {EndOf(kNoOffset), EndOf(Offset(3)), Position{Offset(3), 1}}) {
      for (const int64_t entered_until : {4, 9}) {
        const KnownRows rows{.removed_after = Offset(removed_after),
                             .entered_until = Offset(entered_until)};
        const Offset until(5);
        const KnownRows within = rows.Within(from, until);
        alike += within == KnownRows{.entered_until = std::min(rows.entered_until, until)} ? 1 : 0;
        alike += within == KnownRows{.removed_after = until} ? 100 : 0;
        for (int64_t offset = 0; offset <= 5; ++offset) {
          for (const uint32_t index : {0U, 2U}) {
            for (int64_t entered = 0; entered <= offset; ++entered) {
              projectors::DeltaView op;
              op.put = false;
              op.position = {Offset(offset), index};
              op.entered = Offset(entered);
              if (op.position > from) {
                EXPECT_EQ(within.Sends(op), rows.Sends(op));
              }
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(alike, 2 * (1 + 5 + 4) + 2 * 3 * 2 * 100);
}

// One bucket, read by sessions that share a cache.
class PieceReaderTest : public ::testing::Test {
 protected:
  PieceReaderTest() {
    org_.model = projectors::OrgModel::Empty();
    org_.checksum = [](const auto&, Position) { return 0; };
    proto_.set_entity_id(1);
    proto_.set_name("account");
    proto_.set_primary_key(1);
    proto_.set_next_attribute_id(3);
    for (const uint32_t id : {1U, 2U}) {
      auto* attribute = proto_.add_attributes();
      attribute->set_id(id);
      attribute->set_name(id == 1 ? "id" : "name");
      attribute->set_type(v1::ATTRIBUTE_TYPE_STRING);
    }
    schema_ = schemas::EntitySchema::FromProto(proto_).value();
    Put("A", 5);
    Put("B", 6);
    Put("C", 7);
    Put("B", 8, false);
  }

  void Put(const std::string& key, int64_t offset, bool member = true,
           const std::string& row = "") {
    sluice::testing::RowWriter bytes;
    bytes.Text(1, key).Text(2, "n" + key);
    org_.Put({schemas::EntityId(1), key}, {Offset(offset), 0}, row.empty() ? bytes.bytes() : row,
             member ? std::set<BucketKey>{kBucket} : std::set<BucketKey>{});
    org_.applied.position = Offset(offset);
  }
  PieceKey Key() const {
    return {.bucket = kBucket,
            .from = {},
            .changed = org_.changed.at(kBucket),
            .known_rows = {.entered_until = org_.changed.at(kBucket)},
            .model = org_.model,
            .schema = schema_.get(),
            .denied = {},
            .encoder = &JsonOperations(),
            .bytes = 1'000,
            .ops = 100};
  }
  // What a session is given by that key that reads with nobody else, and what the others are given.
  std::string Alone(const PieceKey& key) {
    PieceCache nothing({});
    return *PieceReader(nothing).Read(PlainSnapshot(org_), key, 100)->ops;
  }
  std::string Shared(const PieceKey& key) {
    return *PieceReader(pieces_).Read(PlainSnapshot(org_), key, 100)->ops;
  }
  void Warm(const PieceKey& key) {
    (void)Shared(key);
    (void)Shared(key);
    hits_ = 0;
    EXPECT_EQ(Shared(key), Alone(key));
    EXPECT_EQ(hits_, 1);
    hits_ = 0;
  }

  static constexpr BucketKey kBucket{1, 2};
  PlainOrg org_;
  v1::EntitySchema proto_;
  std::shared_ptr<const schemas::EntitySchema> schema_;
  int hits_ = 0;
  PieceCache pieces_{{.on_find = [this](bool hit) { hits_ += hit ? 1 : 0; }}};
};

class OtherEncoder final : public OperationEncoder {
 public:
  absl::Status Append(const OperationView& op, bool, std::string* ops) const override {
    *ops += op.key;
    return absl::OkStatus();
  }
  void AppendAll(std::string_view, bool, std::string*) const override {}
  void BeginPage(std::string*) const override {}
  void EndPage(std::string_view, Offset, bool, std::string*) const override {}
};

// Everything that the bytes depend on, each by itself: whoever asks with another is given what it
// would read, and not what is kept.
TEST_F(PieceReaderTest, WhateverShapesThemKeepsPiecesApart) {
  const PieceKey key = Key();
  Warm(key);
  proto_.mutable_attributes(1)->set_name("title");
  const auto renamed = schemas::EntitySchema::FromProto(proto_).value();
  const OtherEncoder encoder;
  std::map<std::string, PieceKey> others;
  const auto other = [&](const std::string& what) -> PieceKey& {
    return others.emplace(what, key).first->second;
  };
  other("bucket, low half").bucket.low += 1;
  other("bucket, high half").bucket.high += 1;
  other("from, offset").from = EndOf(Offset(5));
  other("from, index").from = {Offset(5), 1};
  other("known rows, removed").known_rows.removed_after = Offset(8);
  other("known rows, entered").known_rows.entered_until = Offset(5);
  other("columns").denied = {schemas::AttributeId(2)};
  other("names and types").schema = renamed.get();
  other("encoding").encoder = &encoder;
  other("length").bytes = 1;
  other("operations").ops = 1;
  for (const auto& [what, asked] : others) {
    hits_ = 0;
    EXPECT_NE(Alone(asked), Alone(key)) << what;
    EXPECT_EQ(Shared(asked), Alone(asked)) << what;
    EXPECT_EQ(hits_, 0) << what;
  }
}

TEST_F(PieceReaderTest, AChangeOfTheBucketIsANewPiece) {
  Warm(Key());
  Put("D", 9);
  EXPECT_EQ(Shared(Key()), Alone(Key()));
  EXPECT_EQ(hits_, 0);
}

// A store that was opened anew, or built anew from a log that had lost its end, or of another
// organisation or incarnation: its positions and its buckets have the same names. So has a bucket
// that was dropped with its rule, and is back without rows.
TEST_F(PieceReaderTest, AnotherModelIsAnotherHistory) {
  const PieceKey key = Key();
  Warm(key);
  sluice::testing::RowWriter row;
  row.Text(1, "A").Text(2, "of another history");
  org_.deltas[kBucket].at({Offset(5), 0}).row = row.bytes();
  EXPECT_NE(Shared(key), Alone(key));  // nothing else tells
  org_.model = projectors::OrgModel::Empty();
  hits_ = 0;
  EXPECT_EQ(Shared(Key()), Alone(Key()));
  EXPECT_EQ(hits_, 0);
  EXPECT_FALSE(key == Key());  // also where the one before is no more, and may have left its place
  EXPECT_TRUE(key.model.expired());
}

// Removals that the horizon has passed meanwhile are gone from the store: whoever may still ask
// needs none of them.
TEST_F(PieceReaderTest, WhoMayAskNeedsNothingThatTheHorizonHasPassed) {
  PieceKey key = Key();
  key.known_rows.removed_after = Offset(8);
  Warm(key);
  org_.Prune(Offset(8));
  EXPECT_EQ(Shared(key), Alone(key));
  EXPECT_EQ(hits_, 1);
}

TEST_F(PieceReaderTest, AnErrorIsNotKept) {
  const std::string good = org_.deltas[kBucket].at({Offset(5), 0}).row;
  org_.deltas[kBucket].at({Offset(5), 0}).row = "\xff";
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(PieceReader(pieces_).Read(PlainSnapshot(org_), Key(), 100).status().code(),
              absl::StatusCode::kDataLoss);
  }
  org_.deltas[kBucket].at({Offset(5), 0}).row = good;
  EXPECT_EQ(Shared(Key()), Alone(Key()));
}

// One session's pieces from the cache and from the store, in turns, are the bucket.
TEST_F(PieceReaderTest, AReaderGoesOnBehindWhatOthersHaveMade) {
  for (int64_t i = 10; i < 40; ++i) {
    Put("row " + std::to_string(i), i, i % 7 != 0);
  }
  PieceKey whole = Key();
  whole.bytes = 1'000'000;
  whole.ops = 1'000;
  const std::string all = Alone(whole);
  const auto load = [&] {
    const PlainSnapshot snapshot(org_);
    PieceReader reader(pieces_);
    std::string ops;
    PieceKey key = Key();
    key.ops = 4;
    for (Piece piece; !piece.last; key.from = piece.reached) {
      piece = reader.Read(snapshot, key, 2).value();
      JsonOperations().AppendAll(*piece.ops, ops.empty(), &ops);
    }
    return ops;
  };
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(load(), all);
  }
  EXPECT_GT(hits_, 4);
}

}  // namespace
}  // namespace sluice::gateways
