#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "projectors/store/store_reader.h"
#include "tests/support/change_events.h"
#include "tests/support/gateways/plain_org.h"
#include "tests/support/model_store.h"

namespace sluice::testing {

// Organisations kept in memory by the real fold, for readers. Thread-safe.
class FoldStores final : public projectors::StoreReader {
 public:
  // Folds one event of `org`, the next offset's, and tells those who subscribed. Returns its
  // offset.
  Offset Add(const std::string& org, const google::protobuf::Message& payload);
  // Removals at or below `horizon` are said to be gone.
  void SetHorizon(const std::string& org, Offset horizon);
  void Remove(const std::string& org);
  // As a store that was opened amid a large event: it shows nothing until that is applied.
  void SetAmidLargeEvent(const std::string& org, bool amid);
  // What was applied is told of only by TellNext(), one event at a time: as when a reader looks
  // between a commit and its news.
  void HoldNews(bool hold);
  // False where there is nothing to tell.
  bool TellNext();
  [[nodiscard]] size_t subscriptions();

  absl::StatusOr<std::shared_ptr<const projectors::OrgSnapshot>> Snapshot(
      const OrgId& org) override;
  uint64_t Subscribe(const OrgId& org, projectors::AppliedCallback callback) override;
  void Unsubscribe(uint64_t subscription) override;
  Offset AppliedOf(const OrgId& org) override;

  Offset KnownAppliedOf(const OrgId& org) override { return AppliedOf(org); }
  Offset AppliedUntil(PartitionId, const OrgId& org) override {
    return Offset(AppliedOf(org).value() + 1);
  }
  absl::StatusOr<std::optional<Offset>> FindChangeSet(const OrgId&, std::string_view,
                                                      std::string_view) override {
    return std::nullopt;
  }

 private:
  void Notify(const std::string& org, const projectors::AppliedChange& change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Tell(const std::string& org, const projectors::AppliedChange& change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  std::map<std::string, std::unique_ptr<ModelStore>> orgs_ ABSL_GUARDED_BY(mutex_);
  bool hold_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<std::pair<std::string, projectors::AppliedChange>> held_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Offset> closed_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> amid_ ABSL_GUARDED_BY(mutex_);
  // Made at the first question after a change.
  std::map<std::string, std::shared_ptr<const PlainSnapshot>> snapshots_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, std::pair<std::string, projectors::AppliedCallback>> callbacks_
      ABSL_GUARDED_BY(mutex_);
  uint64_t next_subscription_ ABSL_GUARDED_BY(mutex_) = 1;
};

}  // namespace sluice::testing
