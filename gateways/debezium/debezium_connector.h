#pragma once

#include <memory>
#include <string>
#include <vector>

#include "eventlog/record_source.h"
#include "gateways/sources/connector.h"
#include "schemas/base/clock.h"

namespace prometheus {
class Registry;
}

namespace sluice::gateways {

struct DebeziumOptions {
  std::string log_brokers;  // host:port,... of the log; empty: it is not in Kafka
  // host:port that sources may name; the log's may be named too.
  std::vector<std::string> allowed_brokers;
  // Topics that the sources of one organisation's administrators may read, such as "{org}.*"; none:
  // those can't be defined. A "*" at the end stands for anything.
  std::vector<std::string> tenant_topics;
  std::string topic_prefix;  // of the log's own topics, which no source reads
};

// Kind "debezium": topics that Debezium writes, gateways/docs/debezium.md. `clock` must outlive it.
[[nodiscard]] std::unique_ptr<Connector> MakeDebeziumConnector(
    DebeziumOptions options, eventlog::RecordSourceFactory factory, const Clock& clock,
    std::shared_ptr<prometheus::Registry> registry);

}  // namespace sluice::gateways
