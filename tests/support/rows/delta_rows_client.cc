#include "tests/support/rows/delta_rows_client.h"

#include "gateways/sync/delta_plan.h"
#include "gateways/sync/json_encoder.h"
#include "schemas/base/status.h"

namespace sluice::testing {

using gateways::Cursor;
using projectors::OrgSnapshot;

DeltaRowsClient::DeltaRowsClient(std::string who, uint64_t seed, OrgRecord& record,
                                 RowsReport& report, bool may_expire)
    : dice_(seed),
      record_(record),
      report_(report),
      checks_(std::move(who), record, report),
      codec_("log", ""),
      may_expire_(may_expire) {
  ChangeClaims();
}

void DeltaRowsClient::ChangeClaims() {
  claims_ = dice_.Below(record_.claims().size());
  ForgetEarlier();
}

// Rules or claims have changed: with a cursor from before its rows a client need not converge now,
// so that it starts over.
void DeltaRowsClient::ForgetEarlier() {
  earlier_.clear();
  if (behind_) {
    rows_.clear();
    cursor_.clear();
    behind_ = false;
  }
}

void DeltaRowsClient::Act(const OrgSnapshot& snapshot) {
  if (dice_.Chance(8)) {
    ChangeClaims();
  }
  if (record_.definitions() != definitions_) {
    ForgetEarlier();
    definitions_ = record_.definitions();
  }
  if (!earlier_.empty() && dice_.Chance(12)) {
    behind_ = true;
    cursor_ = dice_.Pick(earlier_);  // rows stay as they are
  }
  if (dice_.Chance(40)) {
    Drain(snapshot);
    return;
  }
  for (size_t pages = dice_.Between(1, 3); pages > 0 && Page(snapshot); --pages) {
  }
}

void DeltaRowsClient::Drain(const OrgSnapshot& snapshot) {
  for (int pages = 0; Page(snapshot) && report_.ok(); ++pages) {
    if (pages > 2'000) {
      report_.Fail("pages without end");
    }
  }
}

void DeltaRowsClient::AskBehind(const OrgSnapshot& snapshot) {
  const auto cursor = codec_.Decode(record_.name(), cursor_);
  if (cursor_.empty() || !cursor.ok() || cursor->seen <= snapshot.applied().position) {
    return;
  }
  const absl::Status status = gateways::CheckCursor(*cursor, 1, snapshot);
  if (ErrorCode(status) != "not_caught_up") {
    report_.Fail("a server that is behind takes a cursor: " + status.ToString());
  }
}

Cursor DeltaRowsClient::UsableCursor(const OrgSnapshot& snapshot, const RowsAt& at) {
  if (cursor_.empty()) {
    return {};
  }
  const auto cursor = codec_.Decode(record_.name(), cursor_);
  if (!cursor.ok()) {
    checks_.Fail("has a cursor that is none: " + cursor.status().ToString(), at);
    return {};
  }
  const absl::Status usable =
      gateways::CheckCursor(*cursor, snapshot.model()->incarnation(), snapshot);
  if (usable.ok()) {
    return *cursor;
  }
  if (!may_expire_) {
    checks_.Fail("its cursor is refused: " + usable.ToString(), at);
  }
  StartOver(usable, at);
  return {};
}

void DeltaRowsClient::StartOver(const absl::Status& why, const RowsAt& at) {
  if (ErrorCode(why) != "cursor_expired") {
    checks_.Fail("gets no page: " + why.ToString(), at);
  }
  ++report_.counters.expired;
  rows_.clear();
  cursor_.clear();
  behind_ = false;
  earlier_.clear();
}

bool DeltaRowsClient::Fetch(const OrgSnapshot& snapshot, const RowsAt& at, Fetched* fetched) {
  const auto buckets = snapshot.model()->BucketsOf(record_.claims()[claims_], 1'000);
  if (!buckets.ok() || !at.rows.has_value()) {
    if (ErrorCode(buckets.status()) != "offline_not_allowed" || at.rows.has_value()) {
      checks_.Fail("may be off line or not: " + buckets.status().ToString(), at);
    }
    ++report_.counters.refused;
    return false;
  }
  const Cursor cursor = UsableCursor(snapshot, at);
  gateways::DeltaLimits limits;
  limits.ops_max = dice_.Between(1, 7);
  if (dice_.Chance(20)) {
    limits.scanned_max = dice_.Between(1, 6);
  }
  const uint32_t incarnation = snapshot.model()->incarnation();
  auto page = gateways::BuildDeltaPage(snapshot, incarnation, *buckets, cursor, limits,
                                       gateways::JsonOperations(), record_.pieces(), &fetched->ops);
  if (!page.ok() && !cursor_.empty()) {  // its rules and claims changed too often
    StartOver(page.status(), at);
    ++report_.counters.restless;
    fetched->ops.clear();
    page = gateways::BuildDeltaPage(snapshot, incarnation, *buckets, {}, limits,
                                    gateways::JsonOperations(), record_.pieces(), &fetched->ops);
  }
  if (!page.ok()) {
    checks_.Fail("gets no page: " + page.status().ToString(), at);
    return false;
  }
  ++report_.counters.pages;
  begun_ = cursor_.empty() ? at.position : begun_;
  checks_.Use(claims_, at.position);
  if (page->ops > limits.ops_max) {
    checks_.Fail("gets more operations than it asked for", at);
  }
  fetched->page = *std::move(page);
  return true;
}

void DeltaRowsClient::Take(const std::string& ops, const RowsAt& at) {
  for (const nlohmann::json& op : nlohmann::json::parse("[" + ops + "]")) {
    const RowName name = RowChecks::NameOf(op);
    const auto held = rows_.find(name);
    if (op["op"] == "put") {
      rows_[name] = checks_.TakePut(op, at, held == rows_.end() ? nullptr : &held->second);
    } else {
      checks_.TakeRemove(op, at, held != rows_.end(), begun_);
      rows_.erase(name);
    }
  }
}

bool DeltaRowsClient::Page(const OrgSnapshot& snapshot) {
  const std::shared_ptr<const RowsAt> at = record_.At(claims_);
  Fetched fetched;
  if (!Fetch(snapshot, *at, &fetched)) {
    return false;
  }
  if (dice_.Chance(6)) {
    return true;  // lost on its way: asked for again with the cursor from before
  }
  Take(fetched.ops, *at);
  if (dice_.Chance(5)) {
    Take(fetched.ops, *at);
  }
  if (dice_.Chance(
          5)) {  // taken, but the cursor was not kept: asked for again, perhaps cut elsewhere
    fetched = {};
    if (!Fetch(snapshot, *at, &fetched)) {
      return false;
    }
    Take(fetched.ops, *at);
  }
  cursor_ = codec_.Encode(record_.name(), fetched.page.cursor);
  earlier_.push_back(cursor_);
  if (fetched.page.more) {
    return true;
  }
  behind_ = false;
  ++report_.counters.pulls;
  if (fetched.page.position.value() != at->position || at->position < settled_) {
    checks_.Fail("is told of another position than the store's", *at);
  }
  settled_ = at->position;
  checks_.Compare(rows_, *at);
  return false;
}

}  // namespace sluice::testing
