#include "projectors/fold/link_index.h"

#include <algorithm>
#include <utility>

#include "schemas/base/status.h"

namespace sluice::projectors {

void LinkIndex::Set(Link link, bool present) {
  const size_t size = sizeof(Link) + link.value.size() + link.child.size();
  bytes_ += pending_.insert_or_assign(std::move(link), present).second ? size : 0;
}

absl::StatusOr<LinkIndex::Page> LinkIndex::Children(EntityId entity, AttributeId attribute,
                                                    std::string_view value, std::string_view after,
                                                    size_t max) const {
  Page page;
  ASSIGN_OR_RETURN(page.children, view_.ScanLinks(entity, attribute, value, after, max));
  page.end = page.children.size() < max;
  page.last = page.end ? std::string() : page.children.back();
  Link from{entity, attribute, std::string(value), std::string(after)};
  for (auto it = after.empty() ? pending_.lower_bound(from) : pending_.upper_bound(from);
       it != pending_.end(); ++it) {
    const Link& link = it->first;
    if (link.entity != entity || link.attribute != attribute || link.value != value ||
        (!page.end && link.child > page.last)) {
      break;
    }
    const auto at = std::ranges::lower_bound(page.children, link.child);
    const bool stored = at != page.children.end() && *at == link.child;
    if (it->second && !stored) {
      page.children.insert(at, link.child);
    } else if (!it->second && stored) {
      page.children.erase(at);
    }
  }
  return page;
}

void LinkIndex::Emit(FoldBatch* batch) {
  for (const auto& [link, present] : pending_) {
    batch->links.emplace_back(link, present);
  }
}

}  // namespace sluice::projectors
