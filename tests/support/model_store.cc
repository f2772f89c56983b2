#include "tests/support/model_store.h"

#include <algorithm>

#include "fmt/format.h"
#include "schemas/base/status.h"

namespace sluice::testing {
namespace {

using projectors::BucketState;
using projectors::DeltaOp;
using projectors::FoldBatch;
using projectors::FoldResult;
using projectors::Record;
using projectors::RecordKey;

std::string Text(const RecordKey& key) {
  return fmt::format("e{}/{}", key.entity.value(), key.key);
}
std::string Text(const BucketKey& key) { return key.ToHex(); }
std::string Text(const std::string& key) { return key; }
std::string Text(const std::pair<BucketKey, Position>& key) {
  return Text(key.first) + "@" + key.second.ToString();
}

std::string Text(const Record& record) {
  std::string text =
      fmt::format("last={} version={} deleted={} row={}B", record.last.ToString(),
                  record.version.has_value() ? std::to_string(*record.version) : "none",
                  record.deleted, record.row.size());
  for (const projectors::Membership& m : record.memberships) {
    text += fmt::format(" {}@{}{} rule {} since {}", Text(m.bucket), m.position.ToString(),
                        m.member          ? ""
                        : m.by_definition ? "(left by definition)"
                                          : "(left)",
                        m.rule, m.entered.value());
    for (const projectors::Stay& stay : m.earlier) {
      text += fmt::format(" and from {} until {}{}", stay.from.value(), stay.until.value(),
                          stay.by_definition ? " by definition" : "");
    }
    text += m.vague ? ", the first vague" : "";
  }
  for (const projectors::Support& s : record.support) {
    text += fmt::format(" {}x rule {} from {}", s.count, s.rule, Text(s.source));
  }
  return text;
}
std::string Text(const DeltaOp& op) {
  return fmt::format("{} e{}/{} {}B since {}{}", op.put ? "put" : "remove", op.entity.value(),
                     op.key, op.row.size(), op.entered.value(), op.returned ? " returned" : "");
}
std::string Text(const BucketState& state) {
  return fmt::format("{} count={} checksum={:016x} changed={}", state.name, state.count,
                     state.checksum, state.changed.value());
}
std::string Text(const projectors::AppliedSet& set) {
  return fmt::format("{} ({}th)", set.offset.value(), set.ordinal);
}
std::string Text(const Offset& offset) { return std::to_string(offset.value()); }
std::string Text(const projectors::SourceStream& stream) {
  return stream.source + "/" + stream.stream;
}
std::string Text(uint64_t history) { return fmt::format("{:016x}", history); }

template <typename Map>
void Compare(std::string_view what, const Map& a, const Map& b, std::string* out) {
  int shown = 0;
  for (const auto& [key, value] : a) {
    const auto other = b.find(key);
    if ((other == b.end() || !(other->second == value)) && ++shown <= 5) {
      *out += fmt::format("{} {}: {} | {}\n", what, Text(key), Text(value),
                          other == b.end() ? "absent" : Text(other->second));
    }
  }
  for (const auto& [key, value] : b) {
    if (!a.contains(key) && ++shown <= 5) {
      *out += fmt::format("{} {}: absent | {}\n", what, Text(key), Text(value));
    }
  }
}

// As a store has a record that is apart.
Record WithoutApart(Record record) {
  record.apart = true;
  record.memberships_apart = record.memberships.size();
  record.support_apart = record.support.size();
  record.memberships.clear();
  record.support.clear();
  return record;
}

BucketKey BucketOf(const projectors::Membership& m) { return m.bucket; }
std::pair<uint32_t, BucketKey> OrderOf(const projectors::Support& s) { return {s.rule, s.source}; }

// Of a list that ascends by `order`, which may be long.
template <typename T, typename Key, typename Order>
std::optional<T> Find(const Key& key, Order order, const std::vector<T>& all) {
  const auto at = std::ranges::lower_bound(all, key, {}, order);
  return at != all.end() && order(*at) == key ? std::optional<T>(*at) : std::nullopt;
}

// nullopt: it is there no more.
template <typename T, typename Key, typename Order>
void Put(const Key& key, const std::optional<T>& now, Order order, std::vector<T>* all) {
  const auto at = std::ranges::lower_bound(*all, key, {}, order);
  const bool there = at != all->end() && order(*at) == key;
  if (there && now.has_value()) {
    *at = *now;
  } else if (there) {
    all->erase(at);
  } else if (now.has_value()) {
    all->insert(at, *now);
  }
}

absl::Status Broken(std::string_view what) {
  return Error(absl::StatusCode::kInternal, "batch_breaks_store", what);
}

}  // namespace

std::string Differences(const StoreContent& a, const StoreContent& b) {
  std::string out;
  Compare("record", a.records, b.records, &out);
  Compare("delta", a.deltas, b.deltas, &out);
  Compare("bucket", a.buckets, b.buckets, &out);
  Compare("change set", a.change_sets, b.change_sets, &out);
  Compare("source", a.sources, b.sources, &out);
  Compare("history", a.history, b.history, &out);
  if (a.links != b.links) {
    out += fmt::format("{} links | {}\n", a.links.size(), b.links.size());
  }
  if (a.work != b.work) {
    out += fmt::format("{} items of work | {}\n", a.work.size(), b.work.size());
  }
  if (a.model != b.model) {
    out += "the models differ\n";
  }
  if (!(a.applied == b.applied)) {
    out += fmt::format(
        "applied {} hash {:x} records {} horizon {} events {} history {:x} | {} {:x} "
        "{} {} {} {:x}\n",
        a.applied.position.value(), a.applied.event_hash, a.applied.records,
        a.applied.horizon.value(), a.applied.events, a.applied.history, b.applied.position.value(),
        b.applied.event_hash, b.applied.records, b.applied.horizon.value(), b.applied.events,
        b.applied.history);
  }
  return out;
}

ModelStore::ModelStore() : model_(projectors::OrgModel::Empty()) {}

absl::StatusOr<FoldResult> ModelStore::Apply(const projectors::FoldOptions& options,
                                             std::span<const eventlog::StoredEvent> events) {
  ASSIGN_OR_RETURN(FoldResult result,
                   projectors::Fold(options, content_.applied, model_, events, *this));
  RETURN_IF_ERROR(Commit(result.batch));
  model_ = result.model;
  return result;
}

absl::Status ModelStore::Commit(const FoldBatch& batch) {
  for (const auto& place : batch.delta_erases) {
    if (content_.deltas.erase(place) != 1) {
      return Broken("erased a delta that is not there: " + Text(place));
    }
  }
  for (const auto& [place, op] : batch.delta_puts) {
    if (!content_.deltas.emplace(place, op).second) {
      return Broken("a delta is written twice: " + Text(place));
    }
  }
  RETURN_IF_ERROR(CommitRecords(batch));
  if (!batch.applied.partial.has_value()) {  // amid an event a row is ahead of its operations
    RETURN_IF_ERROR(CheckMemberships(batch));
  }
  for (const auto& [key, state] : batch.buckets) {
    if (state.has_value()) {
      content_.buckets.insert_or_assign(key, *state);
    } else if (content_.buckets.erase(key) != 1) {
      return Broken("erased a bucket that is not there: " + Text(key));
    }
  }
  for (const auto& [entity, attribute] : batch.unlinked) {
    std::erase_if(content_.links, [&](const projectors::Link& link) {
      return link.entity == entity && link.attribute == attribute;
    });
  }
  for (const auto& [link, present] : batch.links) {
    // One that came and went within the batch is erased all the same.
    present ? (void)content_.links.insert(link) : (void)content_.links.erase(link);
  }
  for (const auto& [item, present] : batch.work) {
    if (present) {
      content_.work.insert(item);
    } else if (content_.work.erase(item) != 1) {
      return Broken("erased an item of work that is not there");
    }
  }
  for (const auto& [key, set] : batch.change_sets) {
    content_.change_sets.insert_or_assign(key, set);
  }
  for (const auto& [stream, state] : batch.sources) {
    content_.sources.insert_or_assign(stream, state.SerializeAsString());
  }
  content_.history.insert(batch.history.begin(), batch.history.end());
  if (batch.model.has_value()) {
    content_.model = *batch.model;
  }
  content_.applied = batch.applied;
  Forget();
  return absl::OkStatus();
}

// What the horizon has passed means nothing any more, and a store may forget it when it likes: this
// one does at once.
void ModelStore::Forget() {
  const Offset horizon = content_.applied.horizon;
  if (content_.applied.partial.has_value()) {
    return;
  }
  for (auto it = content_.records.begin(); it != content_.records.end();) {
    Record& record = it->second;
    std::erase_if(record.memberships, [&](const projectors::Membership& m) {
      const bool old = !m.member && m.position.offset <= horizon;
      if (old) {
        content_.deltas.erase({m.bucket, m.position});
      }
      return old;
    });
    const bool remembers =
        !record.deleted || record.version.has_value() || !record.memberships.empty();
    if (!remembers) {
      record.last = Position();
    }
    const bool nothing = !remembers && record.support.empty();
    if (nothing) {
      apart_.erase(it->first);
    }
    it = nothing ? content_.records.erase(it) : std::next(it);
  }
  std::erase_if(content_.history, [&](const auto& entry) { return entry.first <= horizon; });
  for (auto it = content_.buckets.begin(); it != content_.buckets.end();) {
    if (it->second.changed <= horizon) {
      it->second.changed = kNoOffset;
    }
    it = it->second.count == 0 && it->second.changed == kNoOffset ? content_.buckets.erase(it)
                                                                  : std::next(it);
  }
}

absl::Status ModelStore::CommitRecords(const FoldBatch& batch) {
  std::map<RecordKey, Record> before;  // of what is apart
  for (const auto& [key, record] : batch.records) {
    if (record.has_value()) {
      if (record->apart && apart_.contains(key)) {
        before[key] = content_.records.at(key);
      }
      content_.records.insert_or_assign(key, *record);
      record->apart ? (void)apart_.insert(key) : (void)apart_.erase(key);
    } else if (content_.records.erase(key) != 1) {
      return Broken("erased a record that is not there: " + Text(key));
    } else {
      apart_.erase(key);
    }
  }
  for (auto& [key, was] : before) {
    content_.records.at(key).memberships = std::move(was.memberships);
    content_.records.at(key).support = std::move(was.support);
  }
  for (const projectors::ApartMembership& m : batch.memberships) {
    if (!apart_.contains(m.key)) {
      continue;  // what is whole again has erased its rows
    }
    Put(m.bucket, m.membership, BucketOf, &content_.records.at(m.key).memberships);
  }
  for (const projectors::ApartSupport& s : batch.support) {
    if (!apart_.contains(s.key)) {
      continue;
    }
    const auto now = s.support.count > 0 ? std::optional(s.support) : std::nullopt;
    Put(OrderOf(s.support), now, OrderOf, &content_.records.at(s.key).support);
  }
  for (const RecordKey& key : apart_) {
    Record& record = content_.records.at(key);
    if (record.apart && (record.memberships.size() != record.memberships_apart ||
                         record.support.size() != record.support_apart)) {
      return Broken("a record with another number of memberships or support: " + Text(key));
    }
    record.apart = false;
    record.memberships_apart = record.support_apart = 0;
  }
  return absl::OkStatus();
}

absl::Status ModelStore::CheckMemberships(const FoldBatch& batch) const {
  for (const auto& [key, in_batch] : batch.records) {
    if (!in_batch.has_value()) {
      continue;
    }
    const Record* record = &content_.records.at(key);
    for (const projectors::Membership& membership : record->memberships) {
      const auto delta = content_.deltas.find({membership.bucket, membership.position});
      if (delta == content_.deltas.end() || delta->second.put != membership.member ||
          delta->second.key != key.key ||
          delta->second.row != (membership.member ? record->row : "")) {
        return Broken("a membership without its delta: " + Text(key));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::optional<Record>>> ModelStore::GetRecords(
    std::span<const RecordKey> keys, size_t bytes_max) {
  ++reads_;
  std::vector<std::optional<Record>> found;
  size_t bytes = 0;
  for (const RecordKey& key : keys) {
    if (!found.empty() && bytes >= bytes_max) {
      break;
    }
    const auto record = content_.records.find(key);
    found.push_back(record == content_.records.end() ? std::nullopt
                                                     : std::optional<Record>(record->second));
    if (apart_.contains(key)) {
      found.back() = WithoutApart(*found.back());
    }
    bytes += found.back().has_value() ? found.back()->row.size() : 0;
    read_bytes_ += found.back().has_value() ? found.back()->row.size() : 0;
  }
  return found;
}

absl::StatusOr<std::optional<projectors::Membership>> ModelStore::GetMembership(
    const RecordKey& key, BucketKey bucket) {
  return Find(bucket, BucketOf, content_.records.at(key).memberships);
}

absl::StatusOr<uint64_t> ModelStore::GetSupport(const RecordKey& key, uint32_t rule,
                                                BucketKey source) {
  const auto found = Find(std::pair(rule, source), OrderOf, content_.records.at(key).support);
  return found.has_value() ? found->count : 0;
}

absl::Status ModelStore::Complete(const RecordKey& key, Record* record) {
  ++whole_reads_;
  record->memberships = content_.records.at(key).memberships;
  record->support = content_.records.at(key).support;
  record->apart = false;
  record->memberships_apart = record->support_apart = 0;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::optional<projectors::AppliedSet>>> ModelStore::GetChangeSets(
    std::span<const std::string> keys) {
  ++reads_;
  std::vector<std::optional<projectors::AppliedSet>> found;
  for (const std::string& key : keys) {
    const auto set = content_.change_sets.find(key);
    found.push_back(set == content_.change_sets.end() ? std::nullopt : std::optional(set->second));
  }
  return found;
}

absl::StatusOr<std::vector<v1::SourceState>> ModelStore::GetSourceStates(
    std::span<const projectors::SourceStream> streams) {
  ++reads_;
  std::vector<v1::SourceState> states(streams.size());
  for (size_t i = 0; i < streams.size(); ++i) {
    const auto found = content_.sources.find(streams[i]);
    if (found != content_.sources.end()) {
      states[i].ParseFromString(found->second);
    }
  }
  return states;
}

absl::StatusOr<std::vector<std::optional<BucketState>>> ModelStore::GetBuckets(
    std::span<const BucketKey> keys) {
  ++reads_;
  on_decided_();  // this is asked last
  std::vector<std::optional<BucketState>> found;
  for (const BucketKey& key : keys) {
    const auto bucket = content_.buckets.find(key);
    found.push_back(bucket == content_.buckets.end() ? std::nullopt
                                                     : std::optional<BucketState>(bucket->second));
  }
  return found;
}

absl::StatusOr<std::vector<std::pair<RecordKey, Record>>> ModelStore::ScanRecords(
    projectors::EntityId entity, std::string_view after, size_t max, size_t bytes_max) {
  ++reads_;
  size_t bytes = 0;
  std::vector<std::pair<RecordKey, Record>> found;
  const RecordKey from{entity, std::string(after)};
  for (auto it = after.empty() ? content_.records.lower_bound(from)
                               : content_.records.upper_bound(from);
       it != content_.records.end() && it->first.entity == entity && found.size() < max &&
       bytes < bytes_max;
       ++it) {
    bytes += it->second.row.size();
    read_bytes_ += it->second.row.size();
    found.emplace_back(it->first,
                       apart_.contains(it->first) ? WithoutApart(it->second) : it->second);
  }
  return found;
}

absl::StatusOr<std::vector<std::string>> ModelStore::ScanLinks(projectors::EntityId entity,
                                                               projectors::AttributeId attribute,
                                                               std::string_view value,
                                                               std::string_view after, size_t max) {
  ++reads_;
  std::vector<std::string> found;
  const projectors::Link from{entity, attribute, std::string(value), std::string(after)};
  for (auto it = after.empty() ? content_.links.lower_bound(from)
                               : content_.links.upper_bound(from);
       it != content_.links.end() && it->entity == entity && it->attribute == attribute &&
       it->value == value && found.size() < max;
       ++it) {
    found.push_back(it->child);
  }
  return found;
}

absl::StatusOr<std::vector<std::string>> ModelStore::ScanWork(uint32_t round, std::string_view from,
                                                              size_t max) {
  ++reads_;
  std::vector<std::string> found;
  for (auto it = content_.work.lower_bound({round, std::string(from)});
       it != content_.work.end() && it->round == round && found.size() < max; ++it) {
    found.push_back(it->item);
  }
  return found;
}

}  // namespace sluice::testing
