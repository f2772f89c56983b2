#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "gateways/admin/admin_server.h"
#include "gateways/admin/ingest_threads.h"
#include "gateways/admin/request_context.h"
#include "gateways/http/blocking_pool.h"
#include "gateways/http/fair_budget.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

// The threads of the admin listener for what blocks. What waits for the log has threads of its own:
// whoever reads, and whoever looks at the metrics, is answered also while the log is slow or away.
// Thread-safe, but for Stop().
class AdminPools {
 public:
  // kResourceExhausted "no_threads" where they can't be made. `clock` must outlive it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<AdminPools>> Start(
      const AdminServerOptions& options, const Clock& clock,
      const std::shared_ptr<prometheus::Registry>& registry);

  // Does the route append to the log, and wait until what it appended was decided?
  [[nodiscard]] static bool Appends(AdminRoute route);

  // Answers a request that is no ingest with what `call` returns on a thread that suits its route.
  // kUnavailable "too_busy" where there is none. Both arguments must outlive the coroutine.
  using Call = std::function<absl::StatusOr<Answer>()>;
  [[nodiscard]] boost::asio::awaitable<absl::StatusOr<Answer>> Run(const RequestContext& context,
                                                                   const Call& call);

  // For looks at what answers wait for: short ones, that wait for no request.
  [[nodiscard]] BlockingPool& looking() { return *looking_; }
  [[nodiscard]] IngestThreads& ingest() { return *ingest_; }
  // As BlockingPool's.
  void Stop();

 private:
  AdminPools(const AdminServerOptions& options, const Clock& clock) : clock_(clock) {
    patience_ = options.provisioning_timeout;
  }

  const Clock& clock_;
  std::chrono::milliseconds patience_;  // for a thread
  std::unique_ptr<BlockingPool> reading_;
  std::unique_ptr<BlockingPool> looking_;
  std::unique_ptr<BlockingPool> metrics_;
  std::unique_ptr<BlockingPool> definitions_;
  std::unique_ptr<IngestThreads> ingest_;
  std::unique_ptr<FairBudget> reading_places_;     // the threads of reading_
  std::unique_ptr<FairBudget> definition_places_;  // the threads of definitions_
};

}  // namespace sluice::gateways
