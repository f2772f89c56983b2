#include "gateways/sync/sync_metrics.h"

#include <string>
#include <utility>

namespace sluice::gateways {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Gauge;
using prometheus::Registry;

Gauge& AddGauge(Registry& registry, const std::string& name, const std::string& help) {
  return BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

}  // namespace

SyncMetrics::SyncMetrics(std::shared_ptr<Registry> registry, size_t sessions_max,
                         size_t answer_bytes_max)
    : registry_(registry != nullptr ? std::move(registry) : std::make_shared<Registry>()) {
  Registry& to = *registry_;
  bytes_sent_ = &BuildCounter()
                     .Name("sluice_sync_sent_bytes_total")
                     .Help("Bytes of bodies and frames sent")
                     .Register(to)
                     .Add({});
  ops_sent_ = &BuildCounter()
                   .Name("sluice_sync_sent_ops_total")
                   .Help("Puts and removes sent")
                   .Register(to)
                   .Add({});
  sessions_ = &AddGauge(to, "sluice_sync_sessions", "Streams and waiting deltas");
  places_ = &AddGauge(to, "sluice_sync_session_places",
                      "Places that they take: one each, and another for each 64 buckets");
  AddGauge(to, "sluice_sync_sessions_limit", "Most places of streams and waiting deltas at once")
      .Set(static_cast<double>(sessions_max));
  answer_bytes_ = &AddGauge(to, "sluice_sync_answer_bytes",
                            "Bytes set aside for answers that are built or being sent");
  AddGauge(to, "sluice_sync_answer_bytes_limit", "Most bytes of answers at once")
      .Set(static_cast<double>(answer_bytes_max));
  woken_ = &BuildCounter()
                .Name("sluice_sync_woken_total")
                .Help("Looks of live streams at what a change may have done to their buckets")
                .Register(to)
                .Add({});
  columns_made_ =
      &BuildCounter()
           .Name("sluice_sync_columns_made_total")
           .Help("Lists of columns made for streams; callers who see the same share one")
           .Register(to)
           .Add({});
  page_seconds_ = &BuildHistogram()
                       .Name("sluice_sync_page_seconds")
                       .Help("Time to build one page of delta")
                       .Register(to)
                       .Add({}, prometheus::Histogram::BucketBoundaries{
                                    0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3});
}

}  // namespace sluice::gateways
