#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "ops/config/config.h"

namespace sluice::ops {

// Everything that `sluice serve` runs, wired as the configuration's roles say. Used by one thread.
class Process {
 public:
  // Starts it all; when this returns every listener serves and the ready file is written. Waits for
  // Kafka's brokers as long as it takes, answering /healthz and /readyz meanwhile, until `stopping`
  // says that a signal came (then kCancelled).
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Process>> Start(
      const Config& config, const std::function<bool()>& stopping);

  // Finishes requests, writes checkpoints, flushes stores. Also done by the destructor.
  ~Process();

  // For the ready file and the first line of the log.
  // Why the process is of no use any more and has to be started again: kFailedPrecondition, code
  // "log_epoch_changed". Cheap.
  [[nodiscard]] absl::Status Ended() const;

  [[nodiscard]] std::string admin_url() const;
  [[nodiscard]] std::string sync_url() const;  // empty without the role

 private:
  struct Impl;
  explicit Process(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::ops
