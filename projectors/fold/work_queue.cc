#include "projectors/fold/work_queue.h"

#include <algorithm>
#include <utility>

#include "absl/functional/function_ref.h"
#include "schemas/base/byte_codec.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

// The value that `read` takes from `bytes`; malformed where it returns false, or misses something.
template <typename Value>
absl::StatusOr<Value> ReadItem(std::string_view bytes,
                               absl::FunctionRef<bool(ByteReader&, Value&)> read) {
  ByteReader reader(bytes);
  Value value;
  if (!read(reader, value) || !reader.ok()) {
    return Error(StatusCode::kDataLoss, "store_corrupt",
                 "an item of a large event's work is malformed");
  }
  return value;
}

// As store-format.md has the texts of items, with a length of four bytes: PutText() has a varint.
void PutLongText(std::string_view text, std::string* out) {
  PutFixed32(static_cast<uint32_t>(text.size()), out);
  out->append(text);
}

}  // namespace

std::string WorkQueue::Encode(const Item& item) {
  std::string out;
  out.reserve(9 + item.key.size());
  out.push_back(static_cast<char>(item.kind));
  PutFixed32(item.entity.value(), &out);
  PutFixed32(item.attribute.value(), &out);
  out.append(item.key);
  return out;
}

absl::StatusOr<WorkQueue::Item> WorkQueue::Decode(std::string_view bytes) {
  return ReadItem<Item>(bytes, [](ByteReader& reader, Item& item) {
    const uint8_t kind = reader.Byte();
    item.kind = static_cast<Kind>(kind);
    item.entity = EntityId(reader.Fixed32());
    item.attribute = AttributeId(reader.Fixed32());
    item.key = reader.rest();
    return kind <= static_cast<uint8_t>(Kind::kTurn);
  });
}

// Those of one row are beside one another: it is read once for them.
WorkQueue::Item WorkQueue::ItemOf(const Give& give) {
  Item item{Kind::kGive, give.entity, AttributeId(), std::string()};
  PutLongText(give.target, &item.key);
  PutFixed32(give.rule, &item.key);
  PutFixed64(give.source.high, &item.key);
  PutFixed64(give.source.low, &item.key);
  item.key.push_back(give.taken ? 1 : 0);
  PutFixed32(give.op, &item.key);
  item.key.append(give.giver);
  return item;
}

absl::StatusOr<WorkQueue::Give> WorkQueue::GiveOf(const Item& item) {
  return ReadItem<Give>(item.key, [&item](ByteReader& reader, Give& give) {
    give.entity = item.entity;
    give.target = reader.Take(reader.Fixed32());
    give.rule = reader.Fixed32();
    give.source.high = reader.Fixed64();
    give.source.low = reader.Fixed64();
    give.taken = reader.Byte() != 0;
    give.op = reader.Fixed32();
    give.giver = reader.rest();
    return true;
  });
}

WorkQueue::Item WorkQueue::ItemOf(const Turn& turn) {
  Item item{Kind::kTurn, turn.entity, AttributeId(), std::string()};
  PutLongText(turn.key, &item.key);
  PutFixed32(turn.op, &item.key);
  for (const Turn::Reference& reference : turn.references) {
    PutFixed32(reference.attribute.value(), &item.key);
    PutLongText(reference.before, &item.key);
    PutLongText(reference.after, &item.key);
  }
  return item;
}

absl::StatusOr<WorkQueue::Turn> WorkQueue::TurnOf(const Item& item) {
  return ReadItem<Turn>(item.key, [&item](ByteReader& reader, Turn& turn) {
    turn.entity = item.entity;
    turn.key = reader.Take(reader.Fixed32());
    turn.op = reader.Fixed32();
    while (reader.ok() && !reader.rest().empty()) {
      Turn::Reference& reference = turn.references.emplace_back();
      reference.attribute = AttributeId(reader.Fixed32());
      reference.before = reader.Take(reader.Fixed32());
      reference.after = reader.Take(reader.Fixed32());
    }
    return true;
  });
}

void WorkQueue::Turn::Then(Turn later) {
  op = later.op;
  for (Reference& reference : later.references) {
    const auto at =
        std::ranges::lower_bound(references, reference.attribute, {}, &Reference::attribute);
    if (at != references.end() && at->attribute == reference.attribute) {
      at->after = std::move(reference.after);
    } else {
      references.insert(at, std::move(reference));
    }
  }
}

void WorkQueue::Add(uint32_t round, const Item& item) {
  const auto [at, added] = added_.insert({round, Encode(item)});
  bytes_ += added ? sizeof(WorkItem) + at->item.size() : 0;
}

absl::StatusOr<std::vector<std::string>> WorkQueue::Next(uint32_t round, std::string_view from,
                                                         size_t max) const {
  if (stored_) {
    return view_.ScanWork(round, from, max);
  }
  std::vector<std::string> items;
  for (auto it = added_.lower_bound({round, std::string(from)});
       it != added_.end() && it->round == round && items.size() < max; ++it) {
    items.push_back(it->item);
  }
  return items;
}

void WorkQueue::Done(uint32_t round, const std::string& item) {
  if (stored_) {
    done_.push_back({round, item});
    bytes_ += sizeof(WorkItem) + item.size();
  } else {
    added_.erase({round, item});
  }
}

absl::StatusOr<bool> WorkQueue::HasStoredGives(uint32_t round) const {
  if (!stored_) {
    return false;
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> first, view_.ScanWork(round, "", 1));
  if (first.empty()) {
    return false;
  }
  ASSIGN_OR_RETURN(const Item item, Decode(first.front()));
  return item.kind == Kind::kGive;
}

void WorkQueue::Spill(FoldBatch* batch) {
  for (const WorkItem& item : added_) {
    batch->work.emplace_back(item, true);
  }
  Finish(batch);
}

void WorkQueue::Finish(FoldBatch* batch) {
  for (WorkItem& item : done_) {
    batch->work.emplace_back(std::move(item), false);
  }
}

}  // namespace sluice::projectors
