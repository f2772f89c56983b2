#pragma once

#include <string_view>

namespace sluice::projectors {

// Of a store that holds less than it was known to hold.
inline constexpr std::string_view kStoreRewound = "store_rewound";

// Of a store that is read as a whole, a part a call: the next call goes on.
inline constexpr std::string_view kStoreReading = "store_reading";

// Is `code` that of one store's trouble which the next try has mended? It is being read, or was
// opened anew.
[[nodiscard]] inline bool IsSoonOver(std::string_view code) {
  return code == "store_busy" || code == "store_reopened" || code == kStoreReading;
}

}  // namespace sluice::projectors
