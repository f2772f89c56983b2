#include "eventlog/kafka/known_brokers.h"

#include <fmt/format.h>

#include <span>
#include <string_view>
#include <utility>

namespace sluice::eventlog {

void KnownBrokers::Learn(const rd_kafka_metadata_t& metadata) {
  std::string list;
  for (const rd_kafka_metadata_broker_t& broker :
       std::span(metadata.brokers, static_cast<size_t>(metadata.broker_cnt))) {
    const std::string_view host = broker.host;
    const bool literal = host.find(':') != std::string_view::npos;  // IPv6
    list += fmt::format("{}{}{}{}:{}", list.empty() ? "" : ",", literal ? "[" : "", host,
                        literal ? "]" : "", broker.port);
  }
  // An answer of a cluster that is just starting may name nobody.
  if (!list.empty()) {
    const absl::MutexLock lock(&mutex_);
    list_ = std::move(list);
  }
}

void KnownBrokers::AddTo(rd_kafka_t* handle) const {
  const absl::MutexLock lock(&mutex_);
  if (!list_.empty()) {
    rd_kafka_brokers_add(handle, list_.c_str());
  }
}

}  // namespace sluice::eventlog
