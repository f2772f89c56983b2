#include "gateways/admin/request_context.h"

#include <algorithm>

#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::gateways {

absl::StatusOr<size_t> PageSizeOf(const HttpHead& http) {
  constexpr int64_t kDefault = 100;
  constexpr int64_t kMax = 1'000;
  const auto text = http.Query("page_size");
  if (!text.has_value()) {
    return kDefault;
  }
  ASSIGN_OR_RETURN(const int64_t size, ParseInt64(*text));
  if (size < 1) {
    return absl::InvalidArgumentError("page_size must be at least 1");
  }
  return static_cast<size_t>(std::min(size, kMax));
}

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
