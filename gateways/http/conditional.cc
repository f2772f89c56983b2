#include "gateways/http/conditional.h"

#include <algorithm>
#include <string>

#include "schemas/base/ascii.h"

namespace sluice::gateways {
namespace {

// If-None-Match compares weakly (section 8.8.3.2): "W/" before either makes no difference.
std::string_view WithoutWeakness(std::string_view etag) {
  return etag.substr(etag.starts_with("W/") ? 2 : 0);
}

// Takes the next entity tag off `list`, up to its second quote; empty where none is left. What is
// no tag is passed over up to the next comma: commas may be in a tag as well as between two.
std::string_view NextTag(std::string_view& list) {
  while (!list.empty()) {
    list.remove_prefix(std::min(list.find_first_not_of(" \t,"), list.size()));
    const std::string_view item = WithoutWeakness(list);
    const size_t end = item.starts_with('"') ? item.find('"', 1) : std::string_view::npos;
    if (end != std::string_view::npos) {
      list = item.substr(end + 1);
      return item.substr(0, end + 1);
    }
    list.remove_prefix(std::min(list.find(','), list.size()));
  }
  return {};
}

}  // namespace

void AddEtag(std::string_view etag, HttpResponse& response) {
  if (!etag.empty()) {
    response.headers.emplace_back("ETag", etag);
  }
}

bool NotModified(const HttpHead& http, std::string_view etag) {
  if (etag.empty()) {
    return false;
  }
  const std::string held = http.HeaderList("If-None-Match");
  if (TrimBlanks(held) == "*") {
    return true;
  }
  std::string_view rest = held;
  for (std::string_view tag = NextTag(rest); !tag.empty(); tag = NextTag(rest)) {
    if (tag == WithoutWeakness(etag)) {
      return true;
    }
  }
  return false;
}

}  // namespace sluice::gateways
