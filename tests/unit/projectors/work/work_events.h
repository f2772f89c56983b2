#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "eventlog/event.h"
#include "projectors/work/work_ledger.h"
#include "schemas/sluice/v1/sources.pb.h"

namespace sluice::projectors {

inline constexpr SystemTime kWorkStart{std::chrono::seconds(1'790'000'000)};

inline StreamKey Key(const std::string& org, const std::string& source = "crm",
                     const std::string& stream = "account") {
  return {OrgId::Parse(org).value(), 1, source, stream};
}

inline v1::StreamName NameOf(const StreamKey& key, int64_t epoch = 7) {
  v1::StreamName name;
  name.set_incarnation(key.incarnation);
  name.set_source(key.source);
  name.set_stream(key.stream);
  name.set_epoch(epoch);
  return name;
}

template <typename Message>
eventlog::Event WorkEvent(const StreamKey& key, const Message& message, SystemTime time,
                          std::string id = "e") {
  eventlog::Event event;
  event.id = std::move(id);
  event.type = Message::descriptor()->full_name();
  event.key = key.org.value();
  event.time = time;
  event.value = message.SerializeAsString();
  return event;
}

inline v1::WorkItem Item(const StreamKey& key, int64_t due_s, int64_t epoch = 7) {
  v1::WorkItem item;
  item.set_id(std::to_string(epoch) + "/" + std::to_string(due_s));
  *item.mutable_stream() = NameOf(key, epoch);
  item.set_due_us(due_s * 1'000'000);
  item.set_request(-1);
  return item;
}

template <typename Message>
Message Attempt(const v1::WorkItem& item, uint32_t attempt) {
  Message message;
  message.set_item(item.id());
  message.set_attempt(attempt);
  *message.mutable_stream() = item.stream();
  return message;
}

}  // namespace sluice::projectors
