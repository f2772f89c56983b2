#include <utility>

#include "projectors/fold/fold.h"
#include "projectors/fold/fold_overlay.h"
#include "schemas/base/status.h"

// The part of FoldOverlay that says what a batch has changed.
namespace sluice::projectors {

void FoldOverlay::EmitErased(const Membership& was, const Entry& entry,
                             std::string_view entity_name, BucketChanges* buckets,
                             FoldBatch* batch) {
  batch->delta_erases.emplace_back(was.bucket, was.position);
  buckets->Erased(was.bucket, was.member,
                  was.member ? RowChecksum(entity_name, entry.key.key, was.position) : 0);
}

void FoldOverlay::EmitWritten(const Membership& is, const Entry& entry,
                              std::string_view entity_name, BucketChanges* buckets,
                              FoldBatch* batch) {
  auto& put = batch->delta_puts.emplace_back();
  put.first = {is.bucket, is.position};
  put.second.put = is.member;
  put.second.entity = entry.key.entity;
  put.second.key = entry.key.key;
  put.second.entered = is.first_entered();
  put.second.returned = !is.earlier.empty();
  uint64_t checksum = 0;
  if (is.member) {
    put.second.row = entry.now.row;
    checksum = RowChecksum(entity_name, entry.key.key, is.position);
  }
  buckets->Written(is.bucket, is.position.offset, is.member, checksum);
}

void FoldOverlay::EmitDeltas(const Entry& entry, std::string_view entity_name,
                             BucketChanges* buckets, FoldBatch* batch) {
  const std::vector<Membership>& before = entry.before;
  const std::vector<Membership>& now = entry.now.memberships;
  size_t i = 0;
  size_t j = 0;
  while (i < before.size() || j < now.size()) {
    if (j == now.size() || (i < before.size() && before[i].bucket < now[j].bucket)) {
      EmitErased(before[i++], entry, entity_name, buckets, batch);
    } else if (i == before.size() || now[j].bucket < before[i].bucket) {
      EmitWritten(now[j++], entry, entity_name, buckets, batch);
    } else {
      // A place that has not moved is left as it is on disk, also where the row was looked at: so
      // an operation is written once and erased once, as SingleDelete wants it.
      if (before[i].position != now[j].position) {
        EmitErased(before[i], entry, entity_name, buckets, batch);
        EmitWritten(now[j], entry, entity_name, buckets, batch);
      }
      ++i;
      ++j;
    }
  }
}

// Of a record that was looked at in part: the memberships and support that the batch touched.
void FoldOverlay::EmitPartly(Entry& entry, std::string_view entity_name, BucketChanges* buckets,
                             FoldBatch* batch) {
  for (auto& [bucket, one] : entry.apart->touched) {
    if (one.stored == one.now) {
      continue;
    }
    if (!one.stored.has_value() || one.stored->position != one.now->position) {
      if (one.stored.has_value()) {
        EmitErased(*one.stored, entry, entity_name, buckets, batch);
      }
      EmitWritten(*one.now, entry, entity_name, buckets, batch);
    }
    batch->memberships.push_back({entry.key, bucket, std::move(one.now)});
  }
  for (const auto& [key, one] : entry.touched_support) {
    if (one.before != one.now) {
      batch->support.push_back({entry.key, {key.first, key.second, one.now}});
    }
  }
}

// Of a record that is here whole and has been, or is to be, apart: what differs from the store's.
void FoldOverlay::EmitApart(Entry& entry, FoldBatch* batch) {
  const std::vector<Membership> none;
  const bool was = entry.apart != nullptr;
  const std::vector<Membership>& before = was ? entry.before : none;
  const std::vector<Support> no_support;
  const bool same_support = was && !entry.apart->support.has_value();
  const std::vector<Support>& support_before =
      same_support ? entry.now.support : (was ? *entry.apart->support : no_support);
  const bool is = entry.now.apart;
  const std::vector<Membership>& now = is ? entry.now.memberships : none;
  const std::vector<Support>& support_now = is ? entry.now.support : no_support;
  size_t i = 0;
  for (const Membership& m : now) {
    for (; i < before.size() && before[i].bucket < m.bucket; ++i) {
      batch->memberships.push_back({entry.key, before[i].bucket, std::nullopt});
    }
    const bool known = i < before.size() && before[i].bucket == m.bucket;
    if (!known || before[i] != m) {
      batch->memberships.push_back({entry.key, m.bucket, m});
    }
    i += known ? 1 : 0;
  }
  for (; i < before.size(); ++i) {
    batch->memberships.push_back({entry.key, before[i].bucket, std::nullopt});
  }
  i = 0;
  const auto erase = [&](const Support& s) {
    batch->support.push_back({entry.key, {s.rule, s.source, 0}});
  };
  for (const Support& s : support_now) {
    for (; i < support_before.size() && SupportOrder(support_before[i]) < SupportOrder(s); ++i) {
      erase(support_before[i]);
    }
    const bool known =
        i < support_before.size() && SupportOrder(support_before[i]) == SupportOrder(s);
    if (!known || support_before[i] != s) {
      batch->support.push_back({entry.key, s});
    }
    i += known ? 1 : 0;
  }
  for (; i < support_before.size(); ++i) {
    erase(support_before[i]);
  }
  if (is) {
    entry.now.memberships_apart = entry.now.memberships.size();
    entry.now.support_apart = entry.now.support.size();
    entry.now.memberships.clear();
    entry.now.support.clear();
  }
}

absl::Status FoldOverlay::Emit(absl::FunctionRef<std::string_view(EntityId)> entity_name,
                               BucketChanges* buckets, FoldView& view, size_t inline_max,
                               FoldBatch* batch) {
  batch->records.reserve(entries_.size());
  batch->delta_puts.reserve(changes_);
  batch->delta_erases.reserve(changes_);
  for (RowSlot slot = 0; slot < entries_.size(); ++slot) {
    Entry& entry = entries_[slot];
    // Half as many, not as many: a record at the limit would otherwise go to and fro with each
    // change.
    if (entry.touched && entry.partly() &&
        entry.now.memberships_apart + entry.now.support_apart <= inline_max / 2) {
      RETURN_IF_ERROR(Complete(slot, view));
    }
    const bool partly = entry.partly();
    if (!partly) {
      SettleSupport(entry);
    }
    if (!partly && entry.exists && entry.now.deleted && !entry.now.version.has_value() &&
        entry.now.memberships.empty()) {
      // What remembers nothing is no record, or one of support alone, wherever the batch began.
      entry.exists = !entry.now.support.empty();
      entry.now.last = Position();
    }
    if (!entry.touched || (!entry.exists && !entry.existed)) {
      continue;
    }
    const std::string_view name = entity_name(entry.key.entity);
    if (partly) {
      EmitPartly(entry, name, buckets, batch);
    } else {
      EmitDeltas(entry, name, buckets, batch);
      const size_t size = entry.now.memberships.size() + entry.now.support.size();
      entry.now.apart =
          entry.exists && (size > inline_max || (entry.apart != nullptr && size > inline_max / 2));
      if (entry.apart != nullptr || entry.now.apart) {
        EmitApart(entry, batch);
      }
    }
    batch->applied.records += entry.live() ? 1 : 0;
    batch->applied.records -= entry.was_live ? 1 : 0;
    if (entry.exists) {
      batch->records.emplace_back(std::move(entry.key), std::move(entry.now));
    } else {
      batch->records.emplace_back(std::move(entry.key), std::nullopt);
    }
  }
  return absl::OkStatus();
}

}  // namespace sluice::projectors
