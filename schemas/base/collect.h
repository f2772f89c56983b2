#pragma once

#include <algorithm>
#include <functional>
#include <iterator>
#include <type_traits>
#include <vector>

namespace sluice {

// What `make` (a function, or a member) gives for each of `range`, in its order.
template <typename Range, typename Make>
[[nodiscard]] auto Collect(Range&& range, Make&& make) {
  std::vector<std::decay_t<decltype(std::invoke(make, *std::begin(range)))>> made;
  made.reserve(std::size(range));
  for (auto&& one : range) {
    made.push_back(std::invoke(make, one));
  }
  return made;
}

// Puts the list in order, each element once.
template <typename T>
void SortUnique(std::vector<T>* list) {
  std::ranges::sort(*list);
  list->erase(std::unique(list->begin(), list->end()), list->end());
}

}  // namespace sluice
