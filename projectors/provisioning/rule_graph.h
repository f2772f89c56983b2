#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace sluice::projectors {

// How the entities of one profile depend on one another by their related rules. Not thread-safe.
class RuleGraph {
 public:
  // The entity has a rule that becomes `compiled` rules by itself.
  void AddRule(const std::string& entity, uint64_t compiled);
  // The entity has a related rule: rows come by the rows of `source`, which may have no rules.
  void AddRelated(const std::string& entity, const std::string& source);

  // kInvalidArgument: code "circular_rules", "rules_too_deep" (kRuleDepthMax) or "invalid_argument"
  // (kRulesPerProfileMax), circles first. The message names the chain.
  [[nodiscard]] absl::Status Check();

 private:
  enum class Visit : uint8_t { kNew, kUnderWay, kDone };
  struct Node {
    std::vector<std::string> sources;
    uint64_t own = 0;  // compiled rules but those of related ones
    Visit visit = Visit::kNew;
    uint32_t depth = 0;  // of its deepest rule
    std::string next;    // the source on the longest chain, empty at its end
    uint64_t compiled = 0;
  };

  absl::Status Measure(const std::string& entity, Node& node, std::vector<std::string_view>& path);
  std::string ChainFrom(const std::string& entity) const;

  std::map<std::string, Node> nodes_;
};

}  // namespace sluice::projectors
