#include "gateways/http/listener_account.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "schemas/base/metrics.h"

namespace sluice::gateways {

ListenerAccount::ListenerAccount(ListenerAccountOptions options,
                                 std::shared_ptr<prometheus::Registry> registry)
    : options_(std::move(options)),
      registry_(RegistryOrNew(std::move(registry))),
      requests_(CounterFamily(*registry_,
                              fmt::format("sluice_{}_requests_total", options_.listener),
                              "Requests answered, by what they were and HTTP status")),
      refused_(CounterFamily(*registry_, options_.refused_name,
                             "What was refused, or closed to make room, by the reason or limit")),
      connections_(AddGauge(*registry_, fmt::format("sluice_{}_connections", options_.listener),
                            "Open connections")) {
  AddGauge(*registry_, fmt::format("sluice_{}_connections_limit", options_.listener),
           "Most open connections")
      .Set(static_cast<double>(options_.connections_max));
}

void ListenerAccount::Connections(int by) { connections_.Increment(by); }

void ListenerAccount::Refused(std::string_view why) {
  refused_.Add({{options_.refused_label, std::string(why)}}).Increment();
}

void ListenerAccount::Count(std::string_view operation, int status) {
  requests_
      .Add({{options_.operation_label, std::string(operation)}, {"status", std::to_string(status)}})
      .Increment();
}

void ListenerAccount::Log(spdlog::level::level_enum level, const RequestEntry& entry) const {
  if (!spdlog::should_log(level)) {
    return;
  }
  spdlog::log(level,
              fmt::format(fmt::runtime(options_.line), fmt::arg("method", entry.method),
                          fmt::arg("path", entry.path), fmt::arg("operation", entry.operation),
                          fmt::arg("org", entry.org), fmt::arg("subject", entry.subject),
                          fmt::arg("status", entry.status), fmt::arg("code", entry.code),
                          fmt::arg("bytes", entry.bytes), fmt::arg("ms", entry.ms.count()),
                          fmt::arg("request_id", entry.request_id)));
}

}  // namespace sluice::gateways
