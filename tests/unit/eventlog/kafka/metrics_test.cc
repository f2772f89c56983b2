#include "eventlog/kafka/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/client_metric.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace sluice::eventlog {
namespace {

// As the embedded log has log="embedded": one query tells of both.
TEST(KafkaMetrics, EveryFamilyIsOfTheKafkaLog) {
  const auto registry = std::make_shared<prometheus::Registry>();
  KafkaMetrics metrics(registry, {});
  metrics.AppendFailed("too_large");
  metrics.SetTopicFault(Topic::kChanges, "topic_retention", true);
  metrics.append_seconds.Observe(0.2);
  for (const prometheus::MetricFamily& family : registry->Collect()) {
    for (const prometheus::ClientMetric& metric : family.metric) {
      EXPECT_THAT(metric.label,
                  ::testing::Contains(prometheus::ClientMetric::Label{"log", "kafka"}))
          << family.name;
    }
  }
  EXPECT_THAT(prometheus::TextSerializer().Serialize(registry->Collect()),
              ::testing::HasSubstr("sluice_eventlog_append_seconds_count{log=\"kafka\"} 1"));
}

}  // namespace
}  // namespace sluice::eventlog
