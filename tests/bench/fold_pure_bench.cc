#include <benchmark/benchmark.h>

#include <memory>
#include <unordered_map>

#include "projectors/fold/fold.h"
#include "tests/support/change_events.h"

// The fold by itself: no store below it, so what it costs to decide.
namespace sluice {
namespace {

using projectors::BucketState;
using projectors::Record;
using projectors::RecordKey;

// Knows the records that it was given, in a hash map; as cheap as a view can be.
class HashView final : public projectors::FoldView {
 public:
  absl::StatusOr<std::vector<std::optional<Record>>> GetRecords(std::span<const RecordKey> keys,
                                                                size_t) override {
    std::vector<std::optional<Record>> found(keys.size());
    for (size_t i = 0; i < keys.size(); ++i) {
      const auto record = records.find(keys[i].key);
      if (record != records.end()) {
        found[i] = record->second;
      }
    }
    return found;
  }
  absl::StatusOr<std::optional<projectors::Membership>> GetMembership(const RecordKey&,
                                                                      BucketKey) override {
    return std::optional<projectors::Membership>();
  }
  absl::StatusOr<uint64_t> GetSupport(const RecordKey&, uint32_t, BucketKey) override { return 0; }
  absl::Status Complete(const RecordKey&, Record*) override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<std::optional<projectors::AppliedSet>>> GetChangeSets(
      std::span<const std::string> keys) override {
    return std::vector<std::optional<projectors::AppliedSet>>(keys.size());
  }
  absl::StatusOr<std::vector<v1::SourceState>> GetSourceStates(
      std::span<const projectors::SourceStream> streams) override {
    return std::vector<v1::SourceState>(streams.size());
  }
  absl::StatusOr<std::vector<std::optional<BucketState>>> GetBuckets(
      std::span<const BucketKey> keys) override {
    std::vector<std::optional<BucketState>> found(keys.size());
    for (size_t i = 0; i < keys.size(); ++i) {
      const auto bucket = buckets.find(keys[i]);
      if (bucket != buckets.end()) {
        found[i] = bucket->second;
      }
    }
    return found;
  }
  absl::StatusOr<std::vector<std::pair<RecordKey, Record>>> ScanRecords(projectors::EntityId,
                                                                        std::string_view, size_t,
                                                                        size_t) override {
    return std::vector<std::pair<RecordKey, Record>>();
  }
  absl::StatusOr<std::vector<std::string>> ScanLinks(projectors::EntityId, projectors::AttributeId,
                                                     std::string_view, std::string_view,
                                                     size_t) override {
    return std::vector<std::string>();
  }
  absl::StatusOr<std::vector<std::string>> ScanWork(uint32_t, std::string_view, size_t) override {
    return std::vector<std::string>();
  }

  std::unordered_map<std::string, Record> records;
  std::unordered_map<BucketKey, BucketState> buckets;
};

constexpr size_t kEvents = 10'000;

// Rows of about 200 bytes; 500 owners, 20 teams.
std::vector<eventlog::StoredEvent> Upserts(int64_t first_offset) {
  std::vector<eventlog::StoredEvent> events;
  events.reserve(kEvents);
  for (size_t i = 0; i < kEvents; ++i) {
    const std::string key = "package-" + std::to_string(i * 2654435761u % 1'000'000);
    testing::RowWriter row;
    row.Text(1, key).Text(2, "maintainer-" + std::to_string(i % 500) + "@example.org");
    row.Text(3, "section" + std::to_string(i % 20)).Varint(4, i).Text(5, std::string(120, 'd'));
    events.push_back(testing::MakeEvent(first_offset + static_cast<int64_t>(i),
                                        testing::MakeSet({testing::Upsert(1, key, row.bytes())},
                                                         "set" + std::to_string(i), "load")));
  }
  return events;
}

void FoldUpserts(benchmark::State& state) {
  HashView view;
  const bool updates = state.range(0) != 0;
  const projectors::FoldOptions options;
  const v1::EntityDefined entity = testing::DefineEntity(1, "package",
                                                         {{1, "name"},
                                                          {2, "maintainer"},
                                                          {3, "section"},
                                                          {4, "size", v1::ATTRIBUTE_TYPE_INT64},
                                                          {5, "text"}},
                                                         2, 3);
  const std::vector<eventlog::StoredEvent> definitions = {
      testing::MakeEvent(0, testing::OpenOrg(1)), testing::MakeEvent(1, entity),
      testing::MakeEvent(2, testing::DefineProfile(
                                "p", {{"package", {v1::RULE_KIND_USER, v1::RULE_KIND_TEAM}}}, {}))};
  auto result = projectors::Fold(options, {}, projectors::OrgModel::Empty(), definitions, view);
  projectors::AppliedState applied = result->batch.applied;
  const auto model = result->model;
  if (updates) {
    result = projectors::Fold(options, applied, model, Upserts(3), view);
    for (auto& [key, record] : result->batch.records) {
      view.records.emplace(key.key, *std::move(record));
    }
    for (auto& [key, bucket] : result->batch.buckets) {
      view.buckets.emplace(key, *std::move(bucket));
    }
    applied = result->batch.applied;
  }
  const std::vector<eventlog::StoredEvent> events = Upserts(3 + kEvents);
  for (auto _ : state) {
    result = projectors::Fold(options, applied, model, events, view);
    if (!result.ok() || result->batch.records.size() < kEvents / 2 || !result->rejected.empty()) {
      state.SkipWithError("the fold did not take the events");
      return;
    }
    benchmark::DoNotOptimize(result);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kEvents));
}
BENCHMARK(FoldUpserts)->ArgName("updates")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice

BENCHMARK_MAIN();
