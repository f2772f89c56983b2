#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::client {

// What a server or a file says, for a message that may reach a terminal or a log: control
// characters (C0, DEL and C1, line ends too), marks that turn the direction of text, and bytes that
// are no UTF-8 come out as \x1b or \u202e, and what is beyond `bytes_max` as "…".
[[nodiscard]] std::string Printable(std::string_view text, size_t bytes_max = 4096);

}  // namespace sluice::client
