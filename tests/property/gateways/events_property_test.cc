// Business events of several organisations on a topic, doubled and sent again late, read by nodes
// that are killed, paused and take over from one another: each event is carried out once, in the
// order of its organisation, and what is refused has one letter. SLUICE_SEED replays.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "eventlog/static_partition_group.h"
#include "gateways/events/event_topic.h"
#include "projectors/provisioning/provisioning.h"
#include "tests/support/leash_log.h"
#include "tests/support/memory_log.h"
#include "tests/support/memory_records.h"

namespace sluice::gateways {
namespace {

using eventlog::Topic;
using projectors::OrgState;
using sluice::testing::LeashLog;
using sluice::testing::MemoryLog;
using sluice::testing::MemoryRecords;
using sluice::testing::MemoryTopics;
using std::chrono::milliseconds;

constexpr int kPartitions = 2;

// An event, and what it does to its organisation.
struct Sent {
  std::string id;
  std::string type;
  std::string data;
  int partition = 0;
  bool letter = false;  // it is refused, each time that it comes
};

// What the list of an organisation's events makes of it.
struct Model {
  bool exists = false;
  bool ready = false;
  uint32_t incarnation = 0;
  std::map<std::string, bool> roles;  // -> offline
  size_t controls = 0;
  size_t letters = 0;

  void Enable() {
    if (!ready) {
      exists = ready = true;
      ++incarnation;
      roles.clear();
      ++controls;
    }
  }
  void Disable() {
    if (ready) {
      ready = false;
      ++controls;
    }
  }
  void SetRole(const std::string& name, bool offline) {
    if (!ready) {
      ++letters;
    } else if (!roles.contains(name) || roles[name] != offline) {
      roles[name] = offline;
      ++controls;
    }
  }
  void DeleteRole(const std::string& name) {
    if (exists && !ready) {
      ++letters;  // org_not_ready; where there never was one, there is nothing to do
    } else if (roles.erase(name) > 0) {
      ++controls;
    }
  }
};

class History {
 public:
  explicit History(uint32_t seed) : random_(seed) { topics_.Create("events", kPartitions); }

  void Append(const Sent& sent) {
    eventlog::Record record;
    record.value = sent.data;
    record.headers = {{"ce_specversion", "1.0"},
                      {"ce_id", sent.id},
                      {"ce_source", "/crm"},
                      {"ce_type", sent.type}};
    topics_.Append("events", sent.partition, std::move(record));
  }

  // A new event of a random organisation, or an old one again.
  void SendOne() {
    if (!sent_.empty() && random_() % 4 == 0) {
      const Sent& again = sent_[random_() % sent_.size()];
      Append(again);
      letters_ += again.letter ? 1 : 0;
      return;
    }
    const size_t number = random_() % 5;
    const std::string org = "org" + std::to_string(number);
    Model& model = models_[org];
    const std::string role = "r" + std::to_string(random_() % 3);
    const size_t letters = model.letters;
    Sent sent;
    sent.id = std::to_string(sent_.size());
    sent.partition = static_cast<int>(number) % 2;
    switch (random_() % 8) {
      case 0:
      case 1:
        sent.type = "sluice.org.enabled";
        sent.data = fmt::format(R"({{"org":"{}"}})", org);
        model.Enable();
        break;
      case 2:
        sent.type = "sluice.org.disabled";
        sent.data = fmt::format(R"({{"org":"{}"}})", org);
        model.Disable();
        break;
      case 3:
        sent.type = "sluice.role.changed";
        sent.data = fmt::format(R"({{"org":"{}","role":"{}","definition":null}})", org, role);
        model.DeleteRole(role);
        break;
      case 4:
        sent.type = "sluice.unknown";
        sent.data = "{}";
        ++model.letters;
        break;
      default: {
        const bool offline = random_() % 2 == 0;
        sent.type = "sluice.role.changed";
        sent.data = fmt::format(
            R"({{"org":"{}","role":"{}","definition":{{"offline":{},"entities":{{}}}}}})", org,
            role, offline);
        model.SetRole(role, offline);
      }
    }
    sent.letter = model.letters > letters;
    letters_ += sent.letter ? 1 : 0;
    Append(sent);
    sent_.push_back(std::move(sent));
  }

  MemoryTopics& topics() { return topics_; }
  std::mt19937& random() { return random_; }
  const std::map<std::string, Model>& models() const { return models_; }
  size_t letters() const { return letters_; }
  std::map<PartitionId, Offset> Ends() {
    const absl::MutexLock lock(&topics_.mutex);
    std::map<PartitionId, Offset> ends;
    for (int p = 0; p < kPartitions; ++p) {
      ends[PartitionId(p)] = topics_.topics["events"][static_cast<size_t>(p)].end;
    }
    return ends;
  }

 private:
  std::mt19937 random_;
  MemoryTopics topics_;
  std::vector<Sent> sent_;
  std::map<std::string, Model> models_;
  size_t letters_ = 0;
};

// One process.
class Node {
 public:
  Node(MemoryLog& memory, MemoryTopics& topics)
      : log_(memory),
        directory_(log_, clock_, nullptr),
        intake_({.orgs_at_once = 3,
                 .attempt_timeout = milliseconds(200),
                 .retry_first = milliseconds(1),
                 .retry_max = milliseconds(5)},
                {.clock = clock_,
                 .request =
                     [this](const OrgId& org, v1::ProvisioningRequest request, milliseconds timeout,
                            eventlog::Cause cause) {
                       return directory_.Request(org, std::move(request), timeout,
                                                 std::move(cause));
                     },
                 .find = [this](const OrgId& org) { return directory_.directory().Find(org); },
                 .reach = [](const OrgId&) { return absl::OkStatus(); },
                 .may_decide = [](const OrgId&) { return absl::OkStatus(); },
                 .put_source = {},
                 .change_entity = {},
                 .registry = nullptr}),
        topic_(Options(), {.log = log_,
                           .clock = clock_,
                           .intake = intake_,
                           .open = MemoryRecords::Factory(topics),
                           .may_append = [](PartitionId) { return absl::OkStatus(); },
                           .registry = nullptr}) {
    EXPECT_TRUE(directory_.Start().ok());
    topic_.Own(true);
  }
  ~Node() {
    topic_.Own(false);
    intake_.Stop();
    directory_.Stop();
  }
  LeashLog& log() { return log_; }
  projectors::DirectoryFollower& directory() { return directory_; }

 private:
  static EventTopicOptions Options() {
    EventTopicOptions options;
    options.topic = "events";
    options.steps_max = 8;
    options.mark_interval = milliseconds(20);
    options.append_timeout = milliseconds(100);
    options.retry_max = milliseconds(5);
    return options;
  }

  const RealClock clock_;
  LeashLog log_;
  projectors::DirectoryFollower directory_;
  EventIntake intake_;
  EventTopic topic_;
};

class World {
 public:
  explicit World(uint32_t seed) : history_(seed) { EXPECT_TRUE(sequencer_.Start().ok()); }

  void Run(int steps) {
    nodes_.push_back(std::make_unique<Node>(memory_, history_.topics()));
    for (int step = 0; step < steps; ++step) {
      history_.SendOne();
      if (history_.random()() % 12 != 0) {
        continue;
      }
      AwaitSomeProgress();
      Node& old = *nodes_.back();
      switch (history_.random()() % 3) {
        case 0:  // killed: nothing that it has under way comes any more
          old.log().Kill();
          nodes_.clear();
          ++kills_;
          break;
        case 1:  // paused: it goes on in the midst of its successor's work
          old.log().Hold();
          ++pauses_;
          break;
        default:
          old.log().Fail(3, history_.random()());
          break;
      }
      nodes_.push_back(std::make_unique<Node>(memory_, history_.topics()));
      for (size_t i = 0; i + 1 < nodes_.size(); ++i) {
        nodes_[i]->log().Release();
      }
      while (nodes_.size() > 2) {
        nodes_.erase(nodes_.begin());
      }
    }
  }

  void Check() {
    ASSERT_TRUE(Await([this] {
      const auto told = ReadEventPositions(memory_, "events", nullptr);
      return told.ok() && *told == history_.Ends();
    }));
    nodes_.erase(nodes_.begin(), nodes_.end() - 1);
    const auto& directory = nodes_.back()->directory().directory();
    std::map<std::string, size_t> controls;
    for (const auto& event : memory_.All(Topic::kChanges)) {
      // What a sequencer decided twice counts once: readers know the id.
      if (ids_.insert(event.event.id).second) {
        ++controls[event.event.key];
      }
    }
    for (const auto& [name, model] : history_.models()) {
      SCOPED_TRACE(name);
      EXPECT_EQ(controls[name], model.controls);
      const auto entry = directory.Find(*OrgId::Parse(name));
      ASSERT_EQ(entry != nullptr, model.exists);
      if (entry == nullptr) {
        continue;
      }
      EXPECT_EQ(entry->state == OrgState::kReady, model.ready);
      EXPECT_EQ(entry->incarnation, model.incarnation);
      std::map<std::string, bool> roles;
      for (const auto& [role, definition] : entry->model->roles()) {
        roles[role] = definition->offline();
      }
      EXPECT_EQ(roles, model.ready ? model.roles : roles);
    }
    std::set<std::string> letter_ids;
    for (const auto& event : memory_.All(Topic::kDeadletter)) {
      letter_ids.insert(event.event.id);
    }
    EXPECT_EQ(letter_ids.size(), history_.letters());
  }

  int kills() const { return kills_; }
  int pauses() const { return pauses_; }

 private:
  template <typename Condition>
  static bool Await(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(120);
    while (!condition() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    return condition();
  }
  // Somewhere in the work, which is a matter of threads.
  void AwaitSomeProgress() {
    const size_t wanted = memory_.All(Topic::kProvisioning).size() + history_.random()() % 6;
    const auto end = std::chrono::steady_clock::now() + milliseconds(300);
    while (memory_.All(Topic::kProvisioning).size() < wanted &&
           std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
  }

  const RealClock clock_;
  MemoryLog memory_;
  History history_;
  eventlog::StaticPartitionGroup group_{1};
  projectors::ProvisioningProjector sequencer_{memory_, group_, clock_,
                                               [](const OrgId&) { return kNoOffset; }, nullptr};
  std::vector<std::unique_ptr<Node>> nodes_;
  std::set<std::string> ids_;
  int kills_ = 0;
  int pauses_ = 0;
};

TEST(EventsPropertyTest, EachEventOnceAndInOrder) {
  const char* const given = std::getenv("SLUICE_SEED");
  const uint32_t first =
      given == nullptr ? std::random_device()() : static_cast<uint32_t>(std::stoul(given));
  int kills = 0;
  int pauses = 0;
  for (uint32_t i = 0; i < (given == nullptr ? 5U : 1U); ++i) {
    SCOPED_TRACE(fmt::format("SLUICE_SEED={}", first + i));
    World world(first + i);
    world.Run(120);
    world.Check();
    if (HasFailure()) {
      return;
    }
    kills += world.kills();
    pauses += world.pauses();
  }
  if (given == nullptr) {
    EXPECT_GT(kills, 0);
    EXPECT_GT(pauses, 0);
  }
}

}  // namespace
}  // namespace sluice::gateways
