#include "gateways/sync/caller_columns.h"

#include <algorithm>

#include "gateways/sync/entity_json.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using projectors::CallerClaims;
using projectors::CallerEntity;
using projectors::OrgModel;

constexpr size_t kHashedBytes = size_t{64} << 10;  // at a time: the text may have some 30 MB
constexpr size_t kListsMin = 64;

IdentityHash HashOf(const std::vector<CallerEntity>& entities) {
  EntitiesWriter writer(entities);
  IdentityHash hash{};
  std::string text;
  for (bool more = true; more;) {
    text = BytesOf(hash);
    more = !writer.Write(kHashedBytes, &text);
    hash = HashIdentity(text);
  }
  return hash;
}

// All that EntitiesOf() looks at: the roles of the caller's that there are, ascending.
std::vector<std::string> RolesOf(const OrgModel& model, const CallerClaims& caller) {
  std::vector<std::string> roles;
  std::ranges::copy_if(caller.roles, std::back_inserter(roles),
                       [&](const std::string& role) { return model.roles().contains(role); });
  std::ranges::sort(roles);
  const auto repeated = std::ranges::unique(roles);
  roles.erase(repeated.begin(), repeated.end());
  return roles;
}

}  // namespace

const CallerEntity* CallerColumns::Find(std::string_view entity) const {
  const auto found = std::ranges::lower_bound(
      entities, entity, {},
      [](const CallerEntity& e) -> std::string_view { return e.schema->name(); });
  return found != entities.end() && found->schema->name() == entity ? &*found : nullptr;
}

absl::StatusOr<std::shared_ptr<const CallerColumns>> CallerColumnsTable::Of(
    const std::shared_ptr<const OrgModel>& model, const CallerClaims& caller) {
  Key key{model.get(), RolesOf(*model, caller)};
  {
    absl::MutexLock lock(&mutex_);
    if (const auto found = lists_.find(key); found != lists_.end()) {
      if (auto list = found->second.lock(); list != nullptr) {
        return list;
      }
    }
  }
  // Without the lock: two may make one at once, and each is right.
  auto made = std::make_shared<CallerColumns>();
  made->model = model;
  ASSIGN_OR_RETURN(made->entities, model->EntitiesOf(caller));
  made->hash = HashOf(made->entities);
  if (on_made_) {
    on_made_();
  }
  absl::MutexLock lock(&mutex_);
  lists_[std::move(key)] = made;
  if (lists_.size() >= sweep_at_) {
    std::erase_if(lists_, [](const auto& entry) { return entry.second.expired(); });
    sweep_at_ = std::max(kListsMin, 2 * lists_.size());
  }
  return made;
}

}  // namespace sluice::gateways
