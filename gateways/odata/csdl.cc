#include "gateways/odata/csdl.h"

#include <fmt/format.h>

#include "schemas/base/status.h"

namespace sluice::gateways {

std::string Csdl::Qualified(std::string_view name) const {
  const size_t dot = name.rfind('.');
  const auto alias =
      dot == std::string_view::npos ? aliases.end() : aliases.find(name.substr(0, dot));
  return alias == aliases.end() ? std::string(name)
                                : fmt::format("{}{}", alias->second, name.substr(dot));
}

absl::Status MetadataInvalid(std::string_view why) {
  return Error(absl::StatusCode::kFailedPrecondition, "metadata_invalid",
               fmt::format("the service's metadata {}", why));
}

absl::Status CsdlCount::AddBytes(size_t bytes) {
  bytes_ += bytes;
  return bytes_ <= kCsdlBytesMax
             ? absl::OkStatus()
             : MetadataInvalid(fmt::format("is larger than {} bytes", kCsdlBytesMax));
}

absl::Status CsdlCount::AddSet() {
  return ++sets_ <= kCsdlSetsMax
             ? absl::OkStatus()
             : MetadataInvalid(fmt::format("has more than {} entity sets", kCsdlSetsMax));
}

absl::Status CsdlCount::AddMember() {
  return ++members_ <= kCsdlMembersMax
             ? absl::OkStatus()
             : MetadataInvalid(fmt::format("has more than {} properties", kCsdlMembersMax));
}

std::pair<std::string, bool> SplitCollection(std::string_view type) {
  constexpr std::string_view kStart = "Collection(";
  if (type.starts_with(kStart) && type.ends_with(')')) {
    return {std::string(type.substr(kStart.size(), type.size() - kStart.size() - 1)), true};
  }
  return {std::string(type), false};
}

}  // namespace sluice::gateways
