#pragma once

#include <string>

namespace sluice {

// Empties it and lets go of its memory. Neither `text = {}` nor `text = std::string()` does: both
// copy nothing into what is there.
inline void Release(std::string* text) { std::string().swap(*text); }

}  // namespace sluice
