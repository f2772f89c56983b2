#include "projectors/staging/dead_letter.h"

#include "eventlog/log.h"
#include "fmt/format.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::projectors {
namespace {

// ce_source of the sets that sources make.
constexpr std::string_view kSourcesSource = "sluice/source";

}  // namespace

eventlog::Event MakeDeadLetter(PartitionId partition, const eventlog::StoredEvent& original,
                               const Rejected& rejected, SystemTime now) {
  const std::string_view topic = eventlog::TopicName(eventlog::Topic::kChanges);
  v1::DeadLetter letter;
  letter.set_topic(std::string(topic));
  letter.set_partition(partition.value());
  letter.set_offset(original.offset.value());
  letter.set_code(rejected.code);
  letter.set_reason(rejected.reason);
  letter.set_type(original.event.type);
  letter.set_id(original.event.id);
  if (original.event.source == kSourcesSource) {
    // A set may have many rows that can't be applied. The source has what they are, and the set
    // stays at its position in the log.
    letter.set_source(original.event.cause.subject);
    letter.set_entity(rejected.entity);
    letter.set_key(rejected.key);
  } else {
    letter.set_value(original.event.value);
  }
  letter.set_op_index(rejected.op_index);
  eventlog::Event event = eventlog::EventOf("sluice/staging", original.event.key, letter);
  event.id = fmt::format("{}-{}-{}-{}", topic, partition.value(), original.offset.value(),
                         rejected.op_index);
  event.subject = original.event.subject;
  event.time = now;
  event.traceparent = original.event.traceparent;
  event.cause = original.event.cause;
  return event;
}

eventlog::Event WithoutOriginal(const eventlog::Event& dead_letter) {
  v1::DeadLetter letter;
  letter.ParseFromString(dead_letter.value);
  letter.clear_value();
  letter.set_reason(
      fmt::format("{} (the event is too large to be repeated here)", letter.reason()));
  eventlog::Event event = dead_letter;
  event.value = letter.SerializeAsString();
  return event;
}

}  // namespace sluice::projectors
