#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "projectors/store/org_snapshot.h"

// One organisation as plain maps, kept by the simplest code that can be right: what the tests of
// the sync gateway read from and compare with. Copying it makes a snapshot.
namespace sluice::testing {

struct PlainOrg {
  using RowKey = projectors::RecordKey;

  struct Op {
    bool put = true;
    RowKey key;
    std::string row;
    Offset entered = kNoOffset;
    bool returned = false;
  };

  std::map<BucketKey, std::map<Position, Op>> deltas;
  std::map<RowKey, projectors::Record> records;
  std::map<BucketKey, Offset> changed;  // as BucketState::changed
  projectors::AppliedState applied;
  std::map<Offset, uint64_t> history;  // as OrgSnapshot::HistoryAt; empty: every position has 0
  std::shared_ptr<const projectors::OrgModel> model;
  // Of a row's place in a bucket: the term in the bucket's checksum.
  std::function<uint64_t(const RowKey&, Position)> checksum = [](const auto&, Position) {
    return 0;
  };

  // The row is now `row` and in exactly `buckets`, by the operation at `position`. With `rewrite`
  // false only the memberships that differ are written: as a change of rules does it, if that is
  // what the operation is (`by_definition`), or a related row that moves.
  void Put(const RowKey& key, Position position, const std::string& row,
           const std::set<BucketKey>& buckets, bool rewrite = true, bool by_definition = false) {
    projectors::Record& record = records[key];
    record.row = row;
    record.deleted = false;
    std::map<BucketKey, projectors::Membership> memberships;
    for (const projectors::Membership& membership : record.memberships) {
      memberships[membership.bucket] = membership;
    }
    for (const BucketKey bucket : buckets) {
      const auto it = memberships.find(bucket);
      if (rewrite || it == memberships.end() || !it->second.member) {
        Move(bucket, &memberships, position, true, key, row);
      }
    }
    for (auto& [bucket, membership] : memberships) {
      if (membership.member && !buckets.contains(bucket)) {
        Move(bucket, &memberships, position, false, key, "");
        memberships[bucket].by_definition = by_definition;
      }
    }
    if (rewrite) {
      record.last = position;
    }
    record.memberships.clear();
    for (const auto& [bucket, membership] : memberships) {
      record.memberships.push_back(membership);
    }
  }

  void Delete(const RowKey& key, Position position) {
    Put(key, position, "", {}, true);
    records[key].deleted = true;
  }

  // Forgets removals at or below `horizon`, as a store may.
  void Prune(Offset horizon) {
    applied.horizon = horizon;
    for (auto& [bucket, ops] : deltas) {
      std::erase_if(ops, [&](const auto& entry) {
        return !entry.second.put && entry.first.offset <= horizon;
      });
      if (ops.empty() && changed[bucket] <= horizon) {
        changed.erase(bucket);
      }
    }
    for (auto& [key, record] : records) {
      std::erase_if(record.memberships, [&](const projectors::Membership& membership) {
        return !membership.member && membership.position.offset <= horizon;
      });
    }
  }

 private:
  void Move(BucketKey bucket, std::map<BucketKey, projectors::Membership>* memberships,
            Position position, bool member, const RowKey& key, const std::string& row) {
    projectors::Membership now{
        .bucket = bucket, .position = position, .member = member, .entered = position.offset};
    if (const auto it = memberships->find(bucket); it != memberships->end()) {
      const projectors::Membership& was = it->second;
      deltas[bucket].erase(was.position);
      now.earlier = was.earlier;
      now.vague = was.vague;
      if (was.member) {
        now.entered = was.entered;
      } else {
        now.earlier.push_back({was.entered, was.position.offset, was.by_definition});
      }
      projectors::ForgetStays(applied.horizon, &now);
      if (now.earlier.size() > projectors::kStaysMax) {
        now.earlier[1].from = now.earlier[0].from;
        now.earlier.erase(now.earlier.begin());
        now.vague = true;
      }
    }
    (*memberships)[bucket] = now;
    changed[bucket] = position.offset;
    deltas[bucket][position] = {member, key, row, now.first_entered(), !now.earlier.empty()};
  }
};

class PlainSnapshot final : public projectors::OrgSnapshot {
 public:
  explicit PlainSnapshot(PlainOrg org) : org_(std::move(org)) {}

  const projectors::AppliedState& applied() const override { return org_.applied; }
  const std::shared_ptr<const projectors::OrgModel>& model() const override { return org_.model; }

  absl::StatusOr<std::optional<uint64_t>> HistoryAt(Offset offset) const override {
    if (org_.history.empty()) {
      return 0;
    }
    const auto it = org_.history.find(offset);
    return it == org_.history.end() || offset <= org_.applied.horizon ? std::nullopt
                                                                      : std::optional(it->second);
  }

  std::unique_ptr<projectors::DeltaIterator> Scan(BucketKey bucket, Position after) const override {
    const auto it = org_.deltas.find(bucket);
    return std::make_unique<Iterator>(it == org_.deltas.end() ? kNoOps : it->second, after,
                                      org_.applied.horizon);
  }

  absl::StatusOr<projectors::BucketState> Bucket(BucketKey bucket) const override {
    const absl::MutexLock lock(&mutex_);
    const auto [found, first] = states_.try_emplace(bucket);
    projectors::BucketState& state = found->second;
    if (const auto it = org_.changed.find(bucket); first && it != org_.changed.end()) {
      state.changed = it->second;
    }
    if (const auto it = org_.deltas.find(bucket); first && it != org_.deltas.end()) {
      for (const auto& [position, op] : it->second) {
        if (op.put) {
          ++state.count;
          state.checksum += org_.checksum(op.key, position);
        }
      }
    }
    return state;
  }

  absl::StatusOr<std::optional<projectors::Record>> GetRecordIn(
      const projectors::RecordKey& key, std::span<const BucketKey> buckets) const override {
    const auto it = org_.records.find(key);
    if (it == org_.records.end()) {
      return std::nullopt;
    }
    projectors::Record record = it->second;
    std::erase_if(record.memberships, [&](const projectors::Membership& m) {
      return !std::ranges::binary_search(buckets, m.bucket);
    });
    return record;
  }

 private:
  using Ops = std::map<Position, PlainOrg::Op>;
  inline static const Ops kNoOps;

  class Iterator final : public projectors::DeltaIterator {
   public:
    Iterator(const Ops& ops, Position after, Offset horizon)
        : it_(ops.upper_bound(after)), end_(ops.end()), horizon_(horizon) {
      if (after.offset == kNoOffset) {
        it_ = ops.begin();
      }
      Show();
    }
    bool Valid() const override { return it_ != end_; }
    const projectors::DeltaView& op() const override { return view_; }
    void Next() override {
      ++it_;
      Show();
    }
    absl::Status status() const override { return absl::OkStatus(); }

   private:
    void Show() {
      if (it_ != end_) {
        const auto& [position, op] = *it_;
        view_ = {position, op.put,     op.key.entity, op.key.key,
                 op.row,   op.entered, op.returned,   !op.put && position.offset <= horizon_};
      }
    }
    Ops::const_iterator it_;
    Ops::const_iterator end_;
    Offset horizon_;
    projectors::DeltaView view_;
  };

  const PlainOrg org_;
  mutable absl::Mutex mutex_;
  // Counted at the first question, as a store has counted them already.
  mutable std::map<BucketKey, projectors::BucketState> states_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::testing
