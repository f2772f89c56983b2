// Two topics that tell of one another: what a process notices when one of them loses its end.
#include "projectors/provisioning/agreement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "eventlog/static_partition_group.h"
#include "projectors/provisioning/provisioning.h"
#include "schemas/base/clock.h"
#include "schemas/base/status.h"
#include "tests/support/fake_clock.h"
#include "tests/support/memory_log.h"
#include "tests/unit/projectors/provisioning/provisioning_testing.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;
using testing::kPartition;
using namespace std::chrono_literals;

v1::ProvisioningRequest Role(const std::string& denied) {
  return testing::RoleRequest("r", R"({"offline":true,"entities":{"account":{"read":true,)"
                                   R"("deny_columns":[)" +
                                       denied + "]}}}");
}

class AgreementTest : public ::testing::Test {
 protected:
  void TearDown() override {
    if (projector_ != nullptr) {
      projector_->Stop();
    }
    if (follower_ != nullptr) {
      follower_->Stop();
    }
  }
  void StartFollower(DirectoryFollower::Hooks hooks = {}) {
    follower_ = std::make_unique<DirectoryFollower>(log_, clock_, nullptr, std::move(hooks));
    ASSERT_TRUE(follower_->Start().ok());
  }
  void StartSequencer(ProvisioningProjector::Gate gate = {}) {
    group_ = std::make_unique<eventlog::StaticPartitionGroup>(1);
    projector_ = std::make_unique<ProvisioningProjector>(
        log_, *group_, clock_, [](const OrgId&) { return kNoOffset; }, nullptr, std::move(gate));
    ASSERT_TRUE(projector_->Start().ok());
  }
  absl::StatusOr<Directory::Outcome> Request(v1::ProvisioningRequest request,
                                             std::chrono::milliseconds timeout = 60s) {
    return follower_->Request(testing::Org("acme"), std::move(request), timeout);
  }
  // An organisation, an entity and a role: offsets 0 to 5 of `provisioning`, 0 to 2 of `changes`.
  void Define() {
    StartFollower();
    StartSequencer();
    ASSERT_TRUE(Request(testing::OpenRequest(""))->status.ok());
    ASSERT_TRUE(Request(testing::EntityRequest("account"))->status.ok());
    ASSERT_TRUE(Request(Role("\"owner\""))->status.ok());
  }
  void Stop() {
    projector_->Stop();
    projector_.reset();
    follower_->Stop();
    follower_.reset();
  }
  // Of the control event that answers the newest request, as a store keeps it.
  ControlMark Control() const {
    const auto last = log_.All(Topic::kChanges).back();
    return {last.offset, last.event.answers, last.event.id};
  }
  std::string AwaitAgreement(const std::string& code) {
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (Code(follower_->Agreement(kPartition)) != code &&
           std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
    return Code(follower_->Agreement(kPartition));
  }
  std::string AwaitServing(const std::string& code, DirectoryFollower* follower = nullptr) {
    follower = follower == nullptr ? follower_.get() : follower;
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (Code(follower->MayServe(kPartition)) != code && std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
    return Code(follower->MayServe(kPartition));
  }
  void StartFollowerAnew() {
    Stop();
    StartFollower();
  }
  // `changes` loses what comes after its first `left` events, and is written on by others.
  void ReplaceEndOfChanges(size_t left, size_t by) {
    eventlog::Event other = log_.All(Topic::kChanges).front().event;
    other.id = "another";
    other.answers = kNoOffset;
    log_.Replace(Topic::kChanges, left, std::vector<eventlog::Event>(by, other));
  }
  int OutcomesFrom(Offset from) const {
    int count = 0;
    for (const auto& event : log_.All(Topic::kProvisioning)) {
      count +=
          static_cast<int>(event.offset >= from &&
                           event.event.type == v1::ProvisioningOutcome::descriptor()->full_name());
    }
    return count;
  }
  static std::string Code(const absl::Status& status) {
    return status.ok() ? "" : ErrorCode(status);
  }

  const RealClock clock_;
  sluice::testing::MemoryLog log_;
  std::unique_ptr<DirectoryFollower> follower_;
  std::unique_ptr<eventlog::StaticPartitionGroup> group_;
  std::unique_ptr<ProvisioningProjector> projector_;
};

TEST_F(AgreementTest, ALogThatIsWholeAgrees) {
  Define();
  EXPECT_EQ(AwaitAgreement(""), "");
  Stop();
  DirectoryFollower::Hooks hooks;
  hooks.last_control = [this](PartitionId) { return Control(); };
  StartFollower(hooks);
  EXPECT_EQ(AwaitAgreement(""), "");
  EXPECT_TRUE(follower_->Health().ok()) << follower_->Health();
}

TEST_F(AgreementTest, ChangesLosesItsEndAndGoesOn) {
  Define();
  Stop();
  const auto lost = log_.All(Topic::kChanges).back().event;
  log_.Cut(Topic::kChanges, 2);
  StartFollower();
  EXPECT_EQ(AwaitAgreement("log_truncated"), "log_truncated");
  EXPECT_EQ(Code(follower_->Health()), "log_truncated");
  eventlog::Event other = lost;
  other.id = "another";
  ASSERT_TRUE(log_.Append(Topic::kChanges, kPartition, {other}).ok());
  EXPECT_EQ(AwaitAgreement("log_diverged"), "log_diverged");
  log_.Cut(Topic::kChanges, 2);
  ASSERT_TRUE(log_.Append(Topic::kChanges, kPartition, {lost}).ok());
  EXPECT_EQ(AwaitAgreement(""), "") << "it was restored";
}

TEST_F(AgreementTest, ProvisioningLosesItsEndWhileNobodyReads) {
  Define();
  Stop();
  log_.Cut(Topic::kProvisioning, 4);
  DirectoryFollower::Hooks hooks;
  hooks.last_control = [this](PartitionId) { return Control(); };
  StartFollower(hooks);
  EXPECT_EQ(AwaitAgreement("log_truncated"), "log_truncated");
  // Grown past it, another request is where the lost one was.
  for (int i = 0; i < 2; ++i) {
    auto again = log_.All(Topic::kProvisioning)[2].event;
    ASSERT_TRUE(log_.Append(Topic::kProvisioning, kPartition, {again}).ok());
  }
  EXPECT_EQ(AwaitAgreement("log_diverged"), "log_diverged");
}

TEST_F(AgreementTest, ProvisioningLosesItsEndWhileItIsRead) {
  Define();
  ASSERT_EQ(AwaitAgreement(""), "");
  projector_->Stop();
  log_.Cut(Topic::kProvisioning, 4);
  EXPECT_EQ(AwaitAgreement("log_truncated"), "log_truncated");
}

// A broker without the end of the topic is written to beyond it, and the reader goes on there
// without an error.
TEST_F(AgreementTest, WhatComesAfterASilenceIsComparedBeforeItIsFolded) {
  Define();
  Stop();
  sluice::testing::FakeClock clock;
  follower_ = std::make_unique<DirectoryFollower>(log_, clock, nullptr);
  ASSERT_TRUE(follower_->Start().ok());
  ASSERT_EQ(AwaitAgreement(""), "");
  clock.Advance(2s);
  const auto again = log_.All(Topic::kProvisioning)[2].event;
  log_.Replace(Topic::kProvisioning, 4, {again, again, again});
  EXPECT_EQ(AwaitAgreement("log_diverged"), "log_diverged");
}

// Likewise without any silence, where the reader tells of its connection.
TEST_F(AgreementTest, WhatComesOverAnotherConnectionIsComparedBeforeItIsFolded) {
  Define();
  Stop();
  sluice::testing::FakeClock clock;
  follower_ = std::make_unique<DirectoryFollower>(log_, clock, nullptr);
  ASSERT_TRUE(follower_->Start().ok());
  ASSERT_EQ(AwaitAgreement(""), "");
  const auto again = log_.All(Topic::kProvisioning)[2].event;
  log_.EndConnections();
  log_.Replace(Topic::kProvisioning, 4, {again, again, again});
  EXPECT_EQ(AwaitAgreement("log_diverged"), "log_diverged");
}

TEST_F(AgreementTest, PlacesFromBeforeAnEpochAreNotCompared) {
  Define();
  Stop();
  log_.Cut(Topic::kChanges, 2);
  log_.Agree();
  StartFollower();
  EXPECT_EQ(AwaitAgreement(""), "");
}

TEST_F(AgreementTest, WhatAnEpochWasDeclaredOnIsLostAgain) {
  Define();
  Stop();
  log_.Agree();
  const auto lost = log_.All(Topic::kChanges).back().event;
  log_.Cut(Topic::kChanges, 2);
  StartFollower();
  EXPECT_EQ(AwaitAgreement("log_truncated"), "log_truncated");
  eventlog::Event other = lost;
  other.id = "another";
  ASSERT_TRUE(log_.Append(Topic::kChanges, kPartition, {other}).ok());
  EXPECT_EQ(AwaitAgreement("log_diverged"), "log_diverged");
}

TEST_F(AgreementTest, NoControlEventTakesThePlaceOfALostOne) {
  Define();
  log_.Cut(Topic::kChanges, 1);
  const auto outcome = Request(Role(""), 500ms);
  EXPECT_FALSE(outcome.ok()) << "it was told where another event had been";
  EXPECT_EQ(Code(projector_->Health()), "log_truncated");
  for (const auto& event : log_.All(Topic::kProvisioning)) {
    v1::ProvisioningOutcome told;
    if (event.offset >= Offset(6) && told.ParseFromString(event.event.value)) {
      EXPECT_NE(event.event.type, v1::ProvisioningOutcome::descriptor()->full_name());
    }
  }
}

// What was told of the lost control event would be hidden by what is told of the new one.
TEST_F(AgreementTest, NothingIsToldOnTopOfAHistoryThatLacksWhatWasToldBefore) {
  Define();
  ReplaceEndOfChanges(2, 5);
  EXPECT_FALSE(Request(Role(""), 500ms).ok());
  EXPECT_EQ(Code(projector_->Health()), "log_diverged");
  EXPECT_EQ(OutcomesFrom(Offset(6)), 0) << "nobody would find any more that a definition is lost";
  StartFollowerAnew();
  EXPECT_EQ(AwaitAgreement("log_diverged"), "log_diverged");
}

TEST_F(AgreementTest, WhoTakesOverDecidesNothingOnTopOfAHistoryThatLacksWhatWasTold) {
  Define();
  Stop();
  ReplaceEndOfChanges(2, 5);
  StartFollower();
  StartSequencer();
  EXPECT_FALSE(Request(Role(""), 500ms).ok());
  EXPECT_EQ(Code(projector_->Health()), "log_diverged");
  EXPECT_EQ(log_.All(Topic::kChanges).size(), 7U) << "a control event was appended";
  EXPECT_EQ(OutcomesFrom(Offset(6)), 0);
}

TEST_F(AgreementTest, ASequencerGoesOnOnceTheLogIsRestored) {
  Define();
  const auto whole = log_.All(Topic::kChanges);
  ReplaceEndOfChanges(2, 5);
  EXPECT_FALSE(Request(Role(""), 500ms).ok());
  ASSERT_EQ(Code(projector_->Health()), "log_diverged");
  log_.Replace(Topic::kChanges, 2, {whole.back().event});
  EXPECT_TRUE(Request(Role("\"id\"")).ok());
  EXPECT_EQ(AwaitAgreement(""), "");
}

TEST_F(AgreementTest, NothingIsToldFirstOnTopOfWhatAnEpochWasDeclaredOn) {
  Define();
  Stop();
  log_.Agree();
  StartFollower();
  ASSERT_EQ(AwaitAgreement(""), "");
  StartSequencer({});
  ReplaceEndOfChanges(2, 5);
  EXPECT_FALSE(Request(Role(""), 500ms).ok());
  EXPECT_EQ(OutcomesFrom(Offset(6)), 0);
}

TEST_F(AgreementTest, AllThatWasEverToldIsCompared) {
  Define();
  EXPECT_TRUE(CheckAllControls(log_, kPartition).ok());
  const auto lost = log_.All(Topic::kChanges).back().event;
  // As a sequencer did it that compares nothing: the newest fits, the one before it does not.
  eventlog::Event control = lost;
  control.id = ControlEventId("later");
  v1::ProvisioningOutcome outcome;
  outcome.set_request_id("later");
  outcome.set_request_offset(6);
  outcome.set_changes_offset(3);
  eventlog::Event told = log_.All(Topic::kProvisioning).back().event;
  told.value = outcome.SerializeAsString();
  ASSERT_TRUE(log_.Append(Topic::kProvisioning, kPartition, {told, told}).ok());
  ReplaceEndOfChanges(2, 1);
  ASSERT_TRUE(log_.Append(Topic::kChanges, kPartition, {control}).ok());
  StartFollowerAnew();
  EXPECT_EQ(AwaitAgreement(""), "") << "the newest hides it";
  EXPECT_EQ(Code(CheckAllControls(log_, kPartition)), "log_diverged");
  log_.Agree();
  EXPECT_TRUE(CheckAllControls(log_, kPartition).ok()) << "what was told before an epoch";
}

TEST_F(AgreementTest, NothingIsDecidedBeforeWhatNobodyHasFoldedWasLookedAt) {
  Define();
  Stop();
  log_.Cut(Topic::kProvisioning, 4);  // the role's request is lost, its control event is not
  StartFollower();
  ASSERT_EQ(AwaitAgreement(""), "") << "nothing is folded here: the directory alone cannot know";
  StartSequencer();
  EXPECT_FALSE(Request(Role(""), 500ms).ok()) << "the fold would pass over it";
  EXPECT_EQ(log_.All(Topic::kChanges).size(), 3U);
  EXPECT_EQ(Code(projector_->Health()), "log_diverged");
}

// Whoever starts with nothing folded finds that the topics agree, as nothing tells otherwise.
TEST_F(AgreementTest, WhatIsFoldedIsComparedBeforeAnythingIsAnsweredByIt) {
  Define();
  Stop();
  log_.Cut(Topic::kProvisioning, 4);
  std::atomic<bool> folded{false};
  std::atomic<bool> served{false};
  DirectoryFollower::Hooks hooks;
  hooks.last_control = [&](PartitionId) { return folded ? Control() : ControlMark(); };
  hooks.may_serve = [&](PartitionId) {
    return folded ? absl::OkStatus()
                  : Error(absl::StatusCode::kUnavailable, "not_caught_up", "not yet");
  };
  hooks.agreement_changed = [&] { served = served || follower_->MayServe(kPartition).ok(); };
  StartFollower(hooks);
  ASSERT_EQ(AwaitAgreement(""), "") << "nothing is folded yet";
  EXPECT_EQ(Code(follower_->MayServe(kPartition)), "not_caught_up");
  EXPECT_TRUE(follower_->Health().ok()) << "staging tells that it has not caught up";
  folded = true;
  EXPECT_NE(Code(follower_->MayServe(kPartition)), "");
  EXPECT_EQ(AwaitAgreement("log_truncated"), "log_truncated");
  EXPECT_EQ(Code(follower_->MayServe(kPartition)), "log_truncated");
  EXPECT_FALSE(served);
  follower_->Stop();
}

// It was looked at when the partition came the first time, and elsewhere meanwhile.
TEST_F(AgreementTest, APartitionThatComesAnewIsLookedAtBeforeAnythingIsAnswered) {
  Define();
  Stop();
  std::atomic<uint64_t> taken_over{1};
  DirectoryFollower::Hooks hooks;
  hooks.last_control = [control = Control()](PartitionId) { return control; };
  hooks.may_serve = [](PartitionId) { return absl::OkStatus(); };
  hooks.taken_over = [&taken_over](PartitionId) { return taken_over.load(); };
  StartFollower(hooks);
  ASSERT_EQ(AwaitServing(""), "");
  ReplaceEndOfChanges(2, 5);
  EXPECT_EQ(AwaitServing(""), "") << "nothing has told of it";
  taken_over = 2;
  EXPECT_NE(Code(follower_->MayServe(kPartition)), "") << "not before the first look";
  EXPECT_EQ(AwaitServing("log_diverged"), "log_diverged");
  follower_->Stop();
}

// A definition is told, and lost before the fold comes to its place: no control event ever comes.
TEST_F(AgreementTest, WhatWasToldIsLookedAtWhenTheFoldHasPassedOverIt) {
  Define();
  sluice::testing::FakeClock clock;
  std::atomic<int64_t> folded{3};
  std::atomic<int> asked{0};
  DirectoryFollower::Hooks hooks;
  hooks.last_control = [control = Control()](PartitionId) { return control; };
  hooks.may_serve = [](PartitionId) { return absl::OkStatus(); };
  hooks.folded_until = [&](PartitionId) {
    ++asked;
    return Offset(folded);
  };
  DirectoryFollower other(log_, clock, nullptr, hooks);
  ASSERT_TRUE(other.Start().ok());
  ASSERT_EQ(AwaitServing("", &other), "");
  ASSERT_TRUE(Request(Role(""))->status.ok());
  while (other.ReadUntil(testing::Org("acme")) < Offset(8)) {
    std::this_thread::yield();
  }
  clock.Advance(2s);  // a look is due
  for (const int before = asked; asked < before + 3;) {
    std::this_thread::yield();
  }
  EXPECT_EQ(Code(other.MayServe(kPartition)), "");
  ReplaceEndOfChanges(3, 5);
  folded = 8;
  clock.Advance(2s);
  EXPECT_EQ(AwaitServing("log_diverged", &other), "log_diverged");
  other.Stop();
}

// A process that folds nothing, after the node that told of it has gone.
TEST_F(AgreementTest, WhatOthersHaveFoldedIsLookedAtThoughNothingComes) {
  Define();
  eventlog::Event set = log_.All(Topic::kChanges).front().event;
  set.id = "a set";
  set.answers = kNoOffset;
  ASSERT_TRUE(log_.Append(Topic::kChanges, kPartition, {set}).ok());
  sluice::testing::FakeClock clock;
  DirectoryFollower::Hooks hooks;
  hooks.folded = [mark = FoldedMark{Offset(3), eventlog::EventHash(set)}](PartitionId) {
    return std::vector<FoldedMark>{mark};
  };
  DirectoryFollower other(log_, clock, nullptr, hooks);
  ASSERT_TRUE(other.Start().ok());
  ASSERT_EQ(AwaitServing("", &other), "");
  log_.Cut(Topic::kChanges, 3);
  clock.Advance(31s);
  // Whoever leads may have been replaced, and not know it: it is asked for a while.
  for (int i = 0; i < 600 && Code(other.MayServe(kPartition)) != "log_truncated"; ++i) {
    clock.Advance(1s);
    std::this_thread::sleep_for(20ms);
  }
  EXPECT_EQ(AwaitServing("log_truncated", &other), "log_truncated");
  ReplaceEndOfChanges(3, 5);
  clock.Advance(2s);
  EXPECT_EQ(AwaitServing("log_diverged", &other), "log_diverged");
  log_.Replace(Topic::kChanges, 3, {set});
  clock.Advance(2s);
  EXPECT_EQ(AwaitServing("", &other), "") << "the log was restored";
  other.Stop();
}

// What others told of lost definitions is known before anything is told of them here.
TEST_F(AgreementTest, NothingIsToldBeforeItIsKnownWhatOthersTold) {
  Define();
  Stop();
  log_.Cut(Topic::kProvisioning, 4);
  std::atomic<bool> known{false};
  std::atomic<bool> agreed{false};
  std::atomic<int> asked{0};
  DirectoryFollower::Hooks hooks;
  hooks.last_control = [&](PartitionId) { return known ? Control() : ControlMark(); };
  hooks.others_known = [&] {
    ++asked;
    return known.load();
  };
  hooks.agreement_changed = [&] { agreed = agreed || follower_->Agreement(kPartition).ok(); };
  StartFollower(hooks);
  while (!follower_->CaughtUp(kPartition).ok() || asked < 3) {
    std::this_thread::yield();
  }
  EXPECT_EQ(Code(follower_->Agreement(kPartition)), "not_caught_up");
  known = true;
  EXPECT_EQ(AwaitAgreement("log_truncated"), "log_truncated");
  EXPECT_FALSE(agreed);
  follower_->Stop();
}

TEST_F(AgreementTest, WhatIsFoldedOfAWholeLogIsAnsweredBy) {
  Define();
  Stop();
  std::atomic<bool> folded{false};
  DirectoryFollower::Hooks hooks;
  hooks.last_control = [&](PartitionId) { return Control(); };
  hooks.may_serve = [&](PartitionId) {
    return folded ? absl::OkStatus()
                  : Error(absl::StatusCode::kUnavailable, "not_caught_up", "not yet");
  };
  StartFollower(hooks);
  ASSERT_EQ(AwaitAgreement(""), "");
  EXPECT_EQ(Code(follower_->MayServe(kPartition)), "not_caught_up");
  folded = true;
  const auto end = std::chrono::steady_clock::now() + 60s;
  while (!follower_->MayServe(kPartition).ok() && std::chrono::steady_clock::now() < end) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(follower_->MayServe(kPartition).ok()) << follower_->MayServe(kPartition);
  EXPECT_TRUE(follower_->Health().ok()) << follower_->Health();
  follower_->Stop();
}

// As far as somebody has folded nothing is read again: the mark has to tell of it.
TEST_F(AgreementTest, NothingIsDecidedWhereWhatAnotherHasFoldedAnswersALostRequest) {
  Define();
  Stop();
  log_.Cut(Topic::kProvisioning, 4);
  StartFollower();
  ProvisioningProjector::Gate gate;
  gate.folded_until = [](PartitionId) { return Offset(3); };
  gate.last_control = [this](PartitionId) { return Control(); };
  StartSequencer(gate);
  EXPECT_FALSE(Request(Role(""), 500ms).ok());
  EXPECT_EQ(log_.All(Topic::kChanges).size(), 3U);
  EXPECT_EQ(Code(projector_->Health()), "log_diverged");
}

TEST_F(AgreementTest, NothingIsDecidedUntilItMayBe) {
  std::atomic<bool> may{false};
  StartFollower();
  ProvisioningProjector::Gate gate;
  gate.may_decide = [&may](PartitionId) {
    return may ? absl::OkStatus()
               : Error(absl::StatusCode::kUnavailable, "log_truncated", "not now");
  };
  StartSequencer(gate);
  EXPECT_FALSE(Request(testing::OpenRequest(""), 300ms).ok());
  EXPECT_TRUE(log_.All(Topic::kChanges).empty());
  EXPECT_EQ(Code(projector_->Health()), "log_truncated");
  may = true;
  EXPECT_TRUE(Request(testing::OpenRequest(""))->status.ok());
  EXPECT_EQ(log_.All(Topic::kChanges).size(), 1U);
}

TEST_F(AgreementTest, NoRequestIsAppendedWhereNoneMayBe) {
  DirectoryFollower::Hooks hooks;
  hooks.may_append = [](PartitionId) {
    return Error(absl::StatusCode::kUnavailable, "log_diverged", "not now");
  };
  StartFollower(hooks);
  EXPECT_EQ(Code(Request(testing::OpenRequest("")).status()), "log_diverged");
  EXPECT_TRUE(log_.All(Topic::kProvisioning).empty());
}

}  // namespace
}  // namespace sluice::projectors
