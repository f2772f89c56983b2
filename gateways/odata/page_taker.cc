#include "gateways/odata/page_taker.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "schemas/base/status.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

constexpr size_t kLoadSetRows = 1'000;
constexpr size_t kLoadSetBytes = size_t{256} << 10;
// So many rows of a page may be bad before their part of it counts.
constexpr uint64_t kRejectedFree = 20;

}  // namespace

absl::StatusOr<ODataPage> PageTaker::Take(const Url& url, RowUse use) {
  ops_.clear();
  keys_.clear();
  bytes_ = 0;
  taken_ = 0;
  rejected_ = 0;
  PageRequest request;
  request.track = use == RowUse::kLoad;
  ASSIGN_OR_RETURN(ODataPage page,
                   client_.GetPage(url, request, [&](std::string_view text, bool too_large) {
                     return TakeRow(text, too_large, use);
                   }));
  metrics_.pages.Increment();
  // A mapping that does not fit would have everything swept that it can't read.
  const bool sweeps = use == RowUse::kLoad || use == RowUse::kKeys;
  if (sweeps && rejected_ > kRejectedFree && rejected_ * 2 > page.end.rows) {
    return Error(
        absl::StatusCode::kResourceExhausted, "too_many_rejected",
        fmt::format("{} of the {} rows of a page can't be taken", rejected_, page.end.rows));
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
      in_order_ = in_order_ && (!newest_us_.has_value() || at >= *newest_us_);
      newest_us_ = std::max(newest_us_.value_or(at), at);
      return;
    }
  }
}

absl::Status PageTaker::Add(v1::Operation op) {
  const size_t bytes = op.key().size() + op.row().size();
  if (ops_.size() == kLoadSetRows || (!ops_.empty() && bytes_ + bytes > kLoadSetBytes)) {
    const bool in_delta = !keys_.empty();
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
    set.cursor = cursor->SerializeAsString();
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
  set.cursor = cursor.SerializeAsString();
  return sink_.Append(std::move(set));
}

}  // namespace sluice::gateways
