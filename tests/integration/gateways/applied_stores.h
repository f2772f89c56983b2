#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/log.h"
#include "projectors/store/store_reader.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::testing {

// What the admin gateway sees of stores, folded from `changes` in memory by threads of its own:
// applied positions and the change sets that were applied. Paused, it applies nothing. Thread-safe.
class AppliedStores final : public projectors::StoreReader {
 public:
  explicit AppliedStores(eventlog::Log& log) {
    for (int32_t i = 0; i < log.PartitionCount(eventlog::Topic::kChanges); ++i) {
      readers_.push_back(*log.OpenReader(eventlog::Topic::kChanges, PartitionId(i), Offset(0)));
      threads_.emplace_back(
          [this, i, reader = readers_.back().get()] { Run(*reader, PartitionId(i)); });
    }
  }
  ~AppliedStores() override {
    SetPaused(false);
    for (const auto& reader : readers_) {
      reader->Cancel();
    }
    for (std::thread& thread : threads_) {
      thread.join();
    }
  }

  void SetPaused(bool paused) {
    absl::MutexLock lock(&mutex_);
    paused_ = paused;
  }

  // Sets with this id are dead letters from now on: applied, and nothing came of them.
  void Refuse(const std::string& id) {
    absl::MutexLock lock(&mutex_);
    refused_.insert(id);
  }

  // What asking for a set returns from now on.
  void SetUnavailable(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    unavailable_ = std::move(status);
  }

  Offset AppliedOf(const OrgId& org) override {
    absl::MutexLock lock(&mutex_);
    const auto found = applied_.find(org.value());
    return found == applied_.end() ? kNoOffset : found->second;
  }
  absl::StatusOr<std::optional<Offset>> FindChangeSet(const OrgId& org, std::string_view source,
                                                      std::string_view id) override {
    absl::MutexLock lock(&mutex_);
    if (!unavailable_.ok()) {
      return unavailable_;
    }
    const auto found = sets_.find(Key(org.value(), source, id));
    return found == sets_.end() ? std::nullopt : std::make_optional(found->second);
  }
  uint64_t Subscribe(const OrgId& org, projectors::AppliedCallback callback) override {
    absl::MutexLock lock(&mutex_);
    callbacks_[++next_] = {org.value(), std::move(callback)};
    return next_;
  }
  void Unsubscribe(uint64_t subscription) override {
    absl::MutexLock lock(&mutex_);
    callbacks_.erase(subscription);
  }

  Offset KnownAppliedOf(const OrgId& org) override { return AppliedOf(org); }
  Offset AppliedUntil(PartitionId partition, const OrgId&) override {
    absl::MutexLock lock(&mutex_);
    const auto found = until_.find(partition);
    return found == until_.end() ? Offset(0) : found->second;
  }
  absl::StatusOr<std::shared_ptr<const projectors::OrgSnapshot>> Snapshot(const OrgId&) override {
    return absl::NotFoundError("no rows here");
  }

 private:
  static std::string Key(std::string_view org, std::string_view source, std::string_view id) {
    return std::string(org) + '\n' + std::string(source) + '\n' + std::string(id);
  }

  void Run(eventlog::Reader& reader, PartitionId partition) {
    while (true) {
      const auto batch = reader.Read({.wait_max = std::chrono::seconds(1)});
      if (!batch.ok()) {
        return;
      }
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(
          +[](bool* paused) { return !*paused; }, &paused_));
      for (const eventlog::StoredEvent& event : *batch) {
        v1::ChangeSet set;
        if (event.event.type == "sluice.v1.ChangeSet" && set.ParseFromString(event.event.value) &&
            !refused_.contains(set.id())) {
          sets_.try_emplace(Key(event.event.key, set.source(), set.id()), event.offset);
        }
        applied_[event.event.key] = event.offset;
        until_[partition] = Offset(event.offset.value() + 1);
        for (const auto& [id, callback] : callbacks_) {
          if (callback.first == event.event.key) {
            callback.second({.applied = event.offset});
          }
        }
      }
    }
  }

  absl::Mutex mutex_;
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status unavailable_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Offset> applied_ ABSL_GUARDED_BY(mutex_);
  std::map<PartitionId, Offset> until_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Offset> sets_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> refused_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, std::pair<std::string, projectors::AppliedCallback>> callbacks_
      ABSL_GUARDED_BY(mutex_);
  uint64_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::unique_ptr<eventlog::Reader>> readers_;
  std::vector<std::thread> threads_;
};

}  // namespace sluice::testing
