#pragma once

#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "tests/support/rows/plain_model.h"

namespace sluice::testing {

// Teams: one as long as a claim may be, and one of which nobody gets the rows.
inline const std::string kLongTeam(kPlainClaimBytesMax, 't');
inline const std::string kTooLongTeam(kPlainClaimBytesMax + 1, 't');

// Dice that are the same on every machine.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  size_t Below(size_t n) { return random_() % n; }
  size_t Between(size_t from, size_t to) { return from + Below(to - from + 1); }
  bool Chance(size_t percent) { return Below(100) < percent; }
  uint64_t Seed() { return random_(); }
  template <typename T>
  const T& Pick(const std::vector<T>& from) {
    return from[Below(from.size())];
  }
  // Some of `from`, in its order; perhaps none.
  template <typename T>
  std::vector<T> Some(const std::vector<T>& from, size_t percent) {
    std::vector<T> some;
    for (const T& one : from) {
      if (Chance(percent)) {
        some.push_back(one);
      }
    }
    return some;
  }

 private:
  std::mt19937_64 random_;
};

// The random history of one organisation: few entities, keys, owners and values, so that everything
// collides. Only what a sequencer lets pass (gateways/docs/api.md, sections 1, 2 and 4), but for
// sets that name an entity which is gone.
class RandomOrg {
 public:
  // `label`: in its rows' texts, so that those of another organisation are known.
  RandomOrg(uint64_t seed, const std::string& label, int64_t window);

  // The next event. The first ones define an organisation.
  [[nodiscard]] PlainEvent Next(int64_t offset);
  // The claims that its callers have at one time or another.
  const std::vector<CallerClaims>& claims() const { return claims_; }
  bool started() const { return start_.empty(); }

 private:
  using What = decltype(PlainEvent::what);

  // random_org.cc: definitions
  What Definition();
  What ChangeEntity();
  PlainEntity NewEntity(const std::string& name);
  void AddAttribute(PlainEntity* entity, const std::string& name, PlainType type,
                    const std::string& references = "");
  PlainProfile RandomProfile(const std::string& name);
  PlainRule RandomRule(const PlainEntity& entity, const std::vector<std::string>& sources);
  PlainRole RandomRole(const std::string& name);
  [[nodiscard]] bool InUse(const PlainEntity& entity, const PlainAttribute& attribute) const;

  // random_filter.cc
  PlainFilter RandomFilter(const PlainEntity& entity, int depth, bool may_claim);
  PlainFilter RandomLeaf(const PlainEntity& entity);
  PlainFilter RandomClaim(const PlainEntity& entity);
  PlainFilter RandomCompare(const PlainEntity& entity, const PlainAttribute& attribute);
  PlainValue RandomLiteral(const PlainAttribute& attribute);

  // random_changes.cc
  What Changes();
  PlainOp RandomOp();
  std::string RandomKey(const PlainEntity& entity, size_t range);
  std::optional<PlainValue> RandomValue(const PlainAttribute& attribute);

  Dice dice_;
  const std::string label_;
  PlainModel head_;
  std::deque<What> start_;
  std::vector<std::string> names_;  // of entities; they come and go
  // What the entities' references point at, by entity and attribute: the same when they are made
  // anew, so that profiles never come to have circles.
  std::map<std::string, std::map<std::string, std::string>> references_;
  std::vector<CallerClaims> claims_;
  std::vector<PlainSet> sent_;
  uint32_t next_entity_ = 1;
  uint32_t next_set_ = 1;
};

}  // namespace sluice::testing
