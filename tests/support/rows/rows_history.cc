#include "tests/support/rows/rows_history.h"

#include <fmt/format.h>

#include "schemas/base/status.h"
#include "tests/support/model_store.h"
#include "tests/support/store_fixture.h"

namespace sluice::testing {
namespace {

constexpr int64_t kNeverExpires = 1'000'000;

}  // namespace

RowsHistory::RowsHistory(uint64_t seed, RowsReport& report)
    : dice_(seed),
      report_(report),
      options_(Options()),
      may_expire_(options_.fold.tombstone_horizon < kNeverExpires),
      node_(options_, dice_.Seed(), report) {
  AddOrg("acme");
  AddOrg("bolt");
  // Long ones come to where the store forgets removals.
  events_left_ = dice_.Chance(3) ? 600 : dice_.Between(30, 150);
}

projectors::StoreOptions RowsHistory::Options() {
  projectors::StoreOptions options = SmallStoreOptions(folder_ / "stores");
  options.fold.step_rows = dice_.Chance(70) ? dice_.Between(3, 8) : dice_.Between(9, 50);
  options.fold.inline_max = dice_.Between(0, 6);
  if (dice_.Chance(30)) {
    options.fold.step_bytes = dice_.Between(100, 1'000);
    options.fold.step_work = dice_.Between(100, 4'000);
  }
  options.fold.dedup_window = static_cast<int64_t>(dice_.Between(8, 30));
  options.fold.tombstone_horizon = dice_.Chance(25) ? 12 : kNeverExpires;
  return options;
}

void RowsHistory::AddOrg(const std::string& name) {
  const int64_t window = options_.fold.dedup_window;
  OneOrg& org = orgs_.emplace_back();
  org.random = std::make_unique<RandomOrg>(dice_.Seed(), name + "-", window);
  org.record = std::make_unique<OrgRecord>(name, window, org.random->claims());
  for (int i = 0; i < 3; ++i) {
    const std::string number = std::to_string(i);
    org.delta.push_back(std::make_unique<DeltaRowsClient>("delta client " + number, dice_.Seed(),
                                                          *org.record, report_, may_expire_));
    org.stream.push_back(std::make_unique<StreamRowsClient>("stream client " + number, dice_.Seed(),
                                                            *org.record, report_, may_expire_));
  }
}

void RowsHistory::Run() {
  while (events_left_ > 0 && report_.ok()) {
    AddEvents();
    while (!node_.AtEnd() && report_.ok()) {
      node_.Advance();
      Disturb();
      Sync();
    }
  }
  Finish();
  ++report_.counters.histories;
}

void RowsHistory::AddEvents() {
  for (size_t count = dice_.Between(1, 6); count > 0 && events_left_ > 0; --count, --events_left_) {
    OneOrg& org = orgs_[dice_.Below(orgs_.size())];
    offset_ += static_cast<int64_t>(dice_.Chance(80) ? 1 : dice_.Between(2, 4));
    PlainEvent event = org.random->Next(offset_);
    node_.Append(ToStored(event, org.record->name()));
    org.record->Add(std::move(event));
    ++report_.counters.events;
  }
}

void RowsHistory::Disturb() {
  if (!dice_.Chance(4)) {
    return;
  }
  ++report_.counters.reopened;
  for (OneOrg& org : orgs_) {
    for (const auto& client : org.stream) {
      client->Break();
    }
  }
  node_.Reopen();
  for (OneOrg& org : orgs_) {
    const auto behind = report_.ok() ? node_.Snapshot(org.record->name()) : nullptr;
    for (size_t i = 0; behind != nullptr && i < org.delta.size(); ++i) {
      org.delta[i]->AskBehind(*behind);
    }
  }
  node_.CatchUp();
}

std::shared_ptr<const projectors::OrgSnapshot> RowsHistory::SnapshotOf(OneOrg& org) {
  auto snapshot = node_.Snapshot(org.record->name());
  if (snapshot != nullptr) {
    const int64_t position = snapshot->applied().position.value();
    if (position < org.record->position()) {
      report_.Fail(fmt::format("{} goes back to {}", org.record->name(), position));
      return nullptr;
    }
    org.record->AdvanceTo(position);
    report_.counters.deep += snapshot->model()->rules().depth_max() >= 3 ? 1 : 0;
    if (org.record->position() != position) {
      report_.Fail(
          fmt::format("{} is at {}, which is no event of its", org.record->name(), position));
      return nullptr;
    }
  }
  return snapshot;
}

void RowsHistory::Sync() {
  for (OneOrg& org : orgs_) {
    const auto snapshot = report_.ok() ? SnapshotOf(org) : nullptr;
    if (snapshot == nullptr) {
      continue;
    }
    for (size_t i = 0; i < org.delta.size(); ++i) {
      if (report_.ok() && dice_.Chance(30)) {
        org.delta[i]->Act(*snapshot);
      }
      if (report_.ok() && dice_.Chance(30)) {
        org.stream[i]->Act(snapshot);
      }
    }
  }
}

void RowsHistory::Finish() {
  if (report_.ok()) {
    node_.Drain();
  }
  std::set<int64_t> rejected;
  for (OneOrg& org : orgs_) {
    FinishOrg(org);
    rejected.insert(org.record->rejected().begin(), org.record->rejected().end());
  }
  report_.counters.rejected += rejected.size();
  if (report_.ok() && rejected != node_.rejected()) {
    report_.Fail(fmt::format("{} events are dead letters, {} of the model's",
                             node_.rejected().size(), rejected.size()));
  }
}

void RowsHistory::FinishOrg(OneOrg& org) {
  const auto snapshot = report_.ok() ? SnapshotOf(org) : nullptr;
  if (snapshot == nullptr) {
    return;
  }
  for (size_t i = 0; i < org.delta.size() && report_.ok(); ++i) {
    org.delta[i]->Drain(*snapshot);
    org.stream[i]->Drain(snapshot);
  }
  const std::string& name = org.record->name();
  if (const absl::Status sound = node_.stores().Verify(Org(name)); !sound.ok()) {
    report_.Fail(name + " does not hold together: " + sound.ToString());
  }
  // The same events one by one, in one step each.
  projectors::FoldOptions whole = options_.fold;
  whole.step_rows = 1'000'000;
  whole.step_bytes = size_t{1} << 40;
  whole.step_work = size_t{1} << 40;
  whole.inline_max = 1'000'000;
  ModelStore other;
  for (const eventlog::StoredEvent& event : node_.log()) {
    if (event.event.key == name) {
      const auto applied = other.Apply(whole, {&event, 1});
      if (!applied.ok()) {
        report_.Fail(name + " is not folded one by one: " + applied.status().ToString());
        return;
      }
    }
  }
  const auto digest = node_.stores().Digest(Org(name));
  if (!digest.ok() || *digest != DigestOf(other.content(), whole.dedup_window)) {
    report_.Fail(name + " differs from what the events make one by one");
  }
}

std::string RowsHistory::Describe() const {
  std::string text =
      fmt::format("step_rows {}, dedup_window {}, horizon {}\n", options_.fold.step_rows,
                  options_.fold.dedup_window, options_.fold.tombstone_horizon);
  for (const OneOrg& org : orgs_) {
    for (size_t i = 0; i < org.record->claims().size(); ++i) {
      const CallerClaims& claims = org.record->claims()[i];
      text += fmt::format("{} claims {}: user {} roles {} teams {} unit {}\n", org.record->name(),
                          i, claims.user, fmt::join(claims.roles, ","),
                          fmt::join(claims.teams, ","), claims.business_unit.value_or("-"));
    }
    for (const PlainEvent& event : org.record->events()) {
      text += fmt::format("  {} {}\n", org.record->name(), testing::Describe(event));
    }
  }
  return text;
}

}  // namespace sluice::testing
