#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "projectors/model/profile_rules.h"
#include "schemas/base/ids.h"

namespace sluice::projectors {

// How many rules the profiles of one organisation become: those that are equal are one, as they are
// to the fold, and one that makes none counts as one of its profile's. Each profile is compiled
// when it is asked for first, and again when it has changed or what it uses of schemas has: a
// process that decides nothing compiles nothing, and a decision what it changes. Keeps a key for
// each rule of the profiles that it was asked for last. Thread-safe.
class RuleCounts {
 public:
  struct Sums {
    std::map<std::string, size_t, std::less<>> of_entity;
    size_t all = 0;
    size_t filter_bytes = 0;  // as ProfileRules has them, of each profile by itself
    // By entity, how many of its attributes related rules go through.
    std::map<std::string, size_t, std::less<>> through;
  };
  // Of all `profiles` together.
  [[nodiscard]] Sums Of(const Schemas& schemas, const Definitions<v1::Profile>& profiles)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Those of `profiles` that use something in which the two differ.
  [[nodiscard]] std::vector<std::shared_ptr<const v1::Profile>> ChangedBy(
      const Schemas& schemas, const Schemas& next, const Definitions<v1::Profile>& profiles)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // How often a profile was compiled.
  [[nodiscard]] size_t compiled() const ABSL_LOCKS_EXCLUDED(mutex_);
  // How often a schema was compared as a whole.
  [[nodiscard]] size_t hashed() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Held {
    std::shared_ptr<const v1::Profile> profile;
    SchemaUses uses;
    std::map<std::string, std::vector<BucketKey>, std::less<>> rules;  // by entity, of their ids
    std::map<std::string, size_t, std::less<>> barren;
    std::set<std::pair<std::string, AttributeId>> through;
    size_t filter_bytes = 0;
  };
  const Held& Get(const Schemas& schemas, const std::shared_ptr<const v1::Profile>& profile,
                  SchemaHashes* hashes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void Add(const Held& held) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Take(const Held& held) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::map<std::string, Held, std::less<>> held_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<BucketKey, size_t> profiles_of_ ABSL_GUARDED_BY(mutex_);  // each rule
  // How many profiles go through each attribute.
  std::map<std::pair<std::string, AttributeId>, size_t> profiles_through_ ABSL_GUARDED_BY(mutex_);
  Sums sums_ ABSL_GUARDED_BY(mutex_);  // of held_
  size_t compiled_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t hashed_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sluice::projectors
