#pragma once

#include <chrono>

namespace sluice::gateways {

// How often a wait looks whether it is over: at first, and after it has doubled some times.
inline constexpr std::chrono::milliseconds kLookMin{1};
inline constexpr std::chrono::milliseconds kLookMax{50};

}  // namespace sluice::gateways
