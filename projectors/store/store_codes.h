#pragma once

#include <string_view>

namespace sluice::projectors {

// Of a store that holds less than it was known to hold.
inline constexpr std::string_view kStoreRewound = "store_rewound";

// Is `code` that of one store's trouble which the next try has mended? It is being read, or was
// opened anew.
[[nodiscard]] inline bool IsSoonOver(std::string_view code) {
  return code == "store_busy" || code == "store_reopened";
}

}  // namespace sluice::projectors
