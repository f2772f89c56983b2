#include "gateways/odata/csdl.h"

#include <fmt/format.h>

#include <initializer_list>

#include "schemas/base/json_writer.h"
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

absl::Status CheckCsdlName(std::string_view name) {
  return name.size() <= kCsdlNameBytesMax
             ? absl::OkStatus()
             : MetadataInvalid(fmt::format("has a name of more than {} bytes: {}",
                                           kCsdlNameBytesMax, QuoteForError(name.substr(0, 100))));
}

absl::Status CheckCsdlNames(const Csdl& csdl) {
  absl::Status status;
  const auto check = [&status](std::initializer_list<std::string_view> names) {
    for (const std::string_view name : names) {
      status.Update(CheckCsdlName(name));
    }
  };
  for (const auto& [alias, space] : csdl.aliases) {
    check({alias, space});
  }
  for (const auto& [name, structure] : csdl.structures) {
    check({name, structure.base});
    for (const CsdlKeyPart& part : structure.key) {
      check({part.path, part.alias});
    }
    for (const CsdlProperty& property : structure.properties) {
      check({property.name, property.type});
    }
    for (const CsdlNavigation& navigation : structure.navigations) {
      check({navigation.name, navigation.type});
      for (const CsdlConstraint& constraint : navigation.constraints) {
        check({constraint.property, constraint.referenced});
      }
    }
  }
  for (const auto& [name, enumeration] : csdl.enums) {
    check({name});
    for (const auto& [member, value] : enumeration.members) {
      check({member});
    }
  }
  for (const auto& [name, definition] : csdl.definitions) {
    check({name, definition.underlying});
  }
  for (const CsdlEntitySet& set : csdl.sets) {
    check({set.name, set.type});
    for (const auto& [path, target] : set.bindings) {
      check({path, target});
    }
  }
  return status;
}

std::pair<std::string, bool> SplitCollection(std::string_view type) {
  constexpr std::string_view kStart = "Collection(";
  if (type.starts_with(kStart) && type.ends_with(')')) {
    return {std::string(type.substr(kStart.size(), type.size() - kStart.size() - 1)), true};
  }
  return {std::string(type), false};
}

}  // namespace sluice::gateways
