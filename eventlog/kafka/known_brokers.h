#pragma once

#include <librdkafka/rdkafka.h>

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

// Included by the .cc files of this folder only: it brings librdkafka's header.
namespace sluice::eventlog {

// The brokers that the cluster has told of. A handle that is made later is given them: the brokers
// of the configuration may be few, and away by then. Thread-safe.
class KnownBrokers {
 public:
  void Learn(const rd_kafka_metadata_t& metadata) ABSL_LOCKS_EXCLUDED(mutex_);
  void AddTo(rd_kafka_t* handle) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable absl::Mutex mutex_;
  std::string list_ ABSL_GUARDED_BY(mutex_);  // host:port,...
};

}  // namespace sluice::eventlog
