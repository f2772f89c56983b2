// Random requests, sequencers that come and go between any two appends, on an embedded log: the
// directory is one, however it is read, and `changes` tells the same definitions.
#include <gmock/gmock.h>

#include <random>

#include "absl/synchronization/mutex.h"
#include "eventlog/embedded/embedded_log.h"
#include "eventlog/static_partition_group.h"
#include "projectors/provisioning/provisioning.h"
#include "schemas/base/clock.h"
#include "schemas/sluice/v1/store.pb.h"
#include "tests/support/forwarding_log.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/projectors/provisioning/provisioning_testing.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;
using namespace std::chrono_literals;

// Passes everything on, but fails every n-th append as if the process had died before or after it,
// or had been paused: then the append comes after a later one.
class FlakyLog final : public sluice::testing::ForwardingLog {
 public:
  FlakyLog(eventlog::Log& log, uint32_t seed)
      : sluice::testing::ForwardingLog(log), random_(seed) {}
  void AppendAsync(Topic topic, PartitionId partition, std::vector<eventlog::Event> batch,
                   AppendCallback done) override {
    uint32_t chance = 0;
    std::vector<eventlog::Event> late;
    {
      absl::MutexLock lock(&mutex_);
      chance = random_() % 8;
      if (topic == Topic::kChanges && chance == 2) {
        late_[partition] = batch;
        chance = 0;
      } else if (topic == Topic::kChanges && chance > 2) {
        late.swap(late_[partition]);
      }
    }
    if (chance == 0) {
      done(absl::UnavailableError("lost on the way there"));
      return;
    }
    if (chance == 1) {
      log_.AppendAsync(topic, partition, std::move(batch),
                       [done = std::move(done)](const auto&) mutable {
                         done(absl::UnavailableError("lost on the way back"));
                       });
      return;
    }
    log_.AppendAsync(topic, partition, std::move(batch), std::move(done));
    if (!late.empty()) {
      log_.AppendAsync(topic, partition, std::move(late), [](const auto&) {});
    }
  }

 private:
  absl::Mutex mutex_;
  std::mt19937 random_;
  std::map<PartitionId, std::vector<eventlog::Event>> late_ ABSL_GUARDED_BY(mutex_);
};

std::vector<eventlog::StoredEvent> ReadAll(eventlog::Log& log, Topic topic) {
  std::vector<eventlog::StoredEvent> all;
  for (int32_t partition = 0; partition < log.PartitionCount(topic); ++partition) {
    const auto range = *log.Range(topic, PartitionId(partition));
    auto reader = *log.OpenReader(topic, PartitionId(partition), range.begin);
    while (reader->next() < range.end) {
      auto batch = *reader->Read({});
      for (auto& event : batch) {
        all.push_back(std::move(event));
      }
    }
  }
  return all;
}

std::string Describe(const Directory& directory) {
  std::string text;
  for (const auto& entry : directory.List("", 1'000)) {
    text += entry->org.value() + " " + std::string(OrgStateName(entry->state)) + " " +
            std::to_string(entry->incarnation) + " " + entry->display_name + " " +
            std::to_string(entry->last_control.value()) + " " + entry->model->Serialize();
    for (const auto& [target, etag] : entry->etags) {
      text += " " + target + etag;
    }
    text += "\n";
  }
  return text;
}

v1::ProvisioningRequest RandomRequest(std::mt19937& random) {
  const std::string entity = std::string(1, static_cast<char>('a' + random() % 3));
  switch (random() % 8) {
    case 0:
      return testing::OpenRequest("name " + std::to_string(random() % 3));
    case 1:
      return random() % 3 == 0 ? testing::CloseRequest() : testing::OpenRequest("");
    case 2:
    case 3:
    case 4:
      return testing::EntityRequest(entity, true, "x" + std::to_string(random() % 4));
    case 5: {
      v1::ProvisioningRequest request;
      request.mutable_delete_entity()->set_name(entity);
      return request;
    }
    case 6:
      return testing::ProfileRequest("p",
                                     "{\"entities\":{\"" + entity + "\":[{\"kind\":\"user\"}]}}");
    default:
      return testing::RoleRequest(
          "r", "{\"offline\":true,\"entities\":{\"" + entity + "\":{\"read\":true}}}");
  }
}

// `changes` as a store would fold it.
std::map<std::string, std::shared_ptr<const OrgModel>> FoldChanges(eventlog::Log& log) {
  std::map<std::string, std::shared_ptr<const OrgModel>> models;
  for (const auto& event : ReadAll(log, Topic::kChanges)) {
    auto& model = models.try_emplace(event.event.key, OrgModel::Empty()).first->second;
    if (auto next = model->Apply(event.event); next.ok()) {
      model = *std::move(next);
    }
  }
  return models;
}

// Without which requests have been answered, which the directory knows by itself, and without the
// numbers of rules, which only stores give.
std::string Definitions(const OrgModel& model) {
  v1::OrgModelState state;
  EXPECT_TRUE(state.ParseFromString(model.Serialize()));
  state.clear_answered();
  state.clear_rules();
  state.clear_next_rule_number();
  return state.SerializeAsString();
}

class ProvisioningProperty : public ::testing::TestWithParam<uint32_t> {};

TEST_P(ProvisioningProperty, OneDirectoryHoweverSequencersComeAndGo) {
  const sluice::testing::TempDir dir;
  auto log = *eventlog::EmbeddedLog::Open({.path = dir / "log", .partitions = 2});
  FlakyLog flaky(*log, GetParam());
  const RealClock clock;
  DirectoryFollower follower(*log, clock, nullptr);
  ASSERT_TRUE(follower.Start().ok());
  std::mt19937 random(GetParam());
  const auto applied = [](const OrgId&) { return Offset(1'000'000); };
  int accepted = 0;
  for (int round = 0; round < 6; ++round) {
    // Each round is a process of its own; it stops with requests under way.
    eventlog::StaticPartitionGroup group(2);
    ProvisioningProjector projector(flaky, group, clock, applied, nullptr);
    ASSERT_TRUE(projector.Start().ok());
    for (int i = 0; i < 12; ++i) {
      const OrgId org = testing::Org(random() % 2 == 0 ? "contoso" : "fabrikam");
      const auto outcome = follower.Request(org, RandomRequest(random), 10s);
      ASSERT_TRUE(outcome.ok()) << outcome.status();
      accepted += outcome->status.ok() ? 1 : 0;
    }
    const auto abandoned = follower.Request(testing::Org("contoso"), RandomRequest(random), 1ms);
    (void)abandoned;  // whether it is decided in time is chance; that it is decided once is not
    projector.Stop();
  }
  {
    eventlog::StaticPartitionGroup group(2);
    ProvisioningProjector projector(*log, group, clock, applied, nullptr);
    ASSERT_TRUE(projector.Start().ok());
    for (const char* name : {"contoso", "fabrikam"}) {
      const auto last = follower.Request(testing::Org(name), testing::OpenRequest("the last"), 10s);
      ASSERT_TRUE(last.ok()) << last.status();
      EXPECT_TRUE(last->status.ok());
    }
    projector.Stop();
  }
  follower.Stop();
  EXPECT_GT(accepted, 10);

  Directory replayed;
  RequestLedger ledger;
  for (const auto& event : ReadAll(*log, Topic::kProvisioning)) {
    ASSERT_TRUE(replayed.Apply(event).ok());
    ASSERT_TRUE(ledger.Apply(event).ok());
  }
  EXPECT_EQ(Describe(replayed), Describe(follower.directory()));
  EXPECT_EQ(Describe(replayed), Describe(ledger.directory()));
  EXPECT_EQ(ledger.pending(), 0U);
  const auto models = FoldChanges(*log);
  for (const auto& entry : replayed.List("", 10)) {
    ASSERT_EQ(entry->state, OrgState::kReady);
    EXPECT_EQ(Definitions(*models.at(entry->org.value())), Definitions(*entry->model))
        << "seed " << GetParam();
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ProvisioningProperty, ::testing::Range(1U, 5U));

}  // namespace
}  // namespace sluice::projectors
