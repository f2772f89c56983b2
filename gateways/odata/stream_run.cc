#include "gateways/odata/stream_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "schemas/base/sha256.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

// A link may hold a token, so people see what tells one from another.
std::string PositionOf(const v1::ODataCursor& cursor) {
  if (cursor.phase() == v1::ODataCursor::PHASE_POLL) {
    return cursor.watermark();
  }
  return cursor.link().empty() ? std::string()
                               : fmt::format("{:016x}", DigestWord(Sha256(cursor.link()), 0));
}

constexpr uint64_t kRejectedFree = 20;
constexpr std::chrono::seconds kReconcileDefault{3600};

}  // namespace

absl::Status CheckRejected(uint64_t rejected, uint64_t rows) {
  return rejected <= kRejectedFree || rejected * 2 <= rows
             ? absl::OkStatus()
             : Error(absl::StatusCode::kFailedPrecondition, "too_many_rejected",
                     fmt::format("{} of {} rows can't be taken", rejected, rows));
}

void BeginLoad(StreamRun& run, v1::ODataCursor& cursor, const std::string& reason) {
  v1::ODataCursor begun;
  begun.set_selected(run.selected);
  begun.set_last_loaded(cursor.last_loaded());
  begun.set_empty_seen(cursor.empty_seen());
  begun.set_short_seen(cursor.short_seen());
  begun.set_pass_before(cursor.pass_before());
  begun.set_ordered(cursor.ordered());
  cursor = std::move(begun);
  run.taker.ForgetRefused();
  run.metrics.CountLoad(reason);
}

std::chrono::seconds ReconcileInterval(const StreamRun& run) {
  return run.settings.reconcile_s() == 0 ? kReconcileDefault
                                         : std::chrono::seconds(run.settings.reconcile_s());
}

bool IsLoadDue(const StreamRun& run, const v1::ODataCursor& cursor) {
  const int64_t since_us = run.clock.Now().time_since_epoch().count() - cursor.reconciled_at_us();
  // A clock that went back is not to be waited for.
  return cursor.load_due() &&
         (since_us < 0 || std::chrono::microseconds(since_us) >= ReconcileInterval(run));
}

void ReportAt(StreamRun& run, const v1::ODataCursor& cursor) {
  v1::RunNumbers numbers;
  numbers.set_state(cursor.phase() == v1::ODataCursor::PHASE_LOAD ? "loading" : "following");
  numbers.set_loaded(cursor.loaded());
  numbers.set_total(cursor.total());
  numbers.set_position(PositionOf(cursor));
  if (const auto newest = run.taker.newest_us(); newest.has_value()) {
    const int64_t now = run.clock.Now().time_since_epoch().count();
    numbers.set_lag_us(std::max<int64_t>(now - *newest, 0));
  }
  run.sink.Report(numbers);
}

bool IsLinkRefused(const absl::Status& status) { return ErrorCode(status) == "source_refused"; }

}  // namespace sluice::gateways
