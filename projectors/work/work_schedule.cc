#include "projectors/work/work_schedule.h"

#include <xxhash.h>

#include <optional>
#include <string>

#include "fmt/format.h"

namespace sluice::projectors {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;

int64_t ToMicros(seconds at) { return microseconds(at).count(); }

// Begin of the slot that `now` lies in.
seconds SlotOf(const ScheduledStream& stream, SystemTime now) {
  const std::string name =
      fmt::format("{}/{}/{}", stream.key.org.value(), stream.key.source, stream.key.stream);
  const int64_t interval = stream.interval.count();
  const auto phase =
      static_cast<int64_t>(XXH64(name.data(), name.size(), 0) % static_cast<uint64_t>(interval));
  const int64_t now_s = std::chrono::floor<seconds>(now).time_since_epoch().count();
  return seconds(phase + (now_s - phase) / interval * interval);
}

}  // namespace

SystemTime NextSlot(const StreamWork* work, const ScheduledStream& stream, SystemTime now) {
  const seconds slot = SlotOf(stream, now);
  if (work == nullptr || work->epoch < stream.epoch || ToMicros(slot) > work->last_due_us) {
    return SystemTime(slot);
  }
  const SystemTime last{microseconds(work->last_due_us)};
  return last > now + kSkewMax ? SystemTime(slot) : SystemTime(slot + stream.interval);
}

std::vector<v1::WorkItem> DueItems(const WorkLedger& ledger,
                                   std::span<const ScheduledStream> streams, SystemTime now,
                                   size_t limit) {
  std::vector<v1::WorkItem> items;
  for (const ScheduledStream& stream : streams) {
    if (items.size() >= limit) {
      break;
    }
    const StreamWork* const work = ledger.Find(stream.key);
    const bool is_new = work == nullptr || work->epoch < stream.epoch;
    // An epoch that is not known here yet: its items are for those who know it.
    if (!is_new && (work->open.has_value() || work->epoch > stream.epoch)) {
      continue;
    }
    const bool requested = !is_new && stream.request > work->last_request;
    const SystemTime slot = NextSlot(work, stream, now);
    if (!requested && slot > now) {
      continue;
    }
    v1::WorkItem item;
    const int64_t due_us = slot.time_since_epoch().count();
    item.set_id(fmt::format(
        "{}/{}/{}/{}/{}/{}", stream.key.org.value(), stream.key.incarnation, stream.key.source,
        stream.key.stream, stream.epoch,
        requested ? fmt::format("r{}", stream.request) : fmt::format("{}", due_us / 1'000'000)));
    item.mutable_stream()->set_incarnation(stream.key.incarnation);
    item.mutable_stream()->set_source(stream.key.source);
    item.mutable_stream()->set_stream(stream.key.stream);
    item.mutable_stream()->set_epoch(stream.epoch);
    item.set_due_us(requested ? now.time_since_epoch().count() : due_us);
    item.set_reason(requested ? v1::WorkItem::REASON_REQUESTED : v1::WorkItem::REASON_SCHEDULED);
    item.set_request(stream.request);
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace sluice::projectors
