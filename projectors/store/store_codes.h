#pragma once

#include <string_view>

namespace sluice::projectors {

// Is `code` that of one store's trouble which the next try has mended? It is being read, or was
// opened anew.
[[nodiscard]] inline bool IsSoonOver(std::string_view code) {
  return code == "store_busy" || code == "store_reopened";
}

}  // namespace sluice::projectors
