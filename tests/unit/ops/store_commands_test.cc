// `store verify` over a folder of a server that is not running.
#include <gtest/gtest.h>
#include <CLI/CLI.hpp>

#include <algorithm>

#include "eventlog/embedded/embedded_log.h"
#include "ops/program/command.h"
#include "schemas/base/status.h"
#include "tests/support/store_fixture.h"
#include "tests/support/temp_dir.h"
#include "tests/support/write_checkpoint.h"

namespace sluice::ops {
namespace {

using eventlog::StoredEvent;
using eventlog::Topic;

constexpr PartitionId kPartition(0);

class StoreCommandsTest : public ::testing::Test {
 protected:
  // An organisation with a hundred accounts, and then an event that concerns all of them.
  StoreCommandsTest() : events_(testing::OrgWithAccounts("acme", 0)) {
    for (int i = 0; i < 100; ++i) {
      events_.push_back(testing::AccountEvent("acme", 0, "A" + std::to_string(i), "U1"));
    }
    events_.push_back(testing::MakeEvent(
        0, testing::DefineProfile("field", {{"account", {v1::RULE_KIND_USER}}}, {"sales"}),
        "acme"));
    for (size_t i = 0; i < events_.size(); ++i) {
      events_[i].offset = Offset(static_cast<int64_t>(i));
    }
  }

  void MakeLog(std::span<const StoredEvent> events) {
    auto log = eventlog::EmbeddedLog::Open({.path = dir_ / "log", .partitions = 1});
    ASSERT_TRUE(log.ok()) << log.status();
    for (const StoredEvent& event : events) {
      ASSERT_TRUE((*log)->Append(Topic::kChanges, kPartition, {event.event}).ok());
    }
  }
  // A server was stopped, or killed, amid the last event.
  void MakeStoreAmidTheLast() {
    const auto stores =
        projectors::StoreManager::Open(testing::SmallStoreOptions(dir_ / "stores")).value();
    const std::span<const StoredEvent> all(events_);
    ASSERT_TRUE(stores->Apply(kPartition, all.first(all.size() - 1)).ok());
    int parts = 0;
    const auto stopped =
        stores->Apply(kPartition, all.last(1), [&] { return ++parts == 3; }).status();
    ASSERT_TRUE(absl::IsCancelled(stopped)) << stopped;
    ASSERT_TRUE(testing::WriteCheckpoint(*stores, kPartition).ok());
    ASSERT_TRUE(stores->Close().ok());
  }

  struct Verdict {
    std::string code;
    std::string printed;
  };
  Verdict Verify() {
    CLI::App app;
    Invocation invocation;
    AddStoreCommands(app, invocation);
    app.parse("store verify --org acme --data-dir " + (dir_ / ""));
    ::testing::internal::CaptureStdout();
    const absl::Status status = invocation.run();
    return {ErrorCode(status), ::testing::internal::GetCapturedStdout()};
  }

  const testing::TempDir dir_;
  std::vector<StoredEvent> events_;
};

TEST_F(StoreCommandsTest, AStoreThatWasStoppedAmidAChangeIsUnfinished) {
  MakeLog(events_);
  MakeStoreAmidTheLast();
  const Verdict verdict = Verify();
  EXPECT_EQ(verdict.code, "not_caught_up");
  EXPECT_NE(verdict.printed.find("unfinished"), std::string::npos) << verdict.printed;
}

// No start finishes it: what it has begun is no part of the organisation's history any more.
TEST_F(StoreCommandsTest, OneWhoseLogHasLostThatChangeIsWrong) {
  MakeLog(std::span(events_).first(events_.size() - 1));
  MakeStoreAmidTheLast();
  const Verdict verdict = Verify();
  EXPECT_EQ(verdict.code, "log_truncated");
  EXPECT_NE(verdict.printed.find("WRONG"), std::string::npos) << verdict.printed;
}

TEST_F(StoreCommandsTest, SoIsOneWhoseLogHasAnotherInItsPlace) {
  std::vector<StoredEvent> other = events_;
  other.back().event = testing::AccountEvent("acme", 0, "another", "U2").event;
  MakeLog(other);
  MakeStoreAmidTheLast();
  EXPECT_EQ(Verify().code, "log_diverged");
}

}  // namespace
}  // namespace sluice::ops
