#include "gateways/admin/request_context.h"

#include <algorithm>

#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::gateways {

absl::StatusOr<std::optional<std::chrono::milliseconds>> WaitOf(const HttpHead& http) {
  const auto text = http.Query("wait");
  if (!text.has_value()) {
    return std::nullopt;
  }
  auto wait = ParseDuration(*text);
  RETURN_IF_ERROR_CTX(wait.status(), "wait");
  return std::min(*wait, kWaitMax);
}

}  // namespace sluice::gateways
