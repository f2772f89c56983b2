#include "tests/support/store_fixture.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <utility>

namespace sluice::testing {

using projectors::ContentDigest;

projectors::StoreOptions SmallStoreOptions(const std::string& path) {
  projectors::StoreOptions options;
  options.path = path;
  options.log_id = kTestLogId;
  options.block_cache_bytes = 8 << 20;
  options.write_buffer_bytes = 8 << 20;
  options.open_stores_max = 100;
  options.fold.dedup_window = 60;
  options.fold.tombstone_horizon = 500;
  options.fold.step_rows = 10;  // so that larger events go in parts
  options.fold.inline_max = 3;  // and what is in some buckets has them apart
  return options;
}

OrgId Org(std::string_view name) { return OrgId::Parse(name).value(); }

std::string DigestOf(const StoreContent& content, int64_t dedup_window) {
  ContentDigest digest(dedup_window);
  digest.Applied(content.applied);
  digest.Model(content.model);
  for (const auto& [key, record] : content.records) {
    digest.AddRecord(key, record);
  }
  for (const auto& [place, op] : content.deltas) {
    digest.AddDelta(place.first, place.second, op);
  }
  for (const auto& [bucket, state] : content.buckets) {
    digest.AddBucket(bucket, state);
  }
  for (const auto& [key, set] : content.change_sets) {
    digest.AddChangeSet(key, set);
  }
  for (const auto& [stream, serialized] : content.sources) {
    v1::SourceState state;
    state.ParseFromString(serialized);
    digest.AddSource(stream, state);
  }
  return digest.Hex();
}

MixedHistory::MixedHistory(uint64_t seed, const std::vector<std::string>& orgs) : random_(seed) {
  for (const std::string& org : orgs) {
    histories_.emplace_back(org, RandomHistory(random_()));
  }
}

std::vector<eventlog::StoredEvent> MixedHistory::Next(size_t count) {
  std::vector<eventlog::StoredEvent> events;
  while (events.size() < count) {
    auto& [org, history] = histories_[random_() % histories_.size()];
    for (eventlog::StoredEvent& event : history.Next(1 + random_() % 5)) {
      offset_ += 1 + static_cast<int64_t>(random_() % 3);
      event.offset = Offset(offset_);
      event.event.key = org;
      events.push_back(std::move(event));
    }
  }
  return events;
}

std::map<std::string, StoreContent> FoldPlainly(const projectors::FoldOptions& options,
                                                std::span<const eventlog::StoredEvent> events) {
  std::map<std::string, std::vector<eventlog::StoredEvent>> by_org;
  for (const eventlog::StoredEvent& event : events) {
    by_org[event.event.key].push_back(event);
  }
  std::map<std::string, StoreContent> contents;
  for (const auto& [org, of_org] : by_org) {
    ModelStore store;
    for (std::span<const eventlog::StoredEvent> rest(of_org); !rest.empty();) {
      const auto applied = store.Apply(options, rest);
      if (!applied.ok()) {
        throw std::logic_error(applied.status().ToString());
      }
      rest = rest.subspan(applied->consumed);
    }
    contents[org] = store.content();
  }
  return contents;
}

void ExpectStoreIsFold(projectors::StoreManager& stores, const projectors::FoldOptions& options,
                       const std::string& org, std::span<const eventlog::StoredEvent> events) {
  const auto contents = FoldPlainly(options, events);
  const auto digest = stores.Digest(Org(org));
  ASSERT_TRUE(digest.ok()) << org << ": " << digest.status();
  EXPECT_EQ(*digest, DigestOf(contents.at(org), options.dedup_window)) << org;
  const absl::Status verified = stores.Verify(Org(org));
  EXPECT_TRUE(verified.ok()) << org << ": " << verified;
}

std::vector<eventlog::StoredEvent> OrgWithAccounts(std::string_view org, int64_t first_offset,
                                                   uint32_t incarnation) {
  const v1::EntityDefined entity =
      DefineEntity(1, "account", {{1, "accountid"}, {2, "ownerid"}, {3, "owningteam"}}, 2, 3);
  const v1::ProfileDefined profile =
      DefineProfile("field", {{"account", {v1::RULE_KIND_ALL, v1::RULE_KIND_USER}}}, {"sales"});
  return {MakeEvent(first_offset, OpenOrg(incarnation), org),
          MakeEvent(first_offset + 1, entity, org), MakeEvent(first_offset + 2, profile, org),
          MakeEvent(first_offset + 3, DefineRole("sales", true, {"account"}), org)};
}

eventlog::StoredEvent AccountEvent(std::string_view org, int64_t offset, std::string_view key,
                                   std::string_view owner, std::string_view set_id) {
  const std::string row = RowWriter().Text(1, key).Text(2, owner).bytes();
  return MakeEvent(offset, MakeSet({Upsert(1, key, row)}, set_id), org);
}

}  // namespace sluice::testing
