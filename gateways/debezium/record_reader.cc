#include "gateways/debezium/record_reader.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr int64_t kNewestRecords = 100;  // of each partition
constexpr std::chrono::milliseconds kNewestWait{500};

}  // namespace

absl::StatusOr<TableChange> ReadTableChange(EnvelopeReader& reader,
                                            const eventlog::Record& record) {
  TableChange change;
  change.offset = record.offset;
  ASSIGN_OR_RETURN(change.event, reader.ReadChange(*record.value));
  change.bytes = record.value->size();
  if (record.key.has_value()) {
    ASSIGN_OR_RETURN(change.key, reader.ReadKey(*record.key));
    change.bytes += record.key->size();
  }
  for (const auto& [name, value] : record.headers) {
    if (name == "__debezium.oldkey" && !value.empty()) {
      ASSIGN_OR_RETURN(const KeyEnvelope old_key, reader.ReadKey(value));
      change.old_key = old_key.key;
    }
  }
  return change;
}

absl::StatusOr<std::optional<TableChange>> ReadNewestChange(
    eventlog::RecordSource& source, const std::string& topic,
    const std::vector<PartitionId>& partitions, EnvelopeReader& reader,
    const std::function<bool()>& stopping) {
  std::map<PartitionId, Offset> ends;
  std::vector<eventlog::RecordPlace> places;
  for (const PartitionId partition : partitions) {
    ASSIGN_OR_RETURN(const Offset end, source.End(topic, partition));
    ends[partition] = end;
    places.push_back(
        {topic, partition, Offset(std::max<int64_t>(end.value() - kNewestRecords, 0))});
  }
  RETURN_IF_ERROR(source.Assign(places));
  std::optional<TableChange> newest;
  const auto at_end = [&] {
    return std::ranges::all_of(
        ends, [&](const auto& end) { return source.next(topic, end.first) >= end.second; });
  };
  while (!at_end()) {
    if (stopping()) {
      return absl::CancelledError("stopped");
    }
    auto records = source.Read({.wait_max = kNewestWait});
    if (!records.ok() && ErrorCode(records.status()) == "offset_below_begin") {
      for (eventlog::RecordPlace& place : places) {
        place.next = kNoOffset;  // less is there than was looked for
      }
      RETURN_IF_ERROR(source.Assign(places));
      continue;
    }
    RETURN_IF_ERROR(records.status());
    for (const eventlog::Record& record : *records) {
      auto change = record.value.has_value()
                        ? ReadTableChange(reader, record)
                        : absl::StatusOr<TableChange>(absl::NotFoundError("tombstone"));
      // Messages that are none are told of when they are read for good.
      if (change.ok() && !change->event.after.empty() &&
          (!newest.has_value() || newest->event.source_time_us <= change->event.source_time_us)) {
        newest = *std::move(change);
      }
    }
  }
  return newest;
}

}  // namespace sluice::gateways
