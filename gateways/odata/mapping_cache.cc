#include "gateways/odata/mapping_cache.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace sluice::gateways {
namespace {

constexpr std::chrono::minutes kKeptFor{15};

}  // namespace

MappingCache::Entries::iterator MappingCache::Locate(const std::string& key) {
  return std::ranges::find(entries_, key, &Entry::key);
}

void MappingCache::Erase(Entries::iterator entry) {
  columns_ -= entry->columns;
  entries_.erase(entry);
}

std::shared_ptr<const EntityMapping> MappingCache::Find(const std::string& key) {
  const absl::MutexLock lock(&mutex_);
  const auto found = Locate(key);
  if (found == entries_.end()) {
    return nullptr;
  }
  if (clock_.SteadyNow() >= found->until) {
    Erase(found);
    return nullptr;
  }
  entries_.splice(entries_.begin(), entries_, found);
  return found->mapping;
}

void MappingCache::Put(const std::string& key, std::shared_ptr<const EntityMapping> mapping) {
  size_t columns = 1;
  for (const MappedEntity& entity : mapping->entities) {
    columns += 1 + entity.columns.size() + entity.refused.size();
  }
  const absl::MutexLock lock(&mutex_);
  if (const auto found = Locate(key); found != entries_.end()) {
    Erase(found);
  }
  if (columns > columns_max_) {
    return;
  }
  entries_.push_front({key, std::move(mapping), columns, clock_.SteadyNow() + kKeptFor});
  columns_ += columns;
  while (columns_ > columns_max_) {
    Erase(std::prev(entries_.end()));
  }
}

void MappingCache::Forget(const std::string& key) {
  const absl::MutexLock lock(&mutex_);
  if (const auto found = Locate(key); found != entries_.end()) {
    Erase(found);
  }
}

}  // namespace sluice::gateways
