#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "projectors/fold/fold_view.h"

namespace sluice::projectors {

// The index of references as the store has it and as the batch leaves it. Not thread-safe.
class LinkIndex {
 public:
  explicit LinkIndex(FoldView& view) : view_(view) {}

  void Put(Link link) { Set(std::move(link), true); }
  void Erase(Link link) { Set(std::move(link), false); }

  bool empty() const { return pending_.empty(); }
  // Of the batch's own, about.
  size_t bytes() const { return bytes_; }

  // The children after `after`, in key order: `max` of the store's at most, and the batch's own
  // among them. The last page has `end`; the next one begins after `last`.
  struct Page {
    std::vector<std::string> children;
    std::string last;
    bool end = false;
  };
  [[nodiscard]] absl::StatusOr<Page> Children(EntityId entity, AttributeId attribute,
                                              std::string_view value, std::string_view after,
                                              size_t max) const;

  // Ends the use of the index.
  void Emit(FoldBatch* batch);

 private:
  void Set(Link link, bool present);

  FoldView& view_;
  absl::btree_map<Link, bool> pending_;
  size_t bytes_ = 0;
};

}  // namespace sluice::projectors
