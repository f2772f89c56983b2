#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "projectors/model/source_chain.h"
#include "tests/support/change_events.h"
#include "tests/support/model_store.h"
#include "tests/support/random_history.h"

// Workers that are killed, paused and take over from one another make one chain, which everybody
// who reads the log finds alike.
namespace sluice::projectors {
namespace {

using eventlog::StoredEvent;

constexpr uint32_t kRead = 1;  // the entity

// What a source holds: row n, for n from 0 on. Its cursor is the row that comes next.
std::string KeyOf(size_t row) { return "R" + std::to_string(row); }

class SourceLog {
 public:
  SourceLog() {
    Append(testing::OpenOrg(1));
    Append(testing::DefineEntity(kRead, "read", {{1, "id"}, {2, "by"}}));
    Define(1);
  }

  void Define(int64_t epoch) {
    v1::SourceDefined defined;
    defined.mutable_settings()->set_name("crm");
    defined.mutable_settings()->set_kind("odata");
    defined.set_epoch(epoch);
    binding_.set_name("crm");
    binding_.set_epoch(epoch);
    Append(defined);
  }
  void Append(const google::protobuf::Message& message) {
    events_.push_back(testing::MakeEvent(static_cast<int64_t>(events_.size()), message));
  }

  // What was taken of the first `count` events, as who follows the log finds it.
  v1::SourceState Follow(size_t count, std::vector<std::string>* taken = nullptr) const {
    v1::SourceState state;
    std::optional<v1::SourceBinding> binding;
    for (const StoredEvent& event : std::span(events_).first(count)) {
      v1::SourceDefined defined;
      v1::ChangeSet set;
      if (event.event.type == "sluice.v1.SourceDefined" &&
          defined.ParseFromString(event.event.value)) {
        binding.emplace().set_epoch(defined.epoch());
      } else if (event.event.type == "sluice.v1.ChangeSet" &&
                 set.ParseFromString(event.event.value) &&
                 TakeStep(binding.has_value() ? &*binding : nullptr, set, event.offset, &state) ==
                     StepVerdict::kTaken &&
                 taken != nullptr) {
        taken->push_back(set.id());
      }
    }
    return state;
  }

  int64_t epoch() const { return binding_.epoch(); }
  const std::vector<StoredEvent>& events() const { return events_; }

 private:
  std::vector<StoredEvent> events_;
  v1::SourceBinding binding_;
};

// Reads on from what was taken, and pipelines: what it appends goes on from what it appended last,
// whether that was taken or not. What it has made reaches the log late, and perhaps twice.
class Worker {
 public:
  Worker(std::string name, std::mt19937_64& random) : name_(std::move(name)), random_(random) {}

  // As after a start, or a takeover: from what the log says, up to some place.
  void Start(const SourceLog& log) {
    made_.clear();
    ++attempt_;
    state_ = log.Follow(log.events().size() - random_() % 3);
    epoch_ = log.epoch();
    if (state_.epoch() != epoch_) {
      state_.clear_last_id();
      state_.clear_cursor();
    }
  }

  void Read() {
    const size_t row = state_.cursor().empty() ? 0 : std::stoull(state_.cursor());
    v1::ChangeSet set = testing::MakeSet(
        {}, name_ + "/" + std::to_string(attempt_) + "/" + std::to_string(next_++));
    set.set_only_changes(true);
    for (size_t i = 0; i < random_() % 4; ++i) {
      const std::string key = KeyOf(row + static_cast<size_t>(set.ops_size()));
      *set.add_ops() =
          testing::Upsert(kRead, key, testing::RowWriter().Text(1, key).Text(2, set.id()).bytes(),
                          static_cast<int64_t>(state_.number() + 1));
    }
    v1::SourceStep& step = *set.mutable_step();
    step.set_source("crm");
    step.set_epoch(epoch_);
    step.set_after(state_.last_id());
    step.set_number(state_.number() + 1);
    step.set_cursor(std::to_string(row + static_cast<size_t>(set.ops_size())));
    state_.set_last_id(set.id());
    state_.set_number(step.number());
    state_.set_cursor(step.cursor());
    made_.push_back(std::move(set));
  }

  // What was made first, in order; a write whose answer was lost is repeated with what came behind.
  void Write(SourceLog* log) {
    const size_t count = std::min<size_t>(made_.size(), 1 + random_() % 3);
    const bool lost = random_() % 5 == 0;
    for (size_t i = 0; i < count; ++i) {
      log->Append(made_[i]);
    }
    if (!lost) {
      made_.erase(made_.begin(), made_.begin() + static_cast<std::ptrdiff_t>(count));
    }
  }
  bool idle() const { return made_.empty(); }

 private:
  const std::string name_;
  std::mt19937_64& random_;
  size_t attempt_ = 0;
  size_t next_ = 0;
  int64_t epoch_ = 0;
  v1::SourceState state_;
  std::vector<v1::ChangeSet> made_;
};

// The sets of the newest epoch that were taken make one list: each goes on from the one before, and
// their rows follow one another without a gap and without a repetition.
void ExpectOneList(const SourceLog& log, const v1::SourceState& state,
                   const std::vector<std::string>& taken) {
  std::map<std::string, v1::ChangeSet> sets;
  for (const StoredEvent& event : log.events()) {
    v1::ChangeSet set;
    if (event.event.type == "sluice.v1.ChangeSet" && set.ParseFromString(event.event.value)) {
      sets[set.id()] = set;
    }
  }
  std::string before;
  size_t row = 0;
  uint64_t number = 0;
  int64_t epoch = 0;
  for (const std::string& id : taken) {
    const v1::ChangeSet& set = sets.at(id);
    if (set.step().epoch() != epoch) {
      ASSERT_GT(set.step().epoch(), epoch);
      epoch = set.step().epoch();
      before.clear();
      row = 0;
    }
    ASSERT_EQ(set.step().after(), before);
    ASSERT_EQ(set.step().number(), ++number) << "numbers go on over epochs";
    for (const v1::Operation& op : set.ops()) {
      ASSERT_EQ(op.key(), KeyOf(row++));
    }
    before = id;
  }
  ASSERT_EQ(state.number(), number);
  ASSERT_EQ(state.last_id(), before);
  if (!taken.empty()) {
    ASSERT_EQ(state.cursor(), std::to_string(row));
  }
}

TEST(SourceChainProperty, WorkersMakeOneChain) {
  const uint64_t seed = testing::TestSeed();
  size_t stale = 0;
  size_t taken_in_all = 0;
  for (size_t round = 0; round < testing::TestSteps(200); ++round) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " round " << round);
    std::mt19937_64 random(seed + round);
    SourceLog log;
    std::vector<Worker> workers;
    for (const char* name : {"a", "b", "c"}) {
      workers.emplace_back(name, random).Start(log);
    }
    for (int step = 0; step < 120; ++step) {
      Worker& worker = workers[random() % workers.size()];
      switch (random() % 12) {
        case 0:
        case 1:
          worker.Start(log);  // killed, or taken over: what it had made is lost
          break;
        case 2:
          if (random() % 6 == 0) {
            log.Define(log.epoch() + 1 + static_cast<int64_t>(random() % 3));
          }
          break;
        case 3:
        case 4:
        case 5:
        case 6:
          worker.Read();
          break;
        default:
          if (!worker.idle()) {
            worker.Write(&log);
          }
      }
    }
    std::vector<std::string> taken;
    const v1::SourceState state = log.Follow(log.events().size(), &taken);
    ExpectOneList(log, state, taken);
    ASSERT_FALSE(::testing::Test::HasFatalFailure());
    // Who folds comes to the same, whatever batches it is given, and with the rows of what was
    // taken.
    testing::ModelStore store;
    size_t stale_here = 0;
    for (std::span<const StoredEvent> rest(log.events()); !rest.empty();) {
      const auto result =
          store.Apply(FoldOptions(), rest.first(std::min<size_t>(rest.size(), 1 + random() % 20)));
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_TRUE(result->rejected.empty());
      stale_here += result->counters.stale_steps;
      rest = rest.subspan(result->consumed);
    }
    EXPECT_EQ(store.content().sources[(SourceStream{"crm", ""})], state.SerializeAsString());
    EXPECT_EQ(stale_here + taken.size(),
              static_cast<size_t>(std::ranges::count(
                  log.events(), "sluice.v1.ChangeSet",
                  [](const StoredEvent& e) -> const std::string& { return e.event.type; })));
    stale += stale_here;
    taken_in_all += taken.size();
  }
  EXPECT_GT(stale, 500U);
  EXPECT_GT(taken_in_all, 500U);
}

}  // namespace
}  // namespace sluice::projectors
