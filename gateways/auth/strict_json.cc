#include "gateways/auth/strict_json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace sluice::gateways {
namespace {

using nlohmann::json;

constexpr size_t kDepthMax = 16;

// Hears the parser's events and remembers whether a rule was broken.
class Watcher {
 public:
  bool OnEvent(int depth, json::parse_event_t event, const json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
        names_.emplace_back();
        break;
      case json::parse_event_t::object_end:
        names_.pop_back();
        break;
      case json::parse_event_t::key:
        broken_ = broken_ || !names_.back().insert(parsed.get<std::string>()).second;
        break;
      default:
        break;
    }
    broken_ = broken_ || static_cast<size_t>(depth) > kDepthMax;
    return true;
  }

  bool broken() const { return broken_; }

 private:
  std::vector<std::set<std::string>> names_;  // of the objects that are open
  bool broken_ = false;
};

}  // namespace

std::optional<json> ParseStrictObject(std::string_view text) {
  Watcher watcher;
  json parsed = json::parse(
      text.begin(), text.end(),
      [&watcher](int depth, json::parse_event_t event, json& value) {
        return watcher.OnEvent(depth, event, value);
      },
      /*allow_exceptions=*/false);
  if (watcher.broken() || !parsed.is_object()) {
    return std::nullopt;
  }
  return parsed;
}

}  // namespace sluice::gateways
