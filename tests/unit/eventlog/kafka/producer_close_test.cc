#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>

#include "eventlog/kafka/known_brokers.h"
#include "eventlog/kafka/metrics.h"
#include "eventlog/kafka/options.h"
#include "eventlog/kafka/producer.h"
#include "schemas/base/status.h"
#include "tests/support/fake_clock.h"

namespace sluice::eventlog {
namespace {

// The others that a process closes before may have waited for the same broker. The test would not
// end where it were waited for once more.
TEST(KafkaProducerClose, WhatHasBeenWaitedForIsNotWaitedForAgain) {
  auto clock = std::make_shared<testing::FakeClock>();
  KafkaLogOptions options;
  options.brokers = "127.0.0.1:1";  // where nobody answers
  options.close_timeout = std::chrono::hours(24);
  options.clock = clock;
  KafkaMetrics metrics(nullptr, options.limits);
  const KnownBrokers brokers;
  auto producer = KafkaProducer::Create(options, metrics, brokers);
  ASSERT_TRUE(producer.ok()) << producer.status();
  std::optional<absl::Status> answer;
  Event event;
  event.id = "1";
  event.key = "acme";
  (*producer)->Append(
      Topic::kChanges, PartitionId(0), {event},
      [&answer](const absl::StatusOr<std::vector<Offset>>& offsets) { answer = offsets.status(); });
  clock->Advance(options.close_timeout);
  producer->reset();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->code(), absl::StatusCode::kUnavailable) << *answer;
}

}  // namespace
}  // namespace sluice::eventlog
