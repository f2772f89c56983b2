#include "gateways/sync/sync_metrics.h"

#include <string>
#include <utility>

#include "schemas/base/metrics.h"

namespace sluice::gateways {

SyncMetrics::SyncMetrics(std::shared_ptr<prometheus::Registry> registry, size_t sessions_max,
                         size_t answer_bytes_max)
    : registry_(RegistryOrNew(std::move(registry))) {
  prometheus::Registry& to = *registry_;
  bytes_sent_ = &AddCounter(to, "sluice_sync_sent_bytes_total", "Bytes of bodies and frames sent");
  ops_sent_ = &AddCounter(to, "sluice_sync_sent_ops_total", "Puts and removes sent");
  sessions_ = &AddGauge(to, "sluice_sync_sessions", "Streams and waiting deltas");
  places_ = &AddGauge(to, "sluice_sync_session_places",
                      "Places that they take: one each, and another for each 64 buckets");
  AddGauge(to, "sluice_sync_sessions_limit", "Most places of streams and waiting deltas at once")
      .Set(static_cast<double>(sessions_max));
  answer_bytes_ = &AddGauge(to, "sluice_sync_answer_bytes",
                            "Bytes set aside for answers that are built or being sent");
  AddGauge(to, "sluice_sync_answer_bytes_limit", "Most bytes of answers at once")
      .Set(static_cast<double>(answer_bytes_max));
  woken_ = &AddCounter(to, "sluice_sync_woken_total",
                       "Looks of live streams at what a change may have done to their buckets");
  columns_made_ =
      &AddCounter(to, "sluice_sync_columns_made_total",
                  "Lists of columns made for streams; callers who see the same share one");
  piece_hits_ = &AddCounter(to, "sluice_sync_piece_hits_total",
                            "Encoded pieces of a bucket that another session had made");
  piece_misses_ = &AddCounter(to, "sluice_sync_piece_misses_total",
                              "Pieces of a bucket that were read and encoded");
  piece_evictions_ =
      &AddCounter(to, "sluice_sync_piece_evictions_total", "Kept pieces that made room for others");
  piece_bytes_ = &AddGauge(to, "sluice_sync_piece_bytes", "Bytes of encoded pieces that are kept");
  AddGauge(to, "sluice_sync_piece_bytes_limit", "Most bytes of encoded pieces")
      .Set(static_cast<double>(answer_bytes_max / 8));
  page_seconds_ = &AddHistogram(to, "sluice_sync_page_seconds", "Time to build one page of delta",
                                {0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3});
}

}  // namespace sluice::gateways
