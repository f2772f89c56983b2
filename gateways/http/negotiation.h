#pragma once

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string_view>

namespace sluice::gateways {

// Which of `items`, media types or codings, the list of an Accept or Accept-Encoding header (RFC
// 9110, section 12.5) wants most, what the most exact of its ranges says of each: the first of
// those that it wants alike. nullopt where it takes none of them, or says nothing of them. A part
// that cannot be read is passed over. Pure.
[[nodiscard]] std::optional<size_t> MostWanted(std::initializer_list<std::string_view> items,
                                               std::string_view list);

}  // namespace sluice::gateways
