#include "gateways/odata/odata_url.h"

#include <fmt/format.h>

#include <algorithm>

#include "gateways/percent.h"
#include "schemas/base/datetime.h"
#include "schemas/base/sha256.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr size_t kLinksMax = 1'000'000;

// A name or value within a path segment or an option of a query.
std::string Encoded(std::string_view text) { return PercentEncode(text, "-._~,:/"); }

std::string WithOptions(const Url& root, std::string_view segment,
                        const std::vector<std::string>& options) {
  Url url = root;
  url.path += segment;
  for (const std::string& option : options) {
    url.query.append(url.query.empty() ? 0 : 1, '&').append(option);
  }
  url.has_query = !url.query.empty();
  return url.ToString();
}

std::string Select(const std::vector<std::string>& names) {
  std::string option = "$select=";
  for (size_t i = 0; i < names.size(); ++i) {
    option.append(i == 0 ? 0 : 1, ',').append(Encoded(names[i]));
  }
  return option;
}

std::vector<std::string> KeyNames(const MappedEntity& entity) {
  std::vector<std::string> names;
  for (const MappedKeyPart& part : entity.key) {
    const std::string& name = entity.columns[part.column].path[0];
    if (std::ranges::find(names, name) == names.end()) {
      names.push_back(name);
    }
  }
  return names;
}

// "$orderby=" with the parts of the key behind what is to come `first`, if anything.
std::string OrderBy(const MappedEntity& entity, const std::string& first) {
  std::string option = "$orderby=" + first;
  bool empty = first.empty();
  for (const MappedKeyPart& part : entity.key) {
    const std::vector<std::string>& path = entity.columns[part.column].path;
    option.append(empty ? 0 : 1, ',');
    empty = false;
    for (size_t i = 0; i < path.size(); ++i) {
      option.append(i == 0 ? 0 : 1, '/').append(Encoded(path[i]));
    }
  }
  return option;
}

absl::Status LinkRefused(std::string_view code, std::string_view why) {
  return Error(absl::StatusCode::kFailedPrecondition, code, why);
}

}  // namespace

absl::StatusOr<Url> ServiceRoot(std::string_view url) {
  ASSIGN_OR_RETURN(Url root, Url::Parse(url));
  if (!root.path.ends_with('/')) {
    root.path.push_back('/');
  }
  return root;
}

std::string MetadataUrl(const Url& root) { return WithOptions(root, "$metadata", {}); }

std::string LoadUrl(const Url& root, const MappedEntity& entity, bool count, bool ordered) {
  std::vector<std::string> options = {Select(entity.select)};
  if (count) {
    options.emplace_back("$count=true");
  }
  if (ordered) {
    options.push_back(OrderBy(entity, ""));
  }
  return WithOptions(root, Encoded(entity.set), options);
}

std::string KeysUrl(const Url& root, const MappedEntity& entity, bool ordered) {
  std::vector<std::string> options = {Select(KeyNames(entity))};
  if (ordered) {
    options.push_back(OrderBy(entity, ""));
  }
  return WithOptions(root, Encoded(entity.set), options);
}

std::string PollUrl(const Url& root, const MappedEntity& entity, std::string_view modified,
                    int64_t since_us) {
  const std::string name = Encoded(modified);
  return WithOptions(
      root, Encoded(entity.set),
      {Select(entity.select), fmt::format("$filter={}%20ge%20{}", name, FormatDatetime(since_us)),
       OrderBy(entity, name)});
}

absl::StatusOr<Url> LinkRule::Follow(const Url& from, std::string_view link) {
  const absl::StatusOr<Url> url = from.Resolve(link);
  if (!url.ok()) {
    return LinkRefused("source_answer_invalid",
                       fmt::format("a link is none: {}", Message(url.status())));
  }
  const bool listed = std::ranges::find(link_hosts_, url->host) != link_hosts_.end() &&
                      url->port == (url->scheme == "https" ? 443 : 80);
  if (!url->SameOrigin(root_) && !listed) {
    return LinkRefused("link_elsewhere",
                       fmt::format("a link leads to {}, which is neither the service nor one of "
                                   "its link_hosts",
                                   url->WithoutQuery()));
  }
  if (url->scheme != "https" && root_.scheme == "https") {
    return LinkRefused("link_elsewhere", "a link leads from https to http");
  }
  if (seen_.size() == kLinksMax) {
    return LinkRefused("too_many_links", fmt::format("one load has more than {} links", kLinksMax));
  }
  if (!seen_.insert(DigestWord(Sha256(url->ToString()), 0)).second) {
    return LinkRefused("link_loop", fmt::format("a link to {} was followed before in this load",
                                                url->WithoutQuery()));
  }
  return url;
}

}  // namespace sluice::gateways
