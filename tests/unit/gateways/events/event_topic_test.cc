#include "gateways/events/event_topic.h"

#include <gmock/gmock.h>
#include <prometheus/registry.h>

#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "schemas/base/status.h"
#include "schemas/sluice/v1/events.pb.h"
#include "tests/support/memory_log.h"
#include "tests/support/memory_records.h"

namespace sluice::gateways {
namespace {

using eventlog::Topic;
using projectors::Directory;
using sluice::testing::MemoryRecords;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;
using Positions = std::map<PartitionId, Offset>;

// A topic of two partitions, a log, and an intake whose requests the test answers.
class EventTopicTest : public ::testing::Test {
 protected:
  using Answer = std::function<absl::StatusOr<Directory::Outcome>(const OrgId&,
                                                                  const v1::ProvisioningRequest&)>;

  EventTopicTest() { topics_.Create("events", 2); }
  ~EventTopicTest() override {
    topic_.reset();
    intake_.Stop();
  }

  void Append(int partition, const std::string& id, const std::string& org,
              const std::string& type = "sluice.org.enabled") {
    AppendData(partition, id, R"({"org":")" + org + "\"}", type);
  }
  void AppendData(int partition, const std::string& id, const std::string& data,
                  const std::string& type = "sluice.org.enabled") {
    eventlog::Record record;
    record.value = data;
    record.headers = {
        {"ce_specversion", "1.0"}, {"ce_id", id}, {"ce_source", "/crm"}, {"ce_type", type}};
    topics_.Append("events", partition, std::move(record));
  }

  EventTopic& Read(std::chrono::milliseconds mark_interval = std::chrono::milliseconds(0)) {
    EventTopicOptions options;
    options.topic = "events";
    options.steps_max = 4;
    options.mark_interval = mark_interval;
    options.retry_max = std::chrono::milliseconds(1);
    topic_ = std::make_unique<EventTopic>(
        options, EventTopicDeps{.log = log_,
                                .clock = clock_,
                                .intake = intake_,
                                .open = MemoryRecords::Factory(topics_),
                                .may_append = [](PartitionId) { return absl::OkStatus(); },
                                .registry = registry_});
    topic_->Own(true);
    return *topic_;
  }

  Positions Told() { return *ReadEventPositions(log_, "events", nullptr); }
  void AwaitTold(const Positions& positions) {
    Await([&] { return Told() == positions; });
    EXPECT_EQ(Told(), positions);
  }
  template <typename Condition>
  static void Await(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  std::vector<v1::DeadLetter> Letters() {
    std::vector<v1::DeadLetter> letters;
    for (const auto& event : log_.All(Topic::kDeadletter)) {
      EXPECT_TRUE(eventlog::ReadMessage(event.event, &letters.emplace_back()));
      EXPECT_EQ(event.event.id, letters.back().id());
    }
    return letters;
  }
  std::vector<std::string> Asked() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return asked_;
  }
  void SetAnswer(Answer answer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    answer_ = std::move(answer);
  }
  static absl::StatusOr<Directory::Outcome> Ok() { return Directory::Outcome(); }
  static absl::StatusOr<Directory::Outcome> Away() {
    return Error(absl::StatusCode::kUnavailable, "log_unavailable", "away");
  }
  double Counter(const std::string& name) {
    for (const auto& family : registry_->Collect()) {
      if (family.name == name) {
        return family.metric.front().counter.value;
      }
    }
    return -1;
  }

  RealClock clock_;
  std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  sluice::testing::MemoryLog log_;
  sluice::testing::MemoryTopics topics_;
  std::mutex mutex_;
  std::vector<std::string> asked_;
  Answer answer_;
  EventIntake intake_{
      {.retry_first = std::chrono::milliseconds(1), .retry_max = std::chrono::milliseconds(1)},
      {.clock = clock_,
       .request =
           [this](const OrgId& org, const v1::ProvisioningRequest& request, auto,
                  const eventlog::Cause& cause) {
             Answer answer;
             {
               const std::lock_guard<std::mutex> lock(mutex_);
               asked_.push_back(org.value() + " " + cause.subject + " " + cause.request_id);
               answer = answer_;
             }
             return answer ? answer(org, request) : Ok();
           },
       .find = [](const OrgId&) { return nullptr; },
       .reach = [](const OrgId&) { return absl::OkStatus(); },
       .may_decide = [](const OrgId&) { return absl::OkStatus(); },
       .put_source =
           [](const OrgId&, const SourceDefinition&) {
             return Error(absl::StatusCode::kFailedPrecondition, "secrets_key_missing", "no key");
           },
       .change_entity = [](const projectors::OrgEntry&,
                           const SourceEntityChange&) { return v1::ProvisioningRequest(); },
       .registry = nullptr}};
  std::unique_ptr<EventTopic> topic_;
};

TEST_F(EventTopicTest, AllPartitionsFromTheBeginAndWhatComes) {
  Append(0, "1", "a");
  Append(1, "2", "b");
  Read();
  AwaitTold({{PartitionId(0), Offset(1)}, {PartitionId(1), Offset(1)}});
  Append(0, "3", "a");
  AwaitTold({{PartitionId(0), Offset(2)}, {PartitionId(1), Offset(1)}});
  EXPECT_THAT(Asked(),
              UnorderedElementsAre("a /crm events-0-0", "b /crm events-1-0", "a /crm events-0-1"));
  EXPECT_THAT(Letters(), IsEmpty());
}

TEST_F(EventTopicTest, TheNextOneGoesOnWhereItWasTold) {
  Append(0, "1", "a");
  Read();
  AwaitTold({{PartitionId(0), Offset(1)}, {PartitionId(1), Offset(0)}});
  topic_.reset();
  Append(0, "2", "b");
  Read();
  AwaitTold({{PartitionId(0), Offset(2)}, {PartitionId(1), Offset(0)}});
  EXPECT_THAT(Asked(), ElementsAre("a /crm events-0-0", "b /crm events-0-1"));
}

// An event without an outcome holds the position, whatever is done behind it.
TEST_F(EventTopicTest, APositionPassesNothingThatIsOpen) {
  SetAnswer([](const OrgId& org, const auto&) { return org.value() == "a" ? Away() : Ok(); });
  Append(0, "1", "b");
  Append(0, "2", "a");
  Append(0, "3", "b");
  Read();
  Await([&] { return Asked().size() > 5; });
  AwaitTold({{PartitionId(0), Offset(1)}, {PartitionId(1), Offset(0)}});
  topic_.reset();  // the end of the ownership tells no more
  EXPECT_EQ(Told().at(PartitionId(0)), Offset(1));
  SetAnswer({});
  Read();
  AwaitTold({{PartitionId(0), Offset(3)}, {PartitionId(1), Offset(0)}});
}

TEST_F(EventTopicTest, NoMoreIsReadThanMayBeOpen) {
  SetAnswer([](const OrgId&, const auto&) { return Away(); });
  for (int i = 0; i < 20; ++i) {
    Append(0, std::to_string(i), "o" + std::to_string(i));
  }
  Read();
  Await([&] { return Asked().size() > 100; });
  const auto asked = Asked();
  EXPECT_EQ(std::set<std::string>(asked.begin(), asked.end()).size(), 4U);
  SetAnswer({});
  AwaitTold({{PartitionId(0), Offset(20)}, {PartitionId(1), Offset(0)}});
}

TEST_F(EventTopicTest, WhatIsRefusedHasALetter) {
  SetAnswer([](const OrgId&, const v1::ProvisioningRequest& request) {
    Directory::Outcome outcome;
    if (request.has_put_role()) {
      outcome.status = Error(absl::StatusCode::kInvalidArgument, "unknown_entity", "no 'x'");
    }
    return absl::StatusOr<Directory::Outcome>(outcome);
  });
  const std::string role = R"({"org":"a","role":"r","definition":{"entities":{}}})";
  AppendData(0, "1", role, "sluice.role.changed");
  AppendData(0, "2", "{\"password\":\"hunter2\"");
  AppendData(
      0, "3",
      R"({"org":"a","definitions":{"sources":{"crm":{"kind":"odata","secrets":{"token":"hunter2"}}}}})");
  eventlog::Record no_event;
  no_event.value = "x";
  topics_.Append("events", 0, no_event);
  Read();
  AwaitTold({{PartitionId(0), Offset(4)}, {PartitionId(1), Offset(0)}});
  auto letters = Letters();
  ASSERT_EQ(letters.size(), 4U);
  std::ranges::sort(letters, {}, [](const v1::DeadLetter& letter) { return letter.offset(); });
  EXPECT_EQ(letters[0].topic(), "events:events");
  EXPECT_EQ(letters[0].code(), "unknown_entity");
  EXPECT_THAT(letters[0].reason(), HasSubstr("event '1' of '/crm': no 'x'"));
  EXPECT_EQ(letters[0].type(), "sluice.role.changed");
  EXPECT_EQ(letters[0].value(), role);
  EXPECT_EQ(letters[1].code(), "invalid_json");
  EXPECT_EQ(letters[2].code(), "secrets_key_missing");
  EXPECT_EQ(letters[3].code(), "invalid_event");
  // Nothing of what may hold a secret.
  for (const auto& event : log_.All(Topic::kDeadletter)) {
    EXPECT_EQ(event.event.value.find("hunter2"), std::string::npos);
  }
}

TEST_F(EventTopicTest, ALetterIsTheSameEachTimeAndThePositionWaitsForIt) {
  AppendData(0, "1", "{}");
  log_.FailAfter(0);
  Read();
  Await([&] {
    return Counter("sluice_event_topic_failures_total") > 0 ||
           Counter("sluice_event_topic_records_total") > 0;
  });
  EXPECT_THAT(Told(), IsEmpty());
  log_.FailAfter(std::nullopt);
  AwaitTold({{PartitionId(0), Offset(1)}, {PartitionId(1), Offset(0)}});
  topic_.reset();
  log_.Cut(Topic::kProvisioning, 0);  // its position is lost with what it is about
  Read();
  AwaitTold({{PartitionId(0), Offset(1)}, {PartitionId(1), Offset(0)}});
  std::set<std::string> ids;
  for (const v1::DeadLetter& letter : Letters()) {
    ids.insert(letter.id());
  }
  EXPECT_EQ(ids.size(), 1U);
}

TEST_F(EventTopicTest, WhatRetentionTookIsToldOf) {
  for (int i = 0; i < 5; ++i) {
    Append(0, std::to_string(i), "a");
  }
  Read();
  AwaitTold({{PartitionId(0), Offset(5)}, {PartitionId(1), Offset(0)}});
  topic_.reset();
  for (int i = 5; i < 9; ++i) {
    Append(0, std::to_string(i), "a");
  }
  topics_.TruncateBefore("events", 0, Offset(8));
  Read();
  AwaitTold({{PartitionId(0), Offset(9)}, {PartitionId(1), Offset(0)}});
  EXPECT_EQ(Counter("sluice_event_topic_lost_total"), 3);
}

TEST_F(EventTopicTest, AnotherTopicOfThatNameIsNotRead) {
  Append(0, "1", "a");
  Read();
  AwaitTold({{PartitionId(0), Offset(1)}, {PartitionId(1), Offset(0)}});
  topic_.reset();
  topics_.Create("events", 2);
  const double failures = Counter("sluice_event_topic_failures_total");
  Read();
  Await([&] { return Counter("sluice_event_topic_failures_total") > failures + 2; });
  EXPECT_GT(Counter("sluice_event_topic_failures_total"), failures + 2);
  EXPECT_EQ(Told().at(PartitionId(0)), Offset(1));
}

TEST_F(EventTopicTest, APositionOfOneWhoWasPausedCountsForNothing) {
  for (const int64_t next : {7, 3}) {
    v1::EventPosition position;
    position.set_topic("events");
    (*position.mutable_next())[0] = next;
    ASSERT_TRUE(log_.Append(Topic::kProvisioning, PartitionId(0),
                            {eventlog::EventOf("sluice/events", "", position)})
                    .ok());
    position.set_topic("others");
    (*position.mutable_next())[0] = 100;
    ASSERT_TRUE(log_.Append(Topic::kProvisioning, PartitionId(0),
                            {eventlog::EventOf("sluice/events", "", position)})
                    .ok());
  }
  EXPECT_THAT(Told(), ElementsAre(Pair(PartitionId(0), Offset(7))));
}

}  // namespace
}  // namespace sluice::gateways
