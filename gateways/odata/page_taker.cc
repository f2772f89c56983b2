#include "gateways/odata/page_taker.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "schemas/base/sha256.h"
#include "schemas/base/status.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

constexpr size_t kLoadSetRows = 1'000;
constexpr size_t kLoadSetBytes = size_t{256} << 10;
// Successive pages without a row that are followed.
constexpr uint64_t kEmptyPagesMax = 1'000;
// Hashes that a cursor has.
constexpr size_t kRefusedMax = 1'000;
constexpr size_t kPollSetsMax = 500;

uint64_t HashOf(std::string_view text) { return DigestWord(Sha256(text), 0); }

}  // namespace

absl::StatusOr<ODataPage> PageTaker::Take(const Url& url, RowUse use) {
  ops_.clear();
  keys_.clear();
  bytes_ = 0;
  taken_ = 0;
  rejected_ = 0;
  keys_unknown_ = false;
  PageRequest request;
  request.track = use == RowUse::kLoad;
  ASSIGN_OR_RETURN(ODataPage page,
                   client_.GetPage(url, request, [&](std::string_view text, bool too_large) {
                     return TakeRow(text, too_large, use);
                   }));
  metrics_.pages.Increment();
  // No rule about links ends it where each is a new one.
  empty_pages_ = page.end.rows == 0 && page.end.next_link.has_value() ? empty_pages_ + 1 : 0;
  if (empty_pages_ > kEmptyPagesMax) {
    return Error(absl::StatusCode::kFailedPrecondition, "link_loop",
                 fmt::format("{} pages in a row have a link, but no row", empty_pages_));
  }
  return page;
}

absl::Status PageTaker::TakeRow(std::string_view text, bool too_large, RowUse use) {
  ODataRow row;
  if (too_large) {
    row.status = Error(absl::StatusCode::kInvalidArgument, "too_large",
                       fmt::format("a row is longer than {} bytes", text.size()));
  } else {
    row = rows_.Read(text);
  }
  if (row.status.code() == absl::StatusCode::kUnavailable) {
    return row.status;  // the page is none
  }
  if (!row.status.ok()) {
    return Refuse(row, text, use);
  }
  if (row.kind == ODataRow::Kind::kPassedOver) {
    return absl::OkStatus();
  }
  ++taken_;
  if (use == RowUse::kDelta && !row.missing.empty() && IsRefused(row.key)) {
    needs_load_ = true;  // there is nothing to keep the rest from
    return absl::OkStatus();
  }
  if (use != RowUse::kKeys && refused_.size() < kRefusedMax && !refused_.empty()) {
    refused_.erase(HashOf(row.key));
  }
  v1::Operation op;
  op.set_entity_id(stream_.schema->id().value());
  if (row.kind == ODataRow::Kind::kDelete) {
    metrics_.deletes.Increment();
    op.set_kind(v1::Operation::KIND_DELETE);
  } else if (use == RowUse::kKeys) {
    metrics_.keys.Increment();
    op.set_kind(v1::Operation::KIND_TOUCH);
  } else {
    metrics_.upserts.Increment();
    ++upserts_;
    op.set_kind(v1::Operation::KIND_UPSERT);
    LookAtModified(row.bytes);
    op.set_row(std::move(row.bytes));
  }
  // What is kept comes from the row as it is before the set. So a second operation on a row within
  // one set would take what was before the first: it goes into the next.
  const bool keeps = use == RowUse::kDelta && op.kind() == v1::Operation::KIND_UPSERT;
  if (keeps && !row.missing.empty() && keys_.contains(row.key)) {
    RETURN_IF_ERROR(Append(nullptr));
  }
  if (keeps) {
    for (const schemas::AttributeId id : row.missing) {
      op.add_kept(id.value());
    }
  }
  if (use == RowUse::kDelta) {
    keys_.insert(row.key);
  }
  op.set_key(std::move(row.key));
  return Add(std::move(op));
}

// The row stays as it was, as in a delta: so a load that can't read it must not have it swept.
absl::Status PageTaker::Refuse(const ODataRow& row, std::string_view text, RowUse use) {
  ++rejected_;
  keys_unknown_ = keys_unknown_ || row.key.empty();
  const bool remembers = use == RowUse::kLoad || use == RowUse::kDelta;
  if (remembers && !row.key.empty() && refused_.size() < kRefusedMax) {
    refused_.insert(HashOf(row.key));
  }
  const bool sweeps = use == RowUse::kLoad || use == RowUse::kKeys;
  if (use != RowUse::kKeys) {  // whose rows were rejected as they were loaded
    metrics_.rejected.Increment();
    RETURN_IF_ERROR(sink_.Reject({OrgId(), stream_.entity, row.key, ErrorCode(row.status),
                                  std::string(Message(row.status)), text}));
  }
  if (!sweeps || row.key.empty()) {
    return absl::OkStatus();
  }
  v1::Operation op;
  op.set_entity_id(stream_.schema->id().value());
  op.set_kind(v1::Operation::KIND_TOUCH);
  op.set_key(row.key);
  return Add(std::move(op));
}

void PageTaker::LookAtModified(std::string_view row) {
  if (!stream_.modified.has_value()) {
    return;
  }
  schemas::RowScanner scanner(row);
  while (scanner.Next()) {
    if (scanner.field().id == *stream_.modified) {
      const auto at = static_cast<int64_t>(scanner.field().scalar);
      newest_us_ = std::max(newest_us_.value_or(at), at);
      return;
    }
  }
}

absl::Status PageTaker::Add(v1::Operation op) {
  const size_t bytes = op.key().size() + op.row().size();
  if (ops_.size() == kLoadSetRows || (!ops_.empty() && bytes_ + bytes > kLoadSetBytes)) {
    const bool in_delta = !keys_.empty();
    DropKnown();
    RETURN_IF_ERROR(Append(nullptr));
    if (in_delta) {
      keys_.insert(op.key());
    }
  }
  bytes_ += bytes;
  ops_.push_back(std::move(op));
  return absl::OkStatus();
}

absl::Status PageTaker::Append(const v1::ODataCursor* cursor) {
  if (ops_.empty() && cursor == nullptr) {
    return absl::OkStatus();
  }
  SourceSet set;
  set.ops = std::exchange(ops_, {});
  set.number_is_version = true;
  if (cursor != nullptr) {
    set.cursor = CursorText(*cursor);
  }
  keys_.clear();
  bytes_ = 0;
  return sink_.Append(std::move(set));
}

absl::Status PageTaker::Sweep(uint64_t version, const v1::ODataCursor& cursor) {
  SourceSet set;
  v1::Operation& op = set.ops.emplace_back();
  op.set_kind(v1::Operation::KIND_SWEEP);
  op.set_entity_id(stream_.schema->id().value());
  op.set_version(static_cast<int64_t>(version) - 1);
  set.cursor = CursorText(cursor);
  return sink_.Append(std::move(set));
}

std::string PageTaker::CursorText(v1::ODataCursor cursor) const {
  cursor.mutable_refused()->Assign(refused_.begin(), refused_.end());
  return cursor.SerializeAsString();
}

void PageTaker::SetRefused(const v1::ODataCursor& cursor) {
  refused_ = std::set<uint64_t>(cursor.refused().begin(), cursor.refused().end());
}

bool PageTaker::IsRefused(std::string_view key) const {
  return refused_.size() == kRefusedMax || (!refused_.empty() && refused_.contains(HashOf(key)));
}

void PageTaker::BeginPoll(const v1::ODataCursor& cursor) {
  in_poll_ = true;
  known_sets_.assign(cursor.poll_sets().begin(), cursor.poll_sets().end());
  sets_.clear();
  dropped_ = 0;
}

void PageTaker::EndPoll(v1::ODataCursor& cursor) {
  in_poll_ = false;
  // A set that did not come again may have had a row of one that was dropped, so that this row is
  // not as the service has it now: the next poll is written whole.
  if (dropped_ > 0 && dropped_ < known_sets_.size()) {
    sets_.clear();
  }
  cursor.mutable_poll_sets()->Assign(sets_.begin(), sets_.end());
}

void PageTaker::DropKnown() {
  if (!in_poll_ || ops_.empty()) {
    return;
  }
  std::string text;
  for (const v1::Operation& op : ops_) {
    text.append(op.SerializeAsString());
  }
  const uint64_t hash = HashOf(text);
  // Only those that the poll begins with: a row that changes while it is read is in two sets, and
  // what is appended between them is behind neither.
  const bool known =
      dropped_ == sets_.size() && dropped_ < known_sets_.size() && known_sets_[dropped_] == hash;
  if (sets_.size() < kPollSetsMax) {
    sets_.push_back(hash);
  }
  if (known) {
    ++dropped_;
    upserts_ -= std::min<uint64_t>(upserts_, ops_.size());
    ops_.clear();
    bytes_ = 0;
  }
}

}  // namespace sluice::gateways
