#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "gateways/odata/entity_mapper.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

// What services' metadata was mapped to a short while ago: it may have megabytes, and each entity's
// run needs it. The least recently used go when there are too many. Thread-safe.
class MappingCache {
 public:
  // `clock` must outlive this. `columns_max`: of all mappings, together.
  explicit MappingCache(const Clock& clock, size_t columns_max = 500'000)
      : clock_(clock), columns_max_(columns_max) {}

  // nullptr: not there, or too old. `key` names a source and all that its mapping depends on.
  [[nodiscard]] std::shared_ptr<const EntityMapping> Find(const std::string& key);
  // A mapping that is larger than all may be is not kept.
  void Put(const std::string& key, std::shared_ptr<const EntityMapping> mapping);
  // The service has refused what was asked by it.
  void Forget(const std::string& key);

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const EntityMapping> mapping;
    size_t columns = 0;
    SteadyTime until;
  };
  using Entries = std::list<Entry>;

  Entries::iterator Locate(const std::string& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Erase(Entries::iterator entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock& clock_;
  const size_t columns_max_;
  absl::Mutex mutex_;
  Entries entries_ ABSL_GUARDED_BY(mutex_);  // the most recently used first
  size_t columns_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sluice::gateways
