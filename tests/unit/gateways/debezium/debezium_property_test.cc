// Random transactions of a small database, written as Debezium would, which is restarted and
// repeats itself, loses its slot and takes snapshots; read by the connector, which is killed and
// goes on from its cursor. What the sink holds after each set is what the database held after some
// commit, and later ones never go back. SLUICE_SEED replays one history.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "gateways/debezium/debezium_connector.h"
#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "tests/support/change_events.h"
#include "tests/support/fake_clock.h"
#include "tests/support/gateways/debezium_messages.h"
#include "tests/support/gateways/recording_sink.h"
#include "tests/support/memory_records.h"
#include "tests/support/model_store.h"

namespace sluice::gateways {
namespace {

constexpr char kMarksTopic[] = "shop.transaction";
constexpr char kKept[] = "__debezium_unavailable_value";
constexpr int kHappenings = 60;
const std::vector<std::string> kTables = {"t0", "t1"};

struct ModelRow {
  int v = 0;
  std::string note;
};
// By table and key.
using Model = std::map<std::string, std::map<int, ModelRow>>;

std::string TextOf(const std::string& key, const std::string& v, const std::string& note) {
  return key + "=" + v + "/" + note + ";";
}
std::string TextOf(const Model& model) {
  std::string text;
  for (const auto& [table, rows] : model) {
    std::map<std::string, std::string> by_text;
    for (const auto& [key, row] : rows) {
      by_text[std::to_string(key)] = TextOf(std::to_string(key), std::to_string(row.v), row.note);
    }
    text += table + ":";
    for (const auto& [key, row] : by_text) text += row;
  }
  return text;
}

struct Transaction {
  std::string id;
  int64_t begin_lsn = 0;
  int64_t commit_lsn = 0;
  std::vector<testing::DebeziumChange> changes;
};

// What Debezium writes in one go: a transaction, or a snapshot.
struct Unit {
  std::optional<Transaction> transaction;
  std::vector<testing::DebeziumChange> snapshot;
};

// What it holds is what the real fold makes of the sets.
class FoldedSink : public RecordingSink {
 public:
  explicit FoldedSink(OrgId org) : RecordingSink(std::move(org)) { Fold(testing::OpenOrg(1)); }

  absl::Status Append(SourceSet set) override {
    v1::ChangeSet folded = testing::MakeSet(set.ops, fmt::format("set {}", next_));
    folded.set_incarnation(1);
    folded.set_only_changes(true);
    RETURN_IF_ERROR(RecordingSink::Append(std::move(set)));
    Fold(folded);
    on_append();
    return absl::OkStatus();
  }
  absl::StatusOr<std::shared_ptr<const schemas::EntitySchema>> Define(
      const OrgId& org, const v1::ProvisioningRequest::PutEntity& entity) override {
    auto schema = RecordingSink::Define(org, entity);
    if (schema.ok()) {
      v1::EntityDefined defined;
      *defined.mutable_schema() = (*schema)->proto();
      Fold(defined);
    }
    return schema;
  }
  Rows FoldedRows(uint32_t entity) const {
    Rows rows;
    for (const auto& [key, record] : store_.content().records) {
      if (key.entity.value() == entity && !record.deleted) {
        rows[key.key] = {record.row, record.version.value_or(0)};
      }
    }
    return rows;
  }
  std::function<void()> on_append;

 private:
  void Fold(const google::protobuf::Message& payload) {
    const std::vector<eventlog::StoredEvent> events = {testing::MakeEvent(next_++, payload)};
    for (bool more = true; more;) {
      const auto result = store_.Apply({}, events);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_TRUE(result->rejected.empty()) << result->rejected[0].code;
      more = result->partial;
    }
  }

  testing::ModelStore store_;
  int64_t next_ = 1;
};

class History {
 public:
  History(uint64_t seed, int partitions_max) : random_(seed) {
    for (const std::string& table : kTables) {
      partitions_[table] = Pick(1, partitions_max);
      topics_.Create("shop.public." + table, partitions_[table]);
      v1::SourceEntity& entity = *context_.settings.add_entities();
      entity.set_name(table);
      entity.set_topic("shop.public." + table);
      model_[table][0] = {1, "first"};
    }
    topics_.Create(kMarksTopic, 1);
    context_.org = *OrgId::Parse("acme");
    context_.settings.set_name("shop");
    context_.settings.set_transactions(kMarksTopic);
    options_.log_brokers = "kafka:9092";
    states_.push_back(TextOf(model_));
    sink_.keep_sets = false;
    sink_.on_append = [this] { CheckSet(); };
    EmitSnapshot();
  }

  void Run() {
    const auto connector = MakeDebeziumConnector(
        options_, testing::MemoryRecords::Factory(topics_, [this] { OnEmpty(); }), clock_, nullptr);
    while (!done_ && !::testing::Test::HasFailure()) {
      sink_.fail_at.reset();
      if (Pick(0, 2) == 0) {
        sink_.fail_at = Pick(0, 15);
        sink_.failure = Error(absl::StatusCode::kUnavailable, "log_unavailable", "killed");
      }
      context_.cursor = sink_.cursor();
      const absl::Status status = connector->Run(context_, sink_);
      EXPECT_TRUE(status.ok() || ErrorCode(status) == "log_unavailable") << status;
    }
    EXPECT_EQ(SinkText(), states_.back());
    EXPECT_TRUE(sink_.rejected.empty());
  }
  int strict_checks() const { return strict_checks_; }

 private:
  int Pick(int from, int to) { return std::uniform_int_distribution<int>(from, to)(random_); }

  // ---- The database ----

  std::string RowJson(int key, const ModelRow& row, bool kept) {
    return fmt::format(R"({{"id":{},"v":{},"note":"{}"}})", key, row.v, kept ? kKept : row.note);
  }
  static std::string KeyJson(int key) { return fmt::format(R"({{"id":{}}})", key); }

  // A random change of keys that no open transaction has touched.
  void AddChange(Transaction* transaction, Model* model,
                 std::set<std::pair<std::string, int>>* locked,
                 std::set<std::pair<std::string, int>>* mine) {
    const std::string& table = kTables[static_cast<size_t>(Pick(0, 1))];
    auto& rows = (*model)[table];
    const int key = Pick(0, 11);
    const auto is_free = [&](int one) {
      return !locked->contains({table, one}) || mine->contains({table, one});
    };
    if (!is_free(key)) return;
    testing::DebeziumChange change;
    change.table = table;
    change.transaction = transaction->id;
    change.key = KeyJson(key);
    change.lsn = (lsn_ += 8);
    if (transaction->changes.empty()) transaction->begin_lsn = change.lsn;
    change.order = static_cast<int64_t>(transaction->changes.size()) + 1;
    const auto row = rows.find(key);
    if (row == rows.end()) {
      rows[key] = {Pick(0, 99), fmt::format("note {}", lsn_)};
      change.after = RowJson(key, rows[key], false);
    } else if (Pick(0, 3) == 0) {
      change.op = "d";
      change.before = KeyJson(key);
      rows.erase(row);
    } else if (const int other = Pick(0, 11);
               Pick(0, 3) == 0 && !rows.contains(other) && is_free(other)) {
      const ModelRow moved = {Pick(0, 99), row->second.note};
      change.op = "d";
      rows.erase(row);
      rows[other] = moved;
      transaction->changes.push_back(change);
      locked->insert({table, key});
      mine->insert({table, key});
      change.op = "c";
      change.old_key = KeyJson(key);
      change.key = KeyJson(other);
      change.order += 1;
      change.after = RowJson(other, moved, true);
      locked->insert({table, other});
      mine->insert({table, other});
      transaction->changes.push_back(change);
      return;
    } else {
      const bool kept = Pick(0, 1) == 0;
      row->second.v = Pick(0, 99);
      if (!kept) row->second.note = fmt::format("note {}", lsn_);
      change.op = "u";
      change.after = RowJson(key, row->second, kept);
    }
    locked->insert({table, key});
    mine->insert({table, key});
    transaction->changes.push_back(change);
  }

  Transaction Begin() {
    Transaction transaction;
    transaction.id = std::to_string(++xid_);
    return transaction;
  }

  void Commit(Transaction transaction, bool emitted) {
    if (transaction.changes.empty()) return;
    transaction.commit_lsn = (lsn_ += 8);
    states_.push_back(TextOf(model_));
    if (emitted) Emit({.transaction = std::move(transaction), .snapshot = {}});
  }

  // One transaction, or two that overlap: then the model is told of the one that commits first
  // when it does, as the keys are apart.
  void Transact(bool emitted) {
    std::set<std::pair<std::string, int>> locked;
    std::set<std::pair<std::string, int>> mine;
    Transaction first = Begin();
    if (Pick(0, 2) != 0) {
      for (int i = Pick(1, 8); i > 0; --i) AddChange(&first, &model_, &locked, &mine);
      Commit(std::move(first), emitted);
      return;
    }
    Transaction second = Begin();
    std::set<std::pair<std::string, int>> others;
    Model late = model_;  // with the changes of the second alone
    for (int i = Pick(2, 10); i > 0; --i) {
      if (Pick(0, 1) == 0) {
        AddChange(&first, &model_, &locked, &mine);
      } else {
        AddChange(&second, &late, &locked, &others);
      }
    }
    Commit(std::move(first), emitted);
    for (const auto& [table, key] : others) {
      const auto row = late[table].find(key);
      if (row == late[table].end()) {
        model_[table].erase(key);
      } else {
        model_[table][key] = row->second;
      }
    }
    Commit(std::move(second), emitted);
  }

  void Truncate() {
    Transaction transaction = Begin();
    testing::DebeziumChange change;
    change.op = "t";
    change.table = kTables[static_cast<size_t>(Pick(0, 1))];
    change.transaction = transaction.id;
    change.lsn = transaction.begin_lsn = (lsn_ += 8);
    model_[change.table].clear();
    transaction.changes.push_back(change);
    Commit(std::move(transaction), true);
  }

  // ---- Debezium ----

  void Emit(Unit unit) {
    if (unit.transaction.has_value()) {
      EmitTransaction(*unit.transaction, unit.transaction->changes.size(), true);
    } else {
      EmitRows(unit.snapshot, unit.snapshot.size());
    }
    units_.push_back(std::move(unit));
  }

  void EmitTransaction(const Transaction& transaction, size_t changes, bool end) {
    Queue(kMarksTopic, 0, testing::DebeziumBegin(transaction.id, transaction.begin_lsn));
    std::map<std::string, int> counts;
    for (size_t i = 0; i < changes; ++i) {
      EmitChange(transaction.changes[i]);
      ++counts[transaction.changes[i].table];
    }
    if (end) {
      Queue(kMarksTopic, 0,
            testing::DebeziumEnd(transaction.id, transaction.commit_lsn,
                                 {counts.begin(), counts.end()}));
    }
  }

  void EmitRows(const std::vector<testing::DebeziumChange>& rows, size_t count) {
    for (size_t i = 0; i < count; ++i) EmitChange(rows[i]);
  }

  void EmitChange(const testing::DebeziumChange& change) {
    const int count = partitions_[change.table];
    const int partition =
        change.key.empty() ? 0 : static_cast<int>(std::hash<std::string>()(change.key) % count);
    Queue("shop.public." + change.table, partition, testing::DebeziumRecord(change));
    if (change.op == "d") {
      Queue("shop.public." + change.table, partition, testing::DebeziumTombstone(change.key));
    }
  }

  std::vector<testing::DebeziumChange> SnapshotRows() {
    const int64_t at = lsn_;
    std::vector<testing::DebeziumChange> rows;
    for (const std::string& table : kTables) {
      const size_t begin = rows.size();
      for (const auto& [key, row] : model_[table]) {
        testing::DebeziumChange& change = rows.emplace_back();
        change.op = "r";
        change.table = table;
        change.key = KeyJson(key);
        change.after = RowJson(key, row, false);
        change.snapshot = "true";
        change.lsn = at;
      }
      if (rows.size() > begin) {
        rows[begin].snapshot = begin == 0 ? "first" : "first_in_data_collection";
        if (!(begin == 0 && rows.size() == 1)) rows.back().snapshot = "last_in_data_collection";
      }
    }
    rows.back().snapshot = "last";
    return rows;
  }

  void EmitSnapshot() {
    strict_ = false;
    // Rows of a table that is empty are not removed by a snapshot, as nothing tells of it.
    for (const std::string& table : kTables) {
      if (model_[table].empty()) {
        model_[table][0] = {1, "not empty"};
        (lsn_ += 8);
        states_.push_back(TextOf(model_));
      }
    }
    units_.clear();  // nothing before it is sent again
    if (Pick(0, 3) == 0) {
      // It fails amid the first attempt.
      const auto rows = SnapshotRows();
      EmitRows(rows, static_cast<size_t>(Pick(0, static_cast<int>(rows.size()) - 1)));
      if (Pick(0, 1) == 0) Transact(false);
      (lsn_ += 8);
      EmitSnapshot();
      return;
    }
    Unit unit;
    unit.snapshot = SnapshotRows();
    EmitRows(unit.snapshot, unit.snapshot.size());
    (lsn_ += 8);
  }

  // Goes on from before what it had written last, perhaps amid a transaction.
  void Restart() {
    if (units_.empty()) return;
    const size_t back =
        static_cast<size_t>(Pick(1, static_cast<int>(std::min<size_t>(units_.size(), 5))));
    for (size_t i = units_.size() - back; i < units_.size(); ++i) {
      const Transaction& transaction = *units_[i].transaction;
      if (Pick(0, 4) == 0) {
        EmitTransaction(transaction,
                        static_cast<size_t>(Pick(0, static_cast<int>(transaction.changes.size()))),
                        false);
      }
      EmitTransaction(transaction, transaction.changes.size(), true);
    }
  }

  // ---- Kafka: records of one producer become visible in any order over partitions ----

  void Queue(const std::string& topic, int partition, eventlog::Record record) {
    queued_[{topic, partition}].push_back(std::move(record));
  }
  bool Release(int count) {
    std::erase_if(queued_, [](const auto& entry) { return entry.second.empty(); });
    if (queued_.empty()) return false;
    auto at = queued_.begin();
    std::advance(at, Pick(0, static_cast<int>(queued_.size()) - 1));
    for (int i = 0; i < count && !at->second.empty(); ++i) {
      topics_.Append(at->first.first, at->first.second, std::move(at->second.front()));
      at->second.pop_front();
      if (Pick(0, 15) == 0) topics_.AppendGap(at->first.first, at->first.second);
    }
    return true;
  }

  // Nothing is there to be read: something happens.
  void OnEmpty() {
    clock_.Advance(std::chrono::milliseconds(Pick(0, 100)));
    if (Release(Pick(1, 6))) {
      quiet_ = 0;
      if (Pick(0, 2) == 0 && happened_ % 12 != 0) Happen();
      return;
    }
    if (++quiet_ == 8) {
      // All is read, and time enough has passed for what is waited for.
      EXPECT_EQ(SinkText(), states_.back());
      state_ = states_.size() - 1;
      strict_ = true;
    }
    clock_.Advance(std::chrono::seconds(10));
    if (quiet_ >= 8) {
      if (happened_ < kHappenings) {
        for (int i = Pick(1, 11); i > 0; --i) Happen();
      } else {
        done_ = true;
        sink_.stop_at = 0;
      }
    }
  }

  void Happen() {
    if (++happened_ > kHappenings) return;
    const int what = Pick(0, 19);
    if (what < 14) {
      Transact(true);
    } else if (what < 17) {
      Restart();
    } else if (what == 17) {
      Truncate();
    } else {
      // The slot was lost, and with it what happened meanwhile.
      for (int i = Pick(0, 3); i > 0; --i) Transact(false);
      EmitSnapshot();
    }
  }

  // ---- What came of it ----

  std::string SinkText() {
    std::string text;
    for (const std::string& table : kTables) {
      text += table + ":";
      const auto schema = sink_.Find(OrgId(), table);
      if (schema == nullptr) continue;
      const auto rows = sink_.FoldedRows(schema->id().value());
      EXPECT_TRUE(rows == sink_.RowsOf(table)) << "RecordingSink is not as the fold";
      for (const auto& [key, row] : rows) {
        const auto value = [&](const char* name) {
          const auto* const attribute = schema->Find(name);
          return attribute == nullptr
                     ? std::string("(none)")
                     : schemas::AttributeText(*attribute, row.bytes)->value_or("(null)");
        };
        text += TextOf(key, value("v"), value("note"));
      }
    }
    return text;
  }

  void CheckSet() {
    if (!strict_) return;
    const std::string text = SinkText();
    const auto found =
        std::find(states_.begin() + static_cast<ptrdiff_t>(state_), states_.end(), text);
    if (found == states_.end()) {
      ADD_FAILURE() << "no commit left the database so, at or after " << states_[state_] << ": "
                    << text;
      done_ = true;
      return;
    }
    state_ = static_cast<size_t>(found - states_.begin());
    ++strict_checks_;
  }

  std::mt19937_64 random_;
  testing::FakeClock clock_;
  testing::MemoryTopics topics_;
  DebeziumOptions options_;
  SourceContext context_;
  FoldedSink sink_{*OrgId::Parse("acme")};

  std::map<std::string, int> partitions_;
  Model model_;
  std::vector<std::string> states_;  // after each commit
  int xid_ = 0;
  int64_t lsn_ = 1'000;
  std::vector<Unit> units_;  // since the last snapshot
  std::map<std::pair<std::string, int>, std::deque<eventlog::Record>> queued_;

  int happened_ = 0;
  int quiet_ = 0;
  bool done_ = false;
  bool strict_ = false;
  size_t state_ = 0;  // the sink's, of states_
  int strict_checks_ = 0;
};

// Without a `fixed` seed another one each time.
void CheckHistories(int partitions_max, std::optional<uint64_t> fixed) {
  const char* const given = std::getenv("SLUICE_SEED");
  const uint64_t first =
      given != nullptr ? std::stoull(given) : fixed.value_or(std::random_device()());
  const int count = given == nullptr ? 60 : 1;
  int strict_checks = 0;
  for (int i = 0; i < count; ++i) {
    SCOPED_TRACE(fmt::format("SLUICE_SEED={}", first + static_cast<uint64_t>(i)));
    History history(first + static_cast<uint64_t>(i), partitions_max);
    history.Run();
    if (::testing::Test::HasFailure()) return;
    strict_checks += history.strict_checks();
  }
  EXPECT_TRUE(given != nullptr || strict_checks > 100) << strict_checks;
}

TEST(DebeziumProperty, OnePartitionATable) { CheckHistories(1, std::nullopt); }
TEST(DebeziumProperty, SeveralPartitionsATable) { CheckHistories(3, 1); }

}  // namespace
}  // namespace sluice::gateways
