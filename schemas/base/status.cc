#include "schemas/base/status.h"

#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"

namespace sluice {
namespace {

constexpr char kCodePayload[] = "sluice.code";
constexpr char kColumnPayload[] = "sluice.column";

std::string DefaultCode(StatusCode kind) {
  if (kind == StatusCode::kPermissionDenied) {
    return "forbidden";
  }
  if (kind == StatusCode::kOk || kind == StatusCode::kUnknown ||
      kind == StatusCode::kUnimplemented) {
    return "internal";
  }
  return absl::AsciiStrToLower(absl::StatusCodeToString(kind));
}

absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }

}  // namespace

absl::Status Error(absl::StatusCode kind, std::string_view code, std::string_view message) {
  absl::Status status(kind, ToAbsl(message));
  status.SetPayload(kCodePayload, absl::Cord(ToAbsl(code)));
  return status;
}

std::string ErrorCode(const absl::Status& status) {
  if (auto payload = status.GetPayload(kCodePayload); payload.has_value()) {
    return std::string(*payload);
  }
  return DefaultCode(status.code());
}

absl::Status WithColumn(absl::Status status, uint32_t column) {
  status.SetPayload(kColumnPayload, absl::Cord(std::to_string(column)));
  return status;
}

std::optional<uint32_t> ErrorColumn(const absl::Status& status) {
  const auto payload = status.GetPayload(kColumnPayload);
  if (!payload.has_value()) {
    return std::nullopt;
  }
  const auto text = std::string(*payload);
  uint32_t column = 0;
  std::from_chars(text.data(), text.data() + text.size(), column);
  return column;
}

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) {
    return status;
  }
  absl::Status annotated(status.code(), fmt::format("{}: {}", context, Message(status)));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

std::string_view Message(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

}  // namespace sluice
