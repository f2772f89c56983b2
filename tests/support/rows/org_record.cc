#include "tests/support/rows/org_record.h"

#include <algorithm>

namespace sluice::testing {

OrgRecord::OrgRecord(std::string name, int64_t window, std::vector<CallerClaims> claims)
    : name_(std::move(name)), claims_(std::move(claims)) {
  models_.push_back(std::make_shared<const PlainModel>(window));
}

void OrgRecord::AdvanceTo(int64_t position) {
  for (; next_ < events_.size() && events_[next_].offset <= position; ++next_) {
    const PlainEvent& event = events_[next_];
    auto model = std::make_shared<PlainModel>(*models_.back());
    if (model->Apply(event) == PlainModel::Outcome::kRejected) {
      rejected_.insert(event.offset);
    }
    models_.push_back(std::move(model));
    definitions_ += event.IsDefinition() ? 1 : 0;
    position_ = event.offset;
    at_.clear();
  }
}

std::shared_ptr<const RowsAt> OrgRecord::At(size_t claims) {
  std::shared_ptr<const RowsAt>& at = at_[claims];
  if (at == nullptr) {
    at = std::make_shared<const RowsAt>(
        RowsAt{position_, models_.back(), models_.back()->RowsOf(claims_[claims])});
  }
  return at;
}

OrgRecord::Models OrgRecord::ModelsOf(int64_t from, int64_t until) const {
  const auto index = [&](int64_t position) {  // models_[n] is after n events
    const auto after = std::ranges::upper_bound(events_, position, {}, &PlainEvent::offset);
    return std::min(static_cast<size_t>(after - events_.begin()), models_.size() - 1);
  };
  return from > until ? Models()
                      : Models(models_).subspan(index(from), index(until) - index(from) + 1);
}

bool OrgRecord::EverHad(const Used& used, const RowName& row, int64_t from) const {
  return std::ranges::any_of(used, [&](const auto& use) {
    return std::ranges::any_of(ModelsOf(from, use.second), [&](const auto& model) {
      const std::optional<PlainRows> rows = model->RowsOf(claims_[use.first]);
      return rows.has_value() && rows->contains(row);
    });
  });
}

bool OrgRecord::InBuckets(size_t claims, const RowName& row, Models models) const {
  return std::ranges::any_of(models, [&](const auto& model) {
    return model->RowsWhateverTheRoles(claims_[claims]).contains(row);
  });
}

bool OrgRecord::EverInBuckets(const Used& used, const RowName& row, int64_t from) const {
  return std::ranges::any_of(
      used, [&](const auto& use) { return InBuckets(use.first, row, ModelsOf(from, use.second)); });
}

bool OrgRecord::Names(int64_t offset, const RowName& row) const {
  const auto event = std::ranges::lower_bound(events_, offset, {}, &PlainEvent::offset);
  const auto entity = models_.back()->entities().find(row.first);
  if (event == events_.end() || event->offset != offset || event->IsDefinition() ||
      entity == models_.back()->entities().end()) {
    return false;
  }
  return std::ranges::any_of(std::get<PlainSet>(event->what).ops, [&](const PlainOp& op) {
    return op.entity == entity->second.schema.id && op.key == row.second;
  });
}

}  // namespace sluice::testing
