#include <memory>
#include <utility>

#include "eventlog/kafka/kafka_log.h"
#include "tests/integration/eventlog/log_conformance.h"
#include "tests/integration/eventlog/shared_broker.h"

namespace sluice::eventlog {
namespace {

// Topics of their own on the one broker of this process.
class KafkaFixture final : public LogFixture {
 public:
  explicit KafkaFixture(std::string brokers) : brokers_(std::move(brokers)) {}

  absl::StatusOr<std::unique_ptr<Log>> Open(const AppendLimits& limits) override {
    KafkaLogOptions options;
    options.brokers = brokers_;
    options.topic_prefix = prefix_;
    options.partitions = 2;
    options.limits = limits;
    options.connect_timeout = std::chrono::seconds(60);
    return KafkaLog::Open(options);
  }

  bool batches_are_atomic() const override { return false; }

 private:
  const std::string brokers_;
  const std::string prefix_ = testing::RandomPrefix();
};

INSTANTIATE_TEST_SUITE_P(Kafka, LogConformance,
                         ::testing::Values(LogUnderTest{
                             "Kafka",
                             [] { return std::make_unique<KafkaFixture>(kBroker->brokers()); }}),
                         LogUnderTestName);

}  // namespace
}  // namespace sluice::eventlog
