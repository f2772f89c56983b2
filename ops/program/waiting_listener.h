#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace sluice::gateways {
class HttpListener;
}

namespace sluice::ops {

// What answers on the admin address while the log can't be reached yet: /healthz says that the
// process lives, everything else is 503 with the reason (a code: callers are not known here). A
// silent connection costs no thread. Thread-safe.
class WaitingListener {
 public:
  // kUnavailable, code "address_in_use", where it can't listen.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<WaitingListener>> Start(
      const std::string& host, uint16_t port);
  ~WaitingListener();

  void SetReason(std::string reason);

 private:
  WaitingListener(const std::string& host, uint16_t port);
  std::string Reason();

  absl::Mutex mutex_;
  std::string reason_ ABSL_GUARDED_BY(mutex_);
  const std::unique_ptr<gateways::HttpListener> listener_;  // last: its coroutines use the others
};

}  // namespace sluice::ops
