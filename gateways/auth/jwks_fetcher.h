#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace sluice::gateways {

// GETs one http or https URL. Redirects are not followed (one could lead from https to http), an
// https server must have a certificate for its name that the authorities vouch for. Get and Stop
// may be called by different threads; Get by one at a time.
class JwksFetcher {
 public:
  // `ca_file`: PEM, empty for the system's. kInvalidArgument when `url` is not a http(s) URL.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<JwksFetcher>> Create(
      const std::string& url, const std::string& ca_file, std::chrono::milliseconds timeout);

  ~JwksFetcher();

  // The body of a 200 answer of at most kJwksBytesMax; kUnavailable for everything else.
  [[nodiscard]] absl::StatusOr<std::string> Get();

  // Ends a running Get early; later ones fail.
  void Stop();

 private:
  struct Impl;
  explicit JwksFetcher(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::gateways
