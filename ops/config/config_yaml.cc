#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "ops/config/config.h"
#include "schemas/base/status.h"

namespace sluice::ops {
namespace {

std::string Where(const std::string& path, const YAML::Node& node) {
  return fmt::format("{}, line {}", path, node.Mark().line + 1);
}

absl::Status Apply(const std::string& path, const std::string& key, const YAML::Node& node,
                   Config& config) {
  if (node.IsMap()) {
    for (const auto& member : node) {
      const std::string name = member.first.as<std::string>();
      RETURN_IF_ERROR(Apply(path, key.empty() ? name : key + "." + name, member.second, config));
    }
    return absl::OkStatus();
  }
  std::string value;
  if (node.IsSequence()) {
    for (const auto& item : node) {
      if (!item.IsScalar()) {
        return absl::InvalidArgumentError(
            fmt::format("{}: {} must be a list of plain values", Where(path, node), key));
      }
      value += (value.empty() ? "" : ",") + item.as<std::string>();
    }
  } else if (node.IsScalar()) {
    value = node.as<std::string>();
  }
  RETURN_IF_ERROR_CTX(SetKey(config, key, value), Where(path, node));
  return absl::OkStatus();
}

}  // namespace

absl::Status LoadYaml(const std::string& path, Config& config) {
  // yaml-cpp throws: the boundary is here.
  try {
    const YAML::Node root = YAML::LoadFile(path);
    if (root.IsNull()) {
      return absl::OkStatus();
    }
    if (!root.IsMap()) {
      return absl::InvalidArgumentError(
          fmt::format("{}: the configuration must be a map of settings", path));
    }
    return Apply(path, "", root, config);
  } catch (const YAML::BadFile&) {
    return absl::NotFoundError(fmt::format("the configuration file {} can't be read", path));
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(fmt::format("{}, line {}: {}", path, e.mark.line + 1, e.msg));
  }
}

}  // namespace sluice::ops
