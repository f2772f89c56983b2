// Workers that come and go, are paused, lose appends and have clocks of their own, over one
// partition of `work`, against a plain model: what the events in their order mean.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>

#include "projectors/work/work_ledger.h"
#include "projectors/work/work_schedule.h"
#include "tests/unit/projectors/work/work_events.h"

namespace sluice::projectors {
namespace {

using std::chrono::seconds;

constexpr seconds kStep{5};

// An attempt that a worker took for its own, as it stands in the log.
struct Run {
  StreamKey key;
  v1::WorkItem item;
  uint32_t attempt = 0;
  std::string id;
  bool counts = false;  // it was read back as the one that counts
};

struct Worker {
  WorkLedger ledger;
  size_t read = 0;     // of the log
  bool owns = false;   // as it believes
  size_t sure_at = 0;  // it does nothing before it has read so far
  seconds skew{0};
  std::vector<Run> runs;
  std::deque<eventlog::Event> late;  // appended some time
};

class World {
 public:
  explicit World(uint32_t seed) : random_(seed) {
    for (int i = 0; i < 5; ++i) {
      streams_.push_back({Key("org-" + std::to_string(i)), 7, seconds(60 + 60 * i)});
    }
    for (int i = 0; i < 3; ++i) {
      workers_.emplace_back();
      workers_.back().ledger.Begin(/*whole=*/true);
      workers_.back().skew = seconds(static_cast<int>(Chance(7)) - 3);
    }
  }

  void Faults(int steps) {
    for (int i = 0; i < steps; ++i) {
      now_ += kStep;
      Worker& worker = workers_[Chance(3)];
      switch (Chance(12)) {
        case 0:  // the group gives it the partition, and takes it from who may not know it yet
          worker.owns = true;
          worker.sure_at = log_.size();
          break;
        case 1:
          worker.owns = false;
          worker.runs.clear();
          break;
        case 2:  // killed
          worker = Worker();
          worker.ledger.Begin(/*whole=*/true);
          break;
        case 3:  // what was on its way comes
          while (!worker.late.empty()) {
            log_.push_back(worker.late.front());
            worker.late.pop_front();
          }
          break;
        default:
          Act(worker, /*faulty=*/true);
      }
    }
  }

  // One worker is left, and nothing fails.
  void Calm(seconds span) {
    for (Worker& worker : workers_) {
      worker.owns = false;
      worker.late.clear();
    }
    Worker& worker = workers_[0];
    worker.owns = true;
    worker.sure_at = log_.size();
    for (const SystemTime end = now_ + span; now_ < end; now_ += kStep) {
      Act(worker, /*faulty=*/false);
    }
  }

  const std::vector<eventlog::Event>& log() const { return log_; }
  const std::vector<ScheduledStream>& streams() const { return streams_; }
  SystemTime now() const { return now_; }
  void Request() { streams_[Chance(5)].request = ++requests_; }
  size_t Chance(size_t of) { return random_() % of; }

 private:
  void Act(Worker& worker, bool faulty) {
    const size_t upto = faulty ? worker.read + Chance(log_.size() - worker.read + 1) : log_.size();
    for (; worker.read < upto; ++worker.read) {
      ASSERT_TRUE(
          worker.ledger.Apply({Offset(static_cast<int64_t>(worker.read)), log_[worker.read]}).ok());
    }
    if (!worker.owns || worker.read < worker.sure_at) {
      return;
    }
    const SystemTime now = now_ + worker.skew;
    for (const v1::WorkItem& item : DueItems(worker.ledger, streams_, now)) {
      for (const ScheduledStream& stream : streams_) {
        if (item.id().starts_with(stream.key.org.value() + "/")) {
          Append(worker, WorkEvent(stream.key, item, now), faulty);
        }
      }
    }
    GoOn(worker, now, faulty);
    for (const auto& [key, work] : worker.ledger.streams()) {
      const bool mine =
          std::ranges::any_of(worker.runs, [&](const Run& run) { return run.key == key; });
      if (mine || !work.open.has_value() || work.not_before > now) {
        continue;
      }
      Run run{key, *work.open, work.attempt + 1, "run" + std::to_string(++ids_)};
      auto started = Attempt<v1::WorkStarted>(run.item, run.attempt);
      Append(worker, WorkEvent(key, started, now, run.id), faulty);
      worker.runs.push_back(run);
    }
  }

  // Ends some of its runs, and those that another one's attempt has taken the place of.
  void GoOn(Worker& worker, SystemTime now, bool faulty) {
    std::erase_if(worker.runs, [&](Run& run) {
      const StreamWork* const work = worker.ledger.Find(run.key);
      if (work == nullptr || !work->open.has_value() || work->open->id() != run.item.id() ||
          work->attempt > run.attempt ||
          (work->attempt == run.attempt && work->started_id != run.id)) {
        return true;
      }
      if (work->attempt < run.attempt) {
        return !faulty || Chance(4) == 0;  // its WorkStarted is lost, or on its way
      }
      if (faulty && Chance(3) != 0) {
        return false;
      }
      if (faulty && Chance(3) == 0) {
        auto failed = Attempt<v1::WorkFailed>(run.item, run.attempt);
        failed.set_code("source_unreachable");
        failed.set_retry_at_us((now + seconds(20)).time_since_epoch().count());
        failed.set_final(Chance(3) == 0);
        Append(worker, WorkEvent(run.key, failed, now), faulty);
      } else {
        Append(worker, WorkEvent(run.key, Attempt<v1::WorkDone>(run.item, run.attempt), now),
               faulty);
      }
      return true;
    });
  }

  void Append(Worker& worker, eventlog::Event event, bool faulty) {
    switch (faulty ? Chance(8) : 7) {
      case 0:
        return;  // lost
      case 1:
        worker.late.push_back(std::move(event));
        return;
      case 2:
        log_.push_back(event);  // its answer was lost: once more
        log_.push_back(std::move(event));
        return;
      default:
        log_.push_back(std::move(event));
    }
  }

  std::mt19937 random_;
  SystemTime now_ = kWorkStart;
  std::vector<ScheduledStream> streams_;
  std::vector<Worker> workers_;
  std::vector<eventlog::Event> log_;
  int ids_ = 0;
  int64_t requests_ = 0;
};

// What the log means, by the rules and nothing else.
struct Model {
  std::set<std::string> opened;                // items
  std::string open;                            // "": none
  std::map<std::string, std::string> attempt;  // item: the WorkStarted that counts
  uint32_t number = 0;
  std::vector<SystemTime> opened_at;
};

std::map<std::string, Model> Understand(const std::vector<eventlog::Event>& log) {
  std::map<std::string, Model> models;
  for (const eventlog::Event& event : log) {
    Model& model = models[event.key];
    v1::WorkItem item;
    v1::WorkStarted started;
    v1::WorkDone done;
    v1::WorkFailed failed;
    if (event.type.ends_with("WorkItem") && item.ParseFromString(event.value)) {
      if (model.open.empty() && !model.opened.contains(item.id())) {
        model.open = item.id();
        model.number = 0;
        model.opened.insert(item.id());
        model.opened_at.push_back(event.time);
      }
    } else if (event.type.ends_with("WorkStarted") && started.ParseFromString(event.value)) {
      if (started.item() == model.open && started.attempt() == model.number + 1) {
        model.number = started.attempt();
        model.attempt[model.open] = event.id;
      }
    } else if (event.type.ends_with("WorkDone") && done.ParseFromString(event.value)) {
      if (done.item() == model.open && done.attempt() == model.number) {
        model.open.clear();
      }
    } else if (event.type.ends_with("WorkFailed") && failed.ParseFromString(event.value)) {
      if (failed.item() == model.open && failed.attempt() == model.number && failed.final()) {
        model.open.clear();
      }
    }
  }
  return models;
}

TEST(WorkProperty, OneAttemptCountsAndNoSlotComesTwice) {
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    World world(seed);
    for (int round = 0; round < 4; ++round) {
      world.Faults(100);
      world.Request();
      const SystemTime calm_from = world.now();
      world.Calm(seconds(400));
      if (HasFatalFailure()) {
        return;
      }
      const std::map<std::string, Model> models = Understand(world.log());
      WorkLedger ledger;
      ledger.Begin(/*whole=*/true);
      int64_t offset = 0;
      for (const eventlog::Event& event : world.log()) {
        ASSERT_TRUE(ledger.Apply({Offset(offset++), event}).ok());
      }
      for (const ScheduledStream& stream : world.streams()) {
        SCOPED_TRACE(stream.key.org.value());
        // The ledger reads an item that comes again, or late, as none; the model knows them by
        // their ids alone. That both agree is that no item is opened twice.
        const Model& model = models.at(stream.key.org.value());
        const StreamWork* const work = ledger.Find(stream.key);
        ASSERT_NE(work, nullptr);
        EXPECT_EQ(work->open.has_value() ? work->open->id() : "", model.open);
        EXPECT_EQ(work->attempt, model.number);
        if (work->open.has_value() && work->attempt > 0) {
          EXPECT_EQ(work->started_id, model.attempt.at(model.open));
        }
        EXPECT_EQ(work->last_request, stream.request);
        // After the faults each stream runs within its interval and a bound: what was open, with
        // the longest wait between two attempts, and then the steps of the worker.
        const auto runs = std::ranges::count_if(
            model.opened_at, [&](SystemTime at) { return at >= calm_from - seconds(3); });
        EXPECT_GE(runs + 1, seconds(400 - 60) / stream.interval);
        EXPECT_LE(runs, seconds(400) / stream.interval + 3);
      }
    }
  }
}

}  // namespace
}  // namespace sluice::projectors
