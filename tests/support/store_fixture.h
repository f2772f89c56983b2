#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "projectors/store/content_digest.h"
#include "projectors/store/store_manager.h"
#include "tests/support/change_events.h"
#include "tests/support/model_store.h"
#include "tests/support/random_history.h"

namespace sluice::testing {

inline constexpr char kTestLogId[] = "test-log";

// Small limits, so that tests reach them.
[[nodiscard]] projectors::StoreOptions SmallStoreOptions(const std::string& path);

[[nodiscard]] OrgId Org(std::string_view name);

// The digest that a store with this content must have.
[[nodiscard]] std::string DigestOf(const StoreContent& content, int64_t dedup_window);

// Histories of several organisations, mixed into one partition.
class MixedHistory {
 public:
  MixedHistory(uint64_t seed, const std::vector<std::string>& orgs);
  // The next events of the partition; offsets grow, with gaps.
  [[nodiscard]] std::vector<eventlog::StoredEvent> Next(size_t count);

 private:
  std::mt19937_64 random_;
  std::vector<std::pair<std::string, RandomHistory>> histories_;
  int64_t offset_ = 0;
};

// Each organisation's events of `events`, folded by the plain model.
[[nodiscard]] std::map<std::string, StoreContent> FoldPlainly(
    const projectors::FoldOptions& options, std::span<const eventlog::StoredEvent> events);

// `org`'s store holds what its events of `events`, folded by the plain model, make.
void ExpectStoreIsFold(projectors::StoreManager& stores, const projectors::FoldOptions& options,
                       const std::string& org, std::span<const eventlog::StoredEvent> events);

// The definitions with which the tests below begin: entity 1 `account` (key, owner, team), with
// buckets for all rows and for each owner.
[[nodiscard]] std::vector<eventlog::StoredEvent> OrgWithAccounts(std::string_view org,
                                                                 int64_t first_offset,
                                                                 uint32_t incarnation = 1);
// An account of an owner.
[[nodiscard]] eventlog::StoredEvent AccountEvent(std::string_view org, int64_t offset,
                                                 std::string_view key, std::string_view owner,
                                                 std::string_view set_id = "");

}  // namespace sluice::testing
