#pragma once

#include <string_view>

namespace sluice::gateways {

// How much the list of an Accept or Accept-Encoding header (RFC 9110, section 12.5) wants `item`, a
// media type or a coding: 1 to 1000 thousandths, what the most exact of its ranges says, or 0 where
// it does not take it, or says nothing of it. A part that cannot be read is passed over. Pure.
[[nodiscard]] int WeightOf(std::string_view item, std::string_view list);

}  // namespace sluice::gateways
