#include "projectors/provisioning/rule_graph.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "projectors/provisioning/rule_check.h"
#include "schemas/base/status.h"

namespace sluice::projectors {

void RuleGraph::AddRule(const std::string& entity, uint64_t compiled) {
  Node& node = nodes_[entity];
  node.own += compiled;
  node.depth = 1;
}

void RuleGraph::AddRelated(const std::string& entity, const std::string& source) {
  Node& node = nodes_[entity];
  node.sources.push_back(source);
  node.depth = 1;
}

absl::Status RuleGraph::Measure(const std::string& entity, Node& node,
                                std::vector<std::string_view>& path) {
  if (node.visit == Visit::kDone) {
    return absl::OkStatus();
  }
  path.push_back(entity);
  if (node.visit == Visit::kUnderWay) {
    const auto first = std::find(path.begin(), path.end(), entity);
    return Invalid("circular_rules",
                   "related rules form a circle: {}; rows would come by themselves",
                   fmt::join(first, path.end(), " -> "));
  }
  node.visit = Visit::kUnderWay;
  node.compiled = node.own;
  for (const std::string& source : node.sources) {
    const auto found = nodes_.find(source);
    if (found == nodes_.end()) {
      continue;  // nobody has rows of it
    }
    RETURN_IF_ERROR(Measure(source, found->second, path));
    if (found->second.depth + 1 > node.depth) {
      node.depth = found->second.depth + 1;
      node.next = source;
    }
    // Far beyond the limit it does not matter by how much.
    node.compiled = std::min(node.compiled + found->second.compiled, kRulesPerProfileMax * 1'000);
  }
  node.visit = Visit::kDone;
  path.pop_back();
  return absl::OkStatus();
}

std::string RuleGraph::ChainFrom(const std::string& entity) const {
  std::string chain = entity;
  for (std::string next = nodes_.at(entity).next; !next.empty(); next = nodes_.at(next).next) {
    chain.append(" -> ").append(next);
  }
  return chain;
}

absl::Status RuleGraph::Check() {
  for (auto& [entity, node] : nodes_) {
    std::vector<std::string_view> path;
    RETURN_IF_ERROR(Measure(entity, node, path));
  }
  uint64_t compiled = 0;
  for (const auto& [entity, node] : nodes_) {
    if (node.depth > kRuleDepthMax) {
      return Invalid("rules_too_deep", "{} rules follow one another, at most {} may: {}",
                     node.depth, kRuleDepthMax, ChainFrom(entity));
    }
    compiled += node.compiled;
  }
  if (compiled > kRulesPerProfileMax) {
    return Invalid(
        "invalid_argument",
        "its rules become more than {}: a filter counts once for each of its alternatives, a "
        "related rule once for each rule of the entity that its rows come by; use fewer",
        kRulesPerProfileMax);
  }
  return absl::OkStatus();
}

}  // namespace sluice::projectors
