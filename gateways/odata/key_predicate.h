#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "gateways/odata/entity_mapper.h"

// Keys: of a row whose parts are known, and of one of which only its id is.
namespace sluice::gateways {

// The key of a row of the entity from the canonical texts of its parts, in the key's order: the
// text itself of a single one; of several "~" becomes "~0", "," becomes "~1", and they are joined
// by commas, so that no two keys have one text.
[[nodiscard]] std::string KeyOf(const MappedEntity& entity, const std::vector<std::string>& parts);

// The key that an entity's id names. An id is a URL, absolute or relative, that ends with a key
// predicate ("Orders(OrderID=1,ProductID='a%27%27b')") or, of a single part, with the value as a
// segment ("Customers/6"); or that value by itself, as Dataverse has it in deleted entities.
// kInvalidArgument, code "invalid_key".
[[nodiscard]] absl::StatusOr<std::string> KeyFromId(const MappedEntity& entity,
                                                    std::string_view id);

}  // namespace sluice::gateways
