#include "gateways/ingest/doubtful_sets.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <thread>
#include <utility>

#include "gateways/ingest/look_interval.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr size_t kSetsMax = 1'000;
constexpr size_t kBytesMax = size_t{256} << 10;
constexpr std::chrono::milliseconds kCompany{50};

absl::Status NotCaughtUp() {
  return Error(absl::StatusCode::kUnavailable, "not_caught_up",
               "the organisation's store has yet to come to the log's end");
}

// What may be told of it all: that the set is wrong as it stands, and why that is not the last
// word.
absl::Status Unknown(const absl::Status& reached, const absl::Status& misfit,
                     const std::optional<std::string>& node) {
  const bool elsewhere = ErrorCode(reached) == "not_served_here";
  return Error(absl::StatusCode::kUnavailable, elsewhere ? "not_served_here" : "not_caught_up",
               fmt::format("the set does not fit today's definitions ({}: {}), and whether it was "
                           "taken before is not known here: send it again{}{}",
                           ErrorCode(misfit), Message(misfit), node.has_value() ? ", to " : "",
                           node.value_or("")));
}

// Asks another node whether a set was taken before that did not come as text: a set of its name
// that fits no definitions, so that it is never taken for itself.
std::string Question(const DoubtfulSets::Set& set) {
  std::string line = R"({"id":)";
  AppendJsonString(set.id, &line);
  line += R"(,"source":)";
  AppendJsonString(set.source, &line);
  line += R"(,"ops":[{"op":"delete","entity":"","key":"-"}]})";
  return line;
}

// That node would refuse the question as what it is.
bool IsRefusedQuestion(const absl::StatusOr<Offset>& answer) {
  return ErrorCode(answer.status()) == "unknown_entity";
}

}  // namespace

DoubtfulSets::DoubtfulSets(IngestService& service, OrgId org, RelayCaller caller)
    : service_(service),
      org_(std::move(org)),
      partition_(service.log().PartitionFor(eventlog::Topic::kChanges, org_.value())),
      caller_(std::move(caller)),
      end_(kNoOffset) {}

void DoubtfulSets::Add(Set set, Offset opened) {
  // The line goes into NDJSON. Outside of strings an end of line is white space, and inside one it
  // is no JSON.
  std::ranges::replace_if(
      set.line, [](char c) { return c == '\n' || c == '\r'; }, ' ');
  if (sets_.empty()) {
    since_ = SteadyClock::now();
  }
  bytes_ += set.line.size();
  opened_ = std::max(opened_, opened);
  sets_.push_back(std::move(set));
}

bool DoubtfulSets::full() const { return sets_.size() >= kSetsMax || bytes_ >= kBytesMax; }

void DoubtfulSets::Look() {
  if (!sets_.empty() && SteadyClock::now() - since_ >= kCompany) {
    Settle(/*wait=*/false);
  }
}

void DoubtfulSets::AskEnd() {
  asked_ = sets_.size();
  const auto patience = late_ ? std::chrono::milliseconds(0) : service_.options().store_patience;
  wait_until_ = SteadyClock::now() + patience;
  const auto range = service_.log().Range(eventlog::Topic::kChanges, partition_);
  end_ = range.ok() ? absl::StatusOr<Offset>(range->end) : NotCaughtUp();
}

absl::Status DoubtfulSets::Reached() const {
  RETURN_IF_ERROR(end_.status());
  return service_.stores()->AppliedUntil(partition_, org_) >= *end_ ? absl::OkStatus()
                                                                    : NotCaughtUp();
}

void DoubtfulSets::Settle(bool wait) {
  Backoff look = LookInterval();
  while (!sets_.empty()) {
    absl::Status reached = service_.MayServe(org_);
    if (!reached.ok()) {
      asked_ = sets_.size();
      Decide(reached);
      continue;
    }
    if (asked_ == 0) {
      AskEnd();
    }
    reached = Reached();
    if (reached.ok() || !end_.ok() || SteadyClock::now() >= wait_until_) {
      late_ = !reached.ok();
      Decide(reached);
      continue;
    }
    if (!wait) {
      return;
    }
    std::this_thread::sleep_for(look.Next());
  }
}

void DoubtfulSets::Decide(const absl::Status& reached) {
  std::vector<Set> sets(std::make_move_iterator(sets_.begin()),
                        std::make_move_iterator(sets_.begin() + static_cast<ptrdiff_t>(asked_)));
  sets_.erase(sets_.begin(), sets_.begin() + static_cast<ptrdiff_t>(asked_));
  asked_ = 0;
  std::vector<Set> unknown;
  absl::Status why = reached;
  for (Set& set : sets) {
    bytes_ -= set.line.size();
    // Only now: what the store held before it had come to the end says nothing of what it lacked.
    const auto found = service_.FindInStore(org_, set.source, set.id, opened_);
    if (found.ok() && found->has_value()) {
      service_.CountDuplicate();
      set.ticket->Resolve(**found);
    } else if (reached.ok() && found.ok()) {
      set.ticket->Resolve(set.misfit);
    } else {
      why = reached.ok() ? NotCaughtUp() : reached;
      unknown.push_back(std::move(set));
    }
  }
  if (!unknown.empty()) {
    Pass(why, std::move(unknown));
  }
}

void DoubtfulSets::Pass(const absl::Status& reached, std::vector<Set> sets) {
  const std::optional<std::string> node = service_.RelayTo(org_);
  SetRelay::Answers answers;
  if (node.has_value() && !caller_.relayed && !relay_failed_) {
    std::vector<SetRelay::Set> lines;
    lines.reserve(sets.size());
    std::vector<bool> asked;  // such as have no line
    for (Set& set : sets) {
      asked.push_back(set.line.empty());
      lines.push_back({set.id, set.line.empty() ? Question(set) : std::move(set.line)});
    }
    auto relayed = service_.relay().Post(*node, org_, caller_, lines);
    service_.CountRelay(relayed.ok());
    if (relayed.ok()) {
      answers = *std::move(relayed);
      for (size_t i = 0; i < answers.size(); ++i) {
        if (asked[i] && IsRefusedQuestion(answers[i])) {
          answers[i] = sets[i].misfit;
        }
      }
    } else {
      relay_failed_ = true;
      spdlog::warn("ingest_relay_failed request_id={} sets={} error=\"{}\"", caller_.request_id,
                   sets.size(), Message(relayed.status()));
    }
  }
  // A sender can go there by itself only where anybody's sets are taken.
  const std::optional<std::string> told = service_.ServedAt(org_);
  for (size_t i = 0; i < sets.size(); ++i) {
    sets[i].ticket->Resolve(i < answers.size() ? std::move(answers[i])
                                               : Unknown(reached, sets[i].misfit, told));
  }
}

}  // namespace sluice::gateways
