#include "gateways/http/blocking_pool.h"

#include <fmt/format.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <spdlog/spdlog.h>

#include <system_error>

#include "schemas/base/metrics.h"
#include "schemas/base/status.h"

namespace sluice::gateways {

BlockingPool::BlockingPool(const std::string& name, size_t threads, size_t work_max,
                           const std::shared_ptr<prometheus::Registry>& registry)
    : work_max_(work_max),
      registry_(RegistryOrNew(registry)),
      gauge_(AddGauge(*registry_, "sluice_http_work",
                      "Requests that run on a pool's threads or wait for one", {{"pool", name}})),
      pool_(threads) {
  AddGauge(*registry_, "sluice_http_work_limit",
           "The most that sluice_http_work may be; past it 503", {{"pool", name}})
      .Set(static_cast<double>(work_max));
}

absl::StatusOr<std::unique_ptr<BlockingPool>> BlockingPool::Start(
    const std::string& name, size_t threads, size_t work_max,
    const std::shared_ptr<prometheus::Registry>& registry) {
  try {
    return std::unique_ptr<BlockingPool>(new BlockingPool(name, threads, work_max, registry));
  } catch (const std::system_error& error) {
    return Error(absl::StatusCode::kResourceExhausted, "no_threads",
                 fmt::format("the pool {} can't have its {} threads ({}); raise the limit of "
                             "processes (ulimit -u)",
                             name, threads, error.what()));
  }
}

BlockingPool::~BlockingPool() { Stop(); }

void BlockingPool::Stop() { pool_.join(); }

bool BlockingPool::Enter(bool admitted) {
  if (work_.fetch_add(1) >= work_max_ && !admitted) {
    work_.fetch_sub(1);
    return false;
  }
  gauge_.Increment();
  return true;
}

void BlockingPool::Leave() {
  work_.fetch_sub(1);
  gauge_.Decrement();
}

absl::Status BlockingPool::Full() {
  return Error(absl::StatusCode::kUnavailable, "too_busy",
               "this server has as many requests under way as it may: try again later");
}

absl::Status BlockingPool::Failed(const std::exception& error) {
  spdlog::error("http_handler_failed error=\"{}\"", error.what());
  return absl::InternalError("a handler failed");
}

}  // namespace sluice::gateways
