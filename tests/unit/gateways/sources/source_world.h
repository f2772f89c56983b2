#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "eventlog/static_partition_group.h"
#include "gateways/secrets/sealer.h"
#include "gateways/sources/source_runner.h"
#include "projectors/provisioning/provisioning.h"
#include "tests/support/gateways/scripted_connector.h"
#include "tests/support/leash_log.h"
#include "tests/support/manual_group.h"
#include "tests/support/memory_log.h"

namespace sluice::gateways {

// A clock that runs faster, so that intervals of seconds pass in a test.
class FastClock final : public Clock {
 public:
  static constexpr int kFactor = 20;
  SystemTime Now() const override {
    return SystemTime(std::chrono::seconds(1'790'000'000) +
                      std::chrono::duration_cast<std::chrono::microseconds>(Passed()));
  }
  SteadyTime SteadyNow() const override { return start_ + Passed(); }

 private:
  SteadyTime::duration Passed() const {
    return (std::chrono::steady_clock::now() - start_) * kFactor;
  }
  const SteadyTime start_ = std::chrono::steady_clock::now();
};

// A log of one partition, with organisations that are provisioned, and processes that run sources.
class SourceWorld {
 public:
  // One process: a runner with its own view of the log.
  struct Node {
    Node(SourceWorld& world, Connector& connector, const std::string& name)
        : Node(world, connector, OptionsOf(name)) {}
    Node(SourceWorld& world, Connector& connector, SourceRunnerOptions options)
        : log(world.memory),
          runner(std::move(options), {.log = log,
                                      .group = group,
                                      .clock = world.clock,
                                      .directory = world.directory,
                                      .connectors = {&connector},
                                      .sealer = world.sealer,
                                      .applied = {},
                                      .registry = nullptr}) {
      EXPECT_TRUE(runner.Start().ok());
    }
    sluice::testing::LeashLog log;
    sluice::testing::ManualGroup group;
    SourceRunner runner;
  };

  explicit SourceWorld(std::vector<Sealer::Key> keys = {}) : sealer(std::move(keys)) {
    EXPECT_TRUE(directory.Start().ok());
    EXPECT_TRUE(sequencer.Start().ok());
  }

  static SourceRunnerOptions OptionsOf(const std::string& name) {
    using std::chrono::milliseconds;
    SourceRunnerOptions options;
    options.worker.node_id = name;
    options.worker.tick = milliseconds(10);  // of real time, as waits are
    options.worker.mark_interval = milliseconds(1'000);
    options.worker.progress_interval = milliseconds(500);
    options.worker.foreign_patience = milliseconds(5'000);
    options.worker.retry_first = milliseconds(1'000);
    options.worker.retry_max = milliseconds(4'000);
    return options;
  }

  template <typename Condition>
  static bool Await(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return condition();
  }

  void Request(const std::string& org, v1::ProvisioningRequest request) {
    const auto outcome =
        directory.Request(OrgId::Parse(org).value(), std::move(request), std::chrono::seconds(60));
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    ASSERT_TRUE(outcome->status.ok()) << outcome->status;
  }
  void OpenOrg(const std::string& org) {
    v1::ProvisioningRequest request;
    request.mutable_open_org()->set_display_name(org);
    Request(org, request);
  }
  // A source "src" with these entities, each second.
  static v1::ProvisioningRequest Source(const std::vector<std::string>& entities) {
    v1::ProvisioningRequest request;
    v1::SourceSettings& settings = *request.mutable_put_source()->mutable_settings();
    settings.set_name("src");
    settings.set_kind("scripted");
    settings.set_interval_s(1);
    settings.set_url("https://source.example/");
    for (const std::string& entity : entities) {
      settings.add_entities()->set_name(entity);
    }
    return request;
  }

  // The keys of all operations that the log takes of a stream, in its order: by the rule alone.
  std::vector<std::string> Taken(const std::string& org, const std::string& stream) const {
    std::vector<std::string> keys;
    std::string last;
    uint64_t number = 0;
    int64_t epoch = -1;
    for (const eventlog::StoredEvent& event : memory.All(eventlog::Topic::kChanges)) {
      v1::SourceDefined defined;
      if (event.event.key == org && event.event.type == "sluice.v1.SourceDefined" &&
          defined.ParseFromString(event.event.value) && defined.epoch() != epoch) {
        epoch = defined.epoch();
        last.clear();
      }
      v1::ChangeSet set;
      if (event.event.key != org || event.event.type != "sluice.v1.ChangeSet" ||
          !set.ParseFromString(event.event.value) || set.step().stream() != stream) {
        continue;
      }
      if (set.step().epoch() == epoch && set.step().after() == last &&
          set.step().number() == number + 1) {
        last = set.id();
        ++number;
        for (const v1::Operation& op : set.ops()) {
          keys.push_back(op.key());
        }
      }
    }
    return keys;
  }
  static std::vector<std::string> Numbers(uint64_t last) {
    std::vector<std::string> keys;
    for (uint64_t i = 1; i <= last; ++i) {
      keys.push_back(std::to_string(i));
    }
    return keys;
  }
  // The messages of a type in a topic.
  template <typename Message>
  std::vector<Message> All(eventlog::Topic topic) const {
    std::vector<Message> found;
    for (const eventlog::StoredEvent& event : memory.All(topic)) {
      Message message;
      if (event.event.type == Message::descriptor()->full_name() &&
          message.ParseFromString(event.event.value)) {
        found.push_back(std::move(message));
      }
    }
    return found;
  }

  sluice::testing::MemoryLog memory;
  const FastClock clock;
  const RealClock real_clock;
  Sealer sealer;
  projectors::DirectoryFollower directory{memory, real_clock, nullptr};
  eventlog::StaticPartitionGroup group{1};
  projectors::ProvisioningProjector sequencer{memory, group, real_clock,
                                              [](const OrgId&) { return kNoOffset; }, nullptr};
};

}  // namespace sluice::gateways
