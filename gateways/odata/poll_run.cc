#include "gateways/odata/poll_run.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "schemas/base/datetime.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

// Keys do not show what was changed with an older time than others: all rows do, now and then.
constexpr uint32_t kReconcilesPerLoad = 24;
// Times that a run begins a poll anew because a link has expired.
constexpr int kPollBeginsMax = 3;

// From where to ask next. Rows may become visible in another order than that of their times, so
// there is always a margin: behind the newest row, and behind the time at which the poll began, as
// rows may have changed since on pages that were read, or have a time to come. Both are the
// service's own. Polls of one margin read its rows again; PageTaker drops them.
std::string NextWatermark(int64_t since_us, int64_t newest_us, int64_t begun_us) {
  const int64_t until_us = begun_us > 0 ? std::min(newest_us, begun_us) : newest_us;
  const int64_t next_us = std::max(since_us, until_us - kPollMargin.count());
  return FormatDatetime(std::clamp(next_us, kDatetimeMin, kDatetimeMax));
}

absl::Status BeginWhatIsDue(StreamRun& run, v1::ODataCursor& cursor) {
  const int64_t now_us = run.clock.Now().time_since_epoch().count();
  if (cursor.reconciled_at_us() > now_us) {
    // Our clock went back. It is not to be waited for.
    cursor.set_reconciled_at_us(now_us);
    RETURN_IF_ERROR(run.taker.Append(&cursor));
  }
  if (std::chrono::microseconds(now_us - cursor.reconciled_at_us()) < ReconcileInterval(run)) {
    return absl::OkStatus();
  }
  if (cursor.reconciled() + 1 == kReconcilesPerLoad) {
    BeginLoad(run, cursor, "compare");
  } else {
    cursor.set_phase(v1::ODataCursor::PHASE_RECONCILE);
    cursor.clear_link();
  }
  return absl::OkStatus();
}

absl::Status ReadPoll(StreamRun& run, v1::ODataCursor& cursor) {
  ASSIGN_OR_RETURN(const int64_t since_us, ParseDatetime(cursor.watermark()));
  const v1::ODataCursor before = cursor;
  const bool resumed = !cursor.poll_link().empty();
  bool wrote = resumed;  // so the cursor's link has to go at the end
  LinkRule links = run.Links();
  ASSIGN_OR_RETURN(Url url, links.Follow(run.client.root(),
                                         resumed ? cursor.poll_link()
                                                 : PollUrl(run.client.root(), run.entity,
                                                           run.settings.modified(), since_us)));
  run.taker.BeginPoll(cursor);
  for (bool first = !resumed;; first = false) {
    ASSIGN_OR_RETURN(const ODataPage page, run.taker.Take(url, RowUse::kPoll));
    if (first) {
      cursor.set_poll_begun_us(page.date.has_value() ? page.date->time_since_epoch().count() : 0);
    }
    run.taker.DropKnown();
    cursor.set_last_loaded(before.last_loaded() + run.taker.upserts());
    if (!page.end.next_link.has_value()) {
      break;
    }
    ASSIGN_OR_RETURN(url, links.Follow(url, *page.end.next_link));
    cursor.set_poll_link(url.ToString());
    cursor.clear_poll_sets();  // of another poll than the one that will go on here
    if (run.taker.keeps_rows()) {
      wrote = true;
      RETURN_IF_ERROR(run.taker.Append(&cursor));
    }
    ReportAt(run, cursor);
  }
  if (const auto newest = run.taker.newest_us(); newest.has_value()) {
    cursor.set_watermark(NextWatermark(since_us, *newest, cursor.poll_begun_us()));
  }
  cursor.clear_poll_link();
  cursor.clear_poll_begun_us();
  run.taker.EndPoll(cursor);
  // A quiet source has nothing written.
  const bool moves = cursor.watermark() != before.watermark() ||
                     !std::ranges::equal(cursor.poll_sets(), before.poll_sets());
  if (wrote || moves || run.taker.upserts() > 0 || run.taker.keeps_rows()) {
    RETURN_IF_ERROR(run.taker.Append(&cursor));
  }
  ReportAt(run, cursor);
  return absl::OkStatus();
}

void BeginAnew(v1::ODataCursor& cursor) {
  cursor.clear_poll_link();
  cursor.clear_poll_begun_us();
}

}  // namespace

absl::Status RunPoll(StreamRun& run, v1::ODataCursor& cursor) {
  absl::Status status = ReadPoll(run, cursor);
  // A link amid the poll has expired; that of the first page can't have.
  for (int begins = 0;
       begins < kPollBeginsMax && IsLinkRefused(status) && !cursor.poll_link().empty(); ++begins) {
    BeginAnew(cursor);
    status = ReadPoll(run, cursor);
  }
  if (ErrorCode(status) == "link_loop") {
    BeginAnew(cursor);
    RETURN_IF_ERROR(run.taker.Append(&cursor));
    RETURN_IF_ERROR(run.sink.Flush());
  }
  RETURN_IF_ERROR(status);
  return cursor.phase() == v1::ODataCursor::PHASE_POLL ? BeginWhatIsDue(run, cursor)
                                                       : absl::OkStatus();
}

}  // namespace sluice::gateways
