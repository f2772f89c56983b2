#include "gateways/odata/poll_run.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "schemas/base/datetime.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr std::chrono::seconds kReconcileDefault{3600};
// Keys do not show what was changed with an older time than others: all rows do, now and then.
constexpr uint32_t kReconcilesPerLoad = 24;

// From where to ask next. Rows may become visible in another order than that of their times, so
// there is a margin behind the newest. When a later poll finds no newer one, that has passed: rows
// are not read for ever, only newer ones are. A row with a time to come does not move it beyond the
// service's own time, for all others would be passed over until then.
std::string NextWatermark(int64_t since_us, int64_t newest_us, const ODataPage& page) {
  int64_t next = newest_us - kPollMargin.count();
  if (next == since_us && !page.end.next_link.has_value()) {
    next = newest_us + 1;
  }
  const int64_t now_us =
      page.date.has_value() ? page.date->time_since_epoch().count() : kDatetimeMax;
  return FormatDatetime(std::clamp(next, kDatetimeMin, std::max(now_us, kDatetimeMin)));
}

void BeginWhatIsDue(StreamRun& run, v1::ODataCursor& cursor) {
  const auto every = run.settings.reconcile_s() == 0
                         ? kReconcileDefault
                         : std::chrono::seconds(run.settings.reconcile_s());
  const int64_t since = run.clock.Now().time_since_epoch().count() - cursor.reconciled_at_us();
  if (std::chrono::microseconds(since) < every) {
    return;
  }
  if (cursor.reconciled() + 1 == kReconcilesPerLoad) {
    BeginLoad(run, cursor, "compare");
  } else {
    cursor.set_phase(v1::ODataCursor::PHASE_RECONCILE);
    cursor.clear_link();
  }
}

}  // namespace

absl::Status RunPoll(StreamRun& run, v1::ODataCursor& cursor) {
  ASSIGN_OR_RETURN(const int64_t since_us, ParseDatetime(cursor.watermark()));
  LinkRule links = run.Links();
  ASSIGN_OR_RETURN(Url url,
                   links.Follow(run.client.root(), PollUrl(run.client.root(), run.entity,
                                                           run.settings.modified(), since_us)));
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(const ODataPage page, run.taker.Take(url, RowUse::kPoll));
    more = page.end.next_link.has_value();
    if (more) {
      ASSIGN_OR_RETURN(url, links.Follow(url, *page.end.next_link));
    }
    const auto newest = run.taker.newest_us();
    const std::string before = cursor.watermark();
    // Who ends amid a poll asks anew from the watermark, which moves with each page where the
    // service keeps the order that it was asked for.
    if (newest.has_value() && (!more || run.taker.in_order())) {
      cursor.set_watermark(NextWatermark(since_us, *newest, page));
    }
    if (run.taker.keeps_rows() || cursor.watermark() != before) {
      RETURN_IF_ERROR(run.taker.Append(&cursor));
    }
    ReportAt(run, cursor);
  }
  BeginWhatIsDue(run, cursor);
  return absl::OkStatus();
}

}  // namespace sluice::gateways
