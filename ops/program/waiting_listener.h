#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

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
  struct Impl;
  explicit WaitingListener(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::ops
