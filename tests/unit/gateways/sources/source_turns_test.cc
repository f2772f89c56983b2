// Sources that are read lastingly, and more of them than places; and what a failure leaves in
// `work`.
#include <gtest/gtest.h>

#include <set>

#include "absl/synchronization/mutex.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"
#include "tests/unit/gateways/sources/source_world.h"

namespace sluice::gateways {
namespace {

using eventlog::Topic;

TEST(SourceTurns, SourcesThatLastShareTheirPlacesAndAreNotDoneByThat) {
  SourceWorld world;
  absl::Mutex mutex;
  std::multiset<std::string> runs;
  ScriptedConnector connector(false, [&](const SourceContext& context, RowSink& sink) {
    {
      const absl::MutexLock lock(&mutex);
      runs.insert(context.org.value());
    }
    while (sink.Pause(std::chrono::milliseconds(1'000))) {
    }
    return absl::OkStatus();
  });
  for (const char* org : {"one", "two", "three"}) {
    world.OpenOrg(org);
    v1::ProvisioningRequest source = SourceWorld::Source({"account"});
    source.mutable_put_source()->mutable_settings()->set_interval_s(3'600);  // no other slot comes
    world.Request(org, source);
  }
  sluice::testing::ManualGroup group;
  SourceRunnerOptions options = SourceWorld::OptionsOf("a");
  options.whole_runs = {.runs_max = 1,
                        .per_org_max = 1,
                        .per_host_max = 9,
                        .queue_max = 9,
                        .turn = std::chrono::seconds(2)};
  SourceRunner runner(options, {.log = world.memory,
                                .group = group,
                                .clock = world.clock,
                                .directory = world.directory,
                                .connectors = {&connector},
                                .sealer = world.sealer,
                                .applied = {},
                                .registry = nullptr});
  ASSERT_TRUE(runner.Start().ok());
  // Slots are an hour apart: what asks for one now is a request.
  for (const char* org : {"one", "two", "three"}) {
    v1::ProvisioningRequest run;
    run.mutable_run_source()->set_name("src");
    world.Request(org, run);
  }
  group.Assign();
  const auto all_twice = [&] {
    const absl::MutexLock lock(&mutex);
    return runs.count("one") > 1 && runs.count("two") > 1 && runs.count("three") > 1;
  };
  EXPECT_TRUE(SourceWorld::Await(all_twice));
  const auto told = world.All<v1::WorkDone>(Topic::kWork);
  runner.Stop();
  for (const v1::WorkDone& done : told) {
    EXPECT_EQ(done.attempt(), 0U) << "a place was given back, nothing was done";
  }
}

TEST(SourceTurns, WhatAFailureSaysCanBeRead) {
  SourceWorld world;
  world.OpenOrg("acme");
  world.Request("acme", SourceWorld::Source({"account"}));
  ScriptedConnector connector(true, [](const SourceContext&, RowSink&) -> absl::Status {
    std::string text = "x";
    for (int i = 0; i < 600; ++i) {
      text += "\xc3\xb6";
    }
    return Error(absl::StatusCode::kFailedPrecondition, "incompatible_schema", text);
  });
  SourceWorld::Node node(world, connector, "a");
  node.group.Assign();
  EXPECT_TRUE(SourceWorld::Await([&] { return !world.All<v1::WorkFailed>(Topic::kWork).empty(); }));
  node.runner.Stop();
  const auto failed = world.All<v1::WorkFailed>(Topic::kWork);
  ASSERT_FALSE(failed.empty());
  EXPECT_TRUE(IsValidUtf8(failed.front().detail()));
  EXPECT_GT(failed.front().detail().size(), 900U);
}

}  // namespace
}  // namespace sluice::gateways
