#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>

namespace sluice::gateways {

// What the sync listener counts beside requests and connections. Thread-safe.
class SyncMetrics {
 public:
  // A null registry gets one of our own, which nobody reads.
  SyncMetrics(std::shared_ptr<prometheus::Registry> registry, size_t sessions_max,
              size_t answer_bytes_max);

  void Page(double seconds) { page_seconds_->Observe(seconds); }
  void Sent(size_t bytes) { bytes_sent_->Increment(static_cast<double>(bytes)); }
  void Ops(size_t ops) { ops_sent_->Increment(static_cast<double>(ops)); }
  // So many more sessions, and places that they take.
  void Sessions(double sessions, double places) {
    sessions_->Increment(sessions);
    places_->Increment(places);
  }
  void AnswerBytes(size_t bytes) { answer_bytes_->Set(static_cast<double>(bytes)); }
  void Woken() { woken_->Increment(); }
  void ColumnsMade() { columns_made_->Increment(); }
  void PieceFound(bool hit) { (hit ? piece_hits_ : piece_misses_)->Increment(); }
  void PiecesKept(size_t bytes, size_t evicted) {
    piece_bytes_->Set(static_cast<double>(bytes));
    piece_evictions_->Increment(static_cast<double>(evicted));
  }

 private:
  std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Counter* bytes_sent_;
  prometheus::Counter* ops_sent_;
  prometheus::Gauge* sessions_;
  prometheus::Gauge* places_;
  prometheus::Gauge* answer_bytes_;
  prometheus::Counter* woken_;
  prometheus::Counter* columns_made_;
  prometheus::Counter* piece_hits_;
  prometheus::Counter* piece_misses_;
  prometheus::Counter* piece_evictions_;
  prometheus::Gauge* piece_bytes_;
  prometheus::Histogram* page_seconds_;
};

}  // namespace sluice::gateways
