#include "gateways/odata/delta_run.h"

#include "schemas/base/status.h"

namespace sluice::gateways {

absl::Status RunDelta(StreamRun& run, v1::ODataCursor& cursor) {
  LinkRule links = run.Links();
  ASSIGN_OR_RETURN(Url url, links.Follow(run.client.root(), cursor.link()));
  for (;;) {
    const absl::StatusOr<ODataPage> page = run.taker.Take(url, RowUse::kDelta);
    if (IsLinkRefused(page.status())) {
      // 410 as a rule. Its Location is not followed: services get it wrong.
      BeginLoad(run, cursor, "expired");
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(page.status());
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
    const bool moves = next.ToString() != cursor.link();
    cursor.set_link(next.ToString());
    if (moves || run.taker.keeps_rows()) {
      RETURN_IF_ERROR(run.taker.Append(&cursor));
    }
    ReportAt(run, cursor);
    return absl::OkStatus();
  }
}

}  // namespace sluice::gateways
