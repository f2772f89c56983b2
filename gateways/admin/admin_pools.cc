#include "gateways/admin/admin_pools.h"

#include <fmt/format.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <string>
#include <utility>

#include "gateways/http/request_owner.h"
#include "schemas/base/metrics.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr size_t kLookingThreads = 4;

struct Places {
  size_t threads = 0;
  size_t caller_part = 1;
  const char* what = "";    // in the refusal
  const char* metric = "";  // of those that wait
};

std::unique_ptr<FairBudget> MakePlaces(const Places& places, size_t waiting_max,
                                       const std::shared_ptr<prometheus::Registry>& registry) {
  FairBudgetOptions options;
  options.units_max = places.threads;
  options.caller_part = places.caller_part;
  options.waiting_max = waiting_max;
  options.refusal = Error(absl::StatusCode::kUnavailable, "too_busy",
                          fmt::format("this server has as many {} under way as it may, of all, of "
                                      "this organisation or of this caller: try again later",
                                      places.what));
  const std::string metric(places.metric);
  AddGauge(*registry, metric + "_limit", "The most that " + metric + " may be; past it 503")
      .Set(static_cast<double>(waiting_max));
  options.on_change =
      [registry, &shown = AddGauge(*registry, metric,
                                   fmt::format("The {} that wait for a thread", places.what))](
          size_t, size_t waiting) { shown.Set(static_cast<double>(waiting)); };
  return std::make_unique<FairBudget>(std::move(options));
}

}  // namespace

bool AdminPools::Appends(AdminRoute route) {
  switch (route) {
    case AdminRoute::kPutOrg:
    case AdminRoute::kDeleteOrg:
    case AdminRoute::kPutDefinition:
    case AdminRoute::kDeleteDefinition:
    case AdminRoute::kPutSource:
    case AdminRoute::kDeleteSource:
    case AdminRoute::kRunSource:
    case AdminRoute::kResealSource:
    case AdminRoute::kDropDeadLetter:
    case AdminRoute::kReplayDeadLetter:
    case AdminRoute::kPostEvents:
      return true;
    default:
      return false;
  }
}

absl::StatusOr<std::unique_ptr<AdminPools>> AdminPools::Start(
    const AdminServerOptions& options, const Clock& clock,
    const std::shared_ptr<prometheus::Registry>& registry) {
  std::unique_ptr<AdminPools> pools(new AdminPools(options, clock));
  const auto start = [&](const char* name, size_t threads) {
    return BlockingPool::Start(name, threads, options.requests_max, registry);
  };
  ASSIGN_OR_RETURN(pools->reading_, start("admin", options.threads));
  ASSIGN_OR_RETURN(pools->looking_, start("waits", kLookingThreads));
  ASSIGN_OR_RETURN(pools->metrics_, start("metrics", 1));
  ASSIGN_OR_RETURN(pools->definitions_, start("definitions", options.definition_threads));
  ASSIGN_OR_RETURN(auto ingest, start("ingest", options.ingest_threads));
  pools->ingest_ =
      std::make_unique<IngestThreads>(std::move(ingest),
                                      MakePlaces({.threads = options.ingest_threads,
                                                  .caller_part = 2,
                                                  .what = "ingests",
                                                  .metric = "sluice_admin_ingest_waiting"},
                                                 options.requests_max, registry),
                                      clock, options.provisioning_timeout);
  pools->reading_places_ = MakePlaces({.threads = options.threads,
                                       .caller_part = 2,
                                       .what = "requests",
                                       .metric = "sluice_admin_reads_waiting"},
                                      options.requests_max, registry);
  pools->definition_places_ = MakePlaces({.threads = options.definition_threads,
                                          .caller_part = 1,
                                          .what = "changes of definitions",
                                          .metric = "sluice_admin_definitions_waiting"},
                                         options.requests_max, registry);
  return pools;
}

boost::asio::awaitable<absl::StatusOr<Answer>> AdminPools::Run(const RequestContext& context,
                                                               const Call& call) {
  const AdminRoute route = context.match.info->route;
  if (route == AdminRoute::kMetrics) {
    co_return co_await metrics_->Run(call);
  }
  // A place first, waited for without a thread: however much one organisation asks for, and however
  // slow the log is, those of another find a thread. What is of all counts for its caller.
  const bool appends = Appends(route);
  FairBudget& places = appends ? *definition_places_ : *reading_places_;
  BlockingPool& threads = appends ? *definitions_ : *reading_;
  const Owner owner = OwnerOf(*context.principal);
  std::string org = context.match.org.empty() ? owner.name : context.match.org;
  std::string caller = owner.name + " " + owner.caller;
  const absl::StatusOr<FairBudget::Share> place =
      co_await places.Take(std::move(org), std::move(caller), 1, clock_.SteadyNow() + patience_);
  if (!place.ok()) {
    co_return place.status();
  }
  co_return co_await threads.Run(call, /*admitted=*/true);
}

// In any order: the listener has stopped, so that nobody asks for a thread any more, and no step of
// one pool waits for another's.
void AdminPools::Stop() {
  for (const auto* pool : {&reading_, &looking_, &metrics_, &definitions_}) {
    if (*pool != nullptr) {
      (*pool)->Stop();
    }
  }
  if (ingest_ != nullptr) {
    ingest_->Stop();
  }
}

}  // namespace sluice::gateways
