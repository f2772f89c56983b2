// The two threads of a partition, over an embedded log: who is apart comes back by itself.
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <atomic>
#include <climits>
#include <filesystem>
#include <fstream>

#include "projectors/staging/history_check.h"
#include "tests/support/forwarding_log.h"
#include "tests/support/held_log.h"
#include "tests/support/log_reading.h"
#include "tests/support/store_fixture.h"
#include "tests/unit/projectors/staging/staging_testing.h"

namespace sluice::projectors {
namespace {

namespace fs = std::filesystem;

class StagingApartTest : public StagingFixture {
 protected:
  void SetUp() override {
    StagingFixture::SetUp();
    store_options_ = testing::SmallStoreOptions(dir_ / "stores");
    store_options_.sets_apart = true;
    store_options_.fold.step_rows = 20;
    other_ = OrgOfSamePartition();
    AppendDefinitions();
    AppendDefinitions(other_);
  }
  void AwaitAll() {
    AwaitApplied(last_);
    AwaitApplied(other_, last_other_);
  }
  void FoldAll() {
    Start();
    AwaitAll();
    Stop();
  }
  // All is applied, and the first organisation's store has gone since.
  void LoseStore() {
    AppendRows(100);
    FoldAll();
    fs::remove_all(dir_ / "stores/orgs/acme");
  }
  // Builds it anew from `log`, which fails amid that and is found to be another one.
  void ExpectComparedAmidTheRebuild(eventlog::Log* log, const std::string& why) {
    options_.batch_events_max = 30;
    std::atomic<int64_t> asked_at{-1};
    store_options_.check_history = [&](PartitionId, Offset applied, uint64_t) {
      if (applied == last_other_) {
        return absl::OkStatus();
      }
      asked_at = applied.value();
      return Error(absl::StatusCode::kDataLoss, "log_diverged", "another event");
    };
    Start(log);
    EXPECT_TRUE(Await([&] { return ErrorCode(projector_->MayServe(other_)) == "log_diverged"; }));
    EXPECT_LT(Offset(asked_at), last_) << why;
    EXPECT_FALSE(stores_->Snapshot(org_).ok());
    Stop();
  }
  void AppendRows(int count) {
    for (int i = 0; i < count; ++i) {
      last_ = Append(Set("A" + std::to_string(i)));
      last_other_ = Append(other_, Set("B" + std::to_string(i)));
    }
  }
  // Looks at every row of the organisation, in parts.
  void AppendLarge() {
    last_ = Append(testing::DefineProfile("p", {{"account", {v1::RULE_KIND_USER}}}, {"r"}));
  }
  double Metric(const std::string& name) {
    const std::string text = prometheus::TextSerializer().Serialize(options_.registry->Collect());
    const size_t at = text.find("\n" + name);
    return at == std::string::npos ? 0 : std::stod(text.substr(text.find(' ', at + 1)));
  }
  // Other organisations of the same partition, each with a store.
  std::vector<OrgId> MakeOrgs(size_t count) {
    std::vector<OrgId> orgs;
    for (int i = 0; orgs.size() < count; ++i) {
      const OrgId org = OrgId::Parse("more" + std::to_string(i)).value();
      if (PartitionOf(org) == PartitionOf()) {
        AppendDefinitions(org);
        for (int row = 0; row < 40; ++row) {
          last_more_ = Append(org, Set("C" + std::to_string(row)));
        }
        orgs.push_back(org);
      }
    }
    return orgs;
  }
  void AwaitNobodyApart() {
    EXPECT_TRUE(Await([&] { return stores_->ApartOf(PartitionOf()).empty(); }));
  }
  // Both stores are what the log makes, whatever has happened.
  void ExpectFoldOfLog() {
    AwaitApplied(last_);
    AwaitApplied(other_, last_other_);
    AwaitNobodyApart();
    const auto log = testing::ReadWholePartition(*log_, Topic::kChanges, PartitionOf());
    const auto contents = testing::FoldPlainly(store_options_.fold, log);
    for (const OrgId& org : {org_, other_}) {
      EXPECT_EQ(stores_->Digest(org).value_or("none"),
                testing::DigestOf(contents.at(org.value()), store_options_.fold.dedup_window))
          << org.value();
    }
  }

  OrgId other_ = org_;
  Offset last_;
  Offset last_other_;
  Offset last_more_;
};

// Readers that are opened below `from` get nothing until Release().
class SlowHistory final : public testing::FilteringLog {
 public:
  // Who reads `partition` from before `from`; readers of others are another thread's, and would
  // take what a test has in store for these.
  SlowHistory(eventlog::Log& log, PartitionId partition, Offset from)
      : testing::FilteringLog(log), partition_(partition), from_(from) {}
  void Release() { released_ = true; }
  // After so many of their batches one of them fails.
  void FailAfter(int batches) { until_failure_ = batches; }
  // After so many batches their connections end. `lost`: the log then holds another event in place
  // of the last that came.
  void EndConnectionsAfter(int batches, bool lost) {
    until_end_ = batches;
    loses_ = lost;
  }

 private:
  Events ReadFrom(FilteredReader& reader, const eventlog::ReadLimits& limits) override {
    if (reader.topic == Topic::kChanges && reader.from.value() == changed_) {
      return ReadAnother(reader, limits);
    }
    if (reader.topic != Topic::kChanges || reader.partition != partition_ || reader.from >= from_) {
      return reader.ReadOn(limits);
    }
    if (released_ && until_failure_-- == 0) {
      return Error(absl::StatusCode::kUnavailable, "log_unavailable", "the broker is away");
    }
    const bool reads_on = limits.events_max > 1;  // whoever compares wants one
    if (released_ && reads_on && until_end_-- == 0) {
      changed_ = loses_ ? reader.next().value() - 1 : -1;
      ++session_;
    }
    reader.SetSession(session_);
    return released_ ? reader.ReadOn(limits) : std::vector<eventlog::StoredEvent>();
  }

  const PartitionId partition_;
  const Offset from_;
  std::atomic<bool> released_{false};
  std::atomic<int> until_failure_{INT_MAX};
  std::atomic<int> until_end_{INT_MAX};
  std::atomic<bool> loses_{false};
  std::atomic<int64_t> changed_{-1};
  std::atomic<uint64_t> session_{0};
};

// A log that has lost its end and was written to since, as its readers do not tell: whoever
// compares an event at or after `from` finds another one.
class RewrittenLog final : public testing::FilteringLog {
 public:
  using testing::FilteringLog::FilteringLog;
  void RewriteFrom(Offset from) { from_ = from.value(); }

 private:
  Events ReadFrom(FilteredReader& reader, const eventlog::ReadLimits& limits) override {
    const bool compares = limits.events_max == 1 && reader.next().value() >= from_;
    return compares ? ReadAnother(reader, limits) : reader.ReadOn(limits);
  }

  std::atomic<int64_t> from_{INT64_MAX};
};

TEST_F(StagingApartTest, LargeEventsOfOneAmongTheOthers) {
  AppendRows(100);
  Start();
  for (int i = 0; i < 10; ++i) {
    AppendLarge();
    AppendRows(3);
    last_ = Append(testing::DefineProfile("p", {{"account", {v1::RULE_KIND_ALL}}}, {}));
  }
  ExpectFoldOfLog();
  Stop();
}

TEST_F(StagingApartTest, ADamagedStoreIsBuiltAnewAndItsNeighbourIsServed) {
  AppendRows(60);
  FoldAll();
  const std::string folder = dir_ / "stores/orgs/acme/1";
  fs::remove(folder + "/CURRENT");
  Start();
  AppendRows(5);
  AwaitApplied(other_, last_other_);
  EXPECT_TRUE(Await([&] { return projector_->MayServe(other_).ok(); }));
  ExpectFoldOfLog();
  EXPECT_TRUE(Await([&] { return projector_->MayServe(org_).ok(); }));
  EXPECT_TRUE(fs::exists(folder + ".damaged-1"));
  EXPECT_TRUE(AwaitHealth(absl::StatusCode::kOk).ok());
  Stop();
}

TEST_F(StagingApartTest, AFolderThatHasGoneIsBuiltAnew) {
  AppendRows(60);
  FoldAll();
  fs::remove_all(dir_ / "stores/orgs/acme");
  AppendRows(5);
  Start();
  EXPECT_FALSE(projector_->MayServe(org_).ok());
  ExpectFoldOfLog();
  Stop();
  Start();
  ExpectFoldOfLog();
  Stop();
}

TEST_F(StagingApartTest, RejectionsOfWhoIsApartReachTheDeadLetters) {
  AppendRows(60);
  Start();
  AppendLarge();
  Append(testing::MakeSet({testing::Delete(9, "A1")}, "s1", "crm"));
  AppendRows(1);
  ExpectFoldOfLog();
  const std::vector<Event> letters = DeadLetters(1);
  ASSERT_FALSE(letters.empty());
  v1::DeadLetter letter;
  ASSERT_TRUE(letter.ParseFromString(letters[0].value));
  EXPECT_EQ(letter.code(), "unknown_entity");
  Stop();
}

// Dead letters have nowhere to go, and one who is apart has some: it stays so until they are there.
TEST_F(StagingApartTest, WhoAwaitsItsDeadLettersHoldsUpNobodyElseWhoIsApart) {
  options_.registry = std::make_shared<prometheus::Registry>();
  AppendRows(60);
  AppendLarge();
  last_ = Append(testing::MakeSet({testing::Delete(9, "A1")}, "s1", "crm"));
  testing::HeldLog log(*log_, PartitionOf(), Topic::kDeadletter);
  Start(&log);
  ASSERT_TRUE(log.AwaitHeld(1));
  last_other_ =
      Append(other_, testing::DefineProfile("p", {{"account", {v1::RULE_KIND_USER}}}, {"r"}));
  AwaitApplied(other_, last_other_);
  EXPECT_TRUE(Await([&] { return stores_->ApartOf(PartitionOf()).size() == 1; }));
  EXPECT_TRUE(Await([&] { return Metric("sluice_staging_dead_letters_held") == 1; }));
  EXPECT_EQ(stores_->ApartOf(PartitionOf()).front().org, org_);
  log.Release();
  ExpectFoldOfLog();
  EXPECT_EQ(DeadLetters(1).size(), 1U);
  Stop();
}

// Its events have gone from the log, and its store from the disk.
TEST_F(StagingApartTest, WhoCannotBeBuiltAnewHoldsUpNobodyAndIsTold) {
  AppendRows(20);
  FoldAll();
  ASSERT_TRUE(log_->TruncateBefore(Topic::kChanges, PartitionOf(), last_).ok());
  fs::remove_all(dir_ / "stores/orgs/acme");
  Start();
  EXPECT_TRUE(Await([&] { return ErrorCode(projector_->MayServe(org_)) == "offset_below_begin"; }));
  for (int i = 0; i < 3; ++i) {
    last_other_ =
        Append(other_, testing::DefineProfile("p", {{"account", {v1::RULE_KIND_USER}}}, {"r"}));
    AwaitApplied(other_, last_other_);
    EXPECT_TRUE(Await([&] { return stores_->ApartOf(PartitionOf()).size() == 1; }));
  }
  EXPECT_TRUE(Await([&] { return projector_->MayServe(other_).ok(); }));
  EXPECT_TRUE(AwaitHealth(absl::StatusCode::kOk).ok()) << "the others are served";
  const auto troubled = projector_->TroubledOrgs();
  ASSERT_EQ(troubled.size(), 1u);
  EXPECT_EQ(troubled[0].partition, PartitionOf());
  EXPECT_EQ(troubled[0].code, "offset_below_begin");
  EXPECT_EQ(troubled[0].count, 1u);
  Stop();
}

// As above, and a backup of its store is there, which ends before what the store had, and not
// before what the log has.
TEST_F(StagingApartTest, AStoreFromABackupGoesOnWithWhatTheLogHas) {
  store_options_.check_history = [this](PartitionId partition, Offset applied, uint64_t hash) {
    return CheckHistory(*log_, partition, applied, hash);
  };
  for (const bool running : {false, true}) {
    AppendRows(20);
    Start();
    ExpectFoldOfLog();
    Stop();
    const fs::path folder = dir_ / "stores/orgs/acme/1";
    const fs::path backup = dir_ / ("backup" + std::to_string(static_cast<int>(running)));
    fs::copy(folder, backup);
    const Offset held = last_;
    AppendRows(20);
    Start();
    AwaitApplied(last_);
    AwaitApplied(other_, last_other_);
    const std::string digest = stores_->Digest(org_).value_or("none");
    Stop();
    const Offset begin(held.value() + 1);
    ASSERT_TRUE(log_->TruncateBefore(Topic::kChanges, PartitionOf(), begin).ok());
    fs::remove_all(folder);
    Start();
    const auto code = [&] { return ErrorCode(projector_->MayServe(org_)); };
    EXPECT_TRUE(Await([&] { return code() == "offset_below_begin"; }));
    if (!running) {
      Stop();
    }
    fs::copy(backup, dir_ / "copying");
    fs::create_directories(folder.parent_path());
    fs::rename(dir_ / "copying", folder);
    if (!running) {
      Start();
    }
    EXPECT_TRUE(
        Await([&] { return projector_->MayServe(org_).ok() && stores_->Snapshot(org_).ok(); }));
    AwaitNobodyApart();
    EXPECT_EQ(stores_->Digest(org_).value_or("none"), digest);
    EXPECT_FALSE(fs::exists(folder.string() + ".damaged-1"));
    Stop();
    if (!running) {
      fs::remove_all(dir_ / "stores");
      OpenLog("another");
      AppendDefinitions();
      AppendDefinitions(other_);
    }
  }
}

// The log fails while a store is built anew, and has another history when it is there again.
TEST_F(StagingApartTest, WhatIsReadAfterAnErrorIsComparedBeforeItIsApplied) {
  LoseStore();
  SlowHistory log(*log_, PartitionOf(), last_);
  log.FailAfter(3);
  log.Release();
  ExpectComparedAmidTheRebuild(&log, "its events up to here had been applied before the error");
}

// Likewise without an error: the connection has ended, and another one brings what comes now.
TEST_F(StagingApartTest, WhatIsReadOverAnotherConnectionIsComparedBeforeItIsApplied) {
  LoseStore();
  SlowHistory log(*log_, PartitionOf(), last_);
  log.EndConnectionsAfter(3, /*lost=*/false);
  log.Release();
  ExpectComparedAmidTheRebuild(&log, "its events up to here had come over the one that ended");
}

// What the store has applied is there, but the log now holds other events behind it than those
// among which there was none for it.
TEST_F(StagingApartTest, WhatWasPassedOverForAnOrganisationIsComparedToo) {
  AppendRows(20);
  for (int i = 0; i < 200; ++i) {
    last_other_ = Append(other_, Set("B" + std::to_string(i)));
  }
  FoldAll();
  fs::remove_all(dir_ / "stores/orgs/acme");
  SlowHistory log(*log_, PartitionOf(), last_other_);
  log.EndConnectionsAfter(5, /*lost=*/true);
  log.Release();
  options_.batch_events_max = 30;
  store_options_.check_history = [](PartitionId, Offset, uint64_t) { return absl::OkStatus(); };
  Start(&log);
  EXPECT_TRUE(Await([&] { return ErrorCode(projector_->MayServe(other_)) == "log_diverged"; }));
  Stop();
}

// Its store fits, but what the main thread has passed over for it since is not what the log holds
// there by now: there may be events of its own.
TEST_F(StagingApartTest, WhatTheMainThreadPassedOverIsComparedWhenOneGoesApart) {
  clock_ = &fake_clock_;  // no silence, and no checkpoint, has it compared
  AppendRows(20);
  RewrittenLog log(*log_);
  Start(&log);
  AwaitAll();
  ASSERT_LT(last_, last_other_);
  log.RewriteFrom(last_other_);
  AppendLarge();
  EXPECT_TRUE(Await([&] { return ErrorCode(projector_->MayServe(other_)) == "log_diverged"; }));
  EXPECT_LT(stores_->AppliedOf(org_), last_);
  Stop();
}

TEST_F(StagingApartTest, WhoFailsLeavesRoomForOthersEvents) {
  const std::vector<OrgId> failing = MakeOrgs(32);
  AppendRows(20);
  Start();
  AwaitApplied(failing.back(), last_more_);
  AwaitAll();
  Stop();
  for (const OrgId& org : failing) {
    const std::string folder = dir_ / ("stores/orgs/" + org.value());
    fs::remove_all(folder);
    std::ofstream(folder) << "in the way";
    fs::create_directory(folder + ".damaged-1");  // where it would be moved to
  }
  options_.batch_bytes_max = 2'000;  // each of them has more
  options_.registry = std::make_shared<prometheus::Registry>();
  Start();
  EXPECT_TRUE(Await([&] { return Metric("sluice_staging_retries_total") >= 32; }));
  AppendLarge();
  AwaitApplied(last_);
  EXPECT_TRUE(Await([&] { return projector_->MayServe(org_).ok(); }));
  // It may be served before it is given back.
  EXPECT_TRUE(Await([&] { return stores_->ApartOf(PartitionOf()).size() == failing.size(); }));
  Stop();
}

TEST_F(StagingApartTest, ALongHistoryDoesNotHoldUpThoseNearTheEnd) {
  AppendRows(20);
  FoldAll();
  SlowHistory log(*log_, PartitionOf(), last_);
  fs::remove_all(dir_ / "stores/orgs/acme");
  Start(&log);
  for (int i = 0; i < 3; ++i) {
    last_other_ =
        Append(other_, testing::DefineProfile("p", {{"account", {v1::RULE_KIND_USER}}}, {"r"}));
    AwaitApplied(other_, last_other_);
    EXPECT_TRUE(Await([&] { return projector_->MayServe(other_).ok(); }));
  }
  EXPECT_FALSE(projector_->MayServe(org_).ok());
  log.Release();
  ExpectFoldOfLog();
  Stop();
}

// A client that does not read keeps the damaged store open: it is asked for again soon, however
// long that lasts.
TEST_F(StagingApartTest, AStoreThatIsBeingReadIsBuiltAnewSoonAfter) {
  clock_ = &fake_clock_;
  options_.registry = std::make_shared<prometheus::Registry>();
  AppendRows(20);
  Start();
  AwaitAll();
  auto reading = stores_->Snapshot(org_);
  ASSERT_TRUE(reading.ok());
  fs::remove_all(dir_ / "stores/orgs/acme/1");  // so that its next flush fails
  AppendRows(1);
  AwaitApplied(last_);
  fake_clock_.Advance(options_.checkpoint_interval + std::chrono::seconds(1));
  EXPECT_TRUE(Await([&] { return !stores_->ApartOf(PartitionOf()).empty(); }));
  const auto await_retry = [&](std::chrono::seconds after) {
    const double before = Metric("sluice_staging_retries_total");
    fake_clock_.Advance(after);
    return Await([&] { return Metric("sluice_staging_retries_total") > before; });
  };
  for (int i = 0; i < 12; ++i) {  // until the store is given up
    ASSERT_TRUE(await_retry(std::chrono::minutes(1))) << i;
  }
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(await_retry(std::chrono::seconds(1))) << i;
  }
  EXPECT_EQ(stores_->ApartOf(PartitionOf()).size(), 1u);
  reading = absl::CancelledError();
  EXPECT_TRUE(Await([&] {
    fake_clock_.Advance(std::chrono::milliseconds(100));
    return stores_->ApartOf(PartitionOf()).empty();
  }));
  ExpectFoldOfLog();
  Stop();
}

TEST_F(StagingApartTest, TheLagIsThatOfTheScrape) {
  options_.registry = std::make_shared<prometheus::Registry>();
  const std::string lag =
      "sluice_staging_lag_events{partition=\"" + std::to_string(PartitionOf().value()) + "\"}";
  AppendRows(100);
  SlowHistory log(*log_, PartitionOf(), last_);
  Start(&log);
  EXPECT_TRUE(Await([&] {
    projector_->RefreshMetrics();
    return Metric(lag) > 100;
  }));
  log.Release();
  EXPECT_TRUE(Await([&] {
    projector_->RefreshMetrics();
    return Metric(lag) == 0;
  }));
  EXPECT_GE(stores_->AppliedOf(org_), last_);
  Stop();
}

}  // namespace
}  // namespace sluice::projectors
