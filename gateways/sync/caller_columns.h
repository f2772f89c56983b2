#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "gateways/sync/identity_hash.h"
#include "projectors/model/org_model.h"

namespace sluice::gateways {

// The entities and columns that a caller sees, as of one model.
struct CallerColumns {
  std::shared_ptr<const projectors::OrgModel> model;
  std::vector<projectors::CallerEntity> entities;  // by name
  IdentityHash hash{};                             // of what `entities` are as text
  // nullptr where the caller sees no such entity.
  const projectors::CallerEntity* Find(std::string_view entity) const;
};

// Gives callers of one model who have the same roles one and the same list: a change of definitions
// wakes all of an organisation's sessions, and few of them see other columns than the rest. Keeps
// nothing itself: it knows the lists that somebody holds, so never more than those who ask are
// many, and one that nobody holds is made anew. Thread-safe.
class CallerColumnsTable {
 public:
  // `on_made` is called whenever a list is made, on any thread; may be empty.
  explicit CallerColumnsTable(std::function<void()> on_made = {}) : on_made_(std::move(on_made)) {}
  CallerColumnsTable(const CallerColumnsTable&) = delete;
  CallerColumnsTable& operator=(const CallerColumnsTable&) = delete;

  // Errors as OrgModel::EntitiesOf. Making a list takes time, for large definitions some 0.1 s.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const CallerColumns>> Of(
      const std::shared_ptr<const projectors::OrgModel>& model,
      const projectors::CallerClaims& caller);

 private:
  // A list keeps its model, so that the address stands for no other one meanwhile.
  using Key = std::pair<const projectors::OrgModel*, std::vector<std::string>>;

  const std::function<void()> on_made_;
  absl::Mutex mutex_;
  std::map<Key, std::weak_ptr<const CallerColumns>> lists_ ABSL_GUARDED_BY(mutex_);
  size_t sweep_at_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sluice::gateways
