#include "gateways/odata/load_run.h"

#include <fmt/format.h>

#include <chrono>
#include <optional>

#include "schemas/base/datetime.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

// So many rows may go at once without a doubt.
constexpr uint64_t kEmptyAllowed = 100;
// Times that a run begins anew because a link has expired.
constexpr int kBeginsMax = 3;

// One way through the pages of a load, from where `cursor` stands.
class Load {
 public:
  Load(StreamRun& run, v1::ODataCursor& cursor)
      : run_(run),
        cursor_(cursor),
        links_(run.Links()),
        compares_(cursor.phase() == v1::ODataCursor::PHASE_RECONCILE) {}

  absl::Status Run() {
    ASSIGN_OR_RETURN(Url url, Begin());
    for (bool first = cursor_.link().empty();; first = false) {
      ASSIGN_OR_RETURN(const ODataPage page, Take(url, first));
      cursor_.set_loaded(cursor_.loaded() + run_.taker.taken());
      if (!page.end.next_link.has_value()) {
        return End(url, page);
      }
      ASSIGN_OR_RETURN(url, links_.Follow(url, *page.end.next_link));
      cursor_.set_link(url.ToString());
      RETURN_IF_ERROR(run_.taker.Append(&cursor_));
      ReportAt(run_, cursor_);
    }
  }

 private:
  absl::StatusOr<Url> Begin() {
    if (!cursor_.link().empty()) {
      return links_.Follow(run_.client.root(), cursor_.link());
    }
    cursor_.set_load_number(run_.sink.next_number());
    cursor_.set_loaded(0);
    return links_.Follow(run_.client.root(), FirstUrl(true));
  }

  std::string FirstUrl(bool count) const {
    return compares_ ? KeysUrl(run_.client.root(), run_.entity)
                     : LoadUrl(run_.client.root(), run_.entity, count);
  }

  absl::StatusOr<ODataPage> Take(Url& url, bool first) {
    const RowUse use = compares_ ? RowUse::kKeys : RowUse::kLoad;
    absl::StatusOr<ODataPage> page = run_.taker.Take(url, use);
    if (first && !compares_ && IsLinkRefused(page.status())) {
      // There are services that do not count.
      ASSIGN_OR_RETURN(url, links_.Follow(run_.client.root(), FirstUrl(false)));
      page = run_.taker.Take(url, use);
    }
    if (page.ok() && first && !compares_) {
      cursor_.set_total(page->end.count.value_or(0));
      // What is changed behind the load's back is newer than its begin, not than its last row.
      // Without a clock of the service's everything is read once more.
      const int64_t begun_us =
          page->date.has_value() ? page->date->time_since_epoch().count() - kPollMargin.count() : 0;
      cursor_.set_watermark(FormatDatetime(begun_us));
    }
    return page;
  }

  // The last page was read to its end, so what has not come by now is not there.
  absl::Status End(const Url& url, const ODataPage& page) {
    if (cursor_.loaded() == 0 && cursor_.last_loaded() > kEmptyAllowed && !cursor_.empty_seen()) {
      return EndSuspicious();
    }
    v1::ODataCursor next;
    next.set_selected(cursor_.selected());
    next.set_loaded(cursor_.loaded());
    next.set_last_loaded(cursor_.loaded());
    next.set_total(cursor_.total());
    next.set_reconciled(compares_ ? cursor_.reconciled() + 1 : 0);
    next.set_reconciled_at_us(run_.clock.Now().time_since_epoch().count());
    if (page.end.delta_link.has_value() && !compares_) {
      // By a rule of its own: that a service answers with one link again and again is no loop.
      ASSIGN_OR_RETURN(const Url link, run_.Links().Follow(url, *page.end.delta_link));
      next.set_phase(v1::ODataCursor::PHASE_DELTA);
      next.set_link(link.ToString());
    } else if (!run_.settings.modified().empty()) {
      next.set_phase(v1::ODataCursor::PHASE_POLL);
      next.set_watermark(cursor_.watermark());
    }
    // The rows first, without the cursor: who ends between the two reads the last page once more.
    RETURN_IF_ERROR(run_.taker.Append(nullptr));
    RETURN_IF_ERROR(run_.taker.Sweep(cursor_.load_number(), next));
    cursor_ = std::move(next);
    ReportAt(run_, cursor_);
    return absl::OkStatus();
  }

  // An expired permission or a wrong address must not empty all devices.
  absl::Status EndSuspicious() {
    cursor_.set_empty_seen(true);
    cursor_.clear_link();
    RETURN_IF_ERROR(run_.taker.Append(&cursor_));
    RETURN_IF_ERROR(run_.sink.Flush());
    return Error(absl::StatusCode::kFailedPrecondition, "suspicious_empty",
                 fmt::format("the service has no row of {} any more, where there were {}; the next "
                             "load that finds none is believed",
                             run_.entity.definition.name(), cursor_.last_loaded()));
  }

  StreamRun& run_;
  v1::ODataCursor& cursor_;
  LinkRule links_;
  const bool compares_;
};

}  // namespace

absl::Status RunLoad(StreamRun& run, v1::ODataCursor& cursor) {
  run.sink.set_loading(true);
  absl::Status status;
  for (int begins = 0; begins <= kBeginsMax; ++begins) {
    const bool resumed = !cursor.link().empty();
    status = Load(run, cursor).Run();
    // A first page that is refused is no link that has expired.
    if (!IsLinkRefused(status) || (!resumed && cursor.link().empty())) {
      break;
    }
    cursor.clear_link();
    run.metrics.CountLoad("expired");
  }
  run.sink.set_loading(false);
  if (ErrorCode(status) == "link_loop") {
    // Where pages came twice, rows may have gone between the two: what such a link leads on to is
    // not the load that was begun.
    cursor.clear_link();
    RETURN_IF_ERROR(run.taker.Append(&cursor));
  }
  return status;
}

}  // namespace sluice::gateways
