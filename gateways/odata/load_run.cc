#include "gateways/odata/load_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "schemas/base/datetime.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

// So many rows may go at once without a doubt.
constexpr uint64_t kEmptyAllowed = 100;
// Of the rows that a service counts: rows go while a load runs, and were counted before.
constexpr uint64_t kShortShare = 100;
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
    Url url;
    ODataPage page;
    if (cursor_.link().empty()) {
      ASSIGN_OR_RETURN(page, Begin(url));
    } else {
      ASSIGN_OR_RETURN(url, links_.Follow(run_.client.root(), cursor_.link()));
      ASSIGN_OR_RETURN(page, Take(url));
    }
    for (;;) {
      cursor_.set_loaded(cursor_.loaded() + run_.taker.taken());
      cursor_.set_rejected(cursor_.rejected() + run_.taker.rejected());
      cursor_.set_keys_unknown(cursor_.keys_unknown() || run_.taker.keys_unknown());
      if (!page.end.next_link.has_value()) {
        return End(url, page);
      }
      if (Rows() >= cursor_.total()) {
        cursor_.clear_total();  // services cut what they count, Dataverse at 5,000
      }
      ASSIGN_OR_RETURN(url, links_.Follow(url, *page.end.next_link));
      cursor_.set_link(url.ToString());
      RETURN_IF_ERROR(run_.taker.Append(&cursor_));
      ReportAt(run_, cursor_);
      ASSIGN_OR_RETURN(page, Take(url));
    }
  }

 private:
  uint64_t Rows() const { return cursor_.loaded() + cursor_.rejected(); }

  absl::StatusOr<ODataPage> Take(const Url& url) {
    return run_.taker.Take(url, compares_ ? RowUse::kKeys : RowUse::kLoad);
  }

  // The first page, by `url`.
  absl::StatusOr<ODataPage> Begin(Url& url) {
    cursor_.set_load_number(run_.sink.next_number());
    cursor_.clear_loaded();
    cursor_.clear_rejected();
    cursor_.clear_keys_unknown();
    if (!compares_) {
      run_.taker.ForgetRefused();
    }
    absl::StatusOr<ODataPage> page;
    for (const std::string& text : FirstUrls()) {
      ASSIGN_OR_RETURN(url, links_.Follow(run_.client.root(), text));
      page = Take(url);
      if (!IsLinkRefused(page.status())) {
        break;
      }
    }
    if (page.ok() && !compares_) {
      cursor_.set_total(page->end.count.value_or(0));
      cursor_.set_tracked(page->tracks_changes);
      // What is changed behind the load's back is newer than its begin, not than its last row.
      // Without a clock of the service's everything is read once more.
      const int64_t begun_us =
          page->date.has_value() ? page->date->time_since_epoch().count() - kPollMargin.count() : 0;
      cursor_.set_watermark(FormatDatetime(begun_us));
    }
    return page;
  }

  // There are services that do not count, and such that do not order, so the plainest comes last.
  // Where changes are tracked no order is asked for: Dataverse refuses both together.
  std::vector<std::string> FirstUrls() const {
    const Url& root = run_.client.root();
    if (compares_) {
      return {KeysUrl(root, run_.entity, true), KeysUrl(root, run_.entity, false)};
    }
    std::vector<std::string> urls;
    if (cursor_.ordered()) {
      urls = {LoadUrl(root, run_.entity, true, true), LoadUrl(root, run_.entity, false, true)};
    }
    urls.push_back(LoadUrl(root, run_.entity, true, false));
    urls.push_back(LoadUrl(root, run_.entity, false, false));
    return urls;
  }

  // The last page was read to its end.
  absl::Status End(const Url& url, const ODataPage& page) {
    RETURN_IF_ERROR(CheckRejected(cursor_.rejected(), Rows()));
    const bool is_empty = Rows() == 0 && cursor_.last_loaded() > kEmptyAllowed;
    if (is_empty && !cursor_.empty_seen()) {
      cursor_.set_empty_seen(true);
      return EndDoubtful("suspicious_empty",
                         fmt::format("no row any more, where there were {}; the next load that "
                                     "finds none is believed",
                                     cursor_.last_loaded()));
    }
    const bool tracked = page.end.delta_link.has_value() && !compares_;
    if (cursor_.tracked() && !compares_ && !tracked) {
      // The rows are good; that these were all is not known, so the page is asked for again.
      RETURN_IF_ERROR(run_.taker.Append(nullptr));
      return Error(absl::StatusCode::kUnavailable, "source_answer_invalid",
                   "a load of a service that tracks changes ends without the link of the delta");
    }
    if (!compares_ && Rows() < cursor_.total() - cursor_.total() / kShortShare &&
        !cursor_.short_seen()) {
      cursor_.set_short_seen(true);
      return EndDoubtful("suspicious_short",
                         fmt::format("{} rows, but counts {}; the next load is believed", Rows(),
                                     cursor_.total()));
    }
    // Of a row that can't be read nothing may be known, so that it would be swept.
    const bool whole = !cursor_.keys_unknown() && (cursor_.loaded() > 0 || cursor_.rejected() == 0);
    v1::ODataCursor next;
    next.set_selected(cursor_.selected());
    next.set_loaded(cursor_.loaded());
    next.set_last_loaded(whole ? Rows() : std::max(Rows(), cursor_.last_loaded()));
    next.set_total(cursor_.total());
    next.set_pass_before(whole ? cursor_.load_number() : cursor_.pass_before());
    next.set_ordered(!tracked);
    next.set_reconciled(compares_ ? cursor_.reconciled() + 1 : 0);
    next.set_reconciled_at_us(run_.clock.Now().time_since_epoch().count());
    if (tracked) {
      // By a rule of its own: that a service answers with one link again and again is no loop.
      ASSIGN_OR_RETURN(const Url link, run_.Links().Follow(url, *page.end.delta_link));
      next.set_phase(v1::ODataCursor::PHASE_DELTA);
      next.set_link(link.ToString());
    } else if (!run_.settings.modified().empty()) {
      next.set_phase(v1::ODataCursor::PHASE_POLL);
      next.set_watermark(cursor_.watermark());
    }
    return Sweep(whole ? SweptBelow(tracked || is_empty) : 0, next);
  }

  // Where a set changes between two pages, a row may come on neither: services page by offset. So
  // what one pass has not seen is there until a second has not either. A load that ends with a
  // delta link is whole by itself: the service has tracked it, and another pass may never come.
  uint64_t SweptBelow(bool by_itself) const {
    return by_itself ? cursor_.load_number()
                     : std::min<uint64_t>(cursor_.pass_before(), cursor_.load_number());
  }

  // `below` 0: of nothing.
  absl::Status Sweep(uint64_t below, const v1::ODataCursor& next) {
    if (below == 0) {
      RETURN_IF_ERROR(run_.taker.Append(&next));
    } else {
      // The rows first, without the cursor: who ends between the two reads the last page once more.
      RETURN_IF_ERROR(run_.taker.Append(nullptr));
      RETURN_IF_ERROR(run_.taker.Sweep(below, next));
    }
    cursor_ = next;
    ReportAt(run_, cursor_);
    return absl::OkStatus();
  }

  // An expired permission, a wrong address or an answer that is cut must not empty all devices.
  absl::Status EndDoubtful(std::string_view code, const std::string& what) {
    cursor_.clear_link();
    RETURN_IF_ERROR(run_.taker.Append(&cursor_));
    RETURN_IF_ERROR(run_.sink.Flush());
    return Error(absl::StatusCode::kFailedPrecondition, code,
                 fmt::format("of {} the service has {}", run_.entity.definition.name(), what));
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
  if (ErrorCode(status) == "link_loop" || ErrorCode(status) == "too_many_rejected") {
    // Where pages came twice, rows may have gone between the two: what such a link leads on to is
    // not the load that was begun. And a load whose rows were refused is not ended by its last page
    // alone.
    cursor.clear_link();
    RETURN_IF_ERROR(run.taker.Append(&cursor));
    RETURN_IF_ERROR(run.sink.Flush());
  }
  return status;
}

}  // namespace sluice::gateways
