#include "eventlog/epoch.h"

#include <fmt/format.h>

#include <random>

#include "schemas/base/uuid.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::eventlog {

std::string NewEpoch() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}", device(), device());
}

std::string LogIdOf(std::string_view name, std::string_view epoch) {
  return epoch.empty() ? std::string(name) : fmt::format("{}#{}", name, epoch);
}

std::vector<std::string> FormerIdsOf(std::string_view name,
                                     const std::vector<std::string>& former) {
  std::vector<std::string> ids = {std::string(name)};
  for (const std::string& epoch : former) {
    ids.push_back(LogIdOf(name, epoch));
  }
  return ids;
}

Event MakeLogStarted(const Clock& clock, std::string_view epoch, std::string_view replaces,
                     int32_t partitions, const std::vector<AgreedEnds>& agreed) {
  v1::LogStarted started;
  started.set_epoch(std::string(epoch));
  started.set_replaces(std::string(replaces));
  started.set_partitions(partitions);
  for (const AgreedEnds& ends : agreed) {
    v1::LogStarted::Ends& added = *started.add_ends();
    added.set_provisioning(ends.provisioning.value());
    added.set_changes(ends.changes.value());
    added.set_provisioning_hash(ends.provisioning_hash);
    added.set_changes_hash(ends.changes_hash);
  }
  Event event = EventOf("sluice/log", "", started);
  event.id = NewUuid7(clock);
  event.time = clock.Now();
  event.cause.subject = event.source;
  return event;
}

void EpochFold::Apply(const StoredEvent& stored) {
  v1::LogStarted started;
  if (!ReadMessage(stored.event, &started) || started.epoch().empty() ||
      started.replaces() != epoch_) {
    return;
  }
  if (!epoch_.empty()) {
    former_.push_back(epoch_);
  }
  epoch_ = started.epoch();
  agreed_.clear();
  for (const v1::LogStarted::Ends& ends : started.ends()) {
    agreed_.push_back({Offset(ends.provisioning()), Offset(ends.changes()),
                       ends.provisioning_hash(), ends.changes_hash()});
  }
  if (partitions_ == 0) {
    partitions_ = started.partitions();
  }
}

}  // namespace sluice::eventlog
