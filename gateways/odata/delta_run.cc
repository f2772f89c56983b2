#include "gateways/odata/delta_run.h"

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

// Runs in a row that may end in a loop.
constexpr uint32_t kLoopsMax = 3;

absl::Status ReadDelta(StreamRun& run, v1::ODataCursor& cursor) {
  LinkRule links = run.Links();
  ASSIGN_OR_RETURN(Url url, links.Follow(run.client.root(), cursor.link()));
  const uint64_t loaded = cursor.last_loaded();
  const bool was_due = cursor.load_due();
  uint64_t rejected = 0;
  uint64_t rows = 0;
  for (;;) {
    const absl::StatusOr<ODataPage> page = run.taker.Take(url, RowUse::kDelta);
    if (IsLinkRefused(page.status())) {
      // 410 as a rule. Its Location is not followed: services get it wrong.
      BeginLoad(run, cursor, "expired");
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(page.status());
    rejected += run.taker.rejected();
    rows += run.taker.taken() + run.taker.rejected();
    RETURN_IF_ERROR(CheckRejected(rejected, rows));
    // An upsert may be of a row that is there already. Too many only lead to a doubt more.
    cursor.set_last_loaded(loaded + run.taker.upserts());
    cursor.set_load_due(was_due || run.taker.needs_load());
    if (page->end.next_link.has_value()) {
      ASSIGN_OR_RETURN(url, links.Follow(url, *page->end.next_link));
      cursor.set_link(url.ToString());
      RETURN_IF_ERROR(run.taker.Append(&cursor));
      ReportAt(run, cursor);
      continue;
    }
    if (!page->end.delta_link.has_value()) {
      // The rows are good; from where to go on is not known, so the page is asked for again.
      RETURN_IF_ERROR(run.taker.Append(nullptr));
      return Error(absl::StatusCode::kUnavailable, "source_answer_invalid",
                   "a delta ends without the link of the next one");
    }
    // By a rule of its own: that nothing has changed, so the link has not either, is no loop.
    ASSIGN_OR_RETURN(const Url next, run.Links().Follow(url, *page->end.delta_link));
    const bool moves = next.ToString() != cursor.link() || cursor.load_due() != was_due ||
                       cursor.loops() > 0 || rejected > 0;
    cursor.set_link(next.ToString());
    cursor.clear_loops();
    if (moves || run.taker.keeps_rows()) {
      RETURN_IF_ERROR(run.taker.Append(&cursor));
    }
    ReportAt(run, cursor);
    if (IsLoadDue(run, cursor)) {
      BeginLoad(run, cursor, "rejected");
    }
    return absl::OkStatus();
  }
}

}  // namespace

absl::Status RunDelta(StreamRun& run, v1::ODataCursor& cursor) {
  absl::Status status = ReadDelta(run, cursor);
  if (ErrorCode(status) != "link_loop") {
    return status;
  }
  cursor.set_loops(cursor.loops() + 1);
  RETURN_IF_ERROR(run.taker.Append(&cursor));
  RETURN_IF_ERROR(run.sink.Flush());
  if (cursor.loops() < kLoopsMax) {
    return status;
  }
  BeginLoad(run, cursor, "loop");
  return absl::OkStatus();
}

}  // namespace sluice::gateways
