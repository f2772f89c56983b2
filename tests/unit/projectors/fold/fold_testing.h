#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "projectors/fold/fold.h"
#include "tests/support/change_events.h"
#include "tests/support/model_store.h"
#include "tests/unit/projectors/model/model_testing.h"

namespace sluice::projectors {

using eventlog::StoredEvent;

inline constexpr uint32_t kAccount = 1;

inline std::string Row(std::string_view key, std::string_view owner, std::string_view name = "") {
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

inline std::string Named(std::string_view name) {
  return testing::RowWriter().Text(3, name).bytes();
}

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
  static v1::Operation Put(std::string_view key, std::string_view owner, std::string_view name = "",
                           std::optional<int64_t> version = std::nullopt) {
    return testing::Upsert(kAccount, key, Row(key, owner, name), version);
  }
  static StoredEvent SetAt(int64_t offset, const std::vector<v1::Operation>& ops,
                           std::string_view id = "", std::string_view source = "test") {
    return testing::MakeEvent(offset, testing::MakeSet(ops, id, source));
  }
  void RunSet(int64_t offset, const std::vector<v1::Operation>& ops, std::string_view id = "") {
    Run({SetAt(offset, ops, id)});
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

}  // namespace sluice::projectors
