#pragma once

#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "projectors/model/org_model.h"
#include "tests/support/gateways/plain_org.h"

// A random organisation whose rules, rows and callers change, for property tests of what the sync
// gateway sends.
namespace sluice::testing {

// What a caller may hold: entity name and key to the row's text value, and its second column where
// the caller sees it.
using HeldRows = std::map<std::pair<std::string, std::string>, std::pair<std::string, std::string>>;

class PlainWorld {
 public:
  explicit PlainWorld(uint64_t seed);

  // One event: a change set, rows that come into buckets and leave them without being written (as
  // related rows do), a change of rules or of a role that every caller has, an entity deleted and
  // defined anew.
  enum class Event { kRows, kRules, kEntity };
  Event Step();
  // Removals at or below a random position are forgotten.
  void Prune();

  struct Caller {
    std::set<BucketKey> allowed;
    std::map<std::string, bool> hides_second;  // by entity name
  };
  Caller RandomCaller();
  // The caller gains a bucket, loses one, has one in place of another, or sees other columns.
  void ChangeClaims(Caller* caller);

  [[nodiscard]] std::vector<projectors::CallerBucket> BucketsOf(const Caller& caller) const;
  [[nodiscard]] HeldRows RowsOf(const Caller& caller) const { return Rows(caller, false); }
  // With what the caller's claims give it of entities that the role does not read.
  [[nodiscard]] HeldRows RowsOfClaims(const Caller& caller) const { return Rows(caller, true); }
  [[nodiscard]] std::shared_ptr<const PlainSnapshot> Snapshot() const {
    return std::make_shared<PlainSnapshot>(org_);
  }
  const PlainOrg& org() const { return org_; }
  std::mt19937_64& random() { return random_; }
  size_t Below(size_t n) { return random_() % n; }

 private:
  struct Row {
    std::string first;
    std::string second;
    std::set<int> tags;
  };
  struct Entity {
    std::shared_ptr<const schemas::EntitySchema> schema;
    std::set<int> rules;
    std::map<std::string, Row> rows;
    // What the callers' role says of it: its buckets live on while the role does not read it.
    bool granted = true;
    bool hides_second = false;
    Offset defined = kNoOffset;  // CallerBucket::defined
  };

  [[nodiscard]] HeldRows Rows(const Caller& caller, bool also_ungranted) const;
  [[nodiscard]] static bool Hides(const Caller& caller, const std::string& name,
                                  const Entity& entity);
  [[nodiscard]] BucketKey KeyOf(const Entity& entity, int tag) const;
  [[nodiscard]] std::set<BucketKey> BucketsOfRow(const Entity& entity, const Row& row) const;
  void Define(const std::string& name);
  void ChangeSet();
  void MoveRows();
  void ChangeRules();
  void ChangeRole();
  void Redefine();
  std::string Bytes(const Entity& entity, const std::string& key, const Row& row);

  std::mt19937_64 random_;
  PlainOrg org_;
  std::map<std::string, Entity> entities_;
  uint32_t next_entity_ = 1;
  uint64_t next_value_ = 1;
};

}  // namespace sluice::testing
