#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/record_source.h"
#include "gateways/debezium/envelope.h"
#include "gateways/debezium/transaction_assembler.h"

namespace sluice::gateways {

// The change in a record, whose value is not null. Errors as EnvelopeReader.
[[nodiscard]] absl::StatusOr<TableChange> ReadTableChange(EnvelopeReader& reader,
                                                          const eventlog::Record& record);

// The newest of the last changes of a topic that has a row, for what it tells of the table; nullopt
// where there is none. Assigns `source` anew. kCancelled as soon as `stopping()`.
[[nodiscard]] absl::StatusOr<std::optional<TableChange>> ReadNewestChange(
    eventlog::RecordSource& source, const std::string& topic,
    const std::vector<PartitionId>& partitions, EnvelopeReader& reader,
    const std::function<bool()>& stopping);

}  // namespace sluice::gateways
