#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateways/sources/connector.h"

namespace sluice::gateways {

// A sink that keeps what a connector gives it, and folds it into a plain map as
// projectors/docs/fold.md, "What a source writes", says: what a staging store would hold, which
// debezium_property_test compares with the real fold's. Not thread-safe.
class RecordingSink : public RowSink {
 public:
  struct Row {
    std::string bytes;
    int64_t version = 0;
    friend bool operator==(const Row&, const Row&) = default;
  };
  struct Rejected {
    std::string org, entity, key, code, reason, row;
  };
  // By key; a row that was deleted is not there.
  using Rows = std::map<std::string, Row>;

  explicit RecordingSink(OrgId org) : org_(std::move(org)) {}

  absl::Status Append(SourceSet set) override;
  absl::Status Flush() override { return absl::OkStatus(); }
  [[nodiscard]] uint64_t next_number() const override { return number_ + 1; }
  absl::StatusOr<std::shared_ptr<const schemas::EntitySchema>> Define(
      const OrgId& org, const v1::ProvisioningRequest::PutEntity& entity) override;
  std::shared_ptr<const schemas::EntitySchema> Find(const OrgId& org,
                                                    std::string_view entity) override;
  absl::Status OpenOrg(const OrgId& org) override;
  absl::Status ForEachOrg(std::string_view entity,
                          const std::function<absl::Status(const OrgId&)>& visit) override;
  absl::Status Reject(const RejectedRow& row) override;
  void Report(const v1::RunNumbers& numbers) override { reported = numbers; }
  void set_loading(bool loading) override { is_loading = loading; }
  [[nodiscard]] bool stopping() const override { return stop_at == 0; }
  [[nodiscard]] bool Pause(std::chrono::milliseconds) override { return !stopping(); }

  // The entity is deleted. One of its name that is defined later is another one.
  void Forget(std::string_view entity);

  const Rows& RowsOf(std::string_view entity, std::string_view org = "") const;
  // The cursor of the last step; a connector goes on from it.
  const std::string& cursor() const { return cursor_; }

  // Append() and Flush() fail so from the call on that finds `fail_at` 0; it is counted down.
  std::optional<int> fail_at;
  absl::Status failure;
  // stopping() once so many sets were appended; counted down.
  std::optional<int> stop_at;

  std::vector<SourceSet> sets;  // without cursors and rows where `keep_sets` is false: none
  bool keep_sets = true;
  std::vector<Rejected> rejected;
  size_t rejected_max = 10'000;
  // Organisations that are not there; true: they were closed, and can't be opened.
  std::map<std::string, bool> absent;
  int opened = 0;  // calls of OpenOrg()
  v1::RunNumbers reported;
  bool is_loading = false;
  // Operations that changed what a client sees, and those that did not.
  uint64_t changed = 0;
  uint64_t unchanged = 0;

 private:
  struct Entity {
    std::shared_ptr<const schemas::EntitySchema> schema;
    Rows rows;
    std::map<std::string, int64_t> deleted;  // versions of rows that are gone
  };
  using Entities = std::map<std::string, Entity, std::less<>>;

  void Apply(Entity& entity, const v1::Operation& op);

  const OrgId org_;
  uint64_t number_ = 0;
  uint32_t forgotten_ = 0;  // entities, whose ids are not given again
  std::string cursor_;
  std::map<std::string, Entities, std::less<>> orgs_;
};

}  // namespace sluice::gateways
