#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "eventlog/embedded/embedded_log.h"
#include "eventlog/static_partition_group.h"
#include "projectors/staging/staging_projector.h"
#include "projectors/store/store_manager.h"
#include "schemas/base/status.h"
#include "tests/support/change_events.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temp_dir.h"

namespace sluice::projectors {

using eventlog::Event;
using eventlog::Topic;

inline constexpr auto kPatience = absl::Seconds(60);
inline constexpr int32_t kPartitions = 2;

// One process over an embedded log: its stores and its staging projector.
class StagingFixture : public ::testing::Test {
 protected:
  void SetUp() override { OpenLog("log"); }

  void OpenLog(const std::string& folder) {
    log_.reset();
    auto log = eventlog::EmbeddedLog::Open({.path = dir_ / folder,
                                            .partitions = kPartitions,
                                            .limits = {},
                                            .clock = std::make_shared<RealClock>(),
                                            .metrics = nullptr});
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }

  // What one process has; Stop() and a second Start() are a restart.
  void Start(eventlog::Log* log = nullptr) {
    store_options_.path = dir_ / "stores";
    store_options_.log_id = "the log";
    auto stores = StoreManager::Open(store_options_);
    ASSERT_TRUE(stores.ok()) << stores.status();
    stores_ = *std::move(stores);
    options_.retry_min = std::chrono::milliseconds(1);
    options_.retry_max = std::chrono::milliseconds(5);
    StartProjector(log != nullptr ? *log : *log_, *stores_);
  }
  // In place of the one that there is, if any.
  void StartProjector(eventlog::Log& log, StoreWriter& stores) {
    projector_.reset();
    group_ = std::make_unique<eventlog::StaticPartitionGroup>(kPartitions);
    projector_ = std::make_unique<StagingProjector>(log, *group_, stores, *clock_, options_);
    const absl::Status started = projector_->Start();
    ASSERT_TRUE(started.ok()) << started;
  }
  void Stop() {
    projector_->Stop();
    projector_.reset();
    group_.reset();
    EXPECT_TRUE(stores_->Close().ok());
    stores_.reset();
  }

  // What was not flushed is lost, and the log is closed.
  void Crash() {
    projector_.reset();
    group_.reset();
    stores_.reset();
    log_.reset();
  }
  OrgId OrgOf(PartitionId partition) const {
    for (int i = 0;; ++i) {
      const OrgId org = OrgId::Parse("org" + std::to_string(i)).value();
      if (PartitionOf(org) == partition) {
        return org;
      }
    }
  }
  OrgId OrgOfSamePartition() const { return OrgOf(PartitionOf()); }

  Offset Append(const google::protobuf::Message& payload) { return Append(org_, payload); }
  Offset Append(const OrgId& org, const google::protobuf::Message& payload) {
    const Event event = testing::MakeEvent(next_id_++, payload, org.value()).event;
    const auto offsets = log_->Append(Topic::kChanges, PartitionOf(org), {event});
    EXPECT_TRUE(offsets.ok()) << offsets.status();
    return offsets.ok() ? offsets->front() : kNoOffset;
  }
  void AppendDefinitions() { AppendDefinitions(org_); }
  void AppendDefinitions(const OrgId& org) {
    Append(org, testing::OpenOrg(1));
    Append(org, testing::DefineEntity(1, "account", {{1, "id"}, {2, "owner"}}, 2));
    Append(org, testing::DefineProfile("p", {{"account", {v1::RULE_KIND_ALL}}}, {}));
  }
  static v1::ChangeSet Set(const std::string& key) {
    return testing::MakeSet({testing::Upsert(1, key, testing::RowWriter().Text(1, key).bytes())});
  }
  PartitionId PartitionOf() const { return PartitionOf(org_); }
  PartitionId PartitionOf(const OrgId& org) const {
    return log_->PartitionFor(Topic::kChanges, org.value());
  }

  void AwaitApplied(Offset offset) { AwaitApplied(org_, offset); }
  void AwaitApplied(const OrgId& org, Offset offset) {
    EXPECT_TRUE(Await([&] { return stores_->AppliedOf(org) >= offset; })) << org.value();
  }
  // Looks until it is so; false when that takes too long.
  template <typename Condition>
  bool Await(Condition condition) {
    const absl::Time end = absl::Now() + kPatience;
    while (!condition()) {
      if (absl::Now() > end) {
        return false;
      }
      std::this_thread::yield();
    }
    return true;
  }
  // The state comes a moment after what can be waited for.
  absl::Status AwaitHealth(absl::StatusCode code) {
    (void)Await([&] { return projector_->Health().code() == code; });
    return projector_->Health();
  }
  // Of MayServe(); empty where that is OK.
  std::string CodeNow() const {
    const absl::Status status = projector_->MayServe(org_);
    return status.ok() ? "" : ErrorCode(status);
  }
  bool AwaitCode(const std::string& code) {
    return Await([&] { return CodeNow() == code; });
  }
  // Of all partitions.
  double GaugeOf(const std::string& name) const {
    double sum = 0;
    for (const auto& family : options_.registry->Collect()) {
      for (const auto& metric : family.metric) {
        sum += family.name == name ? metric.gauge.value : 0;
      }
    }
    return sum;
  }
  std::vector<Event> DeadLetters(size_t expected) {
    std::vector<Event> letters;
    const auto reader = log_->OpenReader(
        Topic::kDeadletter, log_->PartitionFor(Topic::kDeadletter, org_.value()), Offset(0));
    while (letters.size() < expected) {
      const auto events = (*reader)->Read({.wait_max = std::chrono::seconds(60)});
      EXPECT_TRUE(events.ok() && !events->empty());
      if (!events.ok() || events->empty()) {
        break;
      }
      for (const eventlog::StoredEvent& stored : *events) {
        letters.push_back(stored.event);
      }
    }
    return letters;
  }

  const testing::TempDir dir_;
  const RealClock real_clock_;
  testing::FakeClock fake_clock_;  // for tests that set clock_ to it
  const Clock* clock_ = &real_clock_;
  StoreOptions store_options_;
  StagingOptions options_;
  const OrgId org_ = OrgId::Parse("acme").value();
  int64_t next_id_ = 0;
  std::unique_ptr<eventlog::EmbeddedLog> log_;
  std::unique_ptr<StoreManager> stores_;
  std::unique_ptr<eventlog::StaticPartitionGroup> group_;
  std::unique_ptr<StagingProjector> projector_;
};

}  // namespace sluice::projectors
