#include "gateways/admin/admin_pools.h"

#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <string>
#include <utility>

#include "gateways/http/request_owner.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

FairBudgetOptions PlacesOf(const AdminServerOptions& options,
                           const std::shared_ptr<prometheus::Registry>& registry) {
  FairBudgetOptions places;
  places.units_max = options.definition_threads;
  places.caller_part = 1;
  places.waiting_max = options.requests_max;
  places.refusal = Error(absl::StatusCode::kUnavailable, "too_busy",
                         "this server has as many changes of definitions under way as it may, of "
                         "all or of this organisation: try again later");
  if (registry == nullptr) {
    return places;
  }
  const auto gauge = [&](const char* name, const char* help) {
    return &prometheus::BuildGauge().Name(name).Help(help).Register(*registry).Add({});
  };
  gauge("sluice_admin_definitions_waiting_limit",
        "The most that sluice_admin_definitions_waiting may be; past it 503")
      ->Set(static_cast<double>(options.requests_max));
  places.on_change = [registry, shown = gauge("sluice_admin_definitions_waiting",
                                              "Changes of definitions that wait for a thread")](
                         size_t, size_t waiting) { shown->Set(static_cast<double>(waiting)); };
  return places;
}

}  // namespace

bool AdminPools::Appends(AdminRoute route) {
  switch (route) {
    case AdminRoute::kPutOrg:
    case AdminRoute::kDeleteOrg:
    case AdminRoute::kPutEntity:
    case AdminRoute::kDeleteEntity:
    case AdminRoute::kPutProfile:
    case AdminRoute::kDeleteProfile:
    case AdminRoute::kPutRole:
    case AdminRoute::kDeleteRole:
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
  ASSIGN_OR_RETURN(pools->metrics_, start("metrics", 1));
  ASSIGN_OR_RETURN(pools->definitions_, start("definitions", options.definition_threads));
  ASSIGN_OR_RETURN(pools->ingest_, start("ingest", options.ingest_threads));
  pools->places_ = std::make_unique<FairBudget>(PlacesOf(options, registry));
  return pools;
}

boost::asio::awaitable<absl::StatusOr<Answer>> AdminPools::Run(const RequestContext& context,
                                                               const Call& call) {
  const AdminRoute route = context.match.info->route;
  if (!Appends(route)) {
    BlockingPool& threads = route == AdminRoute::kIngest    ? *ingest_
                            : route == AdminRoute::kMetrics ? *metrics_
                                                            : *reading_;
    co_return co_await threads.Run(call);
  }
  // A place first, waited for without a thread: however many changes one organisation sends, and
  // however slow the log is, those of another find a thread.
  const Owner owner = OwnerOf(*context.principal);
  const absl::StatusOr<FairBudget::Share> place = co_await places_->Take(
      context.match.org, owner.name + " " + owner.caller, 1, clock_.SteadyNow() + patience_);
  if (!place.ok()) {
    co_return place.status();
  }
  co_return co_await definitions_->Run(call, /*admitted=*/true);
}

void AdminPools::Stop() {
  for (const auto* pool : {&reading_, &metrics_, &definitions_, &ingest_}) {
    if (*pool != nullptr) {
      (*pool)->Stop();
    }
  }
}

}  // namespace sluice::gateways
