#pragma once

#include <algorithm>
#include <vector>

namespace sluice::projectors {

// Puts the list in order, each element once.
template <typename T>
void SortUnique(std::vector<T>* list) {
  std::ranges::sort(*list);
  list->erase(std::unique(list->begin(), list->end()), list->end());
}

}  // namespace sluice::projectors
