#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gateways/debezium/transaction_assembler.h"

// A database whose transactions overlap, a connector that writes them into topics and is killed
// again and again, and a reader with little room that may be restarted too. What goes out is the
// list of commits: whole, in order, each once; and the rows that it makes are the database's.
// The seed is printed; SLUICE_SEED replays it, SLUICE_STEPS multiplies the histories.
namespace sluice::gateways {
namespace {

using RowKey = std::pair<std::string, int>;              // collection and key
using Rows = std::map<RowKey, std::pair<int, int64_t>>;  // value (0: deleted) and version

struct Change {
  std::string collection;
  int key = 0;
  int value = 0;
  int64_t lsn = 0;
  bool filtered = false;  // counted, and sent nowhere
  friend auto operator<=>(const Change&, const Change&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Change& change) {
    return out << change.collection << "[" << change.key << "]=" << change.value << "@"
               << change.lsn;
  }
};
struct Transaction {
  std::string id;
  int64_t commit_lsn = 0;
  std::vector<Change> changes;
};

struct Record {
  TableChange change;    // in a partition of a table
  TransactionMark mark;  // in the topic of transactions
};

// Tables a (two partitions) and b are read; c is another one of the database.
constexpr size_t kPartitions = 3;
size_t PartitionOf(const Change& change) {
  return change.collection == "public.a" ? static_cast<size_t>(change.key % 2) : 2;
}
bool IsRead(const Change& change) { return change.collection != "public.c"; }

// What may happen in a history.
struct Faults {
  bool crashes = false;      // of the connector
  bool lost_begins = false;  // a connector that goes on without a second BEGIN
  bool filters = false;      // changes that END counts and nobody sends
  bool reader_restarts = false;
  bool little_room = false;
};

class History {
 public:
  History(uint64_t seed, Faults faults) : engine_(seed), faults_(faults) {
    MakeTransactions();
    if (faults.little_room) {
      limits_.held_bytes_max = 100 * (2 + Below(20));
      limits_.set_bytes_max = 100 * (1 + Below(8));
      limits_.set_changes_max = 1 + Below(6);
    }
    Restart();
  }

  void Run() {
    for (int idle = 0; idle < 1'000;) {
      const size_t before = reads_ + sent_;
      if (!OneIn(3)) {
        Send();
      }
      for (uint64_t i = Below(6); i > 0; --i) {
        Read();
      }
      Drain();
      if (faults_.reader_restarts && OneIn(40) && sent_ < transactions_.size()) {
        Restart();
      }
      now_ += std::chrono::milliseconds(Below(200));
      const bool moved = reads_ + sent_ != before;
      idle = moved ? 0 : idle + 1;
    }
    Check();
  }

  const TransactionAssembler::Counters& counters() const { return total_; }

 private:
  uint64_t Below(uint64_t bound) { return engine_() % bound; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  // Up to three transactions are open at once; a row belongs to one of them at most.
  void MakeTransactions() {
    std::vector<Transaction> open;
    std::map<RowKey, std::string> locks;
    int64_t lsn = 1'000;
    int id = 700;
    int value = 0;
    const size_t count = 5 + Below(30);
    while (transactions_.size() < count) {
      if (open.empty() || (open.size() < 3 && OneIn(4))) {
        open.push_back({std::to_string(++id), 0, {}});
      }
      const size_t chosen = Below(open.size());
      Transaction& transaction = open[chosen];
      if (OneIn(5)) {
        transaction.commit_lsn = ++lsn;
        std::erase_if(locks, [&](const auto& lock) { return lock.second == transaction.id; });
        transactions_.push_back(transaction);
        open.erase(open.begin() + static_cast<ptrdiff_t>(chosen));
        continue;
      }
      const char* const tables[] = {"public.a", "public.a", "public.b", "public.c"};
      Change change{tables[Below(4)], static_cast<int>(Below(12)), OneIn(4) ? 0 : ++value, 0,
                    faults_.filters && OneIn(30)};
      const RowKey row(change.collection, change.key);
      if (locks.contains(row) && locks[row] != transaction.id) {
        continue;
      }
      // Rows that are inserted at once have one LSN.
      const bool at_once = !transaction.changes.empty() && OneIn(4) && !locks.contains(row) &&
                           transaction.changes.back().lsn == lsn;
      change.lsn = at_once ? lsn : (lsn += 1 + static_cast<int64_t>(Below(3)));
      locks[row] = transaction.id;
      transaction.changes.push_back(std::move(change));
    }
  }

  // The connector's next message: BEGIN, a change, or END.
  void Send() {
    if (sent_ == transactions_.size()) {
      return;
    }
    const Transaction& transaction = transactions_[sent_];
    if (!begun_) {
      begun_ = true;
      counts_.clear();
      first_counted_ = sent_changes_;
      if (!without_begin_) {
        Append(kPartitions, Record{{}, {false, transaction.id, transaction.commit_lsn - 1, 0, {}}});
      }
      without_begin_ = false;
      return;
    }
    if (sent_changes_ < transaction.changes.size()) {
      SendChange(transaction, transaction.changes[sent_changes_++]);
    } else {
      TransactionMark end{true,
                          transaction.id,
                          transaction.commit_lsn,
                          sent_changes_ - first_counted_,
                          {counts_.begin(), counts_.end()}};
      Append(kPartitions, Record{{}, std::move(end)});
      ++sent_;
      sent_changes_ = 0;
      begun_ = false;
    }
    if (OneIn(15)) {
      Flush();
    }
    if (faults_.crashes && OneIn(25)) {
      Crash();
    }
  }

  void SendChange(const Transaction& transaction, const Change& change) {
    ++counts_[change.collection];
    if (!IsRead(change) || change.filtered) {
      return;
    }
    Record record;
    ChangeEnvelope& event = record.change.event;
    event.op = change.value == 0 ? ChangeOp::kDelete : ChangeOp::kUpdate;
    event.after = std::to_string(change.value);
    event.collection = change.collection;
    event.lsn = change.lsn;
    event.transaction = transaction.id;
    record.change.key.key = std::to_string(change.key);
    record.change.bytes = 100;
    Append(PartitionOf(change), std::move(record));
  }

  void Append(size_t partition, Record record) {
    record.change.offset = Offset(static_cast<int64_t>(topics_[partition].size()));
    topics_[partition].push_back(std::move(record));
  }

  // All that was sent is safe in every partition, and the connector has noted where it is.
  void Flush() {
    flushed_ = sent_;
    flushed_changes_ = sent_changes_;
    for (size_t i = 0; i <= kPartitions; ++i) {
      safe_[i] = topics_[i].size();
    }
  }

  // Of what is not safe each partition keeps as much as it has, at least what was read of it. The
  // connector resumes where it noted, amid a transaction too, and counts anew.
  void Crash() {
    for (size_t i = 0; i <= kPartitions; ++i) {
      const size_t least = std::max(safe_[i], seen_[i]);
      topics_[i].resize(least + Below(topics_[i].size() - least + 1));
    }
    sent_ = flushed_;
    sent_changes_ = flushed_changes_;
    begun_ = false;
    without_begin_ = faults_.lost_begins && sent_changes_ > 0 && OneIn(2);
  }

  void Read() {
    const size_t partition = Below(kPartitions + 1);
    size_t& at = read_[partition];
    const bool paused =
        partition == kPartitions ? assembler_->marks_paused() : assembler_->IsPaused(partition);
    if (paused || at >= topics_[partition].size()) {
      return;
    }
    const Record& record = topics_[partition][at++];
    seen_[partition] = std::max(seen_[partition], at);
    ++reads_;
    if (partition == kPartitions) {
      assembler_->AddMark(record.change.offset, record.mark, now_);
    } else {
      assembler_->AddChange(partition, record.change);
    }
  }

  void Drain() {
    while (auto set = assembler_->Take()) {
      TakeSet(*std::move(set));
      ++reads_;
    }
    for (const auto& [partition, offset] : assembler_->TakeSeeks()) {
      read_[partition] = static_cast<size_t>(offset.value());
      ++reads_;
    }
    if (assembler_->wants_ends(now_)) {
      std::vector<Offset> ends;
      for (size_t i = 0; i < kPartitions; ++i) {
        ends.emplace_back(static_cast<int64_t>(topics_[i].size()));
      }
      // Until all is sent nothing is missing for good.
      if (sent_ == transactions_.size() || !faults_.filters) {
        assembler_->SetEnds(std::move(ends), now_);
      }
    }
    EXPECT_LE(assembler_->held_bytes(), limits_.held_bytes_max + limits_.set_bytes_max + 600);
  }

  void TakeSet(AssembledSet set) {
    ASSERT_TRUE(set.lsn.has_value());
    std::vector<Change> changes;
    for (const TableChange& change : set.changes) {
      changes.push_back({change.event.collection, std::stoi(change.key.key),
                         std::stoi(change.event.after), *change.event.lsn, false});
      auto& [value, version] = rows_[{changes.back().collection, changes.back().key}];
      if (*set.lsn >= version) {
        value = changes.back().value;
        version = *set.lsn;
      }
    }
    if (out_.empty() || out_.back().id != set.transaction) {
      out_.push_back({set.transaction, *set.lsn, {}});
    }
    auto& all = out_.back().changes;
    all.insert(all.end(), changes.begin(), changes.end());
    if (set.settled) {
      Keep();
    }
  }

  void Keep() {
    for (size_t i = 0; i < kPartitions; ++i) {
      kept_[i] = assembler_->position(i);
    }
    kept_[kPartitions] = assembler_->marks_position();
    kept_lsn_ = assembler_->lsn_done();
    kept_out_ = out_;
    // A set that is settled leaves whole transactions behind: the rows are the database's then.
    if (!faults_.crashes && !faults_.filters && !faults_.reader_restarts) {
      EXPECT_EQ(Values(rows_), Expected(out_.size()));
    }
  }

  void Restart() {
    if (assembler_ != nullptr) {
      AddCounters();
    }
    std::vector<TransactionAssembler::Partition> partitions;
    for (size_t i = 0; i < kPartitions; ++i) {
      partitions.push_back({i < 2 ? "public.a" : "public.b", kept_[i]});
      read_[i] = static_cast<size_t>(kept_[i].value());
    }
    read_[kPartitions] = static_cast<size_t>(kept_[kPartitions].value());
    out_ = kept_out_;
    assembler_ =
        std::make_unique<TransactionAssembler>(limits_, partitions, kept_[kPartitions], kept_lsn_);
  }

  void AddCounters() {
    const auto& counters = assembler_->counters();
    total_.repeated += counters.repeated;
    total_.late += counters.late;
    total_.left_over += counters.left_over;
    total_.incomplete += counters.incomplete;
    total_.split += counters.split;
    total_.skipped += counters.skipped;
  }

  static std::map<RowKey, int> Values(const Rows& rows) {
    std::map<RowKey, int> values;
    for (const auto& [row, value] : rows) {
      if (value.first != 0) {
        values[row] = value.first;
      }
    }
    return values;
  }

  // The tables that are read, after the first `outs` transactions that have changes there.
  std::map<RowKey, int> Expected(size_t outs) const {
    std::map<RowKey, int> values;
    for (const Transaction& transaction : transactions_) {
      bool any = false;
      for (const Change& change : transaction.changes) {
        any = any || IsRead(change);
      }
      if (any && outs-- == 0) {
        break;
      }
      for (const Change& change : transaction.changes) {
        if (IsRead(change) && !change.filtered) {
          values[{change.collection, change.key}] = change.value;
        }
      }
    }
    std::erase_if(values, [](const auto& value) { return value.second == 0; });
    return values;
  }

  void Check() {
    AddCounters();
    EXPECT_EQ(sent_, transactions_.size());
    EXPECT_EQ(Values(rows_), Expected(SIZE_MAX));
    if (faults_.reader_restarts || total_.late != 0) {
      return;  // what was out may come out again, or in pieces
    }
    std::vector<Transaction> expected;
    for (Transaction transaction : transactions_) {
      std::erase_if(transaction.changes,
                    [](const Change& change) { return !IsRead(change) || change.filtered; });
      if (!transaction.changes.empty()) {
        expected.push_back(std::move(transaction));
      }
    }
    ASSERT_EQ(out_.size(), expected.size());
    for (size_t i = 0; i < out_.size(); ++i) {
      EXPECT_EQ(out_[i].id, expected[i].id);
      EXPECT_EQ(out_[i].commit_lsn, expected[i].commit_lsn);
      const bool in_order = total_.split == 0;
      if (!in_order) {  // parts are in order within a partition
        std::ranges::sort(out_[i].changes);
        std::ranges::sort(expected[i].changes);
      }
      const auto by_row = [](const Change& a, const Change& b) {
        return std::tuple(a.lsn, a.collection, a.key) < std::tuple(b.lsn, b.collection, b.key);
      };
      std::ranges::stable_sort(out_[i].changes, by_row);
      std::ranges::stable_sort(expected[i].changes, by_row);
      EXPECT_EQ(out_[i].changes, expected[i].changes) << out_[i].id;
    }
  }

  std::mt19937_64 engine_;
  const Faults faults_;
  AssemblerLimits limits_;
  std::vector<Transaction> transactions_;  // in the order of their commits

  // The connector.
  std::vector<Record> topics_[kPartitions + 1];
  size_t safe_[kPartitions + 1] = {};
  size_t sent_ = 0;  // transactions
  size_t sent_changes_ = 0;
  size_t first_counted_ = 0;
  bool begun_ = false;
  bool without_begin_ = false;
  std::map<std::string, uint64_t> counts_;
  size_t flushed_ = 0;
  size_t flushed_changes_ = 0;

  // The reader.
  std::unique_ptr<TransactionAssembler> assembler_;
  size_t read_[kPartitions + 1] = {};
  size_t seen_[kPartitions + 1] = {};
  Offset kept_[kPartitions + 1] = {};
  std::optional<int64_t> kept_lsn_;
  size_t reads_ = 0;
  SteadyTime now_{};
  std::vector<Transaction> out_;
  std::vector<Transaction> kept_out_;
  Rows rows_;
  TransactionAssembler::Counters total_;
};

uint64_t Seed() {
  const char* const given = std::getenv("SLUICE_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::cout << "SLUICE_SEED=" << seed << std::endl;
  return seed;
}

uint64_t Histories() {
  const char* const given = std::getenv("SLUICE_STEPS");
  return 300 * (given == nullptr ? 1 : std::strtoull(given, nullptr, 10));
}

// Runs histories, and says what they came to see.
TransactionAssembler::Counters RunHistories(Faults faults) {
  const uint64_t seed = Seed();
  TransactionAssembler::Counters total;
  for (uint64_t i = 0; i < Histories() && !::testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE(::testing::Message() << "history " << i);
    History history(seed + i, faults);
    history.Run();
    total.repeated += history.counters().repeated;
    total.late += history.counters().late;
    total.incomplete += history.counters().incomplete;
    total.split += history.counters().split;
    total.skipped += history.counters().skipped;
  }
  return total;
}

TEST(AssemblerPropertyTest, TransactionsComeOutWholeAndInOrder) {
  const auto seen = RunHistories({});
  EXPECT_EQ(seen.repeated + seen.late + seen.incomplete + seen.split + seen.skipped, 0U);
}

TEST(AssemblerPropertyTest, WhateverTheConnectorRepeats) {
  EXPECT_GT(RunHistories({.crashes = true}).repeated, 0U);
}

TEST(AssemblerPropertyTest, InLittleRoom) {
  const auto seen = RunHistories({.little_room = true});
  EXPECT_GT(seen.split, 0U);
  EXPECT_GT(seen.skipped, 0U);
}

TEST(AssemblerPropertyTest, InLittleRoomWithRepeats) {
  const auto seen = RunHistories({.crashes = true, .little_room = true});
  EXPECT_GT(seen.repeated, 0U);
  EXPECT_GT(seen.skipped, 0U);
}

TEST(AssemblerPropertyTest, WithChangesThatNobodySent) {
  EXPECT_GT(RunHistories({.crashes = true, .filters = true}).incomplete, 0U);
}

TEST(AssemblerPropertyTest, RowsAreTheDatabasesWhereTheReaderIsRestarted) {
  RunHistories({.crashes = true, .reader_restarts = true, .little_room = true});
}

TEST(AssemblerPropertyTest, RowsAreTheDatabasesWhereCountsAreTooLow) {
  EXPECT_GT(RunHistories({.crashes = true, .lost_begins = true}).late, 0U);
}

}  // namespace
}  // namespace sluice::gateways
