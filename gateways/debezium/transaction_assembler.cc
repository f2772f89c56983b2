#include "gateways/debezium/transaction_assembler.h"

#include <algorithm>
#include <tuple>

namespace sluice::gateways {
namespace {

constexpr size_t kFinishedMax = 50'000;
constexpr size_t kBegunMax = 100'000;
constexpr size_t kLooseChangesMax = 1'000;  // rows of a snapshot in one set

// Where a change stands in its transaction. LSNs stay what they are when the connector restarts;
// the connector's own count does not, and serves databases that have no LSN.
int64_t OrderOf(const ChangeEnvelope& event) {
  return event.lsn.value_or(static_cast<int64_t>(event.total_order));
}

// Tells apart the changes at one LSN: rows that were inserted at once, and the two halves of a
// changed key.
std::string NameOf(const TableChange& change) {
  return static_cast<char>('0' + static_cast<int>(change.event.op)) + change.key.key;
}

}  // namespace

bool TransactionAssembler::Progress::Has(int64_t order, std::string_view name) const {
  return order < order_max || (order == order_max && std::ranges::find(names, name) != names.end());
}

void TransactionAssembler::Progress::Add(int64_t order, std::string name) {
  if (order > order_max) {
    order_max = order;
    names.clear();
  }
  names.push_back(std::move(name));
}

TransactionAssembler::TransactionAssembler(AssemblerLimits limits,
                                           std::vector<Partition> partitions, Offset marks_next,
                                           std::optional<int64_t> lsn_done)
    : limits_(limits), marks_next_(marks_next), marks_position_(marks_next), lsn_done_(lsn_done) {
  for (Partition& partition : partitions) {
    PartitionState& state = partitions_.emplace_back();
    state.collection = std::move(partition.collection);
    state.next = partition.next;
  }
}

void TransactionAssembler::Forget() {
  finished_.clear();
  finished_order_.clear();
  lsn_done_.reset();
}

void TransactionAssembler::Pass(size_t partition, Offset next) {
  PartitionState& state = partitions_[partition];
  state.next = state.is_to_seek ? state.next : std::max(state.next, next);
}

void TransactionAssembler::AddChange(size_t partition, TableChange change) {
  PartitionState& state = partitions_[partition];
  // Until it is read from there again, what comes lies behind what was passed over: taken in, it
  // would have that passed over for good.
  if (change.offset < state.next || state.is_to_seek) {
    return;
  }
  state.next = Offset(change.offset.value() + 1);
  const std::string& transaction = change.event.transaction;
  if (transaction.empty()) {
    AddLoose(std::move(change));
    return;
  }
  if (TakeFinished(partition, change)) {
    return;
  }
  const int64_t order = OrderOf(change.event);
  std::string name = NameOf(change);
  if (const auto known = state.shares.find(transaction);
      known != state.shares.end() && known->second.progress.Has(order, name)) {
    ++counters_.repeated;
    return;
  }
  // Beyond the limit only what the next END waits for is held. The rest is read again later: held
  // changes of others can fill all room, and then the END could never be reached. An END that
  // Take() has not seen yet does not count: earlier changes of its transaction may have been
  // skipped, and would look like repeats behind this one.
  const bool of_head = head_seen_ && ends_.front().mark.id == transaction;
  if (!of_head && (state.skipped.has_value() || held_bytes_ > limits_.held_bytes_max)) {
    state.skipped = state.skipped.value_or(change.offset);
    ++counters_.skipped;
    return;
  }
  Share& share = state.shares[transaction];
  share.progress.Add(order, std::move(name));
  ++share.count;
  share.last = change.offset;
  share.held.push_back(change.offset);
  share.held_bytes += change.bytes;
  held_bytes_ += change.bytes;
  const Offset offset = change.offset;
  state.held.emplace(offset, std::move(change));
}

// A change of a transaction that has gone out: one that was there, or, where the connector had
// counted too few or its END was seen long before its changes, one that was missing.
bool TransactionAssembler::TakeFinished(size_t partition, TableChange& change) {
  const auto found = finished_.find(change.event.transaction);
  if (found == finished_.end()) {
    return false;
  }
  Finished& finished = found->second;
  const int64_t order = OrderOf(change.event);
  if (change.event.lsn.has_value() && finished.lsn.has_value() && order > *finished.lsn) {
    return false;  // the database has given the id again
  }
  std::string name = NameOf(change);
  auto progress =
      std::ranges::find(finished.progress, partition, &std::pair<size_t, Progress>::first);
  if (progress == finished.progress.end()) {
    progress = finished.progress.insert(progress, {partition, {}});
  }
  if (progress->second.Has(order, name)) {
    ++counters_.repeated;
    return true;
  }
  progress->second.Add(order, std::move(name));
  ++counters_.late;
  AssembledSet& set = ready_.emplace_back();
  set.transaction = change.event.transaction;
  set.lsn = finished.lsn;
  set.late = !finished.old;
  set.changes.push_back(std::move(change));
  return true;
}

void TransactionAssembler::AddMark(Offset offset, TransactionMark mark, SteadyTime now) {
  if (offset < marks_next_) {
    return;
  }
  marks_next_ = Offset(offset.value() + 1);
  if (!mark.end) {
    if (begun_.size() >= kBegunMax) {
      begun_.clear();  // of transactions that never ended
    }
    ++begun_[mark.id];
    return;
  }
  End end{offset, std::move(mark), now};
  if (const auto begun = begun_.find(end.mark.id); begun != begun_.end()) {
    end.counts_restarted = begun->second > 1;
    begun_.erase(begun);
  }
  ends_.push_back(std::move(end));
}

void TransactionAssembler::AddLoose(TableChange change) {
  if (ready_.empty() || !ready_.back().transaction.empty() ||
      ready_.back().changes.size() >= kLooseChangesMax || loose_bytes_ >= limits_.set_bytes_max) {
    ready_.emplace_back();
    loose_bytes_ = 0;
  }
  loose_bytes_ += change.bytes;
  ready_.back().changes.push_back(std::move(change));
}

std::optional<AssembledSet> TransactionAssembler::Take() {
  if (ready_.empty()) {
    AdvanceHead();
  }
  if (ready_.empty()) {
    if (held_bytes_ <= limits_.held_bytes_max / 2) {
      SeekBack();
    }
    return std::nullopt;
  }
  AssembledSet set = std::move(ready_.front());
  ready_.pop_front();
  // Positions are behind all that is ready: kept with an earlier set, a crash would lose the rest.
  set.settled = ready_.empty() && !in_parts_;
  return set;
}

void TransactionAssembler::AdvanceHead() {
  while (ready_.empty() && !ends_.empty()) {
    const End& head = ends_.front();
    if (!head_seen_) {
      head_seen_ = true;
      SeekBack();  // changes of this transaction may be among those that there was no room for
    }
    if (IsRepeat(head)) {
      PopEnd();
    } else if (IsDone(head)) {
      GoOut(head);
      if (in_parts_ && ready_.empty()) {
        ready_.push_back({{}, head.mark.id, head.mark.lsn});  // says that the parts are settled
      }
      Finish(head);
      PopEnd();
    } else if (held_bytes_ > limits_.held_bytes_max &&
               HeldBytesOf(head.mark.id) > limits_.set_bytes_max) {
      counters_.split += in_parts_ ? 0 : 1;
      in_parts_ = true;
      GoOut(head);
    } else {
      return;
    }
  }
}

// The connector resumes before what it had written last. A repeat that is older than what is
// remembered goes out a second time, and changes nothing: its version is that of the first.
bool TransactionAssembler::IsRepeat(const End& end) const {
  const auto found = finished_.find(end.mark.id);
  return found != finished_.end() &&
         !(end.mark.lsn.has_value() && found->second.lsn.has_value() &&
           *end.mark.lsn > *found->second.lsn);  // else the database has given the id again
}

bool TransactionAssembler::HasAllOf(const End& end, std::string_view collection,
                                    uint64_t count) const {
  bool is_ours = false;
  for (const PartitionState& state : partitions_) {
    if (state.collection != collection) {
      continue;
    }
    is_ours = true;
    const auto share = state.shares.find(end.mark.id);
    const uint64_t has = share == state.shares.end() ? 0 : share->second.count;
    if (has >= count) {
      return true;
    }
    count -= has;
  }
  return !is_ours || count == 0;
}

bool TransactionAssembler::HasAll(const End& end) const {
  return std::ranges::all_of(end.mark.collections, [&](const auto& counted) {
    return HasAllOf(end, counted.first, counted.second);
  });
}

// Whether changes of the transaction may still come from the partition.
bool TransactionAssembler::IsNeeded(const End& end, size_t partition) const {
  if (end.counts_restarted) {
    return true;
  }
  const std::string& collection = partitions_[partition].collection;
  const auto counted =
      std::ranges::find(end.mark.collections, collection, &std::pair<std::string, uint64_t>::first);
  return counted != end.mark.collections.end() && !HasAllOf(end, counted->first, counted->second);
}

// Its commit lies before one that has gone out: a repeat of which nothing is remembered, as its
// changes may have been passed over before a restart of ours. It is waited for as far as the
// partitions reach, and no longer.
bool TransactionAssembler::IsOld(const End& end) const {
  return end.mark.lsn.has_value() && lsn_done_.has_value() && *end.mark.lsn <= *lsn_done_;
}

// When the ends of the partitions tell that nothing more comes of a transaction. The records of one
// producer in several partitions become visible in any order: what END counted and is missing is
// believed to be nowhere only after a while. It is counted from when END was read, not from when
// its turn came: or a filter that takes something of each transaction would hold up each in turn.
SteadyTime TransactionAssembler::AskEndsAt(const End& end) const {
  const bool soon = IsOld(end) || (end.counts_restarted && HasAll(end));
  return soon ? end.read_at : end.read_at + limits_.missing_wait;
}

bool TransactionAssembler::IsDone(const End& end) const {
  if (HasAll(end) && !end.counts_restarted) {
    return true;
  }
  if (!ends_asked_at_.has_value() || *ends_asked_at_ < AskEndsAt(end)) {
    return false;
  }
  for (size_t i = 0; i < partitions_.size(); ++i) {
    if (IsNeeded(end, i) && partitions_[i].next < partition_ends_[i]) {
      return false;
    }
  }
  return true;
}

bool TransactionAssembler::wants_ends(SteadyTime now) const {
  if (!head_seen_ || (HasAll(ends_.front()) && !ends_.front().counts_restarted)) {
    return false;
  }
  const SteadyTime at = AskEndsAt(ends_.front());
  // Asked again after a while: a broker that fails over may have told of records that it then lost.
  return now >= (ends_asked_at_.has_value() && *ends_asked_at_ >= at
                     ? *ends_asked_at_ + limits_.missing_wait
                     : at);
}

void TransactionAssembler::SetEnds(std::vector<Offset> ends, SteadyTime asked_at) {
  partition_ends_ = std::move(ends);
  ends_asked_at_ = asked_at;
}

bool TransactionAssembler::IsPaused(size_t partition) const {
  const bool has_room =
      held_bytes_ <= limits_.held_bytes_max && !partitions_[partition].skipped.has_value();
  return !has_room && (ends_.empty() || !IsNeeded(ends_.front(), partition));
}

Offset TransactionAssembler::position(size_t partition) const {
  const PartitionState& state = partitions_[partition];
  Offset position = std::min(state.next, state.skipped.value_or(state.next));
  return state.held.empty() ? position : std::min(position, state.held.begin()->first);
}

size_t TransactionAssembler::HeldBytesOf(const std::string& transaction) const {
  size_t bytes = 0;
  for (const PartitionState& state : partitions_) {
    const auto share = state.shares.find(transaction);
    bytes += share == state.shares.end() ? 0 : share->second.held_bytes;
  }
  return bytes;
}

// Makes what is held of the transaction ready, in the source's order.
void TransactionAssembler::GoOut(const End& end) {
  std::vector<std::pair<size_t, TableChange>> changes;
  std::optional<int64_t> lsn = end.mark.lsn;
  for (size_t i = 0; i < partitions_.size(); ++i) {
    PartitionState& state = partitions_[i];
    const auto share = state.shares.find(end.mark.id);
    if (share == state.shares.end()) {
      continue;
    }
    for (const Offset offset : share->second.held) {
      TableChange& change = changes.emplace_back(i, std::move(state.held.at(offset))).second;
      state.held.erase(offset);
      lsn = std::max(lsn, change.event.lsn);
    }
    held_bytes_ -= share->second.held_bytes;
    share->second.held_bytes = 0;
    share->second.held.clear();
  }
  // The two halves of a changed key have one LSN, and may go out in two sets: the row with the new
  // key takes values from the one with the old key, so that this one goes last.
  const auto place = [](const auto& entry) {
    const TableChange& change = entry.second;
    return std::tuple(OrderOf(change.event), change.event.op == ChangeOp::kDelete, entry.first,
                      change.offset);
  };
  std::ranges::sort(changes, [&](const auto& a, const auto& b) { return place(a) < place(b); });
  size_t bytes = 0;
  for (auto& [partition, change] : changes) {
    if (ready_.empty() || ready_.back().changes.size() >= limits_.set_changes_max ||
        bytes >= limits_.set_bytes_max) {
      AssembledSet& set = ready_.emplace_back();
      set.transaction = end.mark.id;
      set.lsn = lsn;
      bytes = 0;
    }
    bytes += change.bytes;
    ready_.back().changes.push_back(std::move(change));
  }
  if (ready_.size() > 1 && !in_parts_) {
    ++counters_.split;
  }
}

void TransactionAssembler::Finish(const End& end) {
  counters_.incomplete += HasAll(end) || IsOld(end) ? 0 : 1;
  Finished finished{end.mark.lsn, {}, IsOld(end)};
  for (size_t i = 0; i < partitions_.size(); ++i) {
    PartitionState& state = partitions_[i];
    const auto share = state.shares.find(end.mark.id);
    if (share == state.shares.end()) {
      continue;
    }
    finished.progress.emplace_back(i, std::move(share->second.progress));
    const Offset behind(share->second.last.value() + 1);
    state.shares.erase(share);
    if (state.skipped.has_value()) {
      state.skipped = std::max(*state.skipped, behind);
    }
    DropLeftOver(&state, behind);
  }
  lsn_done_ = std::max(lsn_done_, end.mark.lsn);
  Remember(end.mark.id, std::move(finished));
}

// A partition has transactions in the order of their commits. What lies before one that has gone
// out and belongs to none that has is half a transaction that the connector did not finish, and
// sends again if it still exists. That may have come already, and been passed over as a repeat of
// what is dropped here: so the partition is read again from there.
void TransactionAssembler::DropLeftOver(PartitionState* state, Offset below) {
  if (state->held.empty() || state->held.begin()->first >= below) {
    return;
  }
  absl::erase_if(state->shares, [&](auto& entry) {
    const Share& share = entry.second;
    if (share.held.empty() || share.held.front() >= below) {
      return false;
    }
    for (const Offset offset : share.held) {
      state->held.erase(offset);
    }
    held_bytes_ -= share.held_bytes;
    counters_.left_over += share.held.size();
    return true;
  });
  state->skipped = std::min(state->skipped.value_or(below), below);
}

void TransactionAssembler::Remember(const std::string& transaction, Finished finished) {
  if (finished_.insert_or_assign(transaction, std::move(finished)).second) {
    finished_order_.push_back(transaction);
    if (finished_order_.size() > kFinishedMax) {
      finished_.erase(finished_order_.front());
      finished_order_.pop_front();
    }
  }
}

void TransactionAssembler::PopEnd() {
  marks_position_ = Offset(ends_.front().offset.value() + 1);
  ends_.pop_front();
  head_seen_ = false;
  in_parts_ = false;
}

void TransactionAssembler::SeekBack() {
  for (size_t i = 0; i < partitions_.size(); ++i) {
    PartitionState& state = partitions_[i];
    if (state.skipped.has_value()) {
      seeks_.emplace_back(i, *state.skipped);
      state.next = *state.skipped;
      state.skipped.reset();
      state.is_to_seek = true;
    }
  }
}

std::vector<std::pair<size_t, Offset>> TransactionAssembler::TakeSeeks() {
  for (const auto& [partition, offset] : seeks_) {
    partitions_[partition].is_to_seek = false;
  }
  return std::exchange(seeks_, {});
}

}  // namespace sluice::gateways
