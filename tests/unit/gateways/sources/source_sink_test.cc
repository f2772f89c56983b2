#include "gateways/sources/source_sink.h"

#include <gmock/gmock.h>

#include <atomic>
#include <limits>

#include "gateways/ingest/ingest_service.h"
#include "schemas/base/status.h"
#include "tests/support/fake_clock.h"
#include "tests/unit/gateways/sources/source_world.h"

namespace sluice::gateways {
namespace {

using eventlog::Topic;
using ::testing::ElementsAre;

class SourceSinkTest : public ::testing::Test {
 protected:
  SourceSinkTest() {
    world_.OpenOrg("acme");
    world_.Request("acme", SourceWorld::Source({"account"}));
    const auto entry = world_.directory.directory().Find(acme_);
    key_ = {acme_, entry->incarnation, "src", "account"};
    epoch_ = entry->sources.at("src").defined->epoch();
    follower_.Start();
    EXPECT_TRUE(SourceWorld::Await([&] { return follower_.next() > entry->last_control; }));
    follower_.Bind(key_, epoch_);
  }
  ~SourceSinkTest() override { follower_.Stop(); }

  SourceSink& Sink() {
    if (sink_ == nullptr) {
      sink_ = std::make_unique<SourceSink>(
          deps_, follower_, token_, SourceSink::Run{key_, "scripted", epoch_, "attempt", "item"},
          follower_.Find(key_));
      entity_ = sink_->Define(OrgId(), ScriptedEntity("account")).value()->id().value();
    }
    return *sink_;
  }
  SourceSet SetOf(const std::string& key) const {
    SourceSet set;
    set.ops.emplace_back();
    set.ops.back().set_kind(v1::Operation::KIND_DELETE);
    set.ops.back().set_entity_id(entity_);
    set.ops.back().set_key(key);
    set.number_is_version = true;
    set.cursor = key;
    return set;
  }
  // Of an organisation that is no home, 1.5 MB.
  static SourceSet TenantSetOf(const OrgId& org, uint32_t entity, int number) {
    SourceSet set;
    set.org = org;
    set.id = std::to_string(number);
    for (int i = 0; i < 3; ++i) {
      v1::Operation& op = set.ops.emplace_back();
      op.set_kind(v1::Operation::KIND_UPSERT);
      op.set_entity_id(entity);
      op.set_key("k");
      op.set_version(number);
      op.set_row("\x0a\x01k\x12\xa0\xc2\x1e" + std::string(500'000, 'x'));
    }
    return set;
  }

  SourceWorld world_;
  const OrgId acme_ = OrgId::Parse("acme").value();
  const SourceMetrics metrics_{nullptr};
  std::function<absl::Status(PartitionId)> may_append_;
  SinkDeps deps_{
      .log = world_.memory,
      .clock = world_.clock,
      .metrics = metrics_,
      .in_flight = std::make_shared<InFlight>(size_t{12} << 20, 10'000),
      .find = [this](const OrgId& org) { return world_.directory.directory().Find(org); },
      .request =
          [this](const OrgId& org, v1::ProvisioningRequest request,
                 std::chrono::milliseconds timeout, eventlog::Cause cause) {
            return world_.directory.Request(org, std::move(request), timeout, std::move(cause));
          },
      .may_append =
          [this](PartitionId partition) {
            return may_append_ ? may_append_(partition) : absl::OkStatus();
          },
      .applied = {}};
  RunToken token_{world_.clock};
  ChainFollower follower_{world_.memory, world_.clock, PartitionId(0), Offset(0)};
  projectors::StreamKey key_;
  int64_t epoch_ = 0;
  uint32_t entity_ = 0;
  std::unique_ptr<SourceSink> sink_;
};

// Of a set that was never sent there is no answer to look at, and none may come behind it.
TEST_F(SourceSinkTest, ASetThatWasNeverSentEndsTheRun) {
  ASSERT_TRUE(Sink().Append(SetOf("a")).ok());
  ASSERT_TRUE(Sink().Flush().ok());
  deps_.append_timeout = std::chrono::milliseconds(100);
  may_append_ = [](PartitionId) {
    return Error(absl::StatusCode::kUnavailable, "log_diverged", "the log is another");
  };
  EXPECT_EQ(ErrorCode(Sink().Append(SetOf("b"))), "log_diverged");
  EXPECT_TRUE(Sink().Flush().ok());
  may_append_ = {};
  deps_.append_timeout = std::chrono::hours(1);
  EXPECT_EQ(ErrorCode(Sink().Append(SetOf("c"))), "log_diverged");
  EXPECT_TRUE(Sink().Flush().ok());
  EXPECT_THAT(world_.Taken("acme", "account"), ElementsAre("a"));
}

// A fold that stands still holds up its own organisation's load alone.
TEST_F(SourceSinkTest, ATenantsLoadWaitsForTheTenantsFold) {
  world_.OpenOrg("tenant");
  const OrgId tenant = OrgId::Parse("tenant").value();
  std::atomic<int> asked_home = 0;
  deps_.applied = [&](const OrgId& org) -> std::optional<AppliedGate::Applied> {
    if (org == acme_ && ++asked_home > 50) {
      token_.Cancel(RunToken::Why::kStop);
    }
    return AppliedGate::Applied{
        org == acme_ ? Offset(0) : Offset(std::numeric_limits<int64_t>::max()), /*here=*/true};
  };
  const auto entity = Sink().Define(tenant, ScriptedEntity("account"));
  ASSERT_TRUE(entity.ok()) << entity.status();
  Sink().set_loading(true);
  for (int i = 1; i <= 8; ++i) {
    const absl::Status appended = Sink().Append(TenantSetOf(tenant, (*entity)->id().value(), i));
    ASSERT_TRUE(appended.ok()) << i << " " << appended;
  }
  EXPECT_TRUE(Sink().Flush().ok());
  EXPECT_EQ(asked_home, 0);
  EXPECT_EQ(Sink().numbers().rejected(), 0U);
  EXPECT_EQ(Sink().numbers().rows(), 24U);
}

TEST_F(SourceSinkTest, TooManyRejectedRowsAreNotTriedAgainBeforeTheNextTurn) {
  deps_.rejected_max = 2;
  const RejectedRow row{{}, "account", "k", "type_mismatch", "no number", "{}"};
  EXPECT_TRUE(Sink().Reject(row).ok());
  EXPECT_TRUE(Sink().Reject(row).ok());
  const absl::Status third = Sink().Reject(row);
  EXPECT_EQ(ErrorCode(third), "too_many_rejected");
  EXPECT_TRUE(absl::IsFailedPrecondition(third)) << third;
}

// To wait for the log is not to wait for the source.
TEST_F(SourceSinkTest, WhatTheSinkWaitsForIsNoStall) {
  sluice::testing::FakeClock clock;
  RunToken token(clock);
  Sink();
  SourceSink sink(deps_, follower_, token,
                  SourceSink::Run{key_, "scripted", epoch_, "second", "item"},
                  follower_.Find(key_));
  int asked = 0;
  may_append_ = [&](PartitionId) {
    clock.Advance(std::chrono::hours(1));
    return ++asked < 5 ? absl::UnavailableError("not now") : absl::OkStatus();
  };
  ASSERT_TRUE(sink.Append(SetOf("a")).ok());
  EXPECT_EQ(asked, 5);
  EXPECT_EQ(clock.SteadyNow(), token.touched());
  // Nor does it count as something that came.
  clock.Advance(std::chrono::seconds(7));
  may_append_ = {};
  ASSERT_TRUE(sink.Pause(std::chrono::milliseconds(0)));
  EXPECT_EQ(clock.SteadyNow() - token.touched(), std::chrono::seconds(7));
  EXPECT_TRUE(sink.Flush().ok());
}

// A position is for people, and comes of the source.
TEST_F(SourceSinkTest, APositionIsText) {
  v1::RunNumbers numbers;
  *numbers.mutable_position() = "page \xff";
  Sink().Report(numbers);
  EXPECT_EQ(Sink().numbers().position(), "page \\xff");
}

}  // namespace
}  // namespace sluice::gateways
