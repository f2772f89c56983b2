// Appends dead letters of an organisation to a log, as the fold and the sources write them, for
// deadletter_test.py:
//
//     append_letters (DATA_DIR | BROKERS TOPIC_PREFIX) ORG
//
// one of the first change set of the organisation, one of a row of the source "crm", twice, and one
// of a work item.
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "ops/program/open_log.h"
#include "schemas/base/clock.h"
#include "schemas/base/status.h"
#include "schemas/base/uuid.h"
#include "schemas/sluice/v1/events.pb.h"
#include "schemas/sluice/v1/sources.pb.h"

namespace sluice::ops {
namespace {

using eventlog::Topic;

absl::StatusOr<eventlog::StoredEvent> FirstSet(eventlog::Log& log, const std::string& org) {
  const PartitionId partition = log.PartitionFor(Topic::kChanges, org);
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log.Range(Topic::kChanges, partition));
  std::optional<eventlog::StoredEvent> found;
  RETURN_IF_ERROR(eventlog::ReadUntil(log, Topic::kChanges, partition, range.begin, range.end,
                                      [&](const eventlog::StoredEvent& event) {
                                        if (!found.has_value() && event.event.key == org &&
                                            eventlog::IsA<v1::ChangeSet>(event.event)) {
                                          found = event;
                                        }
                                        return absl::OkStatus();
                                      }));
  return found.has_value() ? absl::StatusOr<eventlog::StoredEvent>(*found)
                           : absl::NotFoundError("no change set of " + org);
}

absl::Status AppendLetters(const Config& config, const std::string& org) {
  ASSIGN_OR_RETURN(const auto log, OpenLog(config, nullptr));
  ASSIGN_OR_RETURN(const eventlog::StoredEvent set, FirstSet(*log, org));
  v1::DeadLetter refused;
  refused.set_topic("changes");
  refused.set_partition(log->PartitionFor(Topic::kChanges, org).value());
  refused.set_offset(set.offset.value());
  refused.set_code("unknown_entity");
  refused.set_reason("there is no entity with id 7");
  refused.set_type(set.event.type);
  refused.set_id(set.event.id);
  refused.set_value(set.event.value);
  v1::DeadLetter row;
  row.set_topic("source:crm");
  row.set_code("type_mismatch");
  row.set_reason("attribute 'n' is no number");
  row.set_type("sluice.source.Row");
  row.set_id("00112233445566778899aabbccddeeff");
  row.set_value(R"({"id":"A1","n":"much"})");
  row.set_source("crm");
  row.set_entity("account");
  row.set_key("A1");
  v1::DeadLetter item;
  item.set_topic("work");
  item.set_code("source_unreachable");
  item.set_reason("no route to it");
  item.set_type(v1::WorkItem::descriptor()->full_name());
  item.set_id("ffeeddccbbaa99887766554433221100");
  item.set_source("crm");
  item.set_entity("account");
  const RealClock clock;
  std::vector<eventlog::Event> events;
  for (const v1::DeadLetter& letter : {row, refused, row, item}) {
    events.push_back(eventlog::EventOf("sluice/source", org, letter));
    events.back().id = NewUuid7(clock);
    events.back().time = clock.Now();
  }
  return log->Append(Topic::kDeadletter, log->PartitionFor(Topic::kDeadletter, org), events)
      .status();
}

}  // namespace
}  // namespace sluice::ops

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  sluice::ops::Config config = sluice::ops::DefaultConfig();
  if (arguments.size() == 3) {
    config.log.kind = "kafka";
    config.log.brokers = arguments[0];
    config.log.topic_prefix = arguments[1];
  } else if (arguments.size() == 2) {
    config.data_dir = arguments[0];
  } else {
    std::fputs("append_letters (DATA_DIR | BROKERS TOPIC_PREFIX) ORG\n", stderr);
    return 2;
  }
  const absl::Status status = sluice::ops::AppendLetters(config, arguments.back());
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(sluice::Message(status)).c_str());
  }
  return status.ok() ? 0 : 1;
}
